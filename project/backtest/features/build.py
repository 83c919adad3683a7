"""Features of one symbol from its bars, in the order their definitions need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from backtest.spec.loader import CompiledFeature


def build_features(bars: pl.DataFrame, features: Sequence[CompiledFeature]) -> pl.DataFrame:
    """Every feature of every bar.

    Parameters
    ----------
    bars : the full grid of one symbol with the bar columns, oldest first.
    features : in an order in which each one's parts come before it.

    Returns
    -------
    ``timestamp`` and one Float64 column a feature, one row a bar. A feature is null in its first `total_lookback_bars`
    rows, where an input is null, and where it is not defined. Row t uses rows ≤ t only.
    """
    frame = bars.lazy().with_row_index("_row")
    level: list[CompiledFeature] = []
    for feature in features:
        if feature.expression.inputs & {waiting.model.name for waiting in level}:
            frame, level = _with(frame, level), []
        level.append(feature)
    return _with(frame, level).select("timestamp", *(feature.model.name for feature in features)).collect()


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


def _with(frame: pl.LazyFrame, level: Collection[CompiledFeature]) -> pl.LazyFrame:
    return frame.with_columns(
        pl.when(pl.col("_row") >= feature.total_lookback_bars)
        .then(feature.expression.polars().cast(pl.Float64))
        .alias(feature.model.name)
        for feature in level
    )
