"""Prices of the perpetual: a martingale in simple returns, whatever the past looked like.

Given the volatility σ of a sub-step, its log return is normal with mean −σ²/2, so that the expected price ratio is
exactly 1. A jump of known size goes up by u or down by d with P(up) = (1 − e^−d) / (e^u − e^−d), which makes its
expected price ratio 1 too. Highs and lows are the extremes of the Brownian bridge of each one-minute sub-step.

References
----------
Merton 1976 (J. Financial Economics 3), jumps; Glasserman 2004, *Monte Carlo Methods in Financial Engineering*, 6.4,
extremes of a bridge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.sources.simulated.calendar import Indices, Mask
from backtest.sources.simulated.settings import BARS_PER_YEAR, STEPS_PER_BAR, SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams
from backtest.sources.simulated.volatility import Jumps

# No jump is larger than this log return.
_LARGEST_JUMP = 0.15


@dataclass(frozen=True)
class LogPrices:
    """Log prices before rounding: ``ends`` at the n_bars + 1 bar boundaries, extremes and returns of each bar.

    ``gaps`` is how far a bar opens from the boundary before it: zero but where a jump came between the bars.
    """

    ends: Floats
    highs: Floats
    lows: Floats
    gaps: Floats

    @property
    def returns(self) -> Floats:
        return np.diff(self.ends)


def log_prices(
    settings: SimulationSettings, symbol: str, shocks: Floats, sigma: Floats, jumps: Jumps, halted: Mask
) -> LogPrices:
    """Log price path of one symbol from standard shocks (n_bars, steps) and the bars' volatility (n_bars,)."""
    streams = Streams(settings.seed, symbol)
    step_variance = np.square(sigma) / STEPS_PER_BAR
    growth = np.where(halted, 0.0, settings.level("annual_drift", symbol) / (BARS_PER_YEAR * STEPS_PER_BAR))
    diffusion = np.sqrt(step_variance)[:, None] * shocks + (growth - 0.5 * step_variance)[:, None]
    steps, gaps = diffusion.copy(), np.zeros(len(sigma))
    jumped, between = _jump_returns(settings, sigma[jumps.bars], jumps), jumps.between_bars
    steps[jumps.bars[~between], jumps.step[~between]] += jumped[~between]
    gaps[jumps.bars[between]] = jumped[between]
    path = np.cumsum(steps, axis=1)
    ends = np.log(settings.level("initial_price", symbol)) + np.concatenate(([0.0], np.cumsum(gaps + path[:, -1])))
    begin = path - steps
    highs = np.maximum(
        _bridge_extreme(streams, "highs", begin, diffusion, step_variance, 1).max(axis=1), path.max(axis=1)
    )
    lows = np.minimum(
        _bridge_extreme(streams, "lows", begin, diffusion, step_variance, -1).min(axis=1), path.min(axis=1)
    )
    opens = ends[:-1] + gaps
    return _with_bounce(settings, streams, LogPrices(ends, opens + highs, opens + lows, gaps), halted)


def _jump_returns(settings: SimulationSettings, sigma: Floats, jumps: Jumps) -> Floats:
    """Log returns of jumps, with expected price ratio 1 at every size."""
    size = np.minimum(jumps.sigmas * sigma, _LARGEST_JUMP)
    tilt = np.sqrt(settings.jump_down_to_up)
    up, down = size / tilt, size * tilt
    # In a stretch without volatility a jump has no size and either side will do.
    probability_up = np.divide(
        -np.expm1(-down), np.exp(up) - np.exp(-down), out=np.full_like(size, 0.5), where=size > 0
    )
    return np.asarray(np.where(jumps.side <= probability_up, up, -down))


def _bridge_extreme(streams: Streams, name: str, begin: Floats, moves: Floats, variance: Floats, side: int) -> Floats:
    """Largest (side 1) or smallest (side −1) point of the bridges from `begin` to `begin + moves`, same shape."""
    uniforms = streams.uniforms(f"bridge/{name}", *moves.shape)
    spread = np.sqrt(np.square(moves) - 2.0 * variance[:, None] * np.log(uniforms))
    return np.asarray(begin + 0.5 * (moves + side * spread))


def _with_bounce(settings: SimulationSettings, streams: Streams, prices: LogPrices, halted: Mask) -> LogPrices:
    """Prices of prints at bid or ask around the efficient price; each bar opens at the print the last one closed at."""
    if not settings.bounce_bps:
        return prices
    half_spread = settings.bounce_bps * 1e-4
    side = np.where(streams.uniforms("bounce", len(prices.ends)) <= 0.5, half_spread, -half_spread)
    ends = prices.ends + side[_last_traded_boundary(halted)]
    margin = np.where(halted, 0.0, half_spread)
    flat_high, flat_low = np.where(halted, ends[1:], prices.highs), np.where(halted, ends[1:], prices.lows)
    return LogPrices(ends, flat_high + margin, flat_low - margin, prices.gaps)


def _last_traded_boundary(halted: Mask) -> Indices:
    """For each bar boundary the one at which the market last traded, shape (n_bars + 1,)."""
    boundary = np.concatenate(([0], np.where(halted, 0, np.arange(1, len(halted) + 1))))
    return np.asarray(np.maximum.accumulate(boundary))


@dataclass(frozen=True)
class Tick:
    """The grid prices are rounded to: `decimals` digits after the point (negative: tens, hundreds …)."""

    decimals: int

    @classmethod
    def of(cls, settings: SimulationSettings, symbol: str) -> Tick:
        whole_digits = int(np.floor(np.log10(settings.level("initial_price", symbol)))) + 1
        return cls(settings.significant_digits - whole_digits)

    def finer(self, digits: int) -> Tick:
        """A grid with more digits: that of prices that are computed, not traded."""
        return Tick(self.decimals + digits)

    def rounded(self, prices: Floats) -> Floats:
        """Prices on the grid, at least one tick."""
        scale = 10.0 ** abs(self.decimals)
        if self.decimals >= 0:
            return np.maximum(np.rint(prices * scale), 1.0) / scale
        return np.maximum(np.rint(prices / scale), 1.0) * scale


@dataclass(frozen=True)
class Bars:
    """Rounded prices of each bar, all of shape (n_bars,); valid by construction: low ≤ open, close ≤ high."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats

    @property
    def mean(self) -> Floats:
        """A price inside every bar, used as its volume-weighted average."""
        return (self.open + self.high + self.low + self.close) / 4.0


def rounded_bars(prices: LogPrices, tick: Tick) -> Bars:
    """Bars of a log price path; each opens exactly where the last one closed, but for its gap."""
    ends = tick.rounded(np.exp(prices.ends))
    high, low = tick.rounded(np.exp(prices.highs)), tick.rounded(np.exp(prices.lows))
    opens = tick.rounded(np.exp(prices.ends[:-1] + prices.gaps))
    first, last = np.where(prices.gaps != 0, opens, ends[:-1]), ends[1:]
    return Bars(first, np.maximum(high, np.maximum(first, last)), np.minimum(low, np.minimum(first, last)), last)


def related_prices(prices: LogPrices, below: Floats, halted: Mask) -> LogPrices:
    """Log prices of spot, index or mark: the perpetual's less `below`, a log ratio at each boundary; still in a halt.

    What reverts to a mean is in these prices, so the perpetual stays a martingale while they are pulled to it.
    """
    ends = prices.ends - below
    middle = 0.5 * (below[:-1] + below[1:])
    ends = ends[_last_traded_boundary(halted)]
    highs = np.where(halted, ends[1:], prices.highs - middle)
    lows = np.where(halted, ends[1:], prices.lows - middle)
    return LogPrices(ends, highs, lows, prices.gaps)
