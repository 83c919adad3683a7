"""From syntax tree to program: every name, kind, number of arguments and literal is checked."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from backtest.errors import did_you_mean
from backtest.expressions.faults import ExpressionError
from backtest.expressions.program import TIMESTAMP, Builder, Call, Column, Constant, Program
from backtest.expressions.registry import FUNCTIONS, Argument, Function, Kind
from backtest.expressions.syntax import offset_of, source_of

MAX_EXPONENT: Final = 100
MAX_LISTED_NAMES: Final = 12

_ARITHMETIC: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Pow: "**",
}
_COMPARISONS: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_WHOLE_COLUMN: Final = "It would need the whole column, later bars included;"
_ELSEWHERE: Final = {
    "shift": "The value n bars ago is lag(x, n).",
    "lead": "Later bars cannot be read.",
    "mean": f"{_WHOLE_COLUMN} use rolling_mean(x, window) or trailing_mean(x, window).",
    "avg": f"{_WHOLE_COLUMN} use rolling_mean(x, window) or trailing_mean(x, window).",
    "std": f"{_WHOLE_COLUMN} use rolling_std(x, window) or trailing_std(x, window).",
    "sum": f"{_WHOLE_COLUMN} use rolling_sum(x, window).",
    "median": f"{_WHOLE_COLUMN} use rolling_median(x, window) or trailing_median(x, window).",
    "quantile": f"{_WHOLE_COLUMN} use trailing_quantile(x, q, window).",
    "rank": f"{_WHOLE_COLUMN} use percentile_rank(x, window).",
    "ema": "The exponentially weighted mean is ewm_mean(x, span).",
    "sma": "The moving average is rolling_mean(x, window).",
    "corr": "The correlation is rolling_correlation(x, y, window).",
    "ffill": "The last known value is last_known(x, limit).",
    "bfill": "Later bars cannot be read; the last known value is last_known(x, limit).",
    "fillna": "Replace nulls with coalesce(x, 0).",
    "isnull": "Test for a missing value with is_null(x).",
    "ifelse": "Choose between two values with where(condition, a, b).",
    "count": "The bars at which a condition holds are count_true(condition, window).",
}
_KIND_NAMES: Final[Mapping[Kind, str]] = {"number": "a number", "boolean": "a condition (true or false)"}


@dataclass(frozen=True)
class Value:
    """A checked part of the expression: its step, kind, look-back and, where it is one, its constant."""

    step: int
    kind: Kind
    lookback_bars: int = 0
    constant: float | None = None


@dataclass
class Checker:
    """Turns one syntax tree into steps; raises ExpressionError at the first fault."""

    text: str
    kinds: Mapping[str, Kind]
    parameters: Mapping[str, float]
    _builder: Builder = field(default_factory=Builder)

    def run(self, tree: ast.expr) -> tuple[Program, Value]:
        value = self._check(tree)
        return self._builder.program(value.step), value

    def _fault(self, node: ast.expr, found: str, allowed: str) -> ExpressionError:
        return ExpressionError(self.text, offset_of(self.text, node), found, allowed)

    def _check(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name():
                return self._name(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.BoolOp():
                return self._boolean(node)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call():
                return self._call(node)
            case ast.Starred():
                raise self._fault(node, "arguments cannot be unpacked", "Write each argument out.")
            case ast.Tuple(elts=[]):
                raise self._fault(node, "these brackets are empty", "An expression is one value.")
            case ast.Tuple():
                raise self._fault(
                    node, "these are several values", "An expression is one value; join conditions with `and`."
                )
            case _:
                raise self._fault(
                    node,
                    f"{source_of(self.text, node)!r} is not part of the language",
                    "Use its operators and functions.",
                )

    # Leaves

    def _literal(self, node: ast.Constant) -> Value:
        if isinstance(node.value, bool):
            return Value(self._builder.add(Constant(node.value)), "boolean")
        if isinstance(node.value, int | float):
            return self._constant(node, node.value)
        raise self._fault(
            node, f"{source_of(self.text, node)!r} is not a number", "Numbers are written like 12, 0.97 or 1e-6."
        )

    def _constant(self, node: ast.expr, value: float) -> Value:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._fault(node, "this number is too large", "Numbers lie between -1.7e308 and 1.7e308.")
        return Value(self._builder.add(Constant(number)), "number", constant=number)

    def _name(self, node: ast.Name) -> Value:
        name = node.id
        if name in self.parameters and (name in self.kinds or name == TIMESTAMP):
            raise self._fault(node, f"{name!r} is both a column and a parameter", "Rename the parameter.")
        if name in self.parameters:
            return self._constant(node, self.parameters[name])
        if name == TIMESTAMP:
            raise self._fault(
                node, "'timestamp' is not a number", "Use hour(), minute(), minute_of_day() or weekday()."
            )
        if name in self.kinds:
            return Value(self._builder.add(Column(name, self.kinds[name])), self.kinds[name])
        if name in FUNCTIONS:
            allowed = f"Call it: {FUNCTIONS[name].signature}."
            raise self._fault(node, f"{name!r} is a function", allowed)
        raise self._fault(node, f"unknown name {name!r}", self._names_for(name))

    def _names_for(self, name: str) -> str:
        known = sorted({*self.kinds, *self.parameters} - {TIMESTAMP})
        near = did_you_mean(name, [*known, "True", "False"]).strip()
        if not known:
            return f"{near} No columns are known here.".strip()
        more = f" and {len(known) - MAX_LISTED_NAMES} more" if len(known) > MAX_LISTED_NAMES else ""
        return f"{near} Names known here: {', '.join(known[:MAX_LISTED_NAMES])}{more}.".strip()

    # Operators

    def _needs(self, node: ast.expr, kind: Kind, whose: str) -> Value:
        value = self._check(node)
        if value.kind != kind:
            advice = (
                "Compare it with something, e.g. x > 0."
                if kind == "boolean"
                else "Turn a condition into a number with where(condition, 1, 0)."
            )
            found = (
                f"{whose} needs {_KIND_NAMES[kind]}, but {source_of(self.text, node)!r} is {_KIND_NAMES[value.kind]}"
            )
            raise self._fault(node, found, advice)
        return value

    def _combined(
        self, name: str, kind: Kind, values: Sequence[Value], literals: tuple[int | float, ...] = ()
    ) -> Value:
        step = self._builder.add(Call(name, tuple(value.step for value in values), literals))
        return Value(step, kind, max((value.lookback_bars for value in values), default=0))

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return self._combined("not", "boolean", [self._needs(node.operand, "boolean", "`not`")])
        if isinstance(node.op, ast.USub):
            value = self._needs(node.operand, "number", "'-'")
            return (
                self._constant(node, -value.constant)
                if value.constant is not None
                else self._combined("neg", "number", [value])
            )
        raise self._fault(node, "a leading '+' is not part of the language", "Leave it out.")

    def _arithmetic(self, node: ast.BinOp) -> Value:
        symbol = _ARITHMETIC.get(type(node.op))
        if symbol is None:
            raise self._fault(
                node, "this operator is not part of the language", f"Use {' '.join(_ARITHMETIC.values())}."
            )
        left = self._needs(node.left, "number", repr(symbol))
        right = self._needs(node.right, "number", repr(symbol))
        if symbol == "**" and right.constant is not None and abs(right.constant) > MAX_EXPONENT:
            raise self._fault(
                node.right, "this exponent is too large", f"Exponents lie between -{MAX_EXPONENT} and {MAX_EXPONENT}."
            )
        if left.constant is not None and right.constant is not None:
            return self._folded(node, symbol, left.constant, right.constant)
        return self._combined(symbol, "number", [left, right])

    def _folded(self, node: ast.BinOp, symbol: str, left: float, right: float) -> Value:
        """The value of an operator on two constants; a fault where it has none."""
        try:
            value = _FOLDED[symbol](left, right)
        except (ZeroDivisionError, OverflowError):
            value = math.nan
        if isinstance(value, complex) or not math.isfinite(value):
            found = f"{source_of(self.text, node)!r} is not a number"
            raise self._fault(node, found, "Constants are computed when the expression is read and have to be finite.")
        return self._constant(node, value)

    def _boolean(self, node: ast.BoolOp) -> Value:
        name = "and" if isinstance(node.op, ast.And) else "or"
        total, *others = [self._needs(part, "boolean", f"`{name}`") for part in node.values]
        for value in others:
            total = self._combined(name, "boolean", [total, value])
        return total

    def _comparison(self, node: ast.Compare) -> Value:
        symbols = [_COMPARISONS.get(type(operator)) for operator in node.ops]
        operands = [node.left, *node.comparators]
        values = []
        for position, operand in enumerate(operands):
            symbol = symbols[max(position - 1, 0)]
            if symbol is None:
                raise self._fault(
                    operand, "this comparison is not part of the language", f"Use {' '.join(_COMPARISONS.values())}."
                )
            values.append(self._needs(operand, "number", repr(symbol)))
        total = None
        for left, symbol, right in zip(values, symbols, values[1:], strict=False):
            link = self._combined(symbol or "", "boolean", [left, right])
            total = link if total is None else self._combined("and", "boolean", [total, link])
        if total is None:
            raise self._fault(node, "nothing is compared", "Write a comparison, e.g. x > 0.")
        return total

    # Functions

    def _call(self, node: ast.Call) -> Value:
        function = self._function(node)
        self._check_arity(node, function)
        values: list[Value] = []
        literals: dict[str, int | float] = {}
        either: Kind | None = None
        for position, part in enumerate(node.args):
            argument = function.argument(position)
            if argument.is_literal:
                literals[argument.name] = self._literal_argument(part, function, argument, literals)
                continue
            value = self._argument(part, function, argument, either)
            either = value.kind if argument.takes == "either" else either
            values.append(value)
        if function.reads_clock:
            values = [Value(self._builder.add(Column(TIMESTAMP, None)), "number")]
        kind: Kind = (either or "number") if function.result == "same" else function.result
        result = self._combined(function.name, kind, values, tuple(literals.values()))
        return Value(result.step, kind, result.lookback_bars + function.reach.bars(literals))

    def _function(self, node: ast.Call) -> Function:
        if not isinstance(node.func, ast.Name):
            raise self._fault(
                node.func, "this cannot be called", "Write function(argument, ...) with a function of the language."
            )
        name = node.func.id
        if name in FUNCTIONS:
            return FUNCTIONS[name]
        if name in self.kinds or name in self.parameters:
            raise self._fault(
                node.func,
                f"{name!r} is not a function",
                "It is a name; leave out the brackets, or put an operator before them.",
            )
        raise self._fault(node.func, f"unknown function {name!r}", _functions_for(name))

    def _check_arity(self, node: ast.Call, function: Function) -> None:
        if node.keywords:
            value = node.keywords[0].value
            raise self._fault(value, f"{function.name} takes its arguments by position", f"Write {function.signature}.")
        n_given = len(node.args)
        if n_given < function.fewest or (function.most is not None and n_given > function.most):
            given = f"{n_given} argument{'' if n_given == 1 else 's'}"
            raise self._fault(
                node, f"{function.name} is given {given}", f"Write {function.signature}. {function.meaning}"
            )

    def _argument(self, node: ast.expr, function: Function, argument: Argument, either: Kind | None) -> Value:
        whose = f"{argument.name} of {function.signature}"
        if argument.takes == "either":
            return self._check(node) if either is None else self._needs(node, either, whose)
        return self._needs(node, "boolean" if argument.takes == "boolean" else "number", whose)

    def _literal_argument(
        self, node: ast.expr, function: Function, argument: Argument, before: Mapping[str, int | float]
    ) -> int | float:
        """A count or fraction fixed when compiling; a fault where it is not one or out of bounds."""
        whose = f"{argument.name} of {function.signature}"
        source = source_of(self.text, node)
        number = self._needs(node, "number", whose).constant
        if number is None:
            raise self._fault(
                node,
                f"{whose} is {source!r}, which changes from bar to bar",
                "Write a number, a parameter or arithmetic of those.",
            )
        if argument.takes == "fraction":
            if not 0 <= number <= 1:
                raise self._fault(node, f"{whose} is {number:g}", "It lies between 0 and 1.")
            return number
        limit = argument.not_above
        most = argument.maximum if limit is None else min(argument.maximum, int(before[limit]))
        if not number.is_integer() or not argument.minimum <= number <= most:
            ahead = " A negative one would read later bars." if number < 0 else ""
            allowed = f"It is a whole number from {argument.minimum} to {most}.{ahead}"
            raise self._fault(node, f"{whose} is {number:g}", allowed)
        return int(number)


def _functions_for(name: str) -> str:
    """The function that is meant, or where none is near all of them."""
    if name.casefold() in _ELSEWHERE:
        return _ELSEWHERE[name.casefold()]
    near = next(iter(difflib.get_close_matches(name.casefold(), FUNCTIONS, n=1)), None)
    if near is not None:
        return f"Did you mean {near!r}? {FUNCTIONS[near].signature}: {FUNCTIONS[near].meaning}"
    return f"Functions: {', '.join(sorted(FUNCTIONS))}."


_FOLDED: Final = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
}


def checked_kinds(names: Collection[str] | Mapping[str, Kind]) -> Mapping[str, Kind]:
    """Each name with its kind: a number unless a mapping says otherwise."""
    if isinstance(names, Mapping):
        return dict(names)
    return dict.fromkeys(names, "number")


def checked_parameters(text: str, parameters: Mapping[str, float | int]) -> Mapping[str, float]:
    """The parameters as finite floats; ExpressionError where one is not a finite number."""
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise ExpressionError(
                text,
                0,
                f"the parameter {name!r} is {value!r}",
                "Parameters are finite numbers; give a condition as an expression.",
            )
    return {name: float(value) for name, value in parameters.items()}


def _is_finite(value: float | int) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
