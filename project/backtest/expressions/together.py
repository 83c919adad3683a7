"""Several expressions computed side by side, parts they share once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from backtest.expressions.compiled import CompiledExpression
from backtest.expressions.evaluation import DTYPES, broadcast, called, column_values
from backtest.expressions.program import Call, Column, Constant, Program
from backtest.expressions.series import Operand

Key = tuple[object, ...]


def together(expressions: Mapping[str, CompiledExpression]) -> pl.Expr:
    """A struct with one field an expression, over one symbol's rows on a full grid; the warm-up is not blanked.

    Equal parts of the expressions are computed once, which their own `polars()` side by side would not do.
    """
    names = sorted(set().union(*(expression.inputs for expression in expressions.values())))

    def compute(inputs: Sequence[pl.Series]) -> pl.Series:
        columns, height = dict(zip(names, inputs, strict=False)), inputs[0].len()
        known: dict[Key, Operand] = {}
        found = [
            broadcast(_result(expression.program, columns, height, known), height).alias(field)
            for field, expression in expressions.items()
        ]
        return pl.DataFrame(found).to_struct("together")

    dtype = pl.Struct({field: DTYPES[expression.kind] for field, expression in expressions.items()})
    columns = [pl.col(name) for name in names] or [pl.int_range(pl.len())]
    return pl.map_batches(columns, compute, return_dtype=dtype)


def _result(program: Program, columns: Mapping[str, pl.Series], height: int, known: dict[Key, Operand]) -> Operand:
    """The program's last step; a step computed before for another program is not computed again."""
    keys: list[Key] = []
    for step in program.steps:
        match step:
            case Column():
                key: Key = ("column", step.name, step.kind)
                if key not in known:
                    known[key] = column_values(step, columns[step.name])
            case Constant():
                key = ("constant", type(step.value), step.value)
                known[key] = step.value
            case Call():
                operands = tuple(keys[operand] for operand in step.operands)
                key = (step.name, operands, step.literals)
                if key not in known:
                    known[key] = called(step, [known[operand] for operand in operands], height)
        keys.append(key)
    return known[keys[-1]]
