"""Whether what an event or a trade rests on includes a bar that cannot be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledEvent, CompiledFeature

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]


def total_lookback_bars(event: CompiledEvent, features: Mapping[str, CompiledFeature]) -> int:
    """Bars before its own that an event reaches: its windows, and those of the features it names."""
    named = [features[name].total_lookback_bars for name in event.inputs if name in features]
    return event.lookback_bars + max(named, default=0)


def counted_before(tainted: Booleans) -> Integers:
    """(n + 1,) how many of the n bars of the full grid before each position are tainted."""
    return np.concatenate([[0], np.cumsum(tainted, dtype=np.int64)])


def any_tainted(tainted_before: Integers, first: Integers, last: Integers) -> Booleans:
    """Whether any bar of [first, last] is tainted, for each pair of positions; positions before the first bar count as it.

    Parameters
    ----------
    tainted_before : (n + 1,) of `counted_before`.
    first, last : (k,) positions, first ≤ last < n.
    """
    return np.asarray(tainted_before[last + 1] > tainted_before[np.maximum(first, 0)])


def with_taint(
    events: pl.DataFrame,
    frame: pl.DataFrame,
    definitions: Mapping[str, CompiledEvent],
    features: Mapping[str, CompiledFeature],
    masks: Mapping[str, int],
) -> pl.DataFrame:
    """`events` of one symbol with ``tainted``: whether a bar of its total look-back cannot be trusted.

    Parameters
    ----------
    events : ``event_type`` and ``timestamp``.
    frame : ``timestamp`` and ``taint`` of the symbol's bars, the full grid.
    masks : bits of ``taint`` that matter, by event type.
    """
    if events.is_empty():
        return events.with_columns(pl.lit(False).alias("tainted"))
    bits, stamps = frame["taint"].to_numpy(), frame["timestamp"].to_numpy()
    tainted = np.zeros(len(events), dtype=bool)
    at = np.searchsorted(stamps, events["timestamp"].to_numpy())
    before = {mask: counted_before((bits & mask) != 0) for mask in set(masks.values())}
    rows_of = events.select("event_type").with_row_index("row").group_by("event_type").agg("row")
    for name, rows in rows_of.iter_rows():
        lookback = total_lookback_bars(definitions[name], features)
        tainted[rows] = any_tainted(before[masks[name]], at[rows] - lookback, at[rows])
    return events.with_columns(pl.Series("tainted", tainted))


def event_taint(tainted: Booleans, at: Integers, lookback_bars: int) -> Booleans:
    """Whether the events at positions `at` have a tainted bar in [at − lookback_bars, at]."""
    return any_tainted(counted_before(tainted), at - lookback_bars, at)
