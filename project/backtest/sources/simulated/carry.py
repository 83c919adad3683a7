"""Basis between perpetual and spot, and the funding that follows from it.

The basis is a floor plus the demand for leverage, both pushed by the returns of the same bar, plus bursts in which
one side crowds in for days. Funding is the venue's own formula on the mean basis of the interval before the stamp.

References
----------
Binance, *Introduction to Binance futures funding rates*: rate = premium + clamp(interest − premium, ±0.05 %), interest
0.01 % for eight hours.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from backtest.sources.simulated.calendar import Indices
from backtest.sources.simulated.settings import BARS_PER_DAY, SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams, decaying, mean_reverting

_BARS_PER_HOUR: Final = BARS_PER_DAY // 24
# Basis in bps: a floor, at which arbitrage holds it while nobody crowds in, and the demand for leverage above it:
# ln(1 + e^demand), demand being normal with this level and standard deviation. Levels as on BTCUSDT 2023–2025.
_FLOOR_BPS: Final = -4.8
_DEMAND_LEVEL_BPS: Final = 1.2
_DEMAND_SD_BPS, _DEMAND_HALF_LIFE_BARS = 6.0, 8.0 * BARS_PER_DAY
_MEDIUM_SD_BPS, _MEDIUM_HALF_LIFE_BARS = 0.9, 36.0
_FAST_SD_BPS, _FAST_HALF_LIFE_BARS = 0.8, 1.0
# Correlation of their shocks with the return of the same bar.
_PUSH: Final = 0.25
# Crowding: bursts a day, mean size in bps, share in which longs crowd in, half-lives of fading and of building up.
_BURSTS_PER_DAY: Final = 1 / 20
_BURST_MEAN_BPS: Final = 10.0
_BURST_LONG_SHARE: Final = 0.75
_BURST_HALF_LIFE_BARS: Final = 1.5 * BARS_PER_DAY
_BURST_BUILDS_UP_HALF_LIFE_BARS: Final = 36.0
_LARGEST_BASIS_BPS: Final = 200.0
# The venue's formula, in bps for eight hours.
_INTEREST_BPS: Final = 1.0
_CLAMP_BPS: Final = 5.0
_FORMULA_HOURS: Final = 8.0
_RATE_DECIMALS: Final = 8


def basis_bps(settings: SimulationSettings, symbol: str, bar_shocks: Floats) -> Floats:
    """Log of perpetual over spot in bps at the n_bars + 1 bar boundaries; boundary i knows the bars before bar i."""
    streams, n_ends = Streams(settings.seed, symbol), len(bar_shocks) + 1
    past = np.concatenate(([0.0], bar_shocks))
    keep = np.sqrt(1.0 - _PUSH**2)
    slow, medium, fast = (streams.normals(f"basis/{part}", n_ends) for part in ("slow", "medium", "fast"))
    demand = mean_reverting(_PUSH * past + keep * slow, _DEMAND_HALF_LIFE_BARS, _DEMAND_SD_BPS)
    basis = _FLOOR_BPS + np.logaddexp(0.0, _DEMAND_LEVEL_BPS + demand)
    basis += mean_reverting(_PUSH * past + keep * medium, _MEDIUM_HALF_LIFE_BARS, _MEDIUM_SD_BPS)
    basis += mean_reverting(fast, _FAST_HALF_LIFE_BARS, _FAST_SD_BPS)
    return np.clip(basis + _bursts(streams, n_ends), -_LARGEST_BASIS_BPS, _LARGEST_BASIS_BPS)


def _bursts(streams: Streams, n_ends: int) -> Floats:
    """Basis due to crowding: it builds up over hours and fades over days."""
    happens, size, side = (streams.uniforms(f"crowding/{what}", n_ends) for what in ("happens", "size", "side"))
    impulses = np.where(happens < _BURSTS_PER_DAY / BARS_PER_DAY, -_BURST_MEAN_BPS * np.log(size), 0.0)
    impulses *= np.where(side <= _BURST_LONG_SHARE, 1.0, -1.0)
    return decaying(impulses, _BURST_HALF_LIFE_BARS) - decaying(impulses, _BURST_BUILDS_UP_HALF_LIFE_BARS)


def funding_stamps(settings: SimulationSettings, symbol: str) -> Indices:
    """Bars at whose open funding is paid."""
    return np.arange(0, settings.n_bars, int(settings.level("funding_interval_hours", symbol)) * _BARS_PER_HOUR)


def funding_rates(settings: SimulationSettings, symbol: str, basis: Floats) -> Floats:
    """Funding rate as a fraction of notional at each stamp, from the basis at earlier boundaries alone."""
    stamps = funding_stamps(settings, symbol)
    interval_hours = settings.level("funding_interval_hours", symbol)
    # The mean of the boundaries in (stamp − interval, stamp]; at the first stamp, of the one there is.
    summed = np.cumsum(basis)
    at_stamps = summed[stamps]
    counts = np.diff(stamps, prepend=-1)
    premium = np.diff(at_stamps, prepend=0.0) / counts
    rate_bps = premium + np.clip(_INTEREST_BPS - premium, -_CLAMP_BPS, _CLAMP_BPS)
    return np.round(rate_bps * 1e-4 * interval_hours / _FORMULA_HOURS, _RATE_DECIMALS)
