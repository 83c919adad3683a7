"""Quoted spread and depth: wider and thinner when volatility is high, in bars with a jump, and when makers leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from backtest.sources.simulated.settings import BARS_PER_DAY, SimulationSettings
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
# Makers leave for a while: times a day, smallest and mean log spread added, half-life; at once in the whole book.
_WITHDRAWALS_PER_DAY: Final = 0.5
_WITHDRAWAL_LEAST, _WITHDRAWAL_MEAN, _WITHDRAWAL_HALF_LIFE_BARS = 0.7, 1.1, 4.0
# Log depth within 1 % of mid: per log spread, own part of both sides and of either, one bar; pushed by the bar's move.
_NEAR_PER_LOG_SPREAD: Final = -0.5
_NEAR_SD, _NEAR_HALF_LIFE_BARS = 0.20, 144.0
_NEAR_SIDE_SD, _NEAR_SIDE_HALF_LIFE_BARS = 0.12, 24.0
_NEAR_ONE_BAR_SD: Final = 0.06
_NEAR_PER_SIGMA: Final = 0.02
_NEAR_OVER_VOLUME: Final = 2.0
# Depth within 5 %: that many times as much, moving half as far, with a part of its own.
_WIDE_OVER_NEAR, _WIDE_POWER, _WIDE_SD = 3.0, 0.5, 0.08
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


@dataclass(frozen=True)
class Depth:
    """Notional within 1 % and 5 % of mid in USD, and the share of snapshots there are; all of shape (n_bars,)."""

    bid_depth_1pct_usd: Floats
    ask_depth_1pct_usd: Floats
    bid_depth_5pct_usd: Floats
    ask_depth_5pct_usd: Floats
    depth_coverage: Floats


def book_ticker(settings: SimulationSettings, symbol: str, log_spread: Floats) -> Book:
    """Best prices of one symbol's perpetual in each bar."""
    streams, n_bars = Streams(settings.seed, symbol), len(log_spread)
    mean_spread = settings.level("typical_spread_bps", symbol) * np.exp(log_spread)
    max_spread = mean_spread * (1.0 + np.exp(0.3 + 0.5 * streams.normals("book/largest spread", n_bars)))
    typical_depth = _DEPTH_OVER_VOLUME * settings.level("median_quote_volume_usd", symbol)
    depths = []
    for side in ("bid", "ask"):
        own = mean_reverting(streams.normals(f"book/{side}", n_bars), _DEPTH_HALF_LIFE_BARS, _DEPTH_SD)
        depths.append(np.round(typical_depth * np.exp(_DEPTH_PER_LOG_SPREAD * log_spread + own), 2))
    return Book(mean_spread, max_spread, depths[0], depths[1], _coverage(streams, "book", n_bars))


def book_depth(settings: SimulationSettings, symbol: str, log_spread: Floats, moves: Floats) -> Depth:
    """Depth of one symbol's perpetual in each bar; `moves` are the bars' returns in standard deviations."""
    streams, n_bars = Streams(settings.seed, symbol), len(log_spread)
    both = mean_reverting(streams.normals("depth/both", n_bars), _NEAR_HALF_LIFE_BARS, _NEAR_SD)
    both += _NEAR_PER_LOG_SPREAD * log_spread + _NEAR_ONE_BAR_SD * streams.normals("depth/one bar", n_bars)
    typical = _NEAR_OVER_VOLUME * settings.level("median_quote_volume_usd", symbol)
    near, wide = [], []
    for side, sign in (("bid", 1.0), ("ask", -1.0)):
        own = mean_reverting(streams.normals(f"depth/{side}", n_bars), _NEAR_SIDE_HALF_LIFE_BARS, _NEAR_SIDE_SD)
        log_near = both + own + sign * _NEAR_PER_SIGMA * np.clip(moves, -10.0, 10.0)
        beyond = _WIDE_SD * streams.normals(f"depth/{side}/wide", n_bars)
        near.append(np.round(typical * np.exp(log_near), 2))
        wide.append(near[-1] + np.round(typical * (_WIDE_OVER_NEAR - 1.0) * np.exp(_WIDE_POWER * log_near + beyond), 2))
    return Depth(near[0], near[1], wide[0], wide[1], _coverage(streams, "depth", n_bars))


def _coverage(streams: Streams, name: str, n_bars: int) -> Floats:
    covered, share = streams.uniforms(f"{name}/covered", n_bars), streams.uniforms(f"{name}/coverage", n_bars)
    return np.where(covered < _PARTLY_COVERED_SHARE, share, 1.0)


def log_spreads(settings: SimulationSettings, symbol: str, volatility: Volatility, jumps: Jumps) -> Floats:
    """Log of the mean quoted spread over its typical level, shape (n_bars,)."""
    streams, n_bars = Streams(settings.seed, symbol), len(volatility.sigma)
    shocks = np.zeros(n_bars)
    shocks[jumps.bars] = _SPREAD_PER_JUMP * np.log1p(jumps.sigmas)
    log_spread = _SPREAD_PER_LOG_VOLATILITY * volatility.log_deviation
    log_spread += mean_reverting(streams.normals("book/slow", n_bars), _SPREAD_SLOW_HALF_LIFE_BARS, _SPREAD_SLOW_SD)
    log_spread += _SPREAD_ONE_BAR_SD * streams.normals("book/one bar", n_bars)
    happens, size = (streams.uniforms(f"book/withdrawals/{what}", n_bars) for what in ("happens", "size"))
    leaving = np.where(
        happens <= _WITHDRAWALS_PER_DAY / BARS_PER_DAY,
        _WITHDRAWAL_LEAST - (_WITHDRAWAL_MEAN - _WITHDRAWAL_LEAST) * np.log(size),
        0.0,
    )
    log_spread += decaying(leaving, _WITHDRAWAL_HALF_LIFE_BARS)
    return np.asarray(log_spread + decaying(shocks, _SPREAD_JUMP_HALF_LIFE_BARS))
