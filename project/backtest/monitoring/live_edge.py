"""Does an edge still pay live: a test of the mean live return against what was promised, valid however often one looks.

Every day with closed trades is one bet against the blueprint: wealth grows where returns stay below the lower end of the
blueprint's interval. As long as the promise holds, no way of looking makes wealth reach 1/level with a probability above level.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.errors import DataError

Floats = NDArray[np.float64]

EDGE_LEVEL: Final = 0.05
"""Probability of a false alarm over the whole life of all of a run's blueprints together."""
CAPS_SD: Final = (4.0, 8.0, 16.0, 32.0)
"""Gains further above the promise than so many standard deviations count as that many, so that a bet cannot lose more than it
holds. What a cap may take from the mean is given back. Low caps allow large bets, high ones find small shortfalls."""
BETS: Final = (0.2, 0.5, 0.99)
"""Shares of the largest possible bet. The wealth is divided equally among all caps and shares at the start."""
MAX_LOG_WEALTH: Final = 300.0
FLAT: Final = 1e-9
"""Share of the largest position below which what is left of it is rounding."""


@dataclass(frozen=True)
class Promise:
    """What research found for a blueprint: ``low``, the lower end of its interval for the mean return of a trade before
    costs, and ``sd``, the standard deviation of one trade's return; both fractions."""

    blueprint_id: str
    low: float
    sd: float


@dataclass(frozen=True)
class EdgeEvidence:
    """What live days say against a promise: ``wealth`` now and at its highest, days and trades, their mean return."""

    blueprint_id: str
    n_days: int
    n_trades: int
    mean_return: float
    low: float
    wealth: float
    highest_wealth: float


@dataclass(frozen=True)
class Trade:
    """One round trip from flat to flat, at the prices its decisions were made at: a fraction of the entry's value."""

    blueprint_id: str
    symbol: str
    entered_at: dt.datetime
    left_at: dt.datetime
    gross_return: float


def wealth_path(day_means: Floats, promise: Promise) -> Floats:
    """Wealth after each day, from 1, of bets that the mean return is below ``promise.low``.

    With y the day's mean return, capped at low + c·sd, a bet λ multiplies wealth by 1 + λ·(low − a − y), where a = sd/(4·c) is
    the most by which the cap can lower a mean of at least low (E[(Y − k)⁺] ≤ sd²/(4·(k − E[Y]))). Under the promise every
    factor has a mean of at most 1 given the days before, so that P(wealth ever ≥ 1/α) ≤ α (Ville's inequality), at any
    stopping time and for any distribution with that standard deviation. Days may be of any number of trades.

    References
    ----------
    Waudby-Smith & Ramdas 2024 (JRSS-B 86), betting; Ville 1939; Ramdas, Grünwald, Vovk & Shafer 2023 (Statistical Science 38).
    """
    wealth = np.zeros(len(day_means))
    for cap in CAPS_SD:
        allowance = promise.sd / (4 * cap)
        gap = promise.low - allowance - np.minimum(day_means, promise.low + cap * promise.sd)
        largest = 1 / (cap * promise.sd + allowance)
        log_wealth = np.log1p(np.multiply.outer(np.array(BETS) * largest, gap)).cumsum(axis=1)
        wealth += np.exp(np.minimum(log_wealth, MAX_LOG_WEALTH)).mean(axis=0) / len(CAPS_SD)
    return wealth


def edge_evidence(trades: Sequence[Trade], promises: Mapping[str, Promise], now: dt.datetime) -> list[EdgeEvidence]:
    """The evidence against each blueprint that has closed trades, the strongest first.

    A day is the UTC day of entry. The day of `now` and days with a trade that has left on the day of `now` are not over.

    Raises
    ------
    DataError
        Trades name a blueprint that there is no promise for.
    """
    by_day: dict[str, dict[dt.date, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trade in trades:
        if trade.blueprint_id not in promises:
            raise DataError(f"fills name the blueprint {trade.blueprint_id[:80]!r}, which the run does not have")
        if trade.entered_at.date() < now.date():
            by_day[trade.blueprint_id][trade.entered_at.date()].append(trade.gross_return)
    found = []
    for blueprint_id, days in by_day.items():
        promise = promises[blueprint_id]
        if not (promise.sd > 0 and math.isfinite(promise.sd) and math.isfinite(promise.low)):
            raise DataError(f"blueprint {blueprint_id} has no interval or standard error to compare with")
        means = np.array([np.mean(days[day]) for day in sorted(days)])
        wealth = wealth_path(means, promise)
        returns = [value for values in days.values() for value in values]
        found.append(
            EdgeEvidence(
                blueprint_id,
                len(days),
                len(returns),
                float(np.mean(returns)),
                promise.low,
                float(wealth[-1]),
                float(wealth.max()),
            )
        )
    return sorted(found, key=lambda evidence: (-evidence.highest_wealth, evidence.blueprint_id))


def round_trips(fills: pl.DataFrame) -> list[Trade]:
    """Closed trades of each blueprint and symbol, in the order they were left; a position still open is none.

    A fill that turns a position around closes one trade and opens the next. Prices are `expected_price`: what slippage took
    is judged by the slippage check, fees and funding are costs that the promise does not hold.
    """
    trades = []
    for (blueprint_id, symbol), rows in fills.filter(pl.col("blueprint_id").is_not_null()).group_by(
        ["blueprint_id", "symbol"], maintain_order=True
    ):
        position = entered = left = entry_value = exit_value = largest = 0.0
        entered_at: dt.datetime | None = None
        for stamp, price, quantity in rows.select("timestamp", "expected_price", "signed_quantity").iter_rows():
            remaining = quantity
            while remaining:
                if entered_at is None:
                    position = entered = left = entry_value = exit_value = largest = 0.0
                    entered_at = stamp
                if position * remaining >= 0:
                    position, entered, entry_value = (
                        position + remaining,
                        entered + abs(remaining),
                        entry_value + abs(remaining) * price,
                    )
                    largest, remaining = max(largest, abs(position)), 0.0
                    continue
                closing = min(abs(remaining), abs(position))
                side = math.copysign(1.0, position)
                position, left, exit_value = position - side * closing, left + closing, exit_value + closing * price
                remaining += side * closing
                if abs(remaining) <= FLAT * largest:
                    remaining = 0.0
                if abs(position) <= FLAT * largest:
                    gross = side * ((exit_value / left) / (entry_value / entered) - 1)
                    trades.append(Trade(str(blueprint_id), str(symbol), entered_at, stamp, gross))
                    entered_at = None
    return sorted(trades, key=lambda trade: (trade.left_at, trade.blueprint_id, trade.symbol))
