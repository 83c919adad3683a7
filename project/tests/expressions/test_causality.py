"""Random expressions: cutting off the future changes no bit, the look-back suffices, nothing is NaN or infinite."""

from __future__ import annotations

import datetime as dt
import math
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import DataError
from backtest.expressions import FUNCTIONS, OPERATORS, CompiledExpression, compile_expression
from backtest.expressions.registry import Argument, Function

N_ROWS = 340
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
KINDS = {"x": "number", "y": "number", "is_open": "boolean"}
ARITHMETIC = ["+", "-", "*", "/", "%", "**"]
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]

assert {*ARITHMETIC, *COMPARISONS, "and", "or", "not"} == set(OPERATORS)


def call(draw: st.DrawFn, function: Function, kind: str, depth: int) -> str:
    words: list[str] = []
    arguments: list[Argument] = [a for a in function.arguments if not a.optional or draw(st.booleans())]
    for argument in arguments:
        if argument.takes == "fraction":
            words.append(str(draw(st.sampled_from([0, 0.25, 0.97, 1]))))
        elif argument.takes == "count":
            most = int(words[-1]) if argument.not_above else 1 if argument.name == "days" else argument.minimum + 14
            words.append(str(draw(st.integers(argument.minimum, most))))
        else:
            words.append(expression(draw, kind if argument.takes == "either" else argument.takes, depth - 1))
    return f"{function.name}({', '.join(words)})"


def expression(draw: st.DrawFn, kind: str, depth: int) -> str:
    """Text of a random expression of a kind."""
    if depth <= 0:
        return draw(st.sampled_from(["x", "y", "2.5", "x"] if kind == "number" else ["is_open", "True", "x > y"]))
    form = draw(st.sampled_from(["function", "function", "operator"]))
    if form == "function":
        fitting = [function for function in FUNCTIONS.values() if function.result in (kind, "same")]
        return call(draw, draw(st.sampled_from(fitting)), kind, depth)
    if kind == "number":
        left, right = expression(draw, "number", depth - 1), expression(draw, "number", depth - 1)
        # With a column on either side nothing is a constant, which could be one that is refused.
        return f"(({left}) {draw(st.sampled_from(ARITHMETIC))} (({right}) + 0 * x))"
    if draw(st.booleans()):
        left, right = expression(draw, "number", depth - 1), expression(draw, "number", depth - 1)
        return f"(({left}) {draw(st.sampled_from(COMPARISONS))} ({right}))"
    left, right = expression(draw, "boolean", depth - 1), expression(draw, "boolean", depth - 1)
    return draw(st.sampled_from([f"(({left}) and ({right}))", f"(({left}) or ({right}))", f"(not ({left}))"]))


@st.composite
def expressions(draw: st.DrawFn) -> CompiledExpression:
    text = expression(draw, draw(st.sampled_from(["number", "boolean"])), draw(st.integers(1, 3)))
    return compile_expression(text, KINDS)


def frame(seed: int, wild: bool = False) -> pl.DataFrame:
    chance = random.Random(seed)
    extremes = [1e308, -1e308, 1e-308, math.inf, -math.inf, math.nan, 0.0, -0.0]

    def number() -> float | None:
        if chance.random() < 0.04:
            return None
        if wild and chance.random() < 0.2:
            return chance.choice(extremes)
        return chance.choice([chance.gauss(0, 1), chance.gauss(100, 1), float(chance.randint(-2, 2))])

    return pl.DataFrame(
        {
            "timestamp": [START + dt.timedelta(minutes=5 * bar) for bar in range(N_ROWS)],
            "x": pl.Series([number() for _ in range(N_ROWS)], dtype=pl.Float64),
            "y": pl.Series([number() for _ in range(N_ROWS)], dtype=pl.Float64),
            "is_open": pl.Series([chance.choice([True, True, False, None]) for _ in range(N_ROWS)], dtype=pl.Boolean),
        }
    )


def bits(values: pl.Series) -> list[float | bool | None]:
    return values.to_list()


@settings(max_examples=120, deadline=None)
@given(compiled=expressions(), seed=st.integers(0, 50), cut=st.integers(0, N_ROWS))
def test_cutting_off_the_future_changes_no_bit_before_the_cut(
    compiled: CompiledExpression, seed: int, cut: int
) -> None:
    rows = frame(seed)
    whole = rows.select(compiled.polars())["value"]
    part = rows.head(cut).select(compiled.polars())["value"]
    assert bits(part) == bits(whole.head(cut)), compiled.text


@settings(max_examples=120, deadline=None)
@given(compiled=expressions(), seed=st.integers(0, 50), row=st.integers(0, N_ROWS - 1))
def test_a_row_depends_on_its_look_back_only(compiled: CompiledExpression, seed: int, row: int) -> None:
    rows = frame(seed)
    first = max(0, row - compiled.lookback_bars)
    garbage = rows.head(first).with_columns(
        (pl.col("x") * 1e15 + 3).alias("x"), pl.lit(None, pl.Float64).alias("y"), (~pl.col("is_open")).alias("is_open")
    )
    changed = pl.concat([garbage, rows.slice(first)])
    before, after = (some.select(compiled.polars())["value"][row] for some in (rows, changed))
    assert before == after, compiled.text


@settings(max_examples=80, deadline=None)
@given(compiled=expressions(), seed=st.integers(0, 50))
def test_no_result_is_nan_or_infinite(compiled: CompiledExpression, seed: int) -> None:
    values = frame(seed, wild=True).select(compiled.polars())["value"]
    assert values.dtype == (pl.Float64 if compiled.kind == "number" else pl.Boolean)
    if compiled.kind == "number":
        assert all(value is None or math.isfinite(value) for value in values), compiled.text


@settings(max_examples=40, deadline=None)
@given(compiled=expressions(), seed=st.integers(0, 50))
def test_evaluate_blanks_the_warm_up_and_nothing_else(compiled: CompiledExpression, seed: int) -> None:
    rows = frame(seed)
    blanked, whole = compiled.evaluate(rows), rows.select(compiled.polars())["value"]
    assert blanked.head(compiled.lookback_bars).null_count() == min(compiled.lookback_bars, N_ROWS)
    assert bits(blanked.slice(compiled.lookback_bars)) == bits(whole.slice(compiled.lookback_bars))
    assert blanked.dtype == whole.dtype


@pytest.mark.parametrize(
    ("text", "lookback_bars", "inputs"),
    [
        ("x", 0, {"x"}),
        ("lag(x, 3)", 3, {"x"}),
        ("rolling_mean(x, 12)", 11, {"x"}),
        ("trailing_quantile(x, .97, 288)", 288, {"x"}),
        ("zscore(x, 288)", 288, {"x"}),
        ("ewm_std(x, 12)", 120, {"x"}),
        ("same_time_mean(x, 30)", 30 * 288, {"x"}),
        ("rolling_std(diff(log(x), 1), 12)", 12, {"x"}),
        ("crosses_above(rolling_mean(x, 12), trailing_max(y, 288))", 289, {"x", "y"}),
        ("where(is_open, lag(x, 5), lag(y, 7))", 7, {"x", "y", "is_open"}),
        ("lag(x, 2) + lag(lag(x, 3), 4) > 0 and hour() < 8", 7, {"x", "timestamp"}),
        ("consecutive_true(x > y, 6) + bars_since(is_open, 6)", 6, {"x", "y", "is_open"}),
        ("rolling_mean(x, hours * 12)", 23, {"x"}),
    ],
)
def test_look_back_adds_up_in_nested_windows_and_is_the_longest_of_branches(
    text: str, lookback_bars: int, inputs: set[str]
) -> None:
    compiled = compile_expression(text, KINDS, parameters={"hours": 2})
    assert compiled.lookback_bars == lookback_bars
    assert compiled.inputs == inputs


def test_frames_of_no_rows_give_no_rows() -> None:
    for name, function in FUNCTIONS.items():
        words = {"either": "x", "number": "x", "boolean": "is_open", "count": "3", "fraction": "0.5"}
        text = f"{name}({', '.join(words[argument.takes] for argument in function.arguments)})"
        assert compile_expression(text, KINDS).evaluate(frame(0).head(0)).len() == 0


def test_whole_number_columns_are_read_as_numbers() -> None:
    assert compile_expression("x / 2", ["x"]).evaluate(pl.DataFrame({"x": [1, 2]})).to_list() == [0.5, 1.0]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="lacks the columns y, which an expression reads; it has x"):
        compile_expression("x > y", ["x", "y"]).evaluate(pl.DataFrame({"x": [1.0]}))


@pytest.mark.parametrize("text", ["x > 0", "is_open", "hour() > 1"])
def test_a_column_of_text_is_refused(text: str) -> None:
    rows = pl.DataFrame({"x": ["a"], "is_open": ["a"], "timestamp": ["a"]})
    with pytest.raises(DataError, match="holds String"):
        compile_expression(text, KINDS).evaluate(rows)
