"""Numbers and dates as the reports write them: always with a unit, a real minus sign, and no more digits than are known."""

from __future__ import annotations

import datetime as dt
import math

from backtest.reports.html.svg import signed

NOTHING = "\N{EN DASH}"
"""Stands where there is no figure."""


def is_known(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def bps(fraction: float | None, *, plus: bool = False) -> str:
    """A fraction in basis points, without the unit: ``12.3``, ``+12.3``."""
    if fraction is None or not math.isfinite(fraction):
        return NOTHING
    text = signed(f"{fraction * 1e4:,.1f}")
    return f"+{text}" if plus and fraction > 0 else text


def bps_interval(low: float | None, high: float | None) -> str:
    """``3.1 … 8.0``."""
    return f"{bps(low)} … {bps(high)}" if is_known(low) and is_known(high) else NOTHING


def count(value: float | None) -> str:
    """``12,745``."""
    return NOTHING if value is None or not math.isfinite(value) else signed(f"{value:,.0f}")


def share(value: float | None, decimals: int = 0) -> str:
    """A share in per cent with a thin space before the sign."""
    return (
        NOTHING
        if value is None or not math.isfinite(value)
        else f"{signed(f'{value * 100:,.{decimals}f}')}\N{THIN SPACE}%"
    )


def coverage(have: int, expected: int) -> str:
    """What is there of what is expected, in per cent; rounded down, so that 100 means that nothing is missing."""
    return share(math.floor(1e4 * have / expected) / 1e4, 2) if expected else NOTHING


def small(value: float | None) -> str:
    """A probability: two digits, powers of ten where it is tiny."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        exponent = math.floor(math.log10(abs(value)))
        return f"{value / 10.0**exponent:.1f}e{signed(str(exponent))}"
    return f"{value:.2g}"


def decimal(value: float | None, decimals: int = 1, *, plus: bool = False) -> str:
    """A plain number."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = signed(f"{value:,.{decimals}f}")
    return f"+{text}" if plus and value > 0 else text


def usd(value: float | None) -> str:
    """US dollars, rounded to two digits where large: ``54,000``."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) >= 1000:
        digits = math.floor(math.log10(abs(value))) - 1
        value = round(value, -digits)
    return signed(f"{value:,.0f}")


def day(value: dt.date | str | None) -> str:
    """``2024-01-01``, from a date, an instant or the text of one."""
    return NOTHING if value is None else str(value)[:10]


def days(first: dt.date, end: dt.date) -> str:
    """A span of days whose `end` is exclusive by its first and last day: ``2024-01-01 to 2024-12-31``."""
    return f"{first} to {end - dt.timedelta(days=1)}"


def correlation_error(n: int) -> str:
    """Half the 95 % interval of a correlation near zero over `n` independent days."""
    return f"±{1.96 / math.sqrt(n):.2f}" if n > 0 else NOTHING


def probability(value: float | None) -> str:
    """Two decimals, never rounded to what it is not: ``> 0.99``, ``< 0.01``."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if 0 < value < 0.005:
        return "< 0.01"
    return "> 0.99" if 0.995 <= value < 1 else f"{value:.2f}"


def words(name: str) -> str:
    """A name of the spec as words: ``mean reversion``."""
    return name.replace("_", " ")


def plural(n: int, one: str, several: str | None = None) -> str:
    """``1 event``, ``2 events``."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"
