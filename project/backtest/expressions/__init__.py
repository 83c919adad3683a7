"""The causal expression language: parse, check, compile to Polars. Importing it loads neither Polars nor NumPy."""

from backtest.expressions.compiled import CompiledExpression, compile_expression
from backtest.expressions.faults import ExpressionError
from backtest.expressions.registry import BARS_PER_DAY, FUNCTIONS, MAX_WINDOW_BARS, OPERATORS, Kind, min_samples

__all__ = [
    "BARS_PER_DAY",
    "FUNCTIONS",
    "MAX_WINDOW_BARS",
    "OPERATORS",
    "CompiledExpression",
    "ExpressionError",
    "Kind",
    "compile_expression",
    "min_samples",
]
