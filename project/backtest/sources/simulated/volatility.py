"""Volatility of every bar, and the jumps: all that is known about a bar's return before its sign is drawn.

Log volatility is a sum of mean-reverting parts of different speed (Barndorff-Nielsen & Shephard 2001; Corsi 2009), a
regime that the market switches at random times (Hamilton 1989), a time-of-day and weekend profile (Andersen &
Bollerslev 1997), a part of one bar, and an aftershock of each jump. Shocks of a bar are correlated with the return of
the bar *before* it, and with its size (Nelson 1991): volatility reacts to returns, while a bar's own return stays
symmetric around its volatility.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from backtest.sources.simulated.calendar import (
    Indices,
    Mask,
    halted_bars,
    log_volatility_season,
    moved_out_of_halts,
    week_mean_square,
)
from backtest.sources.simulated.settings import BARS_PER_DAY, BARS_PER_YEAR, STEPS_PER_BAR, SimulationSettings
from backtest.sources.simulated.streams import (
    MARKET,
    Floats,
    Streams,
    decaying,
    mean_reverting,
    plateaus,
    preceding,
)

MEAN_ABS_NORMAL: Final = float(np.sqrt(2.0 / np.pi))
# Standard deviation of |x| for a standard normal x.
_SD_ABS_NORMAL: Final = float(np.sqrt(1.0 - 2.0 / np.pi))
# Log volatility without season stays within these, so that no bar moves by tens of percent.
_LOG_VOLATILITY_BOUNDS: Final = (-2.5, 2.4)
# Jumps of a symbol differ from the market's by this standard deviation of their log size.
_OWN_JUMP_LOG_SD: Final = 0.2
_REGIME_POWER_OF_JUMP_RATE: Final = 0.5
# A decoupled symbol keeps this share of the correlation; mean length in bars.
_DECOUPLED_SHARE, _DECOUPLED_BARS = 0.05, 60.0


@dataclass(frozen=True)
class MarketFactors:
    """What all symbols have in common; drawn once for a market."""

    settings: SimulationSettings

    @property
    def streams(self) -> Streams:
        return Streams(self.settings.seed, MARKET)

    @cached_property
    def normals(self) -> Floats:
        """Common standard shocks of the sub-steps, shape (n_bars, steps)."""
        return self.streams.normals("returns", self.settings.n_bars, STEPS_PER_BAR)

    @cached_property
    def season(self) -> Floats:
        return log_volatility_season(self.settings)

    @cached_property
    def halted(self) -> Mask:
        return halted_bars(self.settings)

    @cached_property
    def regime(self) -> Floats:
        """Log volatility of the regime in force, shape (n_bars,)."""
        n_bars = self.settings.n_bars
        switches = self.streams.uniforms("regime switches", n_bars) < 1 / (
            BARS_PER_DAY * self.settings.mean_regime_days
        )
        switches[0] = True
        since = np.maximum.accumulate(np.where(switches, np.arange(n_bars), 0))
        reached = np.cumsum([regime.probability for regime in self.settings.regimes])[:-1]
        drawn = np.searchsorted(reached, self.streams.uniforms("regimes", n_bars))
        return np.array([regime.log_volatility for regime in self.settings.regimes])[drawn[since]]

    @cached_property
    def component_shocks(self) -> list[Floats]:
        names = [f"volatility/{k}" for k in range(len(self.settings.volatility_components))]
        return [self.streams.normals(name, self.settings.n_bars) for name in names]

    @cached_property
    def one_bar_shocks(self) -> Floats:
        return self.streams.normals("volatility/one bar", self.settings.n_bars)

    def mixed(self, common: Floats, own: Floats) -> Floats:
        """Standard shocks of one symbol's volatility, volume or spread, a share of whose variance is the market's."""
        share = self.settings.volatility_common_share
        return np.asarray(np.sqrt(share) * common + np.sqrt(1.0 - share) * own)

    @cached_property
    def jumps(self) -> JumpDraws:
        return JumpDraws.of(self.streams, self.settings)

    @cached_property
    def jump_rate(self) -> Floats:
        """Expected jumps of a symbol in each bar; none in a halt."""
        rate = self.settings.jumps_per_day / BARS_PER_DAY * np.exp(_REGIME_POWER_OF_JUMP_RATE * self.regime)
        return np.where(self.halted, 0.0, rate)


@dataclass(frozen=True)
class JumpDraws:
    """Uniform draws that decide about jumps in each bar, each of shape (n_bars,)."""

    happens: Floats
    size: Floats
    side: Floats
    step: Floats

    @classmethod
    def of(cls, streams: Streams, settings: SimulationSettings) -> JumpDraws:
        return cls(
            *(streams.uniforms(f"jumps/{what}", settings.n_bars) for what in ("happens", "size", "side", "step"))
        )


@dataclass(frozen=True)
class Jumps:
    """Jumps of one symbol: bars, sizes in standard deviations of the bar, uniform draw for the side, sub-step."""

    bars: Indices
    sigmas: Floats
    side: Floats
    step: Indices
    between_bars: Mask
    """Those that come before the bar's first trade."""


@dataclass(frozen=True)
class Volatility:
    """Volatility of one symbol's bars, all of shape (n_bars,).

    ``sigma`` is the standard deviation of the bar's log return without jumps (zero in a halt, all of the halt's in
    the first bar after it), ``slow_sigma`` the part of it that lasts for days, with the season, and ``log_deviation``
    the log of volatility over its median level without season.
    """

    sigma: Floats
    log_deviation: Floats
    slow_sigma: Floats


def standard_shocks(factors: MarketFactors, symbol: str) -> Floats:
    """Standard normal shocks of one symbol's sub-steps, correlated across symbols, shape (n_bars, steps)."""
    settings = factors.settings
    streams = Streams(settings.seed, symbol)
    own = streams.normals("returns", settings.n_bars, STEPS_PER_BAR)
    rate = settings.decouplings_per_day / BARS_PER_DAY
    decoupled = plateaus(streams, "decoupling", settings.n_bars, per_bar=rate, mean_bars=_DECOUPLED_BARS) != 0
    share = settings.shock_correlation * np.where(decoupled, _DECOUPLED_SHARE, 1.0)[:, None]
    return np.asarray(np.sqrt(share) * factors.normals + np.sqrt(1.0 - share) * own)


def draw_jumps(factors: MarketFactors, symbol: str) -> Jumps:
    """Jumps of one symbol; the market's jumps (share: the correlation) come to all symbols in the same sub-step."""
    settings = factors.settings
    streams = Streams(settings.seed, symbol)
    own = JumpDraws.of(streams, settings)
    common = factors.jumps.happens < factors.jump_rate * settings.correlation
    bars = np.flatnonzero(common | (own.happens < factors.jump_rate * (1.0 - settings.correlation)))
    size, side, step = (
        np.where(common, getattr(factors.jumps, what), getattr(own, what))[bars] for what in ("size", "side", "step")
    )
    sigmas = np.minimum(
        settings.smallest_jump_sigmas * size ** (-1.0 / settings.jump_tail_exponent), settings.largest_jump_sigmas
    )
    own_size = np.exp(_OWN_JUMP_LOG_SD * streams.normals("jumps/own size", settings.n_bars))[bars]
    at_step = np.minimum((step * STEPS_PER_BAR).astype(np.int64), STEPS_PER_BAR - 1)
    between = streams.uniforms("jumps/between bars", settings.n_bars)[bars] <= settings.gap_jump_share
    return Jumps(bars, sigmas * own_size, side, at_step, between)


def bar_volatility(factors: MarketFactors, symbol: str, bar_shocks: Floats, jumps: Jumps) -> Volatility:
    """Volatility of each bar from earlier bars' standardised returns, jumps and draws of its own."""
    settings = factors.settings
    streams = Streams(settings.seed, symbol)
    components = _components(factors, streams, bar_shocks)
    slow = factors.regime + sum(
        (part for part, of in zip(components, settings.volatility_components, strict=True)
         if of.half_life_bars > BARS_PER_DAY), np.zeros(settings.n_bars)
    )  # fmt: skip
    own = streams.normals("volatility/one bar", settings.n_bars)
    one_bar = settings.independent_log_volatility_sd * factors.mixed(factors.one_bar_shocks, own)
    deviation = sum(components, factors.regime + one_bar) + _aftershocks(settings, jumps)
    deviation = np.clip(deviation, *_LOG_VOLATILITY_BOUNDS)
    median = settings.level("annual_volatility", symbol) / np.sqrt(BARS_PER_YEAR * _mean_square(settings))
    variance = np.square(median * np.exp(deviation + factors.season))
    sigma = np.sqrt(moved_out_of_halts(variance, factors.halted))
    return Volatility(sigma=sigma, log_deviation=deviation, slow_sigma=median * np.exp(slow + factors.season))


def _components(factors: MarketFactors, streams: Streams, bar_shocks: Floats) -> list[Floats]:
    settings = factors.settings
    before = preceding(bar_shocks)
    size_before = preceding((np.abs(bar_shocks) - MEAN_ABS_NORMAL) / _SD_ABS_NORMAL)
    reaction = settings.leverage * before + settings.size_feedback * size_before
    remainder = np.sqrt(1.0 - settings.leverage**2 - settings.size_feedback**2)
    parts = []
    for k, component in enumerate(settings.volatility_components):
        own = streams.normals(f"volatility/{k}", settings.n_bars)
        fresh = factors.mixed(factors.component_shocks[k], own)
        parts.append(mean_reverting(reaction + remainder * fresh, component.half_life_bars, component.log_sd))
    return parts


def _aftershocks(settings: SimulationSettings, jumps: Jumps) -> Floats:
    """Log volatility that earlier bars' jumps left behind, shape (n_bars,)."""
    impulses = np.zeros(settings.n_bars)
    impulses[jumps.bars] = _impulse(settings, jumps.sigmas)
    return preceding(decaying(impulses, settings.aftershock_half_life_bars))


def _impulse(settings: SimulationSettings, sigmas: Floats) -> Floats:
    return settings.aftershock_log_volatility * np.log1p(sigmas / settings.smallest_jump_sigmas)


def _jump_sizes(settings: SimulationSettings) -> Floats:
    """A fine grid of equally likely jump sizes, in standard deviations of the bar."""
    uniform = (np.arange(4000) + 0.5) / 4000
    sizes = settings.smallest_jump_sigmas * uniform ** (-1.0 / settings.jump_tail_exponent)
    return np.minimum(sizes, settings.largest_jump_sigmas)


def _mean_square(settings: SimulationSettings) -> float:
    """Expected squared volatility over the squared median level, jumps included, from the settings alone."""
    gaussian = (
        sum(part.log_sd**2 for part in settings.volatility_components) + settings.independent_log_volatility_sd**2
    )
    regimes = sum(regime.probability * np.exp(2 * regime.log_volatility) for regime in settings.regimes)
    sizes, rate = _jump_sizes(settings), settings.jumps_per_day / BARS_PER_DAY
    decays = 0.5 ** (np.arange(10 * settings.aftershock_half_life_bars) / settings.aftershock_half_life_bars)
    impulses = _impulse(settings, sizes)
    aftershocks = rate * sum(float(np.mean(np.expm1(2.0 * decay * impulses))) for decay in decays)
    jumps = 1.0 + rate * float(np.mean(sizes**2)) * np.exp(2 * _OWN_JUMP_LOG_SD**2)
    return float(np.exp(2 * gaussian + aftershocks) * regimes * jumps * week_mean_square(settings))
