"""What a simulated market is asked to be; every number that shapes it, with its unit and its default."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from backtest.errors import MisuseError, did_you_mean, listed

MINUTES_PER_BAR: Final = 5
BARS_PER_DAY: Final = 24 * 60 // MINUTES_PER_BAR
BARS_PER_YEAR: Final = 365 * BARS_PER_DAY
# One sub-step a minute: fine enough for a jump to sit inside a bar, coarse enough for a year to take well under a
# second.
STEPS_PER_BAR: Final = 5

MAX_CORRELATION: Final = 0.9

PerSymbol = Mapping[str, float] | float | None

# Typical levels of the two perpetuals in 2023–2025, and of a smaller coin for every other symbol.
_TYPICAL: Final[dict[str, dict[str, float]]] = {
    "BTCUSDT": {
        "initial_price": 40_000.0,
        "annual_volatility": 0.50,
        "median_quote_volume_usd": 3.0e7,
        "open_interest_usd": 4.0e9,
        "typical_spread_bps": 0.2,
    },
    "ETHUSDT": {
        "initial_price": 2_500.0,
        "annual_volatility": 0.60,
        "median_quote_volume_usd": 1.5e7,
        "open_interest_usd": 2.0e9,
        "typical_spread_bps": 0.3,
    },
}
_TYPICAL_OTHER: Final[dict[str, float]] = {
    "initial_price": 20.0,
    "annual_volatility": 0.80,
    "median_quote_volume_usd": 1.0e6,
    "open_interest_usd": 1.0e8,
    "typical_spread_bps": 1.0,
    "annual_drift": 0.0,
    "funding_interval_hours": 8.0,
}
_ABOVE_ZERO: Final = (
    "initial_price",
    "annual_volatility",
    "median_quote_volume_usd",
    "open_interest_usd",
    "typical_spread_bps",
)
_FUNDING_INTERVALS_HOURS: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class VolatilityComponent:
    """A mean-reverting part of log volatility: how long half of a shock lasts, and its standard deviation."""

    half_life_bars: float
    log_sd: float


@dataclass(frozen=True)
class VolatilityRegime:
    """A market-wide level of log volatility and the probability that a switch leads to it."""

    log_volatility: float
    probability: float


@dataclass(frozen=True)
class SimulationSettings:
    """The whole description of a simulated market: equal settings give equal bytes.

    A per-symbol field takes one number for all symbols, a mapping from symbol to number, or None; a symbol that is not
    named has a level typical of it (BTCUSDT and ETHUSDT as in 2023–2025, a smaller coin else).

    Attributes
    ----------
    symbols, start, days, seed
        Which symbols, from which UTC midnight, for how many days, from which seed.
    correlation
        Aimed-at correlation of 5-minute returns of any two symbols, [0, 0.9].
    annual_drift
        Expected log growth of the price in a year (0: a martingale).
    annual_volatility
        Standard deviation of the log return of a year, jumps included.
    bounce_bps
        Half-spread of the closing print around the efficient price: each bar ends at its bid or its ask. Above zero
        adjoining returns are truly negatively correlated: a stress, not a null world.
    volatility_components, independent_log_volatility_sd
        Log volatility on several time scales, and its part that lasts one bar.
    volatility_common_share
        Share of the variance of each component that all symbols have in common.
    leverage, size_feedback
        Correlation of a log-volatility shock with the preceding standardised return, and with its size.
    regimes, mean_regime_days
        Market-wide volatility levels and the mean time to the next draw among them.
    seasonality_strength
        1: time-of-day and weekend profile as measured; 0: none.
    jumps_per_day, smallest_jump_sigmas, largest_jump_sigmas, jump_tail_exponent, jump_down_to_up
        Jumps in the regime of log volatility 0, their size in standard deviations of the bar (a truncated Pareto law),
        and how much farther a jump down goes than a jump up.
    gap_jump_share
        Share of the jumps that happen between two bars: the next bar opens away from the last close.
    decouplings_per_day
        How often a symbol's shocks lose most of what they have in common with the market's, for a few hours.
    dislocations_per_day
        How often spot leaves the perpetual, and how often the index does, for about an hour.
    aftershock_log_volatility, aftershock_half_life_bars
        How much a jump raises log volatility from the next bar on (times the log of its size over the smallest, plus
        1).
    median_quote_volume_usd, open_interest_usd, typical_spread_bps
        Median perpetual turnover of a bar, level of open interest, median quoted spread.
    funding_interval_hours
        1, 2, 4 or 8.
    halts_per_year, halt_bars, gaps_per_year, gap_bars
        Venue halts (flat bars without trades, all symbols at once) and missing rows (each symbol and market for itself)
        in each started year; with a run shorter than a year they may fall outside.
    significant_digits
        Digits of the initial price that the tick leaves visible (6: BTC at 40,000 trades in steps of 0.1).
    """

    start: dt.datetime
    days: int
    seed: int
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    correlation: float = 0.8
    annual_drift: PerSymbol = 0.0
    annual_volatility: PerSymbol = None
    initial_price: PerSymbol = None
    bounce_bps: float = 0.0
    volatility_components: tuple[VolatilityComponent, ...] = (
        VolatilityComponent(half_life_bars=2.0, log_sd=0.35),
        VolatilityComponent(half_life_bars=12.0, log_sd=0.35),
        VolatilityComponent(half_life_bars=144.0, log_sd=0.22),
        VolatilityComponent(half_life_bars=2016.0, log_sd=0.26),
    )
    independent_log_volatility_sd: float = 0.30
    volatility_common_share: float = 0.85
    leverage: float = -0.15
    size_feedback: float = 0.30
    regimes: tuple[VolatilityRegime, ...] = (
        VolatilityRegime(log_volatility=-0.35, probability=0.35),
        VolatilityRegime(log_volatility=0.0, probability=0.50),
        VolatilityRegime(log_volatility=0.45, probability=0.15),
    )
    mean_regime_days: float = 10.0
    seasonality_strength: float = 1.0
    jumps_per_day: float = 0.8
    smallest_jump_sigmas: float = 3.0
    largest_jump_sigmas: float = 30.0
    jump_tail_exponent: float = 2.8
    jump_down_to_up: float = 1.25
    gap_jump_share: float = 0.15
    decouplings_per_day: float = 0.15
    dislocations_per_day: float = 0.2
    aftershock_log_volatility: float = 0.5
    aftershock_half_life_bars: float = 4.0
    median_quote_volume_usd: PerSymbol = None
    open_interest_usd: PerSymbol = None
    typical_spread_bps: PerSymbol = None
    funding_interval_hours: PerSymbol = 8
    halts_per_year: int = 1
    halt_bars: int = 6
    gaps_per_year: int = 1
    gap_bars: int = 4
    significant_digits: int = 6

    def __post_init__(self) -> None:
        faults = [*_time_faults(self), *_symbol_faults(self), *_range_faults(self), *_per_symbol_faults(self)]
        faults += _volatility_faults(self)
        if faults:
            raise MisuseError(f"these settings describe no simulated market:\n{listed(faults)}")

    @property
    def n_bars(self) -> int:
        """Bars of the full 5-minute grid, those in halts and gaps included."""
        return self.days * BARS_PER_DAY

    @property
    def shock_correlation(self) -> float:
        """Correlation of standard shocks that gives the asked-for one of returns whose volatilities differ."""
        variance = sum(part.log_sd**2 for part in self.volatility_components) + self.independent_log_volatility_sd**2
        return self.correlation * math.exp((1.0 - self.volatility_common_share) * variance)

    def level(self, field: str, symbol: str) -> float:
        """The value of a per-symbol field for one symbol."""
        return per_symbol(getattr(self, field), field, symbol)


def per_symbol(value: PerSymbol, field: str, symbol: str) -> float:
    """One symbol's number out of a number, a mapping or None; the typical level where it is not named."""
    if isinstance(value, Mapping):
        value = value.get(symbol)
    if value is None:
        return _TYPICAL.get(symbol, {}).get(field, _TYPICAL_OTHER[field])
    return float(value)


def _time_faults(settings: SimulationSettings) -> list[str]:
    start, faults = settings.start, []
    if start.utcoffset() != dt.timedelta(0):
        faults.append(f"start is {start.isoformat()}; it must be in UTC: datetime(…, tzinfo=UTC)")
    elif start.timetz() != dt.time(0, tzinfo=start.tzinfo):
        faults.append(
            f"start is {start.isoformat()}; it must be a midnight, as in {start.date().isoformat()}T00:00+00:00"
        )
    for field, least in (("days", 1), ("seed", 0)):
        found = getattr(settings, field)
        if not isinstance(found, int) or found < least:
            faults.append(f"{field} is {found!r}; it must be a whole number of at least {least}")
    return faults


def _symbol_faults(settings: SimulationSettings) -> list[str]:
    faults = [] if settings.symbols else ["symbols is empty; name at least one, such as 'BTCUSDT'"]
    for symbol in settings.symbols:
        if not re.fullmatch(r"[A-Z0-9_]+", symbol):
            faults.append(f"symbol {symbol!r} is not in capitals and digits, as in 'BTCUSDT'")
    twice = sorted({symbol for symbol in settings.symbols if settings.symbols.count(symbol) > 1})
    return faults + [f"symbol {symbol!r} is named twice" for symbol in twice]


def _range_faults(settings: SimulationSettings) -> list[str]:
    """Single numbers outside [least, most]."""
    bounds: dict[str, tuple[float, float]] = {
        "correlation": (0, MAX_CORRELATION),
        "bounce_bps": (0, 100),
        "independent_log_volatility_sd": (0, 1),
        "volatility_common_share": (0, 1),
        "leverage": (-0.9, 0.9),
        "size_feedback": (-0.9, 0.9),
        "mean_regime_days": (0.1, 3650),
        "seasonality_strength": (0, 3),
        "jumps_per_day": (0, 50),
        "smallest_jump_sigmas": (0.5, 50),
        "largest_jump_sigmas": (settings.smallest_jump_sigmas, 50),
        "jump_tail_exponent": (1, 20),
        "jump_down_to_up": (0.25, 4),
        "gap_jump_share": (0, 1),
        "decouplings_per_day": (0, 10),
        "dislocations_per_day": (0, 10),
        "aftershock_log_volatility": (0, 2),
        "aftershock_half_life_bars": (0.1, BARS_PER_DAY),
        "halts_per_year": (0, 1000),
        "halt_bars": (1, BARS_PER_DAY),
        "gaps_per_year": (0, 1000),
        "gap_bars": (1, BARS_PER_DAY),
        "significant_digits": (5, 9),
    }
    return [
        f"{field} is {getattr(settings, field)}; it must be between {least:g} and {most:g}"
        for field, (least, most) in bounds.items()
        if not least <= getattr(settings, field) <= most
    ]


def _per_symbol_faults(settings: SimulationSettings) -> list[str]:
    faults = []
    for field in (*_ABOVE_ZERO, "annual_drift", "funding_interval_hours"):
        value = getattr(settings, field)
        for symbol in value if isinstance(value, Mapping) else ():
            if symbol not in settings.symbols:
                near = did_you_mean(symbol, settings.symbols)
                faults.append(f"{field} names {symbol!r}, which is not among symbols {list(settings.symbols)}.{near}")
        for symbol in settings.symbols:
            found = settings.level(field, symbol)
            if not math.isfinite(found) or (field in _ABOVE_ZERO and found <= 0):
                faults.append(f"{field} of {symbol} is {found}; it must be a finite number above zero")
            if field == "funding_interval_hours" and found not in _FUNDING_INTERVALS_HOURS:
                faults.append(f"{field} of {symbol} is {found:g}; it must be one of {_FUNDING_INTERVALS_HOURS}")
    return faults


def _volatility_faults(settings: SimulationSettings) -> list[str]:
    faults = []
    if settings.leverage**2 + settings.size_feedback**2 >= 1:
        faults.append(
            f"leverage {settings.leverage} and size_feedback {settings.size_feedback} leave no room for"
            " a shock of its own: their squares must sum to less than 1"
        )
    for component in settings.volatility_components:
        if not (component.half_life_bars > 0 and 0 <= component.log_sd <= 1):
            faults.append(f"{component}: half_life_bars must be above 0 and log_sd between 0 and 1")
    if settings.correlation <= MAX_CORRELATION and settings.shock_correlation > 1:
        faults.append(
            f"correlation {settings.correlation} cannot be reached with volatility_common_share"
            f" {settings.volatility_common_share}: lower the first or raise the second"
        )
    total = sum(regime.probability for regime in settings.regimes)
    if not math.isclose(total, 1.0, abs_tol=1e-9) or any(regime.probability < 0 for regime in settings.regimes):
        faults.append(f"probabilities of the regimes must not be negative and must sum to 1; they sum to {total:g}")
    return faults
