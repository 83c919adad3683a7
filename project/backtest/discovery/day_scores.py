"""Sums per hypothesis and UTC day: the only input of the statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from backtest.discovery.forward_returns import Booleans, Floats, Integers

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
    "sum_funding": pl.Float64(),
}
"""``day`` counts days since 1970-01-01. ``y`` is the abnormal return of a trade in the event's direction (fraction), ``z``
the same in units of its expected volatility; ``cost`` is what either side pays (fraction), ``funding`` what a position in
the event's direction pays at stamps. ``n_tainted`` of the ``n`` trades rest on a bar that cannot be trusted."""

SUM_TRUTH: Final = "sum_truth"
"""A further column in simulated markets: what the trades earn on average because of what was planted (fraction)."""

SUM_COLUMNS: Final = tuple(name for name in SCORE_SCHEMA if name.startswith("sum_"))


@dataclass(frozen=True)
class TradeScores:
    """One row a trade: the day of its event and what is summed over the days."""

    day: Integers
    z: Floats
    y: Floats
    cost: Floats
    funding: Floats
    truth: Floats | None = None
    """Known in simulated markets only."""


def abnormal_returns(gross: Floats, direction: Floats, bars_held: Integers, mean_bar_return: Floats) -> Floats:
    """Return of a trade less what the symbol's mean bar return gives any position of that side and length (fraction)."""
    return gross - direction * bars_held * mean_bar_return


def standardised(abnormal: Floats, volatility: Floats, horizon_bars: int) -> Floats:
    """Abnormal returns in units of their expected standard deviation over the *planned* horizon.

    The planned horizon, not the bars held: dividing by the realised length of a trade that may stop early would weigh
    its losses and gains differently and give a mean although there is none.
    """
    return np.asarray(abnormal / (volatility * np.sqrt(horizon_bars)))


def sum_by_day(trades: TradeScores, members: Booleans) -> tuple[Integers, Integers, Floats]:
    """Sum trades over days for many conditions at once.

    Parameters
    ----------
    trades : TradeScores
        n trades in ascending order of day.
    members : (n, s) bool
        Which trades each of s conditions holds for.

    Returns
    -------
    days : (g,) the days that occur.
    counts : (g, s)
    sums : (g, s, 6) in the order of `SUM_COLUMNS`; (g, s, 7) with the truth where it is known.
    """
    days, starts = np.unique(trades.day, return_index=True)
    summed = [trades.z, trades.z**2, trades.y, trades.y**2, trades.cost, trades.funding]  # the order of SUM_COLUMNS
    columns = np.stack(summed if trades.truth is None else [*summed, trades.truth], axis=1)
    if len(days) == 0:
        return days, np.zeros((0, members.shape[1]), np.int64), np.zeros((0, members.shape[1], columns.shape[1]))
    counts = np.add.reduceat(members.astype(np.int64), starts, axis=0)
    sums = np.add.reduceat(members[:, :, None] * columns[:, None, :], starts, axis=0)
    return days, counts, sums


def tainted_by_day(day: Integers, tainted: Booleans, members: Booleans) -> Integers:
    """How many tainted trades each day has for each condition, (g, s), in the order of `sum_by_day`."""
    days, starts = np.unique(day, return_index=True)
    if len(days) == 0:
        return np.zeros((0, members.shape[1]), np.int64)
    return np.asarray(np.add.reduceat((members & tainted[:, None]).astype(np.int64), starts, axis=0))


def score_frame(
    policy: str,
    horizon: str,
    state_ids: list[str],
    days: Integers,
    counts: Integers,
    sums: Floats,
    tainted: Integers | None = None,
) -> pl.DataFrame:
    """The day scores of one policy and horizon in long form (`SCORE_SCHEMA`), days without trades left out.

    `tainted` are the counts of `tainted_by_day`; no trade counts as tainted without them.
    """
    has_truth = sums.shape[2] > len(SUM_COLUMNS)
    state, group = np.nonzero(counts.T)
    return pl.DataFrame(
        {
            "policy": pl.repeat(policy, len(state), eager=True, dtype=pl.String),
            "horizon": pl.repeat(horizon, len(state), eager=True, dtype=pl.String),
            "state_id": pl.Series(state_ids, dtype=pl.String)[state.tolist()]
            if len(state)
            else pl.Series([], dtype=pl.String),
            "day": days[group].astype(np.int32),
            "n": counts[group, state].astype(np.int32),
            "n_tainted": (np.zeros_like(counts) if tainted is None else tainted)[group, state].astype(np.int32),
            **{
                name: sums[group, state, column]
                for column, name in enumerate((*SUM_COLUMNS, SUM_TRUTH)[: sums.shape[2]])
            },
        },
        schema={**SCORE_SCHEMA, SUM_TRUTH: pl.Float64()} if has_truth else SCORE_SCHEMA,
    )
