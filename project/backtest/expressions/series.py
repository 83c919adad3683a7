"""What each operator and function computes, on whole Polars series.

Everything here is causal: a row of the result depends on that row and earlier ones only. Results are Float64 or
Boolean; numbers that are not finite become null after every step that can make them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.expressions.registry import BARS_PER_DAY, EWM_CUTOFF_SPANS, min_samples

Operand = pl.Series | float | bool
Floats = NDArray[np.float64]


def finite(values: pl.Series) -> pl.Series:
    """`values` with NaN and infinities null and -0.0 as 0.0."""
    positive_zero = values + 0.0
    is_finite = positive_zero.is_finite()
    return positive_zero if is_finite.all() else null_unless(positive_zero, is_finite)


def null_unless(values: pl.Series, keep: pl.Series) -> pl.Series:
    """`values` where `keep` is true, null elsewhere."""
    return values.zip_with(keep.fill_null(False), pl.repeat(None, values.len(), dtype=values.dtype, eager=True))


# Windows: arrays in and out, NaN for null (no number of the language is NaN)


def _floats(values: pl.Series) -> Floats:
    """An array of its own; kernels are compiled for one that may be written to."""
    return values.to_numpy(writable=True)


def _series(values: Floats) -> pl.Series:
    return pl.Series(values, nan_to_null=True)


# Element by element


def _log(x: pl.Series) -> pl.Series:
    return finite(x.log())


def _where(condition: pl.Series, a: pl.Series, b: pl.Series) -> pl.Series:
    return null_unless(a.zip_with(condition.fill_null(False), b), condition.is_not_null())


def _smallest(*values: pl.Series) -> pl.Series:
    smallest = values[0]
    for value in values[1:]:
        smallest = _where(value < smallest, value, smallest)
    return smallest


def _largest(*values: pl.Series) -> pl.Series:
    largest = values[0]
    for value in values[1:]:
        largest = _where(value > largest, value, largest)
    return largest


def _clip(x: pl.Series, lo: pl.Series, hi: pl.Series) -> pl.Series:
    return _smallest(_largest(x, lo), hi)


def _coalesce(*values: pl.Series) -> pl.Series:
    first = values[0]
    for value in values[1:]:
        first = first.zip_with(first.is_not_null(), value)
    return first


# Shifts and windows


def _diff(x: pl.Series, n: int) -> pl.Series:
    return finite(x - x.shift(n))


def _mean_and_spread(x: pl.Series, window: int) -> tuple[Floats, Floats]:
    from backtest.expressions.moments import mean_and_spread

    return mean_and_spread(_floats(x), window, min_samples(window))


def _rolling_mean(x: pl.Series, window: int) -> pl.Series:
    return _series(_mean_and_spread(x, window)[0])


def _rolling_std(x: pl.Series, window: int) -> pl.Series:
    return _series(_mean_and_spread(x, window)[1])


def _rolling_sum(x: pl.Series, window: int) -> pl.Series:
    from backtest.expressions.moments import window_sum

    return _series(window_sum(_floats(x), window, min_samples(window)))


def _rolling_min(x: pl.Series, window: int) -> pl.Series:
    return x.rolling_min(window, min_samples=min_samples(window))


def _rolling_max(x: pl.Series, window: int) -> pl.Series:
    return x.rolling_max(window, min_samples=min_samples(window))


def _rolling_median(x: pl.Series, window: int) -> pl.Series:
    return _rolling_quantile(x, 0.5, window)


def _rolling_quantile(x: pl.Series, q: float, window: int) -> pl.Series:
    from backtest.expressions.order_statistics import window_quantile

    return _series(window_quantile(_floats(x), float(q), window, min_samples(window)))


def _trailing(rolling: Callable[..., pl.Series]) -> Callable[..., pl.Series]:
    """The same over the window that ends one bar earlier."""

    def trailing(x: pl.Series, *literals: float) -> pl.Series:
        return rolling(x, *literals).shift(1)

    return trailing


# Relations


def _zscore(x: pl.Series, window: int) -> pl.Series:
    from backtest.expressions.moments import RELATIVE_ZERO

    mean, spread = _mean_and_spread(x, window)
    spread[spread <= RELATIVE_ZERO * np.abs(mean)] = np.nan
    z = np.full_like(mean, np.nan)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        z[1:] = (_floats(x)[1:] - mean[:-1]) / spread[:-1]
    z[~np.isfinite(z)] = np.nan
    return _series(z + 0.0)


def _slope_and_correlation(y: pl.Series, x: pl.Series, window: int) -> tuple[Floats, Floats]:
    from backtest.expressions.moments import slope_and_correlation

    return slope_and_correlation(_floats(y), _floats(x), window, min_samples(window))


def _rolling_correlation(x: pl.Series, y: pl.Series, window: int) -> pl.Series:
    return _series(_slope_and_correlation(y, x, window)[1])


def _rolling_beta(y: pl.Series, x: pl.Series, window: int) -> pl.Series:
    return _series(_slope_and_correlation(y, x, window)[0])


def _percentile_rank(x: pl.Series, window: int, min_count: int | None = None) -> pl.Series:
    from backtest.expressions.order_statistics import window_rank

    return _series(window_rank(_floats(x), window, min_samples(window) if min_count is None else min_count))


def _ewm_mean_and_spread(x: pl.Series, span: int) -> tuple[Floats, Floats]:
    from backtest.expressions.moments import decaying_mean_and_spread

    window = EWM_CUTOFF_SPANS * span + 1
    powers = ((span - 1) / (span + 1)) ** np.arange(window + 1, dtype=np.float64)
    return decaying_mean_and_spread(_floats(x), powers, min_samples(window))


def _ewm_mean(x: pl.Series, span: int) -> pl.Series:
    return _series(_ewm_mean_and_spread(x, span)[0])


def _ewm_std(x: pl.Series, span: int) -> pl.Series:
    return _series(_ewm_mean_and_spread(x, span)[1])


def _days_needed(days: int) -> int:
    return -(-days // 2)


def _same_time_mean(x: pl.Series, days: int) -> pl.Series:
    """The window kernels see the rows laid out by time of day, one time's days after another's, with nulls between them."""
    from backtest.expressions.moments import mean_and_spread

    return _by_time_of_day(x, days, lambda rows: mean_and_spread(rows, days, _days_needed(days))[0])


def _same_time_median(x: pl.Series, days: int) -> pl.Series:
    from backtest.expressions.order_statistics import window_quantile

    return _by_time_of_day(x, days, lambda rows: window_quantile(rows, 0.5, days, _days_needed(days)))


def _by_time_of_day(x: pl.Series, days: int, statistic: Callable[[Floats], Floats]) -> pl.Series:
    """A statistic of the window of `days` days that ends a day earlier.

    Each time of day has a whole number of windows, so that the kernels' blocks lie alike whatever follows.
    """
    n_days = -(-x.len() // BARS_PER_DAY)
    n_rows = days + -(-n_days // days) * days
    grid = np.full((n_rows, BARS_PER_DAY), np.nan)
    grid[days:].reshape(-1)[: x.len()] = _floats(x)
    of_days = statistic(grid.T.ravel()).reshape(BARS_PER_DAY, n_rows).T
    return _series(of_days[days - 1 : -1].ravel()[: x.len()])


# Conditions


def _crosses_above(a: pl.Series, b: pl.Series) -> pl.Series:
    return ((a.shift(1) <= b.shift(1)) & (a > b)).fill_null(False)


def _crosses_below(a: pl.Series, b: pl.Series) -> pl.Series:
    return ((a.shift(1) >= b.shift(1)) & (a < b)).fill_null(False)


def _rows(like: pl.Series) -> pl.Series:
    return pl.int_range(like.len(), dtype=pl.Int64, eager=True)


def _rows_since(condition: pl.Series) -> pl.Series:
    """Rows since the condition was last true; null before the first."""
    row = _rows(condition)
    return row - null_unless(row, condition).fill_null(strategy="forward")


def _bars_since(condition: pl.Series, limit: int) -> pl.Series:
    since = _rows_since(condition)
    return null_unless(since, since <= limit).cast(pl.Float64)


def _count_true(condition: pl.Series, window: int) -> pl.Series:
    return condition.cast(pl.Int64).rolling_sum(window, min_samples=min_samples(window)).cast(pl.Float64)


def _consecutive_true(condition: pl.Series, limit: int) -> pl.Series:
    since_end = _rows_since(~condition.fill_null(False))
    length = since_end.zip_with(since_end.is_not_null(), _rows(condition) + 1).clip(0, limit)
    return null_unless(length, condition.is_not_null()).cast(pl.Float64)


def _bars_since_max(x: pl.Series, window: int) -> pl.Series:
    from backtest.expressions.moments import rows_since_max

    return _series(rows_since_max(_floats(x), window, min_samples(window)))


def _bars_since_min(x: pl.Series, window: int) -> pl.Series:
    return _bars_since_max(-x, window)


# Clock


def _hour(timestamp: pl.Series) -> pl.Series:
    return timestamp.dt.hour().cast(pl.Float64)


def _minute(timestamp: pl.Series) -> pl.Series:
    return timestamp.dt.minute().cast(pl.Float64)


def _minute_of_day(timestamp: pl.Series) -> pl.Series:
    return _hour(timestamp) * 60.0 + _minute(timestamp)


def _weekday(timestamp: pl.Series) -> pl.Series:
    return timestamp.dt.weekday().cast(pl.Float64) - 1.0


FUNCTION_SERIES: Final[Mapping[str, Callable[..., pl.Series]]] = MappingProxyType(
    {
        "log": _log,
        "exp": lambda x: finite(x.exp()),
        "sqrt": lambda x: finite(x.sqrt()),
        "abs": lambda x: x.abs(),
        "sign": lambda x: x.sign(),
        "clip": _clip,
        "where": _where,
        "min": _smallest,
        "max": _largest,
        "is_null": lambda x: x.is_null(),
        "coalesce": _coalesce,
        "lag": lambda x, n: x.shift(n),
        "diff": _diff,
        "last_known": lambda x, limit: x.fill_null(strategy="forward", limit=limit),
        "rolling_mean": _rolling_mean,
        "rolling_std": _rolling_std,
        "rolling_sum": _rolling_sum,
        "rolling_min": _rolling_min,
        "rolling_max": _rolling_max,
        "rolling_median": _rolling_median,
        "rolling_quantile": _rolling_quantile,
        "trailing_mean": _trailing(_rolling_mean),
        "trailing_std": _trailing(_rolling_std),
        "trailing_sum": _trailing(_rolling_sum),
        "trailing_min": _trailing(_rolling_min),
        "trailing_max": _trailing(_rolling_max),
        "trailing_median": _trailing(_rolling_median),
        "trailing_quantile": _trailing(_rolling_quantile),
        "rolling_correlation": _rolling_correlation,
        "rolling_beta": _rolling_beta,
        "zscore": _zscore,
        "percentile_rank": _percentile_rank,
        "ewm_mean": _ewm_mean,
        "ewm_std": _ewm_std,
        "same_time_mean": _same_time_mean,
        "same_time_median": _same_time_median,
        "crosses_above": _crosses_above,
        "crosses_below": _crosses_below,
        "bars_since": _bars_since,
        "count_true": _count_true,
        "consecutive_true": _consecutive_true,
        "bars_since_max": _bars_since_max,
        "bars_since_min": _bars_since_min,
        "hour": _hour,
        "minute": _minute,
        "minute_of_day": _minute_of_day,
        "weekday": _weekday,
    }
)


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[..., pl.Series]:
    return lambda left, right: finite(compute(left, right))


def _power(base: Any, exponent: Any) -> pl.Series:
    """Null to the power 0 stays null, as every operator on a null does."""
    power = finite(base**exponent)
    for side in (base, exponent):
        if isinstance(side, pl.Series) and side.has_nulls():
            power = null_unless(power, side.is_not_null())
    return power


OPERATOR_SERIES: Final[Mapping[str, Callable[..., pl.Series]]] = MappingProxyType(
    {
        "+": _arithmetic(operator.add),
        "-": _arithmetic(operator.sub),
        "*": _arithmetic(operator.mul),
        "/": _arithmetic(operator.truediv),
        "%": _arithmetic(operator.mod),
        "**": _power,
        "neg": lambda x: 0.0 - x,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
        "and": operator.and_,
        "or": operator.or_,
        "not": operator.invert,
    }
)
