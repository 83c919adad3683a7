"""What a round trip costs: fees, spread and impact (statistics: c = 2·fee + 2·half-spread + impact)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backtest.spec.models import Contract, Costs, SpotCosts

Floats = NDArray[np.float64]
BPS: Final = 1e-4
EPOCH: Final = dt.date(1970, 1, 1)


def taker_fees(costs: Costs | SpotCosts, days: NDArray[np.int64]) -> Floats:
    """Taker fee per side (fraction) on each day (days since 1970-01-01), by the dated schedule.

    Days before the first period take that period's fee.
    """
    since = np.array([(period.since - EPOCH).days for period in costs.fees])
    fees = np.array([period.taker_fee_bps for period in costs.fees]) * BPS
    return fees[np.maximum(np.searchsorted(since, days, side="right") - 1, 0)]


def tick_sizes(contract: Contract, days: NDArray[np.int64]) -> Floats:
    """Tick size (quote currency) on each day (days since 1970-01-01); 0 where the contract does not tell."""
    since = np.array([(period.since - EPOCH).days for period in contract.periods])
    ticks = np.array([period.tick_size or 0.0 for period in contract.periods])
    return ticks[np.maximum(np.searchsorted(since, days, side="right") - 1, 0)]


def market_impact(
    costs: Costs, volatility: Floats, bar_turnover_usd: Floats, *, order_usd: float | None = None
) -> Floats:
    """Impact of a round trip of `order_usd` (that of the spec where None), a fraction of notional: Y·σ·√(Q/V).

    NaN where the turnover is not positive. Grows with the square root of the order.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        participation = np.where(bar_turnover_usd > 0, (order_usd or costs.order_usd) / bar_turnover_usd, np.nan)
    return np.asarray(costs.impact_coefficient * volatility * np.sqrt(participation))


@dataclass(frozen=True)
class RoundTrip:
    """What round trips cost without funding, (n,) fractions of notional.

    Attributes
    ----------
    fees, spread, impact : of both fills.
    interest : on what is borrowed.
    """

    fees: Floats
    spread: Floats
    impact: Floats
    interest: Floats

    @property
    def total(self) -> Floats:
        return self.fees + self.spread + self.impact + self.interest

    def __add__(self, other: RoundTrip) -> RoundTrip:
        """Of two legs of the same notional."""
        return RoundTrip(
            self.fees + other.fees,
            self.spread + other.spread,
            self.impact + other.impact,
            self.interest + other.interest,
        )


def round_trip_cost(
    costs: Costs,
    contract: Contract,
    symbol: str,
    entry_days: NDArray[np.int64],
    exit_days: NDArray[np.int64],
    entry_prices: Floats,
    volatility: Floats,
    bar_turnover_usd: Floats,
) -> RoundTrip:
    """Cost of each round trip without funding.

    Parameters
    ----------
    contract : its own fees, where it has some, are paid; its tick of the day bounds the half-spread from below: no spread
        is narrower than a tick.
    symbol : its half-spread counts twice; the default where it has none of its own.
    entry_days, exit_days : (n,) days since 1970-01-01; each side pays the fee of its day.
    entry_prices : (n,) price at entry.
    volatility : (n,) expected standard deviation of a bar's return (fraction).
    bar_turnover_usd : (n,) value traded in a usual bar; NaN or zero makes the cost NaN.

    References
    ----------
    Square-root impact: Almgren, Thum, Hauptmann & Li (2005), Risk 18; Tóth et al. (2011), Physical Review X 1.
    """
    half_spread = costs.half_spread_bps.get(symbol, costs.half_spread_bps["default"]) * BPS
    impact = market_impact(costs, volatility, bar_turnover_usd)
    spread = np.maximum(2.0 * half_spread, tick_sizes(contract, entry_days) / entry_prices)
    charged = costs.for_contract(contract)
    fees = taker_fees(charged, entry_days) + taker_fees(charged, exit_days)
    return RoundTrip(fees, spread, impact, np.zeros(len(fees)))
