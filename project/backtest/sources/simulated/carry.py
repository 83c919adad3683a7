"""Basis between perpetual, spot and index, the mark price, and the funding that follows from the premium.

The basis is a floor plus the demand for leverage, both pushed by the returns of the same bar, plus bursts in which
one side crowds in for days. Spot leaves the perpetual now and then, and so does the index, for about an hour each.
Funding is the venue's own formula on the mean premium (perpetual over index) of the interval before the stamp.

References
----------
Binance, *Introduction to Binance futures funding rates*: rate = premium + clamp(interest − premium, ±0.05 %), interest
0.01 % for eight hours; *Mark price*: the median of the last price, the index with the funding still to come, and the
index with the mean premium of half an hour.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import expit

from backtest.sources.simulated.calendar import Indices
from backtest.sources.simulated.settings import BARS_PER_DAY, SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams, decaying, mean_reverting, plateaus

_BARS_PER_HOUR: Final = BARS_PER_DAY // 24
# Basis in bps: a floor, at which arbitrage holds it while nobody crowds in, the demand for leverage above it, ln(1 +
# e^demand), and a step where demand is high enough for a crowd to follow. Demand is normal, the sum of a slow and a quick
# part. Fitted to the funding of BTCUSDT 2023-01 … 2025-02: shares below 0, between 0 and 1 bp, at 1 bp; quantiles; ACF.
_FLOOR_BPS: Final = -4.45
_DEMAND_SD_BPS, _DEMAND_HALF_LIFE_BARS = 4.4, 40.0 * BARS_PER_DAY
_QUICK_SD_BPS, _QUICK_HALF_LIFE_BARS = 2.4, 1.0 * BARS_PER_DAY
_CROWD_BPS, _CROWD_FROM_BPS, _CROWD_WITHIN_BPS = 8.0, 2.5, 0.9
_MEDIUM_SD_BPS, _MEDIUM_HALF_LIFE_BARS = 0.9, 72.0
_FAST_SD_BPS, _FAST_HALF_LIFE_BARS = 0.8, 1.0
# Correlation of their shocks with the return of the same bar.
_PUSH: Final = 0.25
# Crowding: bursts a day, smallest and mean size in bps, share in which longs crowd in, half-lives of fading and of building up.
_BURSTS_PER_DAY: Final = 1 / 60
_BURST_LEAST_BPS, _BURST_MEAN_BPS = 5.0, 8.0
_BURST_LONG_SHARE: Final = 0.95
_BURST_HALF_LIFE_BARS: Final = 0.75 * BARS_PER_DAY
_BURST_BUILDS_UP_HALF_LIFE_BARS: Final = 36.0
_LARGEST_BASIS_BPS: Final = 200.0
# Episodes in which spot or the index is away from the perpetual: smallest and mean size in bps, mean length in bars.
_DISLOCATION_LEAST_BPS, _DISLOCATION_MEAN_BPS, _DISLOCATION_BARS = 6.0, 14.0, 6.0
_INDEX_NOISE_BPS, _INDEX_NOISE_HALF_LIFE_BARS = 0.3, 2.0
_MARK_MEAN_BARS: Final = _BARS_PER_HOUR // 2
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
    slow, quick, medium, fast = (
        streams.normals(f"basis/{part}", n_ends) for part in ("slow", "quick", "medium", "fast")
    )
    demand = mean_reverting(_PUSH * past + keep * slow, _DEMAND_HALF_LIFE_BARS, _DEMAND_SD_BPS)
    demand += mean_reverting(_PUSH * past + keep * quick, _QUICK_HALF_LIFE_BARS, _QUICK_SD_BPS)
    basis = _FLOOR_BPS + np.logaddexp(0.0, demand)
    basis += _CROWD_BPS * expit((demand - _CROWD_FROM_BPS) / _CROWD_WITHIN_BPS)
    basis += mean_reverting(_PUSH * past + keep * medium, _MEDIUM_HALF_LIFE_BARS, _MEDIUM_SD_BPS)
    basis += mean_reverting(fast, _FAST_HALF_LIFE_BARS, _FAST_SD_BPS)
    return np.clip(basis + _bursts(streams, n_ends), -_LARGEST_BASIS_BPS, _LARGEST_BASIS_BPS)


def _bursts(streams: Streams, n_ends: int) -> Floats:
    """Basis due to crowding: it builds up over hours and fades over days."""
    happens, size, side = (streams.uniforms(f"crowding/{what}", n_ends) for what in ("happens", "size", "side"))
    sizes = _BURST_LEAST_BPS - (_BURST_MEAN_BPS - _BURST_LEAST_BPS) * np.log(size)
    impulses = np.where(happens < _BURSTS_PER_DAY / BARS_PER_DAY, sizes, 0.0)
    impulses *= np.where(side <= _BURST_LONG_SHARE, 1.0, -1.0)
    return decaying(impulses, _BURST_HALF_LIFE_BARS) - decaying(impulses, _BURST_BUILDS_UP_HALF_LIFE_BARS)


def spot_basis_bps(settings: SimulationSettings, symbol: str, basis: Floats) -> Floats:
    """Log of perpetual over spot in bps at the bar boundaries: the basis, and episodes in which spot is on its own."""
    return basis + _dislocations(settings, symbol, "spot", len(basis))


def premiums(settings: SimulationSettings, symbol: str, basis: Floats) -> Floats:
    """Perpetual over index less 1, a fraction, at the bar boundaries; the index has noise and episodes of its own."""
    noise = Streams(settings.seed, symbol).normals("index/noise", len(basis))
    away = mean_reverting(noise, _INDEX_NOISE_HALF_LIFE_BARS, _INDEX_NOISE_BPS)
    return 1e-4 * (basis + away + _dislocations(settings, symbol, "index", len(basis)))


def _dislocations(settings: SimulationSettings, symbol: str, market: str, n_ends: int) -> Floats:
    return plateaus(
        Streams(settings.seed, symbol),
        f"dislocations/{market}",
        n_ends,
        per_bar=settings.dislocations_per_day / BARS_PER_DAY,
        mean_bars=_DISLOCATION_BARS,
        least=_DISLOCATION_LEAST_BPS,
        mean=_DISLOCATION_MEAN_BPS,
    )


def mark_deviations(settings: SimulationSettings, symbol: str, premium: Floats, rates: Floats) -> Floats:
    """Log of mark price over the perpetual's at the bar boundaries, from the premium and rates at earlier ones alone."""
    n_ends = len(premium)
    interval = int(settings.level("funding_interval_hours", symbol)) * _BARS_PER_HOUR
    boundary = np.arange(n_ends)
    stamp = np.minimum(boundary // interval, len(rates) - 1)
    left = 1.0 - (boundary - stamp * interval) / interval
    summed = np.concatenate(([0.0], np.cumsum(premium)))
    first = np.maximum(boundary - _MARK_MEAN_BARS + 1, 0)
    recent = (summed[boundary + 1] - summed[first]) / (boundary + 1 - first)
    over_index = np.median(np.stack([premium, recent, rates[stamp] * left]), axis=0)
    return np.asarray(np.log1p(over_index) - np.log1p(premium))


def funding_stamps(settings: SimulationSettings, symbol: str) -> Indices:
    """Bars at whose open funding is paid."""
    return np.arange(0, settings.n_bars, int(settings.level("funding_interval_hours", symbol)) * _BARS_PER_HOUR)


def funding_rates(settings: SimulationSettings, symbol: str, premium: Floats) -> Floats:
    """Funding rate as a fraction of notional at each stamp, from the premium at earlier boundaries alone."""
    stamps = funding_stamps(settings, symbol)
    interval_hours = settings.level("funding_interval_hours", symbol)
    # The mean of the boundaries in (stamp − interval, stamp]; at the first stamp, of the one there is.
    summed = np.cumsum(1e4 * premium)
    at_stamps = summed[stamps]
    counts = np.diff(stamps, prepend=-1)
    premium_bps = np.diff(at_stamps, prepend=0.0) / counts
    rate_bps = premium_bps + np.clip(_INTEREST_BPS - premium_bps, -_CLAMP_BPS, _CLAMP_BPS)
    return np.round(rate_bps * 1e-4 * interval_hours / _FORMULA_HOURS, _RATE_DECIMALS)
