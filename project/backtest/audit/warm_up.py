"""How much a feature's values beyond its look-back change when the history starts later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtest.features.build import build_features

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledFeature


@dataclass(frozen=True)
class WarmUp:
    """A feature's derived look-back, and what was measured beyond it.

    `largest_relative_change` is the largest change of a value over the larger of the value and the feature's mean size;
    None where no value was compared. `n_null_changes` counts values known from one beginning and not from another.
    """

    feature: str
    lookback_bars: int
    checked: int
    largest_relative_change: float | None
    n_null_changes: int

    @property
    def lookback_hours(self) -> float:
        return self.lookback_bars / 12


def measured_warm_up(
    bars: pl.DataFrame, features: Sequence[CompiledFeature], later_starts: Sequence[int]
) -> list[WarmUp]:
    """Build the features from the first bar and from each later start; compare the bars both know, past the look-back.

    Parameters
    ----------
    bars : one symbol's bars with every column the features name, the full grid, oldest first.
    features : in an order in which they can be built.
    later_starts : rows of `bars` at which shorter histories begin.
    """
    whole = build_features(bars, features)
    counts = {feature.model.name: [0, 0] for feature in features}
    changes: dict[str, list[float]] = {feature.model.name: [] for feature in features}
    for start in later_starts:
        shorter = build_features(bars.slice(start), features)
        for feature in features:
            name = feature.model.name
            long = whole[name].slice(start + feature.total_lookback_bars).to_numpy()
            short = shorter[name].slice(feature.total_lookback_bars).to_numpy()
            both = ~np.isnan(long) & ~np.isnan(short)
            counts[name][0] += int(np.count_nonzero(both))
            counts[name][1] += int(np.count_nonzero(np.isnan(long) != np.isnan(short)))
            if both.any():
                size = np.abs(long[both])
                scale = np.maximum(np.maximum(size, np.abs(short[both])), size.mean())
                change = np.abs(long[both] - short[both])
                changes[name].append(
                    float(np.max(np.divide(change, scale, out=np.zeros_like(change), where=change > 0)))
                )
    return [
        WarmUp(
            feature.model.name,
            feature.total_lookback_bars,
            counts[feature.model.name][0],
            max(changes[feature.model.name], default=None),
            counts[feature.model.name][1],
        )
        for feature in features
    ]


def worst_of(symbols: Sequence[Sequence[WarmUp]]) -> list[WarmUp]:
    """One row a feature over several symbols: all values checked, the largest change."""
    worst = []
    for rows in zip(*symbols, strict=True):
        changes = [row.largest_relative_change for row in rows if row.largest_relative_change is not None]
        checked, n_null_changes = sum(row.checked for row in rows), sum(row.n_null_changes for row in rows)
        worst.append(
            WarmUp(rows[0].feature, rows[0].lookback_bars, checked, max(changes, default=None), n_null_changes)
        )
    return worst
