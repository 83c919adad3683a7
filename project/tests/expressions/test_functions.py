"""Every function against a slow, obvious twin in plain Python, and hand-computed rows of the important ones."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.expressions import FUNCTIONS, compile_expression, min_samples
from backtest.expressions.implementations import IMPLEMENTATIONS
from backtest.expressions.order_statistics import ROWS_AT_ONCE
from backtest.expressions.registry import Argument, Function

Row = float | bool | None
START = dt.datetime(2024, 2, 28, 22, 15, tzinfo=dt.UTC)


def value(text: str, **columns: Sequence[Row]) -> list[Row]:
    """The expression's rows, warm-up not blanked; columns of truth values are conditions."""
    kinds = {
        name: "boolean" if any(isinstance(row, bool) for row in rows) else "number" for name, rows in columns.items()
    }
    frame = pl.DataFrame(
        {
            name: pl.Series(rows, dtype=pl.Boolean if kinds[name] == "boolean" else pl.Float64, strict=False)
            for name, rows in columns.items()
        }
    )
    return frame.select(compile_expression(text, kinds).polars())["value"].to_list()


# Twins: lists in, list out


def each(compute: Callable[..., Row]) -> Callable[..., list[Row]]:
    """A function of one bar's values; null where any is null or the result is none."""

    def twin(*columns: list[Row]) -> list[Row]:
        rows = []
        for values in zip(*columns, strict=True):
            try:
                row = None if None in values else compute(*values)
            except (ValueError, OverflowError):
                row = None
            rows.append(row)
        return rows

    return twin


def window(rows: list[Row], t: int, length: int) -> list[float]:
    return [row for row in rows[max(0, t - length + 1) : t + 1] if row is not None]


def rolling(compute: Callable[..., Row]) -> Callable[..., list[Row]]:
    def twin(rows: list[Row], *literals: Any) -> list[Row]:
        *others, length = literals
        fewest = length if length < 10 else math.ceil(length * 0.9)
        found: list[Row] = []
        for t in range(len(rows)):
            known = window(rows, t, length)
            found.append(compute(known, *others) if len(known) >= fewest else None)
        return found

    return twin


def trailing(compute: Callable[..., Row]) -> Callable[..., list[Row]]:
    return lambda rows, *literals: [None, *rolling(compute)(rows, *literals)][: len(rows)]


def quantile(known: list[float], q: float) -> float:
    ranked = sorted(known)
    place = q * (len(ranked) - 1)
    below = ranked[math.floor(place)]
    return below + (ranked[math.ceil(place)] - below) * (place - math.floor(place))


def paired(compute: Callable[[list[float], list[float]], Row]) -> Callable[..., list[Row]]:
    def twin(a: list[Row], b: list[Row], length: int) -> list[Row]:
        both = [(x, y) if x is not None and y is not None else None for x, y in zip(a, b, strict=True)]
        return rolling(lambda known: compute([x for x, _ in known], [y for _, y in known]))(both, length)

    return twin


def correlation(a: list[float], b: list[float]) -> Row:
    return None if len(set(a)) == 1 or len(set(b)) == 1 else statistics.correlation(a, b)


def beta(y: list[float], x: list[float]) -> Row:
    return None if len(set(x)) == 1 else statistics.linear_regression(x, y).slope


def zscore(rows: list[Row], length: int) -> list[Row]:
    means, deviations = trailing(statistics.fmean)(rows, length), trailing(statistics.stdev)(rows, length)
    return [None if x is None or not s else (x - m) / s for x, m, s in zip(rows, means, deviations, strict=True)]


def percentile_rank(rows: list[Row], length: int, min_count: int | None = None) -> list[Row]:
    found: list[Row] = []
    for t, x in enumerate(rows):
        known = window(rows, t, length)
        if x is None or len(known) < (min_samples(length) if min_count is None else min_count):
            found.append(None)
        else:
            found.append((sum(k < x for k in known) + (sum(k == x for k in known) + 1) / 2) / len(known))
    return found


def ewm(is_std: bool) -> Callable[..., list[Row]]:
    def twin(rows: list[Row], span: int) -> list[Row]:
        length, found = 10 * span + 1, []
        for t in range(len(rows)):
            aged = [(age, rows[t - age]) for age in range(min(length, t + 1)) if rows[t - age] is not None]
            if len(aged) < min_samples(length):
                found.append(None)
                continue
            weights = [(1 - 2 / (span + 1)) ** age for age, _ in aged]
            total = math.fsum(weights)
            mean = math.fsum(w * x for w, (_, x) in zip(weights, aged, strict=True)) / total
            spread = math.fsum(w * (x - mean) ** 2 for w, (_, x) in zip(weights, aged, strict=True))
            unbiased = total - math.fsum(w * w for w in weights) / total
            found.append(math.sqrt(spread / unbiased) if is_std else mean)
        return found

    return twin


def same_time(compute: Callable[[list[float]], float]) -> Callable[..., list[Row]]:
    def twin(rows: list[Row], days: int) -> list[Row]:
        found: list[Row] = []
        for t in range(len(rows)):
            back = [rows[t - 288 * day] for day in range(1, days + 1) if t >= 288 * day]
            known = [x for x in back if x is not None]
            found.append(compute(known) if len(known) * 2 >= days else None)
        return found

    return twin


def crosses(was: Callable[[float, float], bool], now: Callable[[float, float], bool]) -> Callable[..., list[Row]]:
    def twin(a: list[Row], b: list[Row]) -> list[Row]:
        return [
            t > 0 and None not in (a[t - 1], b[t - 1], a[t], b[t]) and was(a[t - 1], b[t - 1]) and now(a[t], b[t])
            for t in range(len(a))
        ]

    return twin


def bars_since(condition: list[Row], limit: int) -> list[Row]:
    return [
        next((age for age in range(min(limit, t) + 1) if condition[t - age] is True), None)
        for t in range(len(condition))
    ]


def consecutive_true(condition: list[Row], limit: int) -> list[Row]:
    found: list[Row] = []
    for t, now in enumerate(condition):
        length = 0
        while length < limit and t >= length and condition[t - length] is True:
            length += 1
        found.append(None if now is None else length)
    return found


def bars_since_extreme(choose: Callable[[list[float]], float]) -> Callable[..., list[Row]]:
    def twin(rows: list[Row], length: int) -> list[Row]:
        extremes = rolling(choose)(rows, length)
        return [
            None if extreme is None else next(age for age in range(length) if rows[t - age] == extreme)
            for t, extreme in enumerate(extremes)
        ]

    return twin


def last_known(rows: list[Row], limit: int) -> list[Row]:
    ages = range(limit + 1)
    return [
        next((rows[t - age] for age in ages if t >= age and rows[t - age] is not None), None) for t in range(len(rows))
    ]


def lag(rows: list[Row], n: int) -> list[Row]:
    return [rows[t - n] if t >= n else None for t in range(len(rows))]


def visits(sign: int) -> Callable[..., list[Row]]:
    def twin(rows: list[Row], depths: list[Row], length: int) -> list[Row]:
        found: list[Row] = []
        for t, depth in enumerate(depths):
            before = [None if x is None else sign * x for x in rows[max(0, t - length) : t]]
            known = [x for x in before if x is not None]
            if depth is None or len(known) < min_samples(length):
                found.append(None)
                continue
            inside = [x is not None and x >= max(known) - depth for x in before]
            found.append(sum(now and not then for then, now in zip([False, *inside], inside, strict=False)))
        return found

    return twin


def known_run(condition: list[Row], limit: int) -> list[Row]:
    found: list[Row] = []
    for t, now in enumerate(condition):
        known = [row for row in condition[max(0, t - limit + 1) : t + 1] if row is not None]
        length = next((age for age, row in enumerate(reversed(known)) if not row), len(known))
        found.append(None if now is None else length)
    return found


def edge(bars: list[tuple[float, ...]]) -> Row:
    """EDGE as the paper writes it, from pairs of (open, high, low, close) logs of a bar and of the bar before."""
    n = len(bars)
    rows = []
    for o, h, l, _c, _o1, h1, l1, c1 in bars:  # noqa: E741
        m, m1 = (h + l) / 2, (h1 + l1) / 2
        tau = h != l or l != c1
        rows.append((tau, m - o, o - m1, m - c1, c1 - m1, o - c1, (o != h) + (o != l), (c1 != h1) + (c1 != l1)))
    p_t, p_o, p_c = (
        sum(row[0] * weight for row, weight in zip(rows, weights, strict=True)) / n
        for weights in ([1] * n, [row[6] for row in rows], [row[7] for row in rows])
    )
    if 0 in (p_t, p_o, p_c):
        return None
    centre = [math.fsum(row[i] for row in rows) / n / p_t for i in range(6)]
    x1, x2 = [], []
    for row in rows:
        d1, d3, d5 = (row[i] - row[0] * centre[i] for i in (1, 3, 5))
        x1.append(-4 / p_o * d1 * row[2] - 4 / p_c * d3 * row[4])
        x2.append(-4 / p_o * d1 * row[5] - 4 / p_c * d5 * row[4])
    e1, e2 = statistics.fmean(x1), statistics.fmean(x2)
    v1, v2 = statistics.pvariance(x1), statistics.pvariance(x2)
    return math.sqrt(abs((v2 * e1 + v1 * e2) / (v1 + v2) if v1 + v2 > 0 else (e1 + e2) / 2))


def edge_spread(*arguments: Any) -> list[Row]:
    *columns, length = arguments
    logs = [[math.log(p) if p is not None and p > 0 else None for p in column] for column in columns]
    bars = list(zip(*logs, strict=True))
    pairs = [None, *((*now, *then) for then, now in itertools.pairwise(bars))]
    complete = [None if pair is None or None in (*pair[:3], *pair[5:]) else pair for pair in pairs]
    return rolling(edge)(complete, length)


STATISTICS: dict[str, Callable[..., Row]] = {
    "mean": statistics.fmean,
    "std": statistics.stdev,
    "sum": math.fsum,
    "min": min,
    "max": max,
    "median": statistics.median,
    "quantile": quantile,
}
TWINS: dict[str, Callable[..., list[Row]]] = {
    "log": each(math.log),
    "exp": each(math.exp),
    "sqrt": each(math.sqrt),
    "abs": each(abs),
    "sign": each(lambda x: (x > 0) - (x < 0)),
    "clip": each(lambda x, lo, hi: min(max(x, lo), hi)),
    "where": lambda c, a, b: [None if c[t] is None else a[t] if c[t] else b[t] for t in range(len(c))],
    "min": each(min),
    "max": each(max),
    "is_null": lambda x: [row is None for row in x],
    "coalesce": lambda *xs: [next((x for x in row if x is not None), None) for row in zip(*xs, strict=True)],
    "lag": lag,
    "diff": lambda x, n: each(lambda a, b: a - b)(x, lag(x, n)),
    "last_known": last_known,
    **{f"rolling_{name}": rolling(compute) for name, compute in STATISTICS.items()},
    **{f"trailing_{name}": trailing(compute) for name, compute in STATISTICS.items()},
    "rolling_correlation": paired(correlation),
    "rolling_beta": paired(beta),
    "zscore": zscore,
    "percentile_rank": percentile_rank,
    "ewm_mean": ewm(is_std=False),
    "ewm_std": ewm(is_std=True),
    "same_time_mean": same_time(statistics.fmean),
    "same_time_median": same_time(statistics.median),
    "crosses_above": crosses(lambda a, b: a <= b, lambda a, b: a > b),
    "crosses_below": crosses(lambda a, b: a >= b, lambda a, b: a < b),
    "bars_since": bars_since,
    "count_true": rolling(sum),
    "consecutive_true": consecutive_true,
    "bars_since_max": bars_since_extreme(max),
    "bars_since_min": bars_since_extreme(min),
    "normal_probability": each(statistics.NormalDist().cdf),
    "normal_quantile": each(lambda p: statistics.NormalDist().inv_cdf(p) if 0 < p < 1 else None),
    "visits_to_max": visits(1),
    "visits_to_min": visits(-1),
    "known_run": known_run,
    "edge_spread": edge_spread,
    "hour": each(lambda time: time.hour),
    "minute": each(lambda time: time.minute),
    "minute_of_day": each(lambda time: time.hour * 60 + time.minute),
    "weekday": each(lambda time: time.weekday()),
}


def assert_same(found: list[Row], expected: list[Row]) -> None:
    assert len(found) == len(expected)
    for t, (got, want) in enumerate(zip(found, expected, strict=True)):
        if got is None or want is None or isinstance(want, bool):
            assert got is want, f"row {t}: {got} instead of {want}"
        else:
            assert got == pytest.approx(want, rel=1e-9, abs=1e-9), f"row {t}"


def random_numbers(chance: random.Random, n: int) -> list[Row]:
    """Rounded so that ties occur, some missing."""
    scale, missing = chance.choice([1.0, 3.0, 100.0]), chance.choice([0.0, 0.03, 0.3])
    return [None if chance.random() < missing else round(chance.gauss(0.5, 1.0) * scale, 1) + 0.0 for _ in range(n)]


def random_conditions(chance: random.Random, n: int) -> list[Row]:
    missing = chance.choice([0.0, 0.03, 0.3])
    return [None if chance.random() < missing else chance.random() < 0.6 for _ in range(n)]


def random_literal(chance: random.Random, argument: Argument, before: list[int | float]) -> int | float:
    if argument.takes == "fraction":
        return chance.choice([0.0, 0.05, 0.5, 0.97, 1.0])
    most = {"days": 3, "span": 5}.get(argument.name, 24)
    return chance.randint(argument.minimum, int(before[-1]) if argument.not_above else most)


def random_call(chance: random.Random, function: Function) -> tuple[str, dict[str, list[Row]], list[int | float]]:
    """Text of a call, its columns and its literals."""
    n = 1000 if function.name.startswith("same_time") else 80
    either = chance.choice([random_numbers, random_conditions])
    make = {"number": random_numbers, "boolean": random_conditions, "either": either}
    arguments = [a for a in function.arguments if not a.optional or chance.random() < 0.5]
    arguments += [a for a in arguments if a.repeated and chance.random() < 0.5]
    columns: dict[str, list[Row]] = {}
    literals: list[int | float] = []
    words = []
    for position, argument in enumerate(arguments):
        if argument.is_literal:
            literals.append(random_literal(chance, argument, literals))
            words.append(repr(literals[-1]))
        else:
            columns[f"c{position}"] = make[argument.takes](chance, n)
            words.append(f"c{position}")
    return f"{function.name}({', '.join(words)})", columns, literals


def test_every_declared_function_has_an_implementation_and_a_twin() -> None:
    assert set(FUNCTIONS) == set(IMPLEMENTATIONS) == set(TWINS)


@pytest.mark.parametrize("name", sorted(name for name, function in FUNCTIONS.items() if not function.reads_clock))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_function_gives_what_its_slow_twin_gives(name: str, seed: int) -> None:
    text, columns, literals = random_call(random.Random(seed), FUNCTIONS[name])
    assert_same(value(text, **columns), TWINS[name](*columns.values(), *literals))


@pytest.mark.parametrize("name", sorted(name for name, function in FUNCTIONS.items() if function.reads_clock))
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", None])
def test_the_clock_reads_the_utc_open_of_the_bar(name: str, zone: str | None) -> None:
    times = [START + dt.timedelta(minutes=5 * bar) for bar in range(600)]
    stamps = (
        pl.Series(times).dt.replace_time_zone(None) if zone is None else pl.Series(times).dt.convert_time_zone(zone)
    )
    compiled = compile_expression(f"{name}()", [])
    assert compiled.inputs == {"timestamp"}
    assert compiled.evaluate(pl.DataFrame({"timestamp": stamps})).to_list() == TWINS[name](times)


# Hand-computed rows


def test_lag_and_diff_reach_backwards() -> None:
    assert value("lag(x, 2)", x=[1.0, 2.0, 4.0, 8.0]) == [None, None, 1.0, 2.0]
    assert value("diff(x, 1)", x=[1.0, None, 4.0, 9.0]) == [None, None, None, 5.0]
    assert value("lag(c, 1)", c=[True, None, False]) == [None, True, None]


def test_rolling_windows_include_the_current_bar_and_trailing_ones_do_not() -> None:
    x = [1.0, 2.0, 6.0, 3.0]
    assert value("rolling_mean(x, 2)", x=x) == [None, 1.5, 4.0, 4.5]
    assert value("trailing_mean(x, 2)", x=x) == [None, None, 1.5, 4.0]
    assert value("rolling_max(x, 2)", x=x) == [None, 2.0, 6.0, 6.0]
    assert value("trailing_max(x, 2)", x=x) == [None, None, 2.0, 6.0]


def test_trailing_quantile_interpolates_between_values_before_the_current_bar() -> None:
    x = [0.0, 10.0, 20.0, 30.0, 1000.0, 40.0]
    assert value("trailing_quantile(x, 0.5, 4)", x=x) == [None, None, None, None, 15.0, 25.0]


def test_zscore_compares_with_the_bars_before() -> None:
    assert value("zscore(x, 3)", x=[1.0, 2.0, 3.0, 5.0, 3.0]) == [
        None,
        None,
        None,
        3.0,
        pytest.approx(-1 / 3 / (7 / 3) ** 0.5),
    ]


def test_percentile_rank_gives_tied_values_their_average_rank() -> None:
    assert value("percentile_rank(x, 4)", x=[1.0, 2.0, 2.0, 2.0, 9.0, 0.0]) == [None, None, None, 0.75, 1.0, 0.25]


def test_percentile_rank_with_min_count_ranks_a_sparse_series_among_its_own_stamps() -> None:
    funding = [1.0, None, None, 3.0, None, None, 2.0]
    assert value("percentile_rank(x, 7, 3)", x=funding) == [None] * 6 + [pytest.approx(2 / 3)]
    assert value("percentile_rank(x, 7)", x=funding) == [None] * 7


def test_crossing_is_the_bar_after_which_the_side_has_changed() -> None:
    x = [1.0, 3.0, 4.0, 3.0, 2.0, None, 5.0]
    assert value("crosses_above(x, 3)", x=x) == [False, False, True, False, False, False, False]
    assert value("crosses_below(x, 3)", x=x) == [False, False, False, False, True, False, False]


def test_bars_since_counts_from_the_last_true_bar_up_to_its_limit() -> None:
    c = [False, True, False, None, False, False, True]
    assert value("bars_since(c, 3)", c=c) == [None, 0, 1, 2, 3, None, 0]


def test_consecutive_true_is_capped_and_ended_by_a_gap() -> None:
    c = [True, True, True, True, None, True, False]
    assert value("consecutive_true(c, 3)", c=c) == [1, 2, 3, 3, None, 1, 0]


def test_bars_since_max_takes_the_latest_of_equal_values() -> None:
    x = [5.0, 5.0, 1.0, 2.0, 0.0]
    assert value("bars_since_max(x, 3)", x=x) == [None, None, 1, 2, 1]
    assert value("bars_since_min(x, 3)", x=x) == [None, None, 0, 1, 0]


def test_last_known_fills_at_most_limit_bars() -> None:
    assert value("last_known(x, 2)", x=[None, 1.0, None, None, None, 2.0]) == [None, 1.0, 1.0, 1.0, None, 2.0]


def test_same_time_mean_excludes_today_and_needs_half_of_the_days() -> None:
    day = lambda level: [level] * 288  # noqa: E731
    rows = value("same_time_mean(x, 2)", x=day(1.0) + day(3.0) + day(None) + day(None) + day(100.0))
    assert [rows[288 * d + 5] for d in range(5)] == [None, 1.0, 2.0, 3.0, None]


def test_operators_follow_python_and_give_null_where_there_is_no_real_number() -> None:
    assert value("x / y", x=[1.0, 1.0, 0.0, None], y=[2.0, 0.0, 0.0, 1.0]) == [0.5, None, None, None]
    assert value("x % y", x=[5.0, -5.0, 5.5, 1.0], y=[3.0, 3.0, -2.0, 0.0]) == [5 % 3, -5 % 3, 5.5 % -2, None]
    assert value("x ** y", x=[2.0, -8.0, 0.0, None, 1e200], y=[3.0, 1 / 3, -1.0, 0.0, 2.0]) == [
        8.0,
        None,
        None,
        None,
        None,
    ]
    assert value("-x ** 2 + 2 * x - 1", x=[3.0]) == [-4.0]
    assert value("2 ** x", x=[3.0, 1e9]) == [8.0, None]


def test_comparisons_with_null_are_null_and_chains_hold_link_by_link() -> None:
    assert value("1 < x <= 3", x=[1.0, 2.0, 3.0, 4.0, None]) == [False, True, True, False, None]
    assert value("x == 2", x=[1.0, 2.0, None]) == [False, True, None]
    assert value("x != 2", x=[1.0, 2.0, None]) == [True, False, None]


def test_conditions_combine_with_unknown_as_a_third_value() -> None:
    a, b = [True, True, False, None, None, None], [True, False, None, True, False, None]
    assert value("a and b", a=a, b=b) == [True, False, False, None, False, None]
    assert value("a or b", a=a, b=b) == [True, True, None, True, None, None]
    assert value("not a", a=a) == [False, False, True, None, None, None]


def test_constant_expressions_fill_every_row() -> None:
    assert value("5 * 1", x=[0.0, 1.0]) == [5.0, 5.0]
    assert value("True", x=[0.0, 1.0]) == [True, True]
    assert value("1 < 2 < 3 and not False", x=[0.0, 1.0]) == [True, True]
    assert value("where(x > 0, 1, lag(2, 1))", x=[0.0, 0.0, 1.0]) == [None, 2.0, 1.0]
    assert compile_expression("1", []).evaluate(pl.DataFrame({"x": [1, 2, 3]})).to_list() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("window_bars", "needed"), [(1, 1), (9, 9), (10, 9), (12, 11), (20, 18), (288, 260)])
def test_a_tenth_of_a_window_may_be_missing_from_ten_bars_on(window_bars: int, needed: int) -> None:
    assert min_samples(window_bars) == needed
    for n_missing, is_known in [(window_bars - needed, True), (window_bars - needed + 1, False)]:
        rows = value(f"rolling_sum(x, {window_bars})", x=[None] * n_missing + [1.0] * (window_bars - n_missing))
        assert (rows[-1] is not None) is is_known


# Numerics and references


@pytest.mark.parametrize("outlier", [1e6, 1e15, 1e300, -1e12])
def test_a_constant_after_a_huge_value_has_no_spread_at_all(outlier: float) -> None:
    x = [0.3, outlier, -outlier] + [0.1] * 40
    assert value("rolling_std(x, 12)", x=x)[-20:] == [0.0] * 20
    assert value("rolling_mean(x, 12)", x=x)[-20:] == [0.1] * 20
    assert value("zscore(x, 12)", x=x)[-20:] == [None] * 20
    y = [float(bar % 7) for bar in range(len(x))]
    assert value("rolling_correlation(x, y, 12)", x=x, y=y)[-20:] == [None] * 20
    assert value("rolling_beta(y, x, 12)", x=x, y=y)[-20:] == [None] * 20


def test_rounding_noise_of_a_constant_is_not_a_spread() -> None:
    noisy = [100.0 * (1 + 1e-15 * (bar % 3)) for bar in range(40)]
    assert value("zscore(x, 12)", x=noisy) == [None] * 40
    assert value("rolling_correlation(x, y, 12)", x=noisy, y=[float(bar % 5) for bar in range(40)]) == [None] * 40


def test_beta_and_correlation_hold_far_from_zero() -> None:
    chance = random.Random(1)
    x = [chance.gauss(0, 1) for _ in range(60)]
    y = [2.5 * a + chance.gauss(0, 1) for a in x]
    near, far = value("rolling_beta(y, x, 30)", x=x, y=y), value("rolling_beta(y, x, 30)", x=[a + 1e7 for a in x], y=y)
    assert far[-1] == pytest.approx(near[-1], rel=1e-6)
    far = value("rolling_correlation(x, y, 30)", x=[a + 1e7 for a in x], y=y)
    assert far[-1] == pytest.approx(statistics.correlation(x[-30:], y[-30:]), rel=1e-6)


@pytest.mark.parametrize("span", [2, 12, 30])
def test_ewm_is_pandas_adjusted_ewm_cut_off_where_it_no_longer_matters(span: int) -> None:
    chance = random.Random(span)
    x = [chance.gauss(50, 3) for _ in range(20 * span + 50)]
    reference = pd.Series(x).ewm(span=span, adjust=True)
    assert value(f"ewm_mean(x, {span})", x=x)[10 * span :] == pytest.approx(
        reference.mean()[10 * span :].to_list(), rel=1e-8
    )
    assert value(f"ewm_std(x, {span})", x=x)[10 * span :] == pytest.approx(
        reference.std()[10 * span :].to_list(), rel=1e-7
    )


def test_percentile_rank_is_the_percent_rank_of_pandas() -> None:
    chance = random.Random(3)
    x = [float(chance.randint(0, 20)) for _ in range(300)]
    reference = pd.Series(x).rolling(50).rank(pct=True)[49:].to_list()
    assert value("percentile_rank(x, 50)", x=x)[49:] == pytest.approx(reference, rel=1e-12)


def test_long_windows_of_a_long_series_agree_with_pandas() -> None:
    chance = random.Random(4)
    x, level = [], 60_000.0
    for _ in range(40_000):
        level *= 1 + chance.gauss(0, 0.002)
        x.append(level)
    for length in (7, 288, 9_000):
        reference = pd.Series(x).rolling(length).std()[length - 1 :].to_list()
        assert value(f"rolling_std(x, {length})", x=x)[length - 1 :] == pytest.approx(reference, rel=1e-6)


@pytest.mark.parametrize("length", [50, 20_000])
def test_windows_over_several_parts_of_a_long_series_are_what_polars_makes_of_the_whole(length: int) -> None:
    chance = np.random.default_rng(7)
    x = np.round(chance.normal(size=3 * ROWS_AT_ONCE - 500), 2)
    x[chance.random(x.size) < 0.05] = np.nan
    series = pl.Series(x, nan_to_null=True)
    quantile = series.rolling_quantile(0.5, "linear", length, min_samples=min_samples(length))
    found = IMPLEMENTATIONS["rolling_quantile"](x, 0.5, length)
    np.testing.assert_allclose(found, quantile.to_numpy(), rtol=0, atol=1e-12)
    largest = series.rolling_max(length, min_samples=min_samples(length))
    np.testing.assert_array_equal(IMPLEMENTATIONS["rolling_max"](x, length), largest.to_numpy())
    smallest = series.rolling_min(length, min_samples=min_samples(length))
    np.testing.assert_array_equal(IMPLEMENTATIONS["rolling_min"](x, length), smallest.to_numpy())
    ranks = IMPLEMENTATIONS["percentile_rank"](x, length)
    for row in (length - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 16, 2 * ROWS_AT_ONCE + 9, x.size - 1):
        known = [value for value in x[max(0, row + 1 - length) : row + 1] if value == value]
        if x[row] == x[row] and len(known) >= min_samples(length):
            below, equal = sum(value < x[row] for value in known), known.count(x[row])
            assert ranks[row] == (below + (equal + 1) / 2) / len(known)


def test_visits_to_an_extreme_are_those_of_a_look_at_every_bar_where_nulls_and_ties_are_many() -> None:
    chance = random.Random(5)
    for _ in range(20):
        n, length = 400, chance.choice([1, 2, 5, 30, 200])
        x = [None if chance.random() < 0.2 else float(chance.randrange(6)) for _ in range(n)]
        depth = [None if chance.random() < 0.1 else chance.choice([-1.0, 0.0, 1.0, 2.5, 9.0]) for _ in range(n)]
        assert value(f"visits_to_max(x, d, {length})", x=x, d=depth) == visits(1)(x, depth, length)
