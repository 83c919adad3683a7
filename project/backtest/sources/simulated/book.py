"""Best bid and ask: quoted spread and depth, wider and thinner when volatility is high and in bars with a jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from backtest.sources.simulated.settings import SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams, decaying, mean_reverting
from backtest.sources.simulated.volatility import Jumps, Volatility

# Log spread: per log volatility, own slow part, part of one bar, and what a jump adds (times ln(1 + σ)) with its
# half-life.
_SPREAD_PER_LOG_VOLATILITY: Final = 0.6
_SPREAD_SLOW_SD, _SPREAD_SLOW_HALF_LIFE_BARS = 0.20, 36.0
_SPREAD_ONE_BAR_SD: Final = 0.10
_SPREAD_PER_JUMP: Final = 0.35
_SPREAD_JUMP_HALF_LIFE_BARS: Final = 3.0
# Log depth at the best price: per log spread, own part of either side; depth of a side over the turnover of a median
# bar.
_DEPTH_PER_LOG_SPREAD: Final = -0.8
_DEPTH_SD, _DEPTH_HALF_LIFE_BARS = 0.25, 3.0
_DEPTH_OVER_VOLUME: Final = 0.01
# Some bars are covered in part only.
_PARTLY_COVERED_SHARE: Final = 0.002


@dataclass(frozen=True)
class Book:
    """Best bid and ask summed to bars, all of shape (n_bars,): spreads in bps of mid, depths in USD, shares."""

    mean_spread_bps: Floats
    max_spread_bps: Floats
    best_bid_depth_usd: Floats
    best_ask_depth_usd: Floats
    book_coverage: Floats

    @property
    def imbalance(self) -> Floats:
        """(bid − ask) / (bid + ask) of the depths, in (−1, 1)."""
        total = self.best_bid_depth_usd + self.best_ask_depth_usd
        return (self.best_bid_depth_usd - self.best_ask_depth_usd) / total


def book_ticker(settings: SimulationSettings, symbol: str, volatility: Volatility, jumps: Jumps) -> Book:
    """The book of one symbol's perpetual in each bar."""
    streams, n_bars = Streams(settings.seed, symbol), len(volatility.sigma)
    log_spread = _log_spread(streams, volatility, jumps)
    mean_spread = settings.level("typical_spread_bps", symbol) * np.exp(log_spread)
    max_spread = mean_spread * (1.0 + np.exp(0.3 + 0.5 * streams.normals("book/largest spread", n_bars)))
    typical_depth = _DEPTH_OVER_VOLUME * settings.level("median_quote_volume_usd", symbol)
    depths = []
    for side in ("bid", "ask"):
        own = mean_reverting(streams.normals(f"book/{side}", n_bars), _DEPTH_HALF_LIFE_BARS, _DEPTH_SD)
        depths.append(np.round(typical_depth * np.exp(_DEPTH_PER_LOG_SPREAD * log_spread + own), 2))
    covered, share = streams.uniforms("book/covered", n_bars), streams.uniforms("book/coverage", n_bars)
    coverage = np.where(covered < _PARTLY_COVERED_SHARE, share, 1.0)
    return Book(mean_spread, max_spread, depths[0], depths[1], coverage)


def _log_spread(streams: Streams, volatility: Volatility, jumps: Jumps) -> Floats:
    """Log of the mean quoted spread over its typical level."""
    n_bars = len(volatility.sigma)
    shocks = np.zeros(n_bars)
    shocks[jumps.bars] = _SPREAD_PER_JUMP * np.log1p(jumps.sigmas)
    log_spread = _SPREAD_PER_LOG_VOLATILITY * volatility.log_deviation
    log_spread += mean_reverting(streams.normals("book/slow", n_bars), _SPREAD_SLOW_HALF_LIFE_BARS, _SPREAD_SLOW_SD)
    log_spread += _SPREAD_ONE_BAR_SD * streams.normals("book/one bar", n_bars)
    return np.asarray(log_spread + decaying(shocks, _SPREAD_JUMP_HALF_LIFE_BARS))
