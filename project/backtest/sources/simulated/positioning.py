"""Open interest, long/short ratios and liquidations.

Forced closings start when a bar moves by several times the volatility of the last days: longs are sold out when the
price fell, shorts bought in when it rose. Open interest falls by what is liquidated and by what leaves with it, then
and in the hours after, and comes back over days; besides, it has flows of its own, large entries and exits, and a level
that wanders over months.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.sources.simulated.settings import BARS_PER_DAY, SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams, decaying, mean_reverting, preceding
from backtest.sources.simulated.volatility import Volatility

# Forced closing starts at a move of so many slow standard deviations; share of open interest liquidated per σ beyond
# it.
_FORCED_FROM_SIGMAS: Final = 4.5
_LIQUIDATED_SHARE_PER_SIGMA: Final = 4e-4
_LIQUIDATED_LOG_SD: Final = 0.7
# For each dollar liquidated so many leave by themselves; no bar loses more than this share of open interest.
_LEAVING_PER_LIQUIDATED: Final = 2.0
_LARGEST_FLUSH: Final = 0.10
# Everyday liquidations on either side, as a share of open interest.
_EVERYDAY_SHARE: Final = 4e-6
_EVERYDAY_LOG_SD: Final = 1.3
_MEAN_LIQUIDATION_USD: Final = 12_000.0
# Log open interest: noise of one bar, standard deviation and half-life of its slow part, half-life of coming back.
_NOISE_SD: Final = 4e-4
_SLOW_SD, _SLOW_HALF_LIFE_BARS = 0.20, 120.0 * BARS_PER_DAY
# Flows that last: standard deviation a bar and half-life; large entries and exits: times a day, smallest and mean size.
_FLOW_SD, _FLOW_HALF_LIFE_BARS = 2e-4, 12.0
_BLOCKS_PER_DAY, _BLOCK_LEAST, _BLOCK_MEAN = 0.5, 0.003, 0.006
# After a flush more leaves: share of it a bar, half-life.
_WAVE_SHARE, _WAVE_HALF_LIFE_BARS = 0.05, 24.0
_RETURN_HALF_LIFE_BARS: Final = 3.0 * BARS_PER_DAY
# Log long/short ratios: (level, standard deviation, half-life in days, push by a return of one σ).
_RATIOS: Final = {
    "top_trader_account_ratio": (0.25, 0.20, 2.0, -0.20),
    "top_trader_position_ratio": (0.15, 0.10, 1.0, 0.10),
    "global_account_ratio": (0.35, 0.30, 2.0, -0.30),
}


@dataclass(frozen=True)
class Liquidations:
    """Notional closed by force in each bar, in USD, by side, and the number of orders; all of shape (n_bars,)."""

    long_usd: Floats
    short_usd: Floats
    count: NDArray[np.int64]


@dataclass(frozen=True)
class Positioning:
    """Liquidations of each bar; open interest and log ratios at each bar's open, known from earlier bars alone."""

    liquidations: Liquidations
    open_interest: Floats
    ratios: dict[str, Floats]


def positioning(
    settings: SimulationSettings,
    symbol: str,
    *,
    returns: Floats,
    bar_shocks: Floats,
    volatility: Volatility,
    price: Floats,
) -> Positioning:
    """Positioning of one symbol; `price` is the close of each bar, `returns` its log return, all of shape (n_bars,)."""
    streams = Streams(settings.seed, symbol)
    forced = _forced_share(streams, returns, volatility)
    open_interest = np.exp(_log_open_interest(streams, forced))
    open_interest *= settings.level("open_interest_usd", symbol) / settings.level("initial_price", symbol)
    open_interest_usd = open_interest * price
    traded = volatility.sigma > 0
    longs = _liquidated(streams, "longs", np.where(returns < 0, forced, 0.0), volatility, open_interest_usd * traded)
    shorts = _liquidated(streams, "shorts", np.where(returns > 0, forced, 0.0), volatility, open_interest_usd * traded)
    liquidations = Liquidations(longs[0], shorts[0], longs[1] + shorts[1])
    return Positioning(liquidations, open_interest, _ratios(streams, bar_shocks))


def _forced_share(streams: Streams, returns: Floats, volatility: Volatility) -> Floats:
    """Share of open interest liquidated because of the bar's move."""
    beyond = np.maximum(np.abs(returns) / volatility.slow_sigma - _FORCED_FROM_SIGMAS, 0.0)
    varying = np.exp(_LIQUIDATED_LOG_SD * streams.normals("liquidations/forced", len(returns)))
    return np.minimum(_LIQUIDATED_SHARE_PER_SIGMA * beyond * varying, _LARGEST_FLUSH)


def _log_open_interest(streams: Streams, forced: Floats) -> Floats:
    """Log of open interest over its level at each bar's open."""
    n_bars = len(forced)
    flush = np.minimum((1.0 + _LEAVING_PER_LIQUIDATED) * forced, _LARGEST_FLUSH)
    change = _NOISE_SD * streams.normals("open interest/noise", n_bars) + np.log1p(-flush)
    change += mean_reverting(streams.normals("open interest/flow", n_bars), _FLOW_HALF_LIFE_BARS, _FLOW_SD)
    change += _blocks(streams, n_bars) - _WAVE_SHARE * preceding(decaying(flush, _WAVE_HALF_LIFE_BARS))
    slow = mean_reverting(streams.normals("open interest/slow", n_bars), _SLOW_HALF_LIFE_BARS, _SLOW_SD)
    return slow + preceding(decaying(change, _RETURN_HALF_LIFE_BARS))


def _blocks(streams: Streams, n_bars: int) -> Floats:
    """Log open interest that large entries and exits add in each bar."""
    happens, size, side = (
        streams.uniforms(f"open interest/blocks/{what}", n_bars) for what in ("happens", "size", "side")
    )
    sizes = (_BLOCK_LEAST - (_BLOCK_MEAN - _BLOCK_LEAST) * np.log(size)) * np.where(side <= 0.5, 1.0, -1.0)
    return np.where(happens <= _BLOCKS_PER_DAY / BARS_PER_DAY, sizes, 0.0)


def _liquidated(
    streams: Streams, side: str, forced: Floats, volatility: Volatility, open_interest_usd: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """Notional in USD and number of orders liquidated on one side; zero notional where no order was."""
    n_bars = len(forced)
    everyday = _EVERYDAY_LOG_SD * streams.normals(f"liquidations/{side}", n_bars) + volatility.log_deviation
    notional = open_interest_usd * (forced + _EVERYDAY_SHARE * np.exp(everyday))
    count = np.floor(notional / _MEAN_LIQUIDATION_USD + streams.uniforms(f"liquidations/{side}/count", n_bars))
    liquidated: Floats = np.where(count > 0, notional, 0.0)
    return np.round(liquidated, 2), count.astype(np.int64)


def _ratios(streams: Streams, bar_shocks: Floats) -> dict[str, Floats]:
    """Long over short ratios at each bar's open."""
    known = preceding(bar_shocks)
    ratios = {}
    for name, (level, sd, half_life_days, push) in _RATIOS.items():
        shocks = push * known + np.sqrt(1.0 - push**2) * streams.normals(f"ratios/{name}", len(known))
        ratios[name] = np.exp(level + mean_reverting(shocks, half_life_days * BARS_PER_DAY, sd))
    return ratios
