"""Occurrences of event types in one symbol's features."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backtest.spec.loader import CompiledEvent
    from backtest.spec.models import Column

EVENT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_id": pl.String(),
    "event_type": pl.String(),
    "symbol": pl.String(),
    "timestamp": pl.Datetime("ms", "UTC"),
    "direction": pl.Int8(),
}


def detect_events(frame: pl.DataFrame, events: Sequence[CompiledEvent], symbol: str) -> pl.DataFrame:
    """Every occurrence, ordered by event type and time.

    Parameters
    ----------
    frame : bar columns and features of one symbol, the full grid, oldest first.
    events : the types to look for.
    symbol : str

    Returns
    -------
    `EVENT_SCHEMA`: ``timestamp`` is the open time of the bar at whose close the event is known; ``direction`` is −1, 0
    or +1. After an occurrence the same type is silent for its cooldown. Row t uses rows ≤ t only.
    """
    evaluated = frame.lazy().select("timestamp", *_columns(events)).collect()
    found = []
    for event in events:
        name = event.model.event_type
        hits = np.flatnonzero(evaluated[f"{name}.when"].fill_null(value=False).to_numpy())
        kept = outside_cooldown(hits, event.model.cooldown_bars)
        found.append(
            evaluated[kept]
            .select("timestamp", pl.col(f"{name}.direction").fill_null(0).cast(pl.Int8).alias("direction"))
            .with_columns(pl.lit(name).alias("event_type"), pl.lit(symbol).alias("symbol"))
        )
    if not found:
        return pl.DataFrame(schema=EVENT_SCHEMA)
    stamp = pl.col("timestamp").dt.strftime("%Y%m%dT%H%M")
    return (
        pl.concat(found)
        .with_columns(pl.concat_str("event_type", "symbol", stamp, separator=".").alias("event_id"))
        .select(pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items())
    )


def _columns(events: Sequence[CompiledEvent]) -> list[pl.Expr]:
    row = pl.int_range(pl.len())
    columns = []
    for event in events:
        known = row >= event.lookback_bars
        columns.append(pl.when(known).then(event.when.polars()).alias(f"{event.model.event_type}.when"))
        columns.append(event.direction.polars().sign().alias(f"{event.model.event_type}.direction"))
    return columns


def outside_cooldown(hits: NDArray[np.int64], cooldown_bars: int) -> NDArray[np.int64]:
    """The hits kept when each kept one silences those at most `cooldown_bars` after it; ascending positions."""
    if cooldown_bars == 0 or len(hits) == 0:
        return hits
    rows = hits.tolist()
    kept = [0]
    while (following := bisect.bisect_right(rows, rows[kept[-1]] + cooldown_bars, kept[-1])) < len(rows):
        kept.append(following)
    return hits[kept]


def missing_datasets(frame: pl.DataFrame, event: CompiledEvent, columns: Mapping[str, Column]) -> list[str]:
    """Data sets an event needs and the frame has nothing of; empty where the event can be detected.

    An event is missing something where one of the columns or features it names holds no value at all; what it misses are
    the data sets of the empty bar columns it rests on, or a longer history where there are none.
    """

    def is_empty(name: str) -> bool:
        return name in frame.columns and frame[name].null_count() == len(frame)

    if not any(is_empty(name) for name in event.inputs):
        return []
    datasets = {columns[name].dataset for name in event.columns if is_empty(name)}
    return sorted(datasets) or ["a longer history"]


def event_flags(events: pl.DataFrame, bars: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Bar × event: ``timestamp``, ``symbol`` and one Boolean column an event type that occurs, one row a bar."""
    types = sorted(events["event_type"].unique())
    frames = []
    for symbol, stamps in bars.items():
        own = events.filter(pl.col("symbol") == symbol)
        frames.append(
            pl.DataFrame({"timestamp": stamps}).with_columns(
                pl.lit(symbol).alias("symbol"),
                *(
                    pl.col("timestamp")
                    .is_in(own.filter(pl.col("event_type") == name)["timestamp"].implode())
                    .alias(name)
                    for name in types
                ),
            )
        )
    return pl.concat(frames)
