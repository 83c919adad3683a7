"""The time grid of a simulated market: stamps, seasonality, venue halts and missing rows."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.lake.schemas import UTC_MILLISECONDS
from backtest.sources.simulated.settings import BARS_PER_DAY, BARS_PER_YEAR, MINUTES_PER_BAR, SimulationSettings
from backtest.sources.simulated.streams import MARKET, Floats, Streams

Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]

# Mean |5-minute return| and mean volume by UTC hour over their overall mean: BTCUSDT perpetual, 2023-01 … 2025-02.
_RETURN_SIZE_BY_HOUR: Final = (
    *(1.04, 1.05, 0.92, 0.78, 0.73, 0.73, 0.76, 0.78, 0.84, 0.81, 0.80, 0.83),
    *(1.00, 1.20, 1.47, 1.39, 1.26, 1.21, 1.15, 1.15, 1.12, 1.08, 1.02, 0.89),
)
_VOLUME_BY_HOUR: Final = (
    *(0.91, 0.89, 0.78, 0.64, 0.58, 0.61, 0.64, 0.73, 0.81, 0.80, 0.79, 0.81),
    *(1.15, 1.45, 1.88, 1.81, 1.53, 1.32, 1.21, 1.18, 1.08, 0.86, 0.80, 0.74),
)
# The same over Monday … Sunday.
_RETURN_SIZE_BY_WEEKDAY: Final = (1.14, 1.13, 1.14, 1.11, 1.09, 0.65, 0.73)
_VOLUME_BY_WEEKDAY: Final = (1.18, 1.16, 1.22, 1.15, 1.14, 0.53, 0.63)


def bar_times(settings: SimulationSettings) -> pl.Series:
    """Open time of every bar of the full grid."""
    first = int(settings.start.timestamp() * 1000)
    stamps = first + np.arange(settings.n_bars, dtype=np.int64) * (MINUTES_PER_BAR * 60_000)
    return pl.Series("timestamp", stamps).cast(UTC_MILLISECONDS)


def log_volatility_season(settings: SimulationSettings) -> Floats:
    """Deterministic part of log volatility by time of day and weekday, shape (n_bars,)."""
    return _season(settings, _RETURN_SIZE_BY_HOUR, _RETURN_SIZE_BY_WEEKDAY)


def log_volume_season(settings: SimulationSettings) -> Floats:
    """Deterministic part of log volume by time of day and weekday, shape (n_bars,)."""
    return _season(settings, _VOLUME_BY_HOUR, _VOLUME_BY_WEEKDAY)


def week_mean_square(settings: SimulationSettings) -> float:
    """Mean over a week of the squared volatility factor of the season."""
    by_hour, by_weekday = np.array(_RETURN_SIZE_BY_HOUR), np.array(_RETURN_SIZE_BY_WEEKDAY)
    power = 2.0 * settings.seasonality_strength
    return float(np.mean(_day_profile(by_hour) ** power) * np.mean(by_weekday**power))


def _season(settings: SimulationSettings, by_hour: tuple[float, ...], by_weekday: tuple[float, ...]) -> Floats:
    weekday = (settings.start.weekday() + np.arange(settings.days)) % 7
    grid = np.log(np.array(by_weekday))[weekday][:, None] + np.log(_day_profile(np.array(by_hour)))[None, :]
    return np.asarray(settings.seasonality_strength * grid.ravel())


def _day_profile(by_hour: Floats) -> Floats:
    """Hourly values at mid-hour, joined by straight lines around the clock, shape (288,)."""
    hour = (np.arange(BARS_PER_DAY) + 0.5) * 24 / BARS_PER_DAY
    return np.interp(hour, np.arange(24) + 0.5, by_hour, period=24.0)


def halted_bars(settings: SimulationSettings) -> Mask:
    """True in bars in which the whole venue stands still."""
    streams = Streams(settings.seed, MARKET)
    return _stretches(settings, streams, "halts", settings.halts_per_year, settings.halt_bars)


def missing_bars(settings: SimulationSettings, market: str, symbol: str) -> Mask:
    """True in bars whose row one symbol's bars of one market lack."""
    streams = Streams(settings.seed, symbol)
    return _stretches(settings, streams, f"gaps/{market}", settings.gaps_per_year, settings.gap_bars)


def _stretches(settings: SimulationSettings, streams: Streams, purpose: str, per_year: int, length: int) -> Mask:
    """Mask of stretches that start at random bars of each started year, never on its first day."""
    n_years = -(-settings.n_bars // BARS_PER_YEAR)
    draws = streams.uniforms(purpose, n_years, per_year)
    starts = BARS_PER_DAY + ((1.0 - draws) * (BARS_PER_YEAR - BARS_PER_DAY)).astype(np.int64)
    starts += BARS_PER_YEAR * np.arange(n_years)[:, None]
    inside = (starts.ravel()[:, None] + np.arange(length)).ravel()
    mask = np.zeros(settings.n_bars, dtype=np.bool_)
    mask[inside[inside < settings.n_bars]] = True
    return mask


def next_traded(halted: Mask) -> Indices:
    """For each bar the first bar at or after it that is not halted; n_bars where there is none."""
    n_bars = len(halted)
    traded = np.where(halted, n_bars, np.arange(n_bars))
    return np.asarray(np.minimum.accumulate(traded[::-1])[::-1])


def moved_out_of_halts(amounts: Floats, halted: Mask) -> Floats:
    """Amounts with those of halted bars added to the first bar traded afterwards (dropped where there is none)."""
    moved = np.zeros(len(amounts) + 1)
    np.add.at(moved, next_traded(halted), amounts)
    return moved[:-1]
