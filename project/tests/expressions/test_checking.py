"""What the language refuses, how it says so, and that nothing else than ExpressionError ever comes out."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import SpecError
from backtest.expressions import FUNCTIONS, ExpressionError, compile_expression

NAMES = {"close": "number", "volume": "number", "realized_vol_1h": "number", "is_gap": "boolean"}


def fault(text: str, **parameters: float) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, NAMES, parameters=parameters)
    return caught.value


@pytest.mark.parametrize(
    ("text", "pointed", "found", "allowed"),
    [
        ("clse > 1", "clse", "unknown name 'clse'", "Did you mean 'close'?"),
        ("close > Volume", "Volume", "unknown name 'Volume'", "Did you mean 'volume'?"),
        ("close > 1 and true", "true", "unknown name 'true'", "Did you mean 'True'?"),
        ("1 + rolling_men(close, 12)", "rolling_men", "unknown function 'rolling_men'", "Did you mean 'rolling_mean'?"),
        ("qqqq(close)", "qqqq", "unknown function", "zscore"),
        ("shift(close, -1)", "shift", "unknown function", "lag(x, n)"),
        ("close / mean(close)", "mean", "unknown function", "trailing_mean(x, window)"),
        ("bfill(close)", "bfill", "unknown function", "Later bars cannot be read"),
        ("log > 1", "log", "'log' is a function", "log(x)"),
        ("close(1)", "close", "'close' is not a function", "leave out the brackets"),
        ("timestamp > 1", "timestamp", "not a number", "hour()"),
        ("lag(close, -1)", "-1", "n of lag(x, n) is -1", "from 0 to 105120. A negative one would read later bars."),
        ("lag(close, 1 - 3)", "1 - 3", "is -2", "later bars"),
        ("diff(close, 0)", "0", "n of diff(x, n) is 0", "from 1"),
        ("rolling_mean(close, 2.5)", "2.5", "is 2.5", "whole number from 1 to 105120"),
        ("rolling_mean(close, 105121)", "105121", "is 105121", "to 105120"),
        ("rolling_std(close, 1)", "1", "is 1", "from 2"),
        ("rolling_mean(close, volume)", "volume", "changes from bar to bar", "a parameter"),
        ("rolling_mean(close, True)", "True", "needs a number", "where(condition, 1, 0)"),
        ("trailing_quantile(close, 97, 288)", "97", "q of trailing_quantile", "between 0 and 1"),
        ("percentile_rank(close, 10, 11)", "11", "min_count", "from 1 to 10"),
        ("ewm_mean(close, 10513)", "10513", "span", "to 10512"),
        ("lag(close)", "lag(close)", "lag is given 1 argument", "Write lag(x, n)."),
        ("lag(close, 1, 2)", "lag(", "lag is given 3 arguments", "Write lag(x, n)."),
        ("min(close)", "min(", "min is given 1 argument", "min(a, b, ...)"),
        ("hour(close)", "hour(", "hour is given 1 argument", "hour()"),
        ("lag(close, n=1)", "=", "'=' is not part", "arguments are given by position"),
        ("log(**close)", "**", "a value is missing before '**'", "Allowed are"),
        ("lag(*close, 1)", "*", "a value is missing before '*'", "Allowed are"),
        ("close.shift(1)", ".shift", "'.' is not part", "no attributes or methods"),
        ("lambda: close", "lambda", "'lambda' is not part", "no functions of one's own"),
        ("[x for x in close]", "[", "'[' is not part", "lag(x, n)"),
        ("sum(x for x in close)", "for", "'for' is not part", "window function"),
        ("close > 'high'", "'", "is not part", "Text in quotes"),
        ('close > "high"', '"', "is not part", "Text in quotes"),
        ("f'{close}'", "'", "is not part", "Text in quotes"),
        ("(x := 3) > 2", ":=", "':' is not part", "no functions, assignments"),
        ("close if is_gap else 1", "if", "'if' is not part", "where(condition, a, b)"),
        ("close == None", "None", "'None' is not part", "is_null(x)"),
        ("await close", "await", "'await' is not part", "reserved word"),
        ("close[1]", "[", "'[' is not part", "lag(x, n)"),
        ("close & 1", "&", "'&' is not part", "`and`"),
        ("close // 2", "//", "'//' is not part", "Divide with /"),
        ("+close", "+", "leading '+'", "Leave it out"),
        ("close # last", "#", "'#' is not part", "YAML"),
        ("close > 1; volume", ";", "';' is not part", "Allowed are"),
        ("close, volume", "close", "several values", "and"),
        ("()", "()", "brackets are empty", "one value"),
        ("(close > 1)(2)", "close > 1", "cannot be called", "function(argument, ...)"),
        ("12bars > 3", "12bars", "neither a number nor a name", "12, 0.97 or 1e-6"),
        ("0x1F", "0x1F", "neither a number nor a name", "12, 0.97"),
        ("007", "007", "neither a number nor a name", "12, 0.97"),
        ("2j", "2j", "neither a number nor a name", "12, 0.97"),
        ("close +", "", "after '+' a value is missing", "Allowed are"),
        ("close > > 1", "> 1", "a value is missing before '>'", "Allowed are"),
        ("close volume", "volume", "an operator or a comma is missing before 'volume'", "Allowed are"),
        ("(close", "(", "this bracket is not closed", "needs a )"),
        ("close)", ")", "this bracket closes none", "needs a ("),
        ("", "", "the expression is empty", "Allowed are"),
        (" \n ", "", "the expression is empty", "Allowed are"),
        ("close + is_gap", "is_gap", "'+' needs a number, but 'is_gap' is a condition", "where(condition, 1, 0)"),
        ("close and is_gap", "close", "`and` needs a condition", "Compare it"),
        ("not close", "close", "`not` needs a condition", "Compare it"),
        ("-is_gap", "is_gap", "'-' needs a number", "where(condition, 1, 0)"),
        ("is_gap > 0", "is_gap", "'>' needs a number", "where(condition, 1, 0)"),
        ("where(close, 1, 2)", "close", "condition of where", "Compare it"),
        ("where(is_gap, 1, True)", "True", "b of where(condition, a, b) needs a number", "where(condition, 1, 0)"),
        ("rolling_mean(close > 1, 3)", "close > 1", "x of rolling_mean", "where(condition, 1, 0)"),
        ("count_true(close, 3)", "close", "condition of count_true", "Compare it"),
        ("close ** 999999999", "999999999", "exponent is too large", "-100 and 100"),
        ("9 ** 9 ** 9", "9 ** 9", "exponent is too large", "-100 and 100"),
        ("1e300 * 1e300", "1e300 * 1e300", "is not a number", "finite"),
        ("1 / 0", "1 / 0", "is not a number", "finite"),
        ("(-8) ** 0.5", "(-8)", "is not a number", "finite"),
        ("1e999", "1e999", "too large", "1.7e308"),
        ("9" * 1500, "9", "too large", "1.7e308"),
        ("close\x00", "\x00", "character U+0000", "Allowed are"),
        ("close\u00a0+ 1", "\u00a0", "U+00A0 (NO-BREAK SPACE)", "Allowed are"),
        ("сlose + 1", "с", "CYRILLIC SMALL LETTER ES", "Allowed are"),
        ("close\ud800", "\ud800", "U+D800", "Allowed are"),
        ("close × 2", "×", "MULTIPLICATION SIGN", "Allowed are"),
    ],
)
def test_a_fault_points_at_the_character_and_says_what_is_allowed(
    text: str, pointed: str, found: str, allowed: str
) -> None:
    caught = fault(text)
    assert found in caught.found
    assert allowed in caught.allowed
    assert text[caught.offset :].startswith(pointed)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 900 + "close" + ")" * 900,
        "-" * 1990 + "close",
        "not " * 480 + "is_gap",
        "close" + "+1" * 900,
        "**".join(["close"] * 280),
    ],
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested too deeply" in fault(text).found


def test_long_text_is_refused() -> None:
    assert "2,002 characters" in fault("1" + " " * 2_001).found


def test_the_message_shows_the_line_a_caret_and_the_advice() -> None:
    text = "close > 1\n  and rolling_men(volume, 12) > 3\n"
    assert str(fault(text)) == (
        "unknown function 'rolling_men' (line 2, character 7):\n"
        "      and rolling_men(volume, 12) > 3\n"
        "          ^\n"
        "Did you mean 'rolling_mean'? rolling_mean(x, window): Arithmetic mean, in the unit of x, "
        "over the last `window` bars, this one included."
    )


def test_a_long_line_is_shown_around_the_caret() -> None:
    caught = fault("close + " * 20 + "clse" + " + close" * 20)
    _, line, caret, _ = str(caught).split("\n")
    assert line[caret.index("^") :].startswith("clse + close")
    assert line.strip().startswith("…")
    assert line.endswith("…")
    assert len(line) < 120


def test_an_expression_may_run_over_several_lines() -> None:
    folded = compile_expression("\n  close > 1\n\tand volume\r\n > 2\n", NAMES)
    assert folded.program == compile_expression("close > 1 and volume > 2", NAMES).program


def test_a_fault_is_a_spec_error_and_survives_a_process_boundary() -> None:
    caught = fault("clse")
    assert isinstance(caught, SpecError)
    assert str(pickle.loads(pickle.dumps(caught))) == str(caught)  # noqa: S301


def test_a_compiled_expression_survives_a_process_boundary() -> None:
    compiled = compile_expression("zscore(close, 12) > 2", NAMES)
    assert pickle.loads(pickle.dumps(compiled)) == compiled  # noqa: S301
    assert compiled.kind == "boolean"


def test_parameters_stand_for_numbers_and_windows() -> None:
    compiled = compile_expression(
        "zscore(close, hours * 12) > threshold", NAMES, parameters={"hours": 2, "threshold": 2.5}
    )
    assert compiled.program == compile_expression("zscore(close, 24) > 2.5", NAMES).program
    assert "'close' is both a column and a parameter" in fault("close > 1", close=3).found
    assert "Did you mean 'threshold'?" in fault("close > treshold", threshold=3).allowed


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 10**400, "3"])
def test_a_parameter_that_is_no_finite_number_is_refused(value: object) -> None:
    assert "the parameter 'threshold' is" in fault("close > threshold", threshold=value).found  # type: ignore[arg-type]


def test_equal_parts_are_computed_once() -> None:
    program = compile_expression("rolling_std(close, 12) / trailing_median(rolling_std(close, 12), 288)", NAMES).program
    assert len(program.steps) == 4


def test_importing_and_checking_load_neither_polars_nor_numpy() -> None:
    code = (
        "import sys; from backtest.expressions import compile_expression;"
        "compile_expression('zscore(x, 9) > 2', ['x']);"
        "sys.exit(any(name in sys.modules for name in ('polars', 'numpy')))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode
        == 0
    )


def test_every_function_states_what_it_means_and_how_far_it_reaches() -> None:
    for name, function in FUNCTIONS.items():
        assert function.signature.startswith(f"{name}(")
        assert function.meaning.endswith(".")
        assert function.reach.rule
    assert FUNCTIONS["percentile_rank"].signature == "percentile_rank(x, window[, min_count])"
    assert FUNCTIONS["rolling_mean"].reach.rule == "window - 1"
    assert FUNCTIONS["ewm_mean"].reach.rule == "10 * span"
    assert FUNCTIONS["log"].reach.rule == "0"


VALID = [
    "crosses_above(realized_vol_1h / trailing_median(realized_vol_1h, 288), 3.0)",
    "where(is_gap, lag(close, 3), -close ** 2) > max(volume, 1, 2) and not is_gap",
    "1 < zscore(log(close), 12) <= 3 or hour() == 8 % 3",
]


def only_expression_errors(text: str) -> None:
    message = ""
    try:
        compile_expression(text, NAMES)
    except ExpressionError as refused:
        message = str(refused)
    assert message.count("\n") in (0, 3)


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(st.text(max_size=40), st.text(alphabet="close()+-*/,.<>=!_ 0123456789e\n notandrlg", max_size=60))
)
def test_any_text_gives_an_expression_or_an_expression_error(text: str) -> None:
    only_expression_errors(text)


@settings(max_examples=300, deadline=None)
@given(
    text=st.sampled_from(VALID),
    start=st.integers(0, 80),
    length=st.integers(0, 12),
    inserted=st.one_of(
        st.text(max_size=3), st.sampled_from(["(", ")", "lag(", " not ", "**", "-", ",", "1e", "True", "hour", "="])
    ),
)
def test_a_damaged_expression_gives_an_expression_or_an_expression_error(
    text: str, start: int, length: int, inserted: str
) -> None:
    only_expression_errors(text[:start] + inserted + text[start + length :])
