"""Figures of an account's daily equity and of its trades, for markets that trade every day of the year.

References
----------
Lo (2002), Financial Analysts Journal 58: standard error of the Sharpe ratio; Mertens (2002): with skewness and kurtosis.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DAYS_PER_YEAR: Final = 365.0


def daily_returns(equity: Floats) -> Floats:
    """(d,) returns of an equity curve (d + 1,) at days' ends; 0 on days that begin without equity."""
    before, after = equity[:-1], equity[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before > 0, after / before - 1.0, 0.0)


def annual_return(returns: Floats) -> float | None:
    """Compound return a year (fraction); None without days. −1 where everything was lost."""
    if not len(returns):
        return None
    growth = float(np.prod(1.0 + returns))
    return growth ** (DAYS_PER_YEAR / len(returns)) - 1.0 if growth > 0 else -1.0


def annual_volatility(returns: Floats) -> float | None:
    """Standard deviation of daily returns times √365; None under two days."""
    return float(returns.std(ddof=1) * np.sqrt(DAYS_PER_YEAR)) if len(returns) > 1 else None


def sharpe_ratio(returns: Floats) -> float | None:
    """Annual Sharpe ratio of daily returns, no interest subtracted; None where they do not vary."""
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / deviation * np.sqrt(DAYS_PER_YEAR)) if deviation > 1e-15 else None


def sharpe_standard_error(returns: Floats) -> float | None:
    """Standard error of the annual Sharpe ratio, with skewness and kurtosis of the days (Mertens 2002)."""
    ratio = sharpe_ratio(returns)
    if ratio is None:
        return None
    daily = ratio / np.sqrt(DAYS_PER_YEAR)
    z = (returns - returns.mean()) / returns.std()
    skewness, kurtosis = float((z**3).mean()), float((z**4).mean())
    variance = (1.0 - skewness * daily + (kurtosis - 1.0) / 4.0 * daily**2) / (len(returns) - 1)
    return float(np.sqrt(max(variance, 0.0) * DAYS_PER_YEAR))


def sortino_ratio(returns: Floats) -> float | None:
    """Annual return over downside deviation (root mean square of negative days); None without a losing day."""
    downside = float(np.sqrt((np.minimum(returns, 0.0) ** 2).mean())) if len(returns) else 0.0
    return float(returns.mean() / downside * np.sqrt(DAYS_PER_YEAR)) if downside > 1e-15 else None


def max_drawdown(equity: Floats) -> tuple[float, int]:
    """Deepest fall below the highest so far (fraction ≤ 0), and the longest time below a high (days)."""
    highest = np.maximum.accumulate(equity)
    below = equity < highest
    # Days since the last high, at each day.
    since = np.arange(len(equity)) - np.maximum.accumulate(np.where(below, 0, np.arange(len(equity))))
    return float((equity / highest - 1.0).min()), int(since.max())


def hit_rate(net: Floats) -> float | None:
    """Share of trades with a gain after costs; None without trades."""
    return float((net > 0).mean()) if len(net) else None


def profit_factor(net: Floats) -> float | None:
    """Gains over losses; None without a loss."""
    losses = -float(net[net < 0].sum())
    return float(net[net > 0].sum()) / losses if losses > 0 else None


def expectancy_interval(net_return: Floats, day: Integers) -> tuple[float | None, float | None, float | None]:
    """Mean net return of a trade with its 95 % interval; days are clusters (CR3). Bounds None under two days."""
    from scipy.special import stdtrit

    from backtest.discovery.inference import cluster_t

    if not len(net_return):
        return None, None, None
    days, group = np.unique(day, return_inverse=True)
    sums: Floats = np.bincount(group, weights=net_return).astype(np.float64)
    counts: Integers = np.bincount(group).astype(np.int64)
    found = cluster_t(sums, counts, np.zeros(len(days), np.int64), 1)
    mean, error, freedom = (float(values[0]) for values in (found.mean, found.standard_error, found.degrees_of_freedom))
    if not np.isfinite(error):
        return float(net_return.mean()), None, None
    reach = float(stdtrit(freedom, 0.975)) * error
    return mean, mean - reach, mean + reach
