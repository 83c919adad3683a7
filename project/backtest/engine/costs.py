"""What a round trip costs: fees, spread and impact (statistics: c = 2·fee + 2·half-spread + impact)."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backtest.spec.models import Costs

Floats = NDArray[np.float64]
BPS = 1e-4


def taker_fees(costs: Costs, days: NDArray[np.int64]) -> Floats:
    """Taker fee per side (fraction) on each day (days since 1970-01-01), by the dated schedule.

    Days before the first period take that period's fee.
    """
    epoch = dt.date(1970, 1, 1)
    since = np.array([(period.since - epoch).days for period in costs.fees])
    fees = np.array([period.taker_fee_bps for period in costs.fees]) * BPS
    return fees[np.maximum(np.searchsorted(since, days, side="right") - 1, 0)]


def round_trip_cost(
    costs: Costs,
    symbol: str,
    entry_days: NDArray[np.int64],
    exit_days: NDArray[np.int64],
    volatility: Floats,
    bar_turnover_usd: Floats,
) -> Floats:
    """Cost of each round trip without funding, as a fraction of notional.

    Parameters
    ----------
    symbol : its half-spread counts twice; the default where it has none of its own.
    entry_days, exit_days : (n,) days since 1970-01-01; each side pays the fee of its day.
    volatility : (n,) expected standard deviation of a bar's return (fraction).
    bar_turnover_usd : (n,) value traded in a usual bar; NaN or zero makes the cost NaN.

    References
    ----------
    Square-root impact: Almgren, Thum, Hauptmann & Li (2005), Risk 18; Tóth et al. (2011), Physical Review X 1.
    """
    half_spread = costs.half_spread_bps.get(symbol, costs.half_spread_bps["default"]) * BPS
    with np.errstate(divide="ignore", invalid="ignore"):
        participation = np.where(bar_turnover_usd > 0, costs.order_usd / bar_turnover_usd, np.nan)
    impact = costs.impact_coefficient * volatility * np.sqrt(participation)
    return np.asarray(taker_fees(costs, entry_days) + taker_fees(costs, exit_days) + 2.0 * half_spread + impact)
