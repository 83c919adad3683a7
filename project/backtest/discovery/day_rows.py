"""Day scores of all hypotheses of a search as arrays, pooled ones summed over symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.folds import BARS_PER_DAY, Folds
from backtest.discovery.hypotheses import KEY
from backtest.discovery.inference import block_days, merged_days, segment_sums
from backtest.spec.models import POOLED, horizon_bars

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class DayRows:
    """Day scores of all hypotheses, one row a hypothesis and day, sorted by both; `owner` indexes the register."""

    owner: Integers
    day: Integers
    n: Integers
    sums: Mapping[str, Floats]

    def merged(self, length: Integers, origin: int) -> DayRows:
        """The rows in clusters of `length` days, one length an owner, counted from `origin`."""
        start, day = merged_days(self.owner, self.day, length, origin)
        if len(start) == len(self.owner):
            return self
        return DayRows(
            self.owner[start],
            day,
            np.add.reduceat(self.n, start),
            {name: np.add.reduceat(values, start) for name, values in self.sums.items()},
        )

    def where(self, chosen: Booleans) -> DayRows:
        return DayRows(
            self.owner[chosen],
            self.day[chosen],
            self.n[chosen],
            {name: values[chosen] for name, values in self.sums.items()},
        )


def collect_rows(register: pl.DataFrame, scores: pl.DataFrame, folds: Folds) -> DayRows:
    """Day scores of every registered hypothesis, pooled ones summed over symbols day by day.

    Where a horizon's clusters are longer than a day they are counted from the first day of the confirmation fold, so that
    none has days of both folds.

    Parameters
    ----------
    register : `hypotheses.REGISTER_SCHEMA`.
    scores : `day_scores.SCORE_SCHEMA` with ``event_type`` and ``symbol``.
    """
    owners = register.select(KEY).with_row_index("owner")
    own = scores.join(owners, on=KEY, how="inner")
    pooled = scores.with_columns(pl.lit(POOLED).alias("symbol")).join(owners, on=KEY, how="inner")
    rows = pl.concat([own, pooled.sort("owner", "day", maintain_order=True)])
    blocks = horizon_cluster_days(register)
    owner = rows["owner"].to_numpy().astype(np.int64)
    day = rows["day"].to_numpy().astype(np.int64)
    length = blocks[owner] if len(owner) else np.ones(0, np.int64)
    cut = folds.first_confirmation_day
    day = cut + (day - cut) // length * length
    span = int(day.max(initial=0)) + 1
    key, group = np.unique(owner * span + day, return_inverse=True)
    return DayRows(
        key // span,
        key % span,
        np.bincount(group, weights=rows["n"].to_numpy(), minlength=len(key)).astype(np.int64),
        {
            name: segment_sums(rows[name].to_numpy(), group, len(key))
            for name in rows.columns
            if name.startswith("sum_") or name == "n_tainted"
        },
    )


def horizon_cluster_days(register: pl.DataFrame) -> Integers:
    """(m,) length in days of the clusters of each hypothesis's horizon."""
    lengths = {name: block_days(horizon_bars(name), BARS_PER_DAY) for name in register["horizon"].unique()}
    return np.array([lengths[name] for name in register["horizon"]], dtype=np.int64)
