"""Volume, number of trades and taker flow of each bar.

Log volume moves with volatility and with the size of the bar's own move (Clark 1973; Andersen 1996), has its own slow
parts, and now and then collapses for a while after a jump. The takers' imbalance goes with the return of the same bar
and has a persistent part of its own that no return ever depends on; at times heavy flow of one side is absorbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.sources.simulated.prices import Bars
from backtest.sources.simulated.settings import BARS_PER_DAY, SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams, mean_reverting, plateaus
from backtest.sources.simulated.volatility import Jumps, MarketFactors, Volatility

Counts = NDArray[np.int64]

# Log volume: sensitivity to log volatility and to ln(1 + |return|/σ); standard deviation and half-life of its own
# parts.
_PER_LOG_VOLATILITY: Final = 0.8
_PER_LOG_MOVE: Final = 0.7
_SLOW_SD, _SLOW_HALF_LIFE_BARS = 0.30, 2.0 * BARS_PER_DAY
_FAST_SD, _FAST_HALF_LIFE_BARS = 0.30, 6.0
_ONE_BAR_SD: Final = 0.30
# A jump is followed by a collapse of volume with this probability, to this share of normal, within so many bars, for
# so long.
_COLLAPSE_PROBABILITY: Final = 0.35
_COLLAPSE_LOG_VOLUME: Final = -1.4
_COLLAPSE_STARTS_WITHIN_BARS: Final = 6
_COLLAPSE_MEAN_BARS: Final = 8.0
# Taker imbalance (2·buy share − 1): per standardised return, persistent part, part of one bar.
_IMBALANCE_PER_SIGMA: Final = 0.11
_IMBALANCE_SLOW_SD, _IMBALANCE_SLOW_HALF_LIFE_BARS = 0.06, 6.0
_IMBALANCE_ONE_BAR_SD: Final = 0.06
# One side is absorbed: times a day, mean bars beyond two, what it adds to the imbalance (before tanh) and log volume.
_ABSORPTIONS_PER_DAY, _ABSORPTION_BARS = 0.6, 1.0
_ABSORPTION_LEAST, _ABSORPTION_MEAN = 0.35, 0.45
_ABSORPTION_LOG_VOLUME: Final = 1.3
_LARGEST_MOVE_SIGMAS: Final = 6.0
# Trades: size in a bar of median volume, its power of volume, standard deviation of its log.
_MEAN_TRADE_USD: Final = 2_500.0
_TRADE_SIZE_PER_VOLUME, _TRADE_SIZE_LOG_SD = 0.2, 0.15
_SPOT_VOLUME_SHARE: Final = 0.15


@dataclass(frozen=True)
class Trading:
    """Volumes in base and quote currency and the number of trades, all of shape (n_bars,); zero in a halt."""

    volume: Floats
    quote_volume: Floats
    taker_buy_volume: Floats
    taker_buy_quote_volume: Floats
    trade_count: Counts


def perpetual_trading(
    factors: MarketFactors,
    symbol: str,
    *,
    volume_season: Floats,
    volatility: Volatility,
    moves: Floats,
    jumps: Jumps,
    bars: Bars,
) -> Trading:
    """Trading in the perpetual; `moves` are the bars' returns in standard deviations, jumps included."""
    streams = Streams(factors.settings.seed, symbol)
    log_volume = _log_volume(factors, streams, volume_season, volatility, moves)
    absorbed = plateaus(
        streams,
        "absorption",
        len(moves),
        per_bar=_ABSORPTIONS_PER_DAY / BARS_PER_DAY,
        mean_bars=_ABSORPTION_BARS,
        least=_ABSORPTION_LEAST,
        mean=_ABSORPTION_MEAN,
    )
    log_volume += _collapses(streams, jumps, len(moves)) + _ABSORPTION_LOG_VOLUME * (absorbed != 0)
    quote_volume = factors.settings.level("median_quote_volume_usd", symbol) * np.exp(log_volume)
    imbalance = _taker_imbalance(streams, moves, absorbed)
    return _rounded(factors, symbol, quote_volume, imbalance, streams.normals("trade size", len(moves)), bars)


def spot_trading(factors: MarketFactors, symbol: str, perpetual: Trading, bars: Bars) -> Trading:
    """Trading in the spot market: a varying share of the perpetual's turnover, with a similar imbalance."""
    streams, n_bars = Streams(factors.settings.seed, symbol), len(perpetual.volume)
    share = _SPOT_VOLUME_SHARE * np.exp(mean_reverting(streams.normals("spot/volume", n_bars), 12.0, 0.3))
    traded = np.maximum(perpetual.volume, np.finfo(np.float64).tiny)
    imbalance = 2.0 * perpetual.taker_buy_volume / traded - 1.0
    imbalance = np.clip(imbalance + 0.05 * streams.normals("spot/imbalance", n_bars), -0.98, 0.98)
    size = streams.normals("spot/trade size", n_bars)
    return _rounded(factors, symbol, perpetual.quote_volume * share, imbalance, size, bars)


def _log_volume(
    factors: MarketFactors, streams: Streams, volume_season: Floats, volatility: Volatility, moves: Floats
) -> Floats:
    """Log volume over its median, without collapses."""
    n_bars = len(moves)
    slow = factors.mixed(factors.streams.normals("volume/slow", n_bars), streams.normals("volume/slow", n_bars))
    fast = factors.mixed(factors.streams.normals("volume/fast", n_bars), streams.normals("volume/fast", n_bars))
    log_volume: Floats = volume_season + _PER_LOG_VOLATILITY * volatility.log_deviation
    log_volume += _PER_LOG_MOVE * (np.log1p(np.abs(moves)) - np.log1p(0.67))
    log_volume += mean_reverting(slow, _SLOW_HALF_LIFE_BARS, _SLOW_SD)
    log_volume += mean_reverting(fast, _FAST_HALF_LIFE_BARS, _FAST_SD)
    log_volume += _ONE_BAR_SD * streams.normals("volume/one bar", n_bars)
    return log_volume


def _collapses(streams: Streams, jumps: Jumps, n_bars: int) -> Floats:
    """Log volume lost in the bars after some jumps."""
    happens, starts, lasts = (streams.uniforms(f"collapse/{what}", n_bars) for what in ("happens", "starts", "lasts"))
    bars = jumps.bars[happens[jumps.bars] < _COLLAPSE_PROBABILITY]
    start = bars + 1 + (_COLLAPSE_STARTS_WITHIN_BARS * (1.0 - starts[bars])).astype(np.int64)
    end = start + 2 + (-_COLLAPSE_MEAN_BARS * np.log(lasts[bars])).astype(np.int64)
    change = np.zeros(n_bars + 1)
    np.add.at(change, np.minimum(start, n_bars), 1.0)
    np.add.at(change, np.minimum(end, n_bars), -1.0)
    return _COLLAPSE_LOG_VOLUME * np.minimum(np.cumsum(change[:-1]), 1.0)


def _taker_imbalance(streams: Streams, moves: Floats, absorbed: Floats) -> Floats:
    """2·(share of takers that buy) − 1 of each bar, in (−1, 1)."""
    n_bars = len(moves)
    own = mean_reverting(streams.normals("imbalance/slow", n_bars), _IMBALANCE_SLOW_HALF_LIFE_BARS, _IMBALANCE_SLOW_SD)
    own += _IMBALANCE_ONE_BAR_SD * streams.normals("imbalance/one bar", n_bars)
    own += absorbed
    return np.tanh(own + _IMBALANCE_PER_SIGMA * np.clip(moves, -_LARGEST_MOVE_SIGMAS, _LARGEST_MOVE_SIGMAS))


def _rounded(
    factors: MarketFactors, symbol: str, quote_volume: Floats, imbalance: Floats, trade_size: Floats, bars: Bars
) -> Trading:
    """Trading in whole lots at the bar's mean price; nothing in a halt."""
    decimals = _lot_decimals(factors.settings, symbol)
    price = bars.mean
    volume = np.maximum(np.round(quote_volume / price, decimals), 10.0**-decimals)
    bought = np.minimum(np.round(volume * 0.5 * (1.0 + imbalance), decimals), volume)
    busyness = np.maximum(quote_volume, 1.0) / factors.settings.level("median_quote_volume_usd", symbol)
    trade_usd = _MEAN_TRADE_USD * busyness**_TRADE_SIZE_PER_VOLUME * np.exp(_TRADE_SIZE_LOG_SD * trade_size)
    count = np.maximum(np.rint(quote_volume / trade_usd), 1.0)
    traded = ~factors.halted
    volume, bought, count = volume * traded, bought * traded, count * traded
    return Trading(volume, volume * price, bought, bought * price, count.astype(np.int64))


def _lot_decimals(settings: SimulationSettings, symbol: str) -> int:
    """Digits after the point of a volume: a lot costs 10 to 100 at the initial price, less where it is below 10."""
    return max(0, int(np.floor(np.log10(settings.level("initial_price", symbol)))) - 1)
