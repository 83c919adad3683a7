"""What each operator and function computes, on whole arrays.

Numbers are float64 arrays in which NaN means null; no number of the language is NaN or infinite. Conditions are uint8
arrays of `FALSE`, `UNKNOWN` and `TRUE`, in that order, so that Kleene's "and" is the smaller and "or" the larger of two.
Everything here is causal: a row of the result depends on that row and earlier ones only. No array given is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.expressions.registry import BARS_PER_DAY, EWM_CUTOFF_SPANS, min_samples

Floats: TypeAlias = NDArray[np.float64]
Conditions: TypeAlias = NDArray[np.uint8]
Booleans: TypeAlias = NDArray[np.bool_]
Values: TypeAlias = Floats | Conditions
Operand: TypeAlias = Floats | Conditions | float | bool
Array = TypeVar("Array", Floats, Conditions)

FALSE, UNKNOWN, TRUE = np.uint8(0), np.uint8(1), np.uint8(2)
MINUTE_MS: Final = 60_000.0
DAY_MS: Final = 86_400_000.0
DAYS_FROM_MONDAY: Final = 3.0
"""1970-01-01 was a Thursday."""


def finite(values: Floats) -> Floats:
    """`values` with infinities NaN and -0.0 as 0.0."""
    positive_zero = values + 0.0
    infinite = np.isinf(positive_zero)
    if infinite.any():
        positive_zero[infinite] = np.nan
    return positive_zero


def truth(holds: Booleans) -> Conditions:
    """A condition that is known everywhere."""
    return np.multiply(holds, TRUE, dtype=np.uint8)


def known(values: Values) -> Booleans:
    """Where the values are not null."""
    return np.asarray(values != UNKNOWN if values.dtype == np.uint8 else values == values)


def null_unless(values: Array, keep: Booleans) -> Array:
    """`values` where `keep` is true, null elsewhere."""
    return np.where(keep, values, UNKNOWN if values.dtype == np.uint8 else np.nan)


def _as_floats(values: pl.Series) -> Floats:
    return values.to_numpy(writable=True)


# Element by element


def _by_polars(compute: Callable[[pl.Series], pl.Series]) -> Callable[[Floats], Floats]:
    """Transcendental functions of Polars: a row's last digits do not depend on where it stands."""
    return lambda x: finite(_as_floats(compute(pl.Series(x))))


def _where(condition: Conditions, a: Array, b: Array) -> Array:
    return null_unless(np.where(condition == TRUE, a, b), condition != UNKNOWN)


def _smallest(*values: Floats) -> Floats:
    """The first of equal ones; NaN where any is."""
    smallest = values[0]
    for value in values[1:]:
        smallest = np.where((value < smallest) | (value != value), value, smallest)
    return smallest


def _largest(*values: Floats) -> Floats:
    largest = values[0]
    for value in values[1:]:
        largest = np.where((value > largest) | (value != value), value, largest)
    return largest


def _clip(x: Floats, lo: Floats, hi: Floats) -> Floats:
    return _smallest(_largest(x, lo), hi)


def _coalesce(*values: Array) -> Array:
    first = values[0]
    for value in values[1:]:
        first = np.where(known(first), first, value)
    return first


# Shifts and windows


def _shifted(values: Array, n: int) -> Array:
    shifted = np.full_like(values, UNKNOWN if values.dtype == np.uint8 else np.nan)
    shifted[n:] = values[: max(values.size - n, 0)]
    return shifted


def _diff(x: Floats, n: int) -> Floats:
    return finite(x - _shifted(x, n))


def _last_known(values: Array, limit: int) -> Array:
    row = np.arange(values.size)
    last = np.maximum.accumulate(np.where(known(values), row, -1)) if values.size else row
    return null_unless(values[np.maximum(last, 0)], (last >= 0) & (row - last <= limit))


def _mean_and_spread(x: Floats, window: int) -> tuple[Floats, Floats]:
    from backtest.expressions.moments import mean_and_spread

    return mean_and_spread(x, window, min_samples(window))


def _rolling_mean(x: Floats, window: int) -> Floats:
    return _mean_and_spread(x, window)[0]


def _rolling_std(x: Floats, window: int) -> Floats:
    return _mean_and_spread(x, window)[1]


def _rolling_sum(x: Floats, window: int) -> Floats:
    from backtest.expressions.moments import window_sum

    return window_sum(x, window, min_samples(window))


def _rolling_max(x: Floats, window: int) -> Floats:
    """Of windows half as long: the largest of two that overlap is that of both together."""
    largest = np.where(known(x), x, -np.inf)
    length = 1
    while length < window:
        step = min(length, window - length)
        largest[step:] = np.maximum(largest[step:], largest[:-step])
        length += step
    return null_unless(largest, _known_in_window(x, window) >= min_samples(window))


def _known_in_window(values: Values, window: int) -> NDArray[np.int64]:
    """How many of the `window` rows ending at each row are known."""
    counts = np.cumsum(known(values), dtype=np.int64)
    counts[window:] -= counts[:-window].copy()
    return counts


def _rolling_min(x: Floats, window: int) -> Floats:
    return 0.0 - _rolling_max(-x, window)


def _rolling_median(x: Floats, window: int) -> Floats:
    return _rolling_quantile(x, 0.5, window)


def _rolling_quantile(x: Floats, q: float, window: int) -> Floats:
    from backtest.expressions.order_statistics import window_quantile

    return window_quantile(x, float(q), window, min_samples(window))


def _trailing(rolling: Callable[..., Floats]) -> Callable[..., Floats]:
    """The same over the window that ends one bar earlier."""

    def trailing(x: Floats, *literals: float) -> Floats:
        return _shifted(rolling(x, *literals), 1)

    return trailing


# Relations


def _zscore(x: Floats, window: int) -> Floats:
    from backtest.expressions.moments import RELATIVE_ZERO

    mean, spread = _mean_and_spread(x, window)
    spread[spread <= RELATIVE_ZERO * np.abs(mean)] = np.nan
    z = np.full_like(mean, np.nan)
    z[1:] = (x[1:] - mean[:-1]) / spread[:-1]
    return finite(z)


def _slope_and_correlation(y: Floats, x: Floats, window: int) -> tuple[Floats, Floats]:
    from backtest.expressions.moments import slope_and_correlation

    return slope_and_correlation(y, x, window, min_samples(window))


def _rolling_correlation(x: Floats, y: Floats, window: int) -> Floats:
    return _slope_and_correlation(y, x, window)[1]


def _rolling_beta(y: Floats, x: Floats, window: int) -> Floats:
    return _slope_and_correlation(y, x, window)[0]


def _percentile_rank(x: Floats, window: int, min_count: int | None = None) -> Floats:
    from backtest.expressions.order_statistics import window_rank

    return window_rank(x, window, min_samples(window) if min_count is None else min_count)


def _ewm_mean_and_spread(x: Floats, span: int) -> tuple[Floats, Floats]:
    from backtest.expressions.moments import decaying_mean_and_spread

    window = EWM_CUTOFF_SPANS * span + 1
    powers = ((span - 1) / (span + 1)) ** np.arange(window + 1, dtype=np.float64)
    return decaying_mean_and_spread(x, powers, min_samples(window))


def _ewm_mean(x: Floats, span: int) -> Floats:
    return _ewm_mean_and_spread(x, span)[0]


def _ewm_std(x: Floats, span: int) -> Floats:
    return _ewm_mean_and_spread(x, span)[1]


def _days_needed(days: int) -> int:
    return -(-days // 2)


def _same_time_mean(x: Floats, days: int) -> Floats:
    """The window kernels see the rows laid out by time of day, one time's days after another's, with nulls between them."""
    from backtest.expressions.moments import mean_and_spread

    return _by_time_of_day(x, days, lambda rows: mean_and_spread(rows, days, _days_needed(days))[0])


def _same_time_median(x: Floats, days: int) -> Floats:
    from backtest.expressions.order_statistics import window_quantile

    return _by_time_of_day(x, days, lambda rows: window_quantile(rows, 0.5, days, _days_needed(days)))


def _by_time_of_day(x: Floats, days: int, statistic: Callable[[Floats], Floats]) -> Floats:
    """A statistic of the window of `days` days that ends a day earlier.

    Each time of day has a whole number of windows, so that the kernels' blocks lie alike whatever follows.
    """
    n_days = -(-x.size // BARS_PER_DAY)
    n_rows = days + -(-n_days // days) * days
    grid = np.full((n_rows, BARS_PER_DAY), np.nan)
    grid[days:].reshape(-1)[: x.size] = x
    of_days = statistic(grid.T.ravel()).reshape(BARS_PER_DAY, n_rows).T
    return of_days[days - 1 : -1].ravel()[: x.size]


# Conditions


def _crosses_above(a: Floats, b: Floats) -> Conditions:
    crossed = np.zeros(a.size, dtype=bool)
    crossed[1:] = (a[:-1] <= b[:-1]) & (a[1:] > b[1:])
    return truth(crossed)


def _crosses_below(a: Floats, b: Floats) -> Conditions:
    return _crosses_above(b, a)


def _rows_since(holds: Booleans) -> Floats:
    """Rows since a row that holds; NaN before the first."""
    row = np.arange(holds.size)
    last = np.maximum.accumulate(np.where(holds, row, -1)) if holds.size else row
    return np.where(last >= 0, row - last, np.nan)


def _bars_since(condition: Conditions, limit: int) -> Floats:
    since = _rows_since(condition == TRUE)
    return null_unless(since, since <= limit)


def _window_count(holds: Booleans, window: int) -> NDArray[np.int64]:
    """How many of the `window` rows ending at each row hold."""
    before = np.concatenate([[0], np.cumsum(holds, dtype=np.int64)])
    return np.asarray(before[1:] - before[np.maximum(np.arange(holds.size) + 1 - window, 0)])


def _count_true(condition: Conditions, window: int) -> Floats:
    counted = _window_count(condition == TRUE, window).astype(np.float64)
    return null_unless(counted, _window_count(condition != UNKNOWN, window) >= min_samples(window))


def _consecutive_true(condition: Conditions, limit: int) -> Floats:
    since_end = _rows_since(condition != TRUE)
    length = np.where(since_end == since_end, since_end, np.arange(1.0, condition.size + 1))
    return null_unless(np.minimum(length, limit), condition != UNKNOWN)


def _bars_since_max(x: Floats, window: int) -> Floats:
    from backtest.expressions.moments import rows_since_max

    return rows_since_max(x, window, min_samples(window))


def _bars_since_min(x: Floats, window: int) -> Floats:
    return _bars_since_max(-x, window)


# Clock: milliseconds since 1970-01-01 UTC


def _minute_of_day(timestamp: Floats) -> Floats:
    return np.floor(timestamp % DAY_MS / MINUTE_MS)


def _hour(timestamp: Floats) -> Floats:
    return np.floor(_minute_of_day(timestamp) / 60.0)


def _minute(timestamp: Floats) -> Floats:
    return _minute_of_day(timestamp) % 60.0


def _weekday(timestamp: Floats) -> Floats:
    return (np.floor(timestamp / DAY_MS) + DAYS_FROM_MONDAY) % 7.0


FUNCTION_ARRAYS: Final[Mapping[str, Callable[..., Values]]] = MappingProxyType(
    {
        "log": _by_polars(lambda x: x.log()),
        "exp": _by_polars(lambda x: x.exp()),
        "sqrt": lambda x: finite(np.sqrt(x)),
        "abs": np.abs,
        "sign": np.sign,
        "clip": _clip,
        "where": _where,
        "min": _smallest,
        "max": _largest,
        "is_null": lambda x: truth(~known(x)),
        "coalesce": _coalesce,
        "lag": _shifted,
        "diff": _diff,
        "last_known": _last_known,
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


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Floats]:
    return lambda left, right: finite(compute(left, right))


def _power(base: Any, exponent: Any) -> Floats:
    """NaN to the power 0, and 1 to the power NaN, stay NaN, as every operator on a null does."""
    if isinstance(base, np.ndarray):
        raised = pl.Series(base) ** (pl.Series(exponent) if isinstance(exponent, np.ndarray) else exponent)
    else:
        raised = base ** pl.Series(exponent)
    power = finite(_as_floats(raised))
    for side in (base, exponent):
        if isinstance(side, np.ndarray):
            power[side != side] = np.nan
    return power


def _comparison(compare: Callable[[Any, Any], Booleans]) -> Callable[[Any, Any], Conditions]:
    def compared(left: Any, right: Any) -> Conditions:
        left, right = (_as_condition(side) if isinstance(side, bool) else side for side in (left, right))
        result = truth(compare(left, right))
        for side in (left, right):
            if isinstance(side, np.ndarray):
                unknown = ~known(side)
                if unknown.any():
                    result[unknown] = UNKNOWN
        return result

    return compared


def _as_condition(value: Any) -> Any:
    return (TRUE if value else FALSE) if isinstance(value, bool) else value


OPERATOR_ARRAYS: Final[Mapping[str, Callable[..., Values]]] = MappingProxyType(
    {
        "+": _arithmetic(np.add),
        "-": _arithmetic(np.subtract),
        "*": _arithmetic(np.multiply),
        "/": _arithmetic(np.true_divide),
        "%": _arithmetic(np.mod),
        "**": _power,
        "neg": lambda x: 0.0 - x,
        "<": _comparison(np.less),
        "<=": _comparison(np.less_equal),
        ">": _comparison(np.greater),
        ">=": _comparison(np.greater_equal),
        "==": _comparison(np.equal),
        "!=": _comparison(np.not_equal),
        "and": lambda left, right: np.minimum(_as_condition(left), _as_condition(right)),
        "or": lambda left, right: np.maximum(_as_condition(left), _as_condition(right)),
        "not": lambda x: TRUE - x,
    }
)
