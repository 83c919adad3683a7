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

from backtest.expressions.moments import Floats, Moments, rows_since_max, window_moments, window_sum
from backtest.expressions.registry import BARS_PER_DAY, EWM_CUTOFF_SPANS, min_samples

RELATIVE_ZERO: Final = 1e-12
"""A standard deviation below this share of the mean's size is rounding noise of a constant."""

Operand = pl.Series | float | bool


def finite(values: pl.Series) -> pl.Series:
    """`values` with NaN and infinities null and -0.0 as 0.0."""
    positive_zero = values + 0.0
    is_finite = positive_zero.is_finite()
    return positive_zero if is_finite.all() else null_unless(positive_zero, is_finite)


def null_unless(values: pl.Series, keep: pl.Series) -> pl.Series:
    """`values` where `keep` is true, null elsewhere."""
    return values.zip_with(keep.fill_null(False), pl.repeat(None, values.len(), dtype=values.dtype, eager=True))


# Windows: counts, arrays in and out


def _arrays(values: pl.Series) -> tuple[Floats, NDArray[np.bool_]]:
    """Values with 0 for null, and which are not null."""
    return values.fill_null(0.0).to_numpy(), values.is_not_null().to_numpy()


def _series(values: Floats, valid: NDArray[np.bool_]) -> pl.Series:
    """An array as a series, null where not `valid` or not finite."""
    return finite(null_unless(pl.Series(values, dtype=pl.Float64), pl.Series(valid, dtype=pl.Boolean)))


def _n_valid(values: pl.Series, window: int) -> pl.Series:
    """Non-null values among the last `window` rows."""
    return values.is_not_null().cast(pl.Int64).rolling_sum(window, min_samples=1)


def _single_moments(values: pl.Series, window: int, decay: float = 1.0, *, spread: bool) -> Moments:
    column, valid = _arrays(values)
    return window_moments([column], valid, window, [(0, 0)] if spread else [], decay)


def _standard_deviation(moments: Moments) -> Floats:
    """Bias-corrected, from the sums of weights; NaN for fewer than two values."""
    weight = moments.weight
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(moments.comoments[0, 0], 0.0) / (weight - moments.squared_weight / weight))


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


def _rolling_mean(x: pl.Series, window: int) -> pl.Series:
    moments = _single_moments(x, window, spread=False)
    return _series(moments.means[0], moments.count >= min_samples(window))


def _rolling_std(x: pl.Series, window: int) -> pl.Series:
    moments = _single_moments(x, window, spread=True)
    return _series(_standard_deviation(moments), moments.count >= max(2, min_samples(window)))


def _rolling_sum(x: pl.Series, window: int) -> pl.Series:
    column, valid = _arrays(x)
    return finite(null_unless(pl.Series(window_sum(column, valid, window)), _n_valid(x, window) >= min_samples(window)))


def _rolling_min(x: pl.Series, window: int) -> pl.Series:
    return x.rolling_min(window, min_samples=min_samples(window))


def _rolling_max(x: pl.Series, window: int) -> pl.Series:
    return x.rolling_max(window, min_samples=min_samples(window))


def _rolling_median(x: pl.Series, window: int) -> pl.Series:
    return finite(x.rolling_median(window, min_samples=min_samples(window)))


def _rolling_quantile(x: pl.Series, q: float, window: int) -> pl.Series:
    return finite(x.rolling_quantile(q, interpolation="linear", window_size=window, min_samples=min_samples(window)))


def _trailing(rolling: Callable[..., pl.Series]) -> Callable[..., pl.Series]:
    """The same over the window that ends one bar earlier."""

    def trailing(x: pl.Series, *literals: float) -> pl.Series:
        return rolling(x, *literals).shift(1)

    return trailing


# Relations


def _is_constant(spread: Floats, mean: Floats) -> NDArray[np.bool_]:
    return ~(spread > RELATIVE_ZERO * np.abs(mean))


def _zscore(x: pl.Series, window: int) -> pl.Series:
    moments = _single_moments(x, window, spread=True)
    spread, mean = _standard_deviation(moments), moments.means[0]
    is_known = (moments.count >= min_samples(window)) & ~_is_constant(spread, mean)
    return finite((x - _series(mean, is_known).shift(1)) / _series(spread, is_known).shift(1))


def _pair_moments(x: pl.Series, y: pl.Series, window: int) -> tuple[Moments, NDArray[np.bool_], list[Floats]]:
    """Moments of both, where enough rows hold both, and both standard deviations."""
    (first, has_first), (second, has_second) = _arrays(x), _arrays(y)
    moments = window_moments([first, second], has_first & has_second, window, [(0, 0), (1, 1), (0, 1)])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        spreads = [np.sqrt(moments.comoments[i, i] / (moments.count - 1)) for i in (0, 1)]
    return moments, moments.count >= min_samples(window), spreads


def _rolling_correlation(x: pl.Series, y: pl.Series, window: int) -> pl.Series:
    moments, is_known, spreads = _pair_moments(x, y, window)
    for spread, mean in zip(spreads, moments.means, strict=True):
        is_known &= ~_is_constant(spread, mean)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        product = np.sqrt(moments.comoments[0, 0]) * np.sqrt(moments.comoments[1, 1])
        return _series(np.clip(moments.comoments[0, 1] / product, -1.0, 1.0), is_known)


def _rolling_beta(y: pl.Series, x: pl.Series, window: int) -> pl.Series:
    moments, is_known, spreads = _pair_moments(x, y, window)
    is_known &= ~_is_constant(spreads[0], moments.means[0])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _series(moments.comoments[0, 1] / moments.comoments[0, 0], is_known)


def _percentile_rank(x: pl.Series, window: int, min_count: int | None = None) -> pl.Series:
    needed = min_samples(window) if min_count is None else min_count
    n_valid = _n_valid(x, window)
    rank = x.rolling_rank(window, method="average", min_samples=1)
    return finite(null_unless(rank / n_valid, x.is_not_null() & (n_valid >= needed)))


def _ewm_moments(x: pl.Series, span: int, *, spread: bool) -> tuple[Moments, NDArray[np.bool_]]:
    window = EWM_CUTOFF_SPANS * span + 1
    moments = _single_moments(x, window, (span - 1) / (span + 1), spread=spread)
    return moments, moments.count >= min_samples(window)


def _ewm_mean(x: pl.Series, span: int) -> pl.Series:
    moments, is_known = _ewm_moments(x, span, spread=False)
    return _series(moments.means[0], is_known)


def _ewm_std(x: pl.Series, span: int) -> pl.Series:
    moments, is_known = _ewm_moments(x, span, spread=True)
    return _series(_standard_deviation(moments), is_known)


def _days_needed(days: int) -> int:
    return -(-days // 2)


def _same_time_mean(x: pl.Series, days: int) -> pl.Series:
    """Means of the deviations from the latest known value, so that a constant keeps its value exactly."""
    column, valid = _arrays(x)
    total, count, centre = np.zeros_like(column), np.zeros_like(column), np.zeros_like(column)
    with np.errstate(over="ignore", invalid="ignore"):
        for day in range(1, days + 1):
            back = day * BARS_PER_DAY
            if back >= column.size:
                break
            value, has = column[:-back], valid[:-back]
            centre[back:] = np.where((count[back:] == 0) & has, value, centre[back:])
            total[back:] += np.where(has, value - centre[back:], 0.0)
            count[back:] += has
        return _series(centre + total / np.maximum(count, 1.0), count >= _days_needed(days))


def _same_time_median(x: pl.Series, days: int) -> pl.Series:
    """The rows laid out by time of day, one time's days after another's, with nulls between them."""
    n_days = -(-x.len() // BARS_PER_DAY)
    grid = np.full((n_days + days, BARS_PER_DAY), np.nan)
    grid[days:].reshape(-1)[: x.len()] = x.fill_null(np.nan).to_numpy()
    by_time = pl.Series(grid.T.ravel()).fill_nan(None)
    median = by_time.rolling_median(days, min_samples=_days_needed(days)).shift(1)
    back = median.to_numpy().reshape(BARS_PER_DAY, n_days + days).T[days:].ravel()[: x.len()]
    return finite(pl.Series(back, dtype=pl.Float64))


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
    column, valid = _arrays(x)
    is_known = _n_valid(x, window) >= min_samples(window)
    return null_unless(pl.Series(rows_since_max(column, valid, window), dtype=pl.Float64), is_known)


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
