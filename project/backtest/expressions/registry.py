"""Every function of the language, declared as data: arguments, result, how far back it reaches, meaning.

What a function computes stands under the same name in `implementations.py`; the reference page is generated from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["number", "boolean"]
Takes = Literal["number", "boolean", "either", "count", "fraction"]

BARS_PER_DAY: Final = 288
MAX_WINDOW_BARS: Final = 365 * BARS_PER_DAY
MAX_DAYS: Final = 365
EWM_CUTOFF_SPANS: Final = 10
"""Weight beyond ten spans: (1 − 2/(span+1))^(10·span) < e⁻²⁰ ≈ 2e-9 of the newest one's."""


def min_samples(window: int) -> int:
    """Non-null values a window of `window` bars must hold for its result not to be null.

    Below 10 bars all of them; from 10 bars on a tenth (rounded down) may be missing, so that one missing bar does not
    blank a month. Functions whose meaning states another number (`percentile_rank` with `min_count`, `same_time_mean`,
    `same_time_median`, `last_known`) use that.
    """
    return window if window < 10 else window - window // 10


@dataclass(frozen=True)
class Argument:
    """One argument: an expression (number, boolean, either) or a literal fixed when compiling (count, fraction)."""

    name: str
    takes: Takes
    minimum: int = 0
    maximum: int = MAX_WINDOW_BARS
    optional: bool = False
    repeated: bool = False
    not_above: str | None = None

    @property
    def is_literal(self) -> bool:
        return self.takes in ("count", "fraction")


@dataclass(frozen=True)
class Reach:
    """Bars before the current one that a function reads: ``times * <argument> + plus``."""

    argument: str | None = None
    times: int = 1
    plus: int = 0

    def bars(self, literals: Mapping[str, int | float]) -> int:
        return self.plus if self.argument is None else self.times * int(literals[self.argument]) + self.plus

    @property
    def rule(self) -> str:
        """The same in words, for the reference page."""
        if self.argument is None:
            return str(self.plus)
        product = self.argument if self.times == 1 else f"{self.times} * {self.argument}"
        return f"{product} - {-self.plus}" if self.plus < 0 else product


@dataclass(frozen=True)
class Function:
    """A function of the language; `result` "same" means the kind of its `either` arguments."""

    name: str
    arguments: tuple[Argument, ...]
    result: Literal["number", "boolean", "same"]
    reach: Reach
    meaning: str
    reads_clock: bool = False

    @property
    def signature(self) -> str:
        """``name(x, window[, min_count])``; `...` after an argument that may be repeated."""
        shown = ""
        for argument in self.arguments:
            comma = ", " if shown else ""
            shown += f"[{comma}{argument.name}]" if argument.optional else f"{comma}{argument.name}"
            shown += ", ..." if argument.repeated else ""
        return f"{self.name}({shown})"

    @property
    def fewest(self) -> int:
        return sum(not argument.optional for argument in self.arguments)

    @property
    def most(self) -> int | None:
        """Largest number of arguments; None where the last may be repeated."""
        return None if any(argument.repeated for argument in self.arguments) else len(self.arguments)

    def argument(self, position: int) -> Argument:
        return self.arguments[min(position, len(self.arguments) - 1)]


_NOW: Final = Reach()
_WINDOW: Final = Reach("window", plus=-1)
_BEFORE: Final = Reach("window")
_X: Final = Argument("x", "number")
_ANY: Final = Argument("x", "either")
_CONDITION: Final = Argument("condition", "boolean")


def _count(name: str, minimum: int = 1, maximum: int = MAX_WINDOW_BARS) -> Argument:
    return Argument(name, "count", minimum, maximum)


def _elementwise() -> list[Function]:
    a, b = Argument("a", "either"), Argument("b", "either")
    many = Argument("b", "number", repeated=True)
    return [
        Function("log", (_X,), "number", _NOW, "Natural logarithm; null where x <= 0."),
        Function("exp", (_X,), "number", _NOW, "e to the power x; null where that overflows."),
        Function("sqrt", (_X,), "number", _NOW, "Square root; null where x < 0."),
        Function("abs", (_X,), "number", _NOW, "Absolute value, in the unit of x."),
        Function("sign", (_X,), "number", _NOW, "-1, 0 or 1."),
        Function(
            "clip",
            (_X, Argument("lo", "number"), Argument("hi", "number")),
            "number",
            _NOW,
            "x held between lo and hi (hi wins where lo > hi); null where any of the three is null.",
        ),
        Function(
            "where",
            (_CONDITION, a, b),
            "same",
            _NOW,
            "a where the condition is true, b where it is false, null where it is null.",
        ),
        Function(
            "min", (Argument("a", "number"), many), "number", _NOW, "Smallest of the arguments; null where any is null."
        ),
        Function(
            "max", (Argument("a", "number"), many), "number", _NOW, "Largest of the arguments; null where any is null."
        ),
        Function("is_null", (_ANY,), "boolean", _NOW, "Whether x is null at this bar; never null itself."),
        Function(
            "coalesce",
            (a, Argument("b", "either", repeated=True)),
            "same",
            _NOW,
            "The first argument that is not null.",
        ),
    ]


def _shifts() -> list[Function]:
    return [
        Function("lag", (_ANY, _count("n", 0)), "same", Reach("n"), "x as it was n bars ago."),
        Function(
            "diff",
            (_X, _count("n")),
            "number",
            Reach("n"),
            "x minus x n bars ago, in the unit of x; null where either is null.",
        ),
        Function(
            "last_known",
            (_ANY, _count("limit")),
            "same",
            Reach("limit"),
            "x, or where it is null its last value at most limit bars old.",
        ),
    ]


_STATISTICS: Final = {
    "mean": (1, "Arithmetic mean, in the unit of x"),
    "std": (2, "Sample standard deviation (n - 1), in the unit of x; exactly 0 for a constant"),
    "sum": (1, "Sum of the non-null values, in the unit of x"),
    "min": (1, "Smallest value"),
    "max": (1, "Largest value"),
    "median": (1, "Median (mean of the middle two for an even count)"),
}


def _rolling_and_trailing() -> list[Function]:
    declared = []
    now, before = "over the last `window` bars, this one included.", "over the `window` bars before this one."
    for statistic, (smallest, meaning) in _STATISTICS.items():
        arguments = (_X, _count("window", smallest))
        declared.append(Function(f"rolling_{statistic}", arguments, "number", _WINDOW, f"{meaning}, {now}"))
        declared.append(Function(f"trailing_{statistic}", arguments, "number", _BEFORE, f"{meaning}, {before}"))
    with_q = (_X, Argument("q", "fraction"), _count("window"))
    meaning = "Quantile q (0 to 1, linear between the two nearest values)"
    return [
        *declared,
        Function("rolling_quantile", with_q, "number", _WINDOW, f"{meaning}, {now}"),
        Function("trailing_quantile", with_q, "number", _BEFORE, f"{meaning}, {before}"),
    ]


def _relations() -> list[Function]:
    y = Argument("y", "number")
    min_count = Argument("min_count", "count", 1, optional=True, not_above="window")
    return [
        Function(
            "rolling_correlation",
            (_X, y, _count("window", 3)),
            "number",
            _WINDOW,
            "Pearson correlation (-1 to 1) over the bars of the window where both are known; "
            "null where either is constant.",
        ),
        Function(
            "rolling_beta",
            (y, _X, _count("window", 3)),
            "number",
            _WINDOW,
            "Least-squares slope of y on x over the bars of the window where both are known; null where x is constant.",
        ),
        Function(
            "zscore",
            (_X, _count("window", 2)),
            "number",
            _BEFORE,
            "x minus its mean over the `window` bars before, in their sample standard deviations; "
            "null where those are constant.",
        ),
        Function(
            "percentile_rank",
            (_X, _count("window", 2), min_count),
            "number",
            _WINDOW,
            "Share (0 to 1] of the non-null values in the window, this bar included, that are <= x, ties counted by "
            "their average rank: (count below + (count equal + 1) / 2) / count. Null where x is null. "
            "With min_count, that many non-null values are enough (for series known only at some bars).",
        ),
        Function(
            "ewm_mean",
            (_X, _count("span", 2, MAX_WINDOW_BARS // EWM_CUTOFF_SPANS)),
            "number",
            Reach("span", times=EWM_CUTOFF_SPANS),
            "Exponentially weighted mean, weights (1 - 2/(span+1))^age over the non-null bars, normalised, "
            "cut off at 10 spans.",
        ),
        Function(
            "ewm_std",
            (_X, _count("span", 2, MAX_WINDOW_BARS // EWM_CUTOFF_SPANS)),
            "number",
            Reach("span", times=EWM_CUTOFF_SPANS),
            "Exponentially weighted standard deviation, bias-corrected, same weights and cut-off as ewm_mean.",
        ),
        Function(
            "same_time_mean",
            (_X, _count("days", 1, MAX_DAYS)),
            "number",
            Reach("days", times=BARS_PER_DAY),
            "Mean of x at this time of day over the previous `days` days, this one excluded; "
            "needs half of them non-null.",
        ),
        Function(
            "same_time_median",
            (_X, _count("days", 1, MAX_DAYS)),
            "number",
            Reach("days", times=BARS_PER_DAY),
            "Median of x at this time of day over the previous `days` days, this one excluded; "
            "needs half of them non-null.",
        ),
    ]


def _conditions() -> list[Function]:
    a, b = Argument("a", "number"), Argument("b", "number")
    return [
        Function(
            "crosses_above",
            (a, b),
            "boolean",
            Reach(plus=1),
            "True where a <= b at the previous bar and a > b now; false where any of the four is null.",
        ),
        Function(
            "crosses_below",
            (a, b),
            "boolean",
            Reach(plus=1),
            "True where a >= b at the previous bar and a < b now; false where any of the four is null.",
        ),
        Function(
            "bars_since",
            (_CONDITION, _count("limit", 0)),
            "number",
            Reach("limit"),
            "Bars since the condition was last true (0 at that bar); null beyond limit. "
            "A null condition counts as not true.",
        ),
        Function(
            "count_true",
            (_CONDITION, _count("window")),
            "number",
            _WINDOW,
            "Bars of the window, this one included, at which the condition is true.",
        ),
        Function(
            "consecutive_true",
            (_CONDITION, _count("limit")),
            "number",
            Reach("limit", plus=-1),
            "Length in bars of the current run of true, at most limit; 0 where false, "
            "null where the condition is null. A null ends the run.",
        ),
        Function(
            "bars_since_max",
            (_X, _count("window")),
            "number",
            _WINDOW,
            "Bars since the largest value of the window, this bar included; the latest one where several are equal.",
        ),
        Function(
            "bars_since_min",
            (_X, _count("window")),
            "number",
            _WINDOW,
            "Bars since the smallest value of the window, this bar included; the latest one where several are equal.",
        ),
    ]


def _clock() -> list[Function]:
    meanings = {
        "hour": "Hour of the bar's open, UTC, 0 to 23.",
        "minute": "Minute of the hour of the bar's open, UTC, 0 to 59.",
        "minute_of_day": "Minutes from midnight UTC to the bar's open, 0 to 1439.",
        "weekday": "Day of the week of the bar's open, UTC, Monday 0 to Sunday 6.",
    }
    return [Function(name, (), "number", _NOW, meaning, reads_clock=True) for name, meaning in meanings.items()]


def _distributions() -> list[Function]:
    return [
        Function(
            "normal_probability", (_X,), "number", _NOW, "Probability (0 to 1) that a standard normal variable is <= x."
        ),
        Function(
            "normal_quantile",
            (Argument("p", "number"),),
            "number",
            _NOW,
            "The value that a standard normal variable does not exceed with probability p; null unless 0 < p < 1.",
        ),
    ]


def _visits_and_runs() -> list[Function]:
    depth = Argument("depth", "number")
    meaning = (
        "over the `window` bars before this one: a visit is a bar inside that depth (in the unit of x, as of this bar) "
        "whose bar before is not."
    )
    return [
        Function(
            "visits_to_max",
            (_X, depth, _count("window")),
            "number",
            _BEFORE,
            f"Separate visits of x to within `depth` of its largest value, {meaning}",
        ),
        Function(
            "visits_to_min",
            (_X, depth, _count("window")),
            "number",
            _BEFORE,
            f"Separate visits of x to within `depth` of its smallest value, {meaning}",
        ),
        Function(
            "known_run",
            (_CONDITION, _count("limit")),
            "number",
            Reach("limit", plus=-1),
            "Length of the current run of true among the known values of the last limit bars; bars at which the "
            "condition is null are passed over (for series known only at some bars). 0 where false, null where null.",
        ),
    ]


def _estimators() -> list[Function]:
    prices = tuple(Argument(name, "number") for name in ("open", "high", "low", "close"))
    return [
        Function(
            "edge_spread",
            (*prices, _count("window", 3)),
            "number",
            _BEFORE,
            "Bid-ask spread as a fraction of the price, estimated from the last `window` bars by EDGE (Ardia, Guidotti "
            "and Kroencke 2024, Journal of Financial Economics 161).",
        )
    ]


def _by_name(*groups: list[Function]) -> Mapping[str, Function]:
    declared = [function for group in groups for function in group]
    names = [function.name for function in declared]
    if len(set(names)) < len(names):
        raise ValueError(f"functions declared twice: {sorted({name for name in names if names.count(name) > 1})}")
    return MappingProxyType({function.name: function for function in declared})


FUNCTIONS: Final[Mapping[str, Function]] = _by_name(
    _elementwise(),
    _shifts(),
    _rolling_and_trailing(),
    _relations(),
    _conditions(),
    _clock(),
    _distributions(),
    _visits_and_runs(),
    _estimators(),
)

OPERATORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "+": "Sum; null where either side is null or the result overflows (so for all arithmetic).",
        "-": "Difference, or the negative of one number.",
        "*": "Product.",
        "/": "Quotient; null where the divisor is 0.",
        "%": "Remainder with the sign of the divisor; null where the divisor is 0.",
        "**": "Power; null where it is not a real number.",
        "<": "Comparison; null where either side is null. May be chained: a < b < c.",
        "<=": "Comparison, as <.",
        ">": "Comparison, as <.",
        ">=": "Comparison, as <.",
        "==": "Equality of two numbers, as <.",
        "!=": "Inequality of two numbers, as <.",
        "and": "True where both are true, false where either is false, else null.",
        "or": "True where either is true, false where both are false, else null.",
        "not": "True where false, false where true, null where null.",
    }
)
