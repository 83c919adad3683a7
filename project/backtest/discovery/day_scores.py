"""Sums per hypothesis and UTC day: the only input of the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from backtest.discovery.forward_returns import Booleans, Floats, Integers
from backtest.expressions.compiling import machine_code

SCORE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "policy": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "day": pl.Int32(),
    "n": pl.Int32(),
    "n_tainted": pl.Int32(),
    "sum_z": pl.Float64(),
    "sum_z2": pl.Float64(),
    "sum_y": pl.Float64(),
    "sum_y2": pl.Float64(),
    "sum_cost": pl.Float64(),
    "sum_impact": pl.Float64(),
    "sum_log_turnover": pl.Float64(),
    "sum_funding": pl.Float64(),
    "sum_favourable": pl.Float64(),
    "sum_adverse": pl.Float64(),
}
"""``day`` counts days since 1970-01-01. ``y`` is the abnormal return of a trade in the event's direction (fraction), ``z``
the same in units of its expected volatility; ``cost`` is what either side pays (fraction), ``impact`` the part of it that
grows with the order, ``log_turnover`` of the usual bar in USD, ``funding`` what a position in the event's direction pays at
stamps; ``favourable`` and ``adverse`` are the largest gain and the largest loss of such a position while it was held
(fraction, both ≥ 0). ``n_tainted`` of the ``n`` trades rest on a bar that cannot be trusted. Rows whose ``state_id`` starts
with ``atom:`` are the disjoint cells that effect sizes are estimated on; of a filter there are rows of the trades that it
holds for, under its verb, and of those that it is known not to hold for, under its verb after ``not:``."""

SUM_TRUTH: Final = "sum_truth"
"""A further column in simulated markets: what the trades earn on average because of what was planted (fraction)."""

WITHOUT: Final = "not:"
"""Begins the ``state_id`` of the trades that a filter does not hold for."""

SUM_COLUMNS: Final = tuple(name for name in SCORE_SCHEMA if name.startswith("sum_"))


@dataclass(frozen=True)
class TradeScores:
    """One row a trade: the day of its event and what is summed over the days."""

    day: Integers
    z: Floats
    y: Floats
    cost: Floats
    impact: Floats
    log_turnover: Floats
    funding: Floats
    favourable: Floats
    adverse: Floats
    truth: Floats | None = None
    """Known in simulated markets only."""

    def summed(self) -> Floats:
        """(columns, n) what is summed, in the order of `SUM_COLUMNS`, and the truth where it is known."""
        columns = [
            self.z,
            self.z**2,
            self.y,
            self.y**2,
            self.cost,
            self.impact,
            self.log_turnover,
            self.funding,
            self.favourable,
            self.adverse,
        ]
        return np.stack(columns if self.truth is None else [*columns, self.truth])


def abnormal_returns(gross: Floats, direction: Floats, bars_held: Integers, mean_bar_return: Floats) -> Floats:
    """Return of a trade less what the symbol's mean bar return gives any position of that side and length (fraction)."""
    return gross - direction * bars_held * mean_bar_return


def standardised(abnormal: Floats, volatility: Floats, horizon_bars: int) -> Floats:
    """Abnormal returns in units of their expected standard deviation over the *planned* horizon.

    The planned horizon, not the bars held: dividing by the realised length of a trade that may stop early would weigh
    its losses and gains differently and give a mean although there is none.
    """
    return np.asarray(abnormal / (volatility * np.sqrt(horizon_bars)))


@dataclass(frozen=True)
class DaySums:
    """Sums of trades for each condition and day that has any, conditions in order and days ascending within them.

    ``condition`` indexes the conditions; ``sums`` is (columns, rows) in the order of `TradeScores.summed`.
    """

    condition: Integers
    day: Integers
    n: Integers
    n_tainted: Integers
    sums: Floats


def sum_by_day(trades: TradeScores, members: Booleans, tainted: Booleans) -> DaySums:
    """Sum trades over days for many conditions at once.

    Parameters
    ----------
    trades : TradeScores
        n trades in ascending order of day.
    members : (n, s) bool
        Which trades each of s conditions holds for.
    tainted : (n,) bool
        Trades that rest on a bar that cannot be trusted.
    """
    return DaySums(*_sum_by_day(trades.day.astype(np.int64), np.ascontiguousarray(members), tainted, trades.summed()))


@machine_code
def _sum_by_day(
    day: Integers, members: Booleans, tainted: Booleans, values: Floats
) -> tuple[Integers, Integers, Integers, Integers, Floats]:
    """The arrays of `DaySums`: the rows are counted first, so that nothing is kept for days without a trade."""
    n_columns, n_trades = values.shape
    n_conditions = members.shape[1]
    rows, last = np.zeros(n_conditions + 1, np.int64), np.full(n_conditions, -(2**62), np.int64)
    for trade in range(n_trades):
        for condition in range(n_conditions):
            if members[trade, condition] and last[condition] != day[trade]:
                last[condition] = day[trade]
                rows[condition + 1] += 1
    ends = np.cumsum(rows)
    n_rows = ends[n_conditions]
    owner, days = np.empty(n_rows, np.int64), np.empty(n_rows, np.int64)
    counts, suspect = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
    sums = np.zeros((n_rows, n_columns))
    at = ends[:-1] - 1
    last[:] = -(2**62)
    each = np.empty(n_columns)
    for trade in range(n_trades):
        each[:] = values[:, trade]
        for condition in range(n_conditions):
            if not members[trade, condition]:
                continue
            if last[condition] != day[trade]:
                last[condition] = day[trade]
                at[condition] += 1
                owner[at[condition]], days[at[condition]] = condition, day[trade]
            row = at[condition]
            counts[row] += 1
            if tainted[trade]:
                suspect[row] += 1
            for column in range(n_columns):
                sums[row, column] += each[column]
    return owner, days, counts, suspect, np.ascontiguousarray(sums.T)


def score_frame(trials: Sequence[tuple[str, str, DaySums]], state_ids: Sequence[str]) -> pl.DataFrame:
    """The day scores of trials in long form (`SCORE_SCHEMA`, and the truth where it is known), in their order.

    Parameters
    ----------
    trials : policy, horizon and sums of each.
    state_ids : the conditions that the sums were made for.
    """
    schema = dict(SCORE_SCHEMA)
    if not trials:
        return pl.DataFrame(schema=schema)
    if len(trials[0][2].sums) > len(SUM_COLUMNS):
        schema[SUM_TRUTH] = pl.Float64()
    lengths = np.array([len(sums.day) for _, _, sums in trials])
    of_trial = np.repeat(np.arange(len(trials)), lengths)

    def joined(name: str) -> Integers:
        return np.concatenate([getattr(sums, name) for _, _, sums in trials])

    def names(known: Sequence[str], which: Integers) -> pl.Series:
        return pl.Series(known, dtype=pl.String).gather(which)

    sums = np.concatenate([sums.sums for _, _, sums in trials], axis=1)
    return pl.DataFrame(
        {
            "policy": names([policy for policy, _, _ in trials], of_trial),
            "horizon": names([horizon for _, horizon, _ in trials], of_trial),
            "state_id": names(state_ids, joined("condition")),
            "day": joined("day").astype(np.int32),
            "n": joined("n").astype(np.int32),
            "n_tainted": joined("n_tainted").astype(np.int32),
            **{name: sums[column] for column, name in enumerate((*SUM_COLUMNS, SUM_TRUTH)[: len(sums)])},
        },
        schema=schema,
    )
