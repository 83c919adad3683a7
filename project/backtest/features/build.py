"""Features of one symbol from its bars, in the order their definitions need."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.expressions.arrays import Floats
from backtest.expressions.evaluation import Evaluation, as_numbers

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledFeature


SHORT_LOOKBACK_BARS: Final = 2304
"""Eight days: nine features of ten reach back no further."""


def build_features(
    bars: pl.DataFrame, features: Sequence[CompiledFeature], since: dt.datetime | None = None
) -> pl.DataFrame:
    """Every feature of every bar, or of the bars since a time.

    Parameters
    ----------
    bars : the full grid of one symbol with the bar columns, oldest first.
    features : in an order in which each one's parts come before it.
    since : first bar wanted. What reaches back less than `SHORT_LOOKBACK_BARS` is then computed from no further than that
        before it, which is most of the features in half of the time.

    Returns
    -------
    ``timestamp`` and one Float64 column a feature, one row a bar. A feature is null in the first `total_lookback_bars`
    rows of `bars`, where an input is null, and where it is not defined. Row t uses rows ≤ t only.
    """
    first = 0 if since is None else bars["timestamp"].search_sorted(since)
    short = max(0, first - SHORT_LOOKBACK_BARS)
    reaching = {feature.model.name: feature for feature in features}
    long = [name for name, feature in reaching.items() if feature.total_lookback_bars > first - short]
    early = needed_features(reaching, long) if short else []
    tail = Evaluation.of_frame(bars.slice(short))
    built = {name: values[short:] for name, values in _evaluated(Evaluation.of_frame(bars), early, 0).items()}
    for name, values in built.items():
        tail.define(name, values)
    late = [feature for name, feature in reaching.items() if name not in built]
    built |= _evaluated(tail, late, short)
    columns = {name: pl.Series(built[name][first - short :], nan_to_null=True) for name in reaching}
    return pl.DataFrame({"timestamp": bars["timestamp"].slice(first), **columns})


def _evaluated(evaluation: Evaluation, features: Sequence[CompiledFeature], first_row: int) -> dict[str, Floats]:
    """Features in order, each defined for those after it; `first_row` is where in the history the rows begin."""
    found = {}
    for feature in features:
        values = as_numbers(evaluation.values(feature.expression.program)).copy()
        values[: max(0, feature.total_lookback_bars - first_row)] = np.nan
        evaluation.define(feature.model.name, values)
        found[feature.model.name] = values
    return found


def needed_features(features: Mapping[str, CompiledFeature], names: Collection[str]) -> list[CompiledFeature]:
    """The named features and all they are made of, in the order of `features` (in which they can be built)."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in features and name not in needed:
            needed.add(name)
            waiting.extend(features[name].expression.inputs)
    return [feature for name, feature in features.items() if name in needed]
