"""How far the quantity of a condition lies beyond its threshold, as an expression derived from the condition."""

from __future__ import annotations

import ast

from backtest.expressions.syntax import parse

_ABOVE = (ast.Gt, ast.GtE)
_BELOW = (ast.Lt, ast.LtE)


def excess(condition: str) -> str | None:
    """Text of ``(quantity - threshold) / abs(threshold)`` of the first comparison that must hold; None without one
    or with the threshold 0.

    The first comparison is that of ``a and b and …``, or the condition itself: ``crosses_above(x, y)``, ``x > y`` and
    their mirrors. Positive where the condition holds. Raises ExpressionError where `condition` is no expression.
    """
    node = parse(condition)
    while isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        node = node.values[0]
    sides = _sides(node)
    if sides is None or (isinstance(sides[2], ast.Constant) and sides[2].value == 0):
        return None
    larger, smaller, threshold = (ast.unparse(side) for side in sides)
    return f"(({larger}) - ({smaller})) / abs({threshold})"


def _sides(node: ast.expr) -> tuple[ast.expr, ast.expr, ast.expr] | None:
    """The larger side, the smaller one and the threshold, which stands second."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 2:
        if node.func.id == "crosses_above":
            return node.args[0], node.args[1], node.args[1]
        if node.func.id == "crosses_below":
            return node.args[1], node.args[0], node.args[1]
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        if isinstance(node.ops[0], _ABOVE):
            return node.left, node.comparators[0], node.comparators[0]
        if isinstance(node.ops[0], _BELOW):
            return node.comparators[0], node.left, node.comparators[0]
    return None
