"""Carries out a program's steps on the columns of a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from backtest.errors import DataError
from backtest.expressions.implementations import IMPLEMENTATIONS
from backtest.expressions.program import Call, Column, Constant, Program
from backtest.expressions.registry import Kind
from backtest.expressions.series import OPERATOR_SERIES, Operand, finite

RESULT_NAME: Final = "value"
DTYPES: Final[Mapping[Kind, type[pl.DataType]]] = {"number": pl.Float64, "boolean": pl.Boolean}


def as_polars(program: Program, kind: Kind) -> pl.Expr:
    """The program as one Polars expression over its input columns."""
    names = sorted(program.inputs)

    def compute(inputs: Sequence[pl.Series]) -> pl.Series:
        return _run(program, dict(zip(names, inputs, strict=False)), inputs[0].len())

    # Without inputs the number of rows still has to come from somewhere.
    columns = [pl.col(name) for name in names] or [pl.int_range(pl.len())]
    return pl.map_batches(columns, compute, return_dtype=DTYPES[kind]).alias(RESULT_NAME)


def evaluate(program: Program, frame: pl.DataFrame, kind: Kind, lookback_bars: int) -> pl.Series:
    """The program's value at each row, null at the first `lookback_bars` rows."""
    missing = sorted(program.inputs - set(frame.columns))
    if missing:
        raise DataError(
            f"the frame lacks the columns {', '.join(missing)}, which an expression reads; "
            f"it has {', '.join(frame.columns)}."
        )
    value = _run(program, {name: frame[name] for name in program.inputs}, frame.height)
    n_blank = min(lookback_bars, frame.height)
    warm_up = pl.repeat(None, n_blank, dtype=DTYPES[kind], eager=True)
    return pl.concat([warm_up, value.slice(n_blank)], rechunk=True).alias(RESULT_NAME)


def _run(program: Program, columns: Mapping[str, pl.Series], height: int) -> pl.Series:
    """Each step once, in order; a step's series is let go after its last use."""
    last_use = {
        operand: position
        for position, step in enumerate(program.steps)
        if isinstance(step, Call)
        for operand in step.operands
    }
    values: dict[int, Operand] = {}
    for position, step in enumerate(program.steps):
        match step:
            case Column():
                values[position] = column_values(step, columns[step.name])
            case Constant():
                values[position] = step.value
            case Call():
                values[position] = called(step, [values[operand] for operand in step.operands], height)
                for operand in step.operands:
                    if last_use[operand] == position:
                        values.pop(operand, None)
    return broadcast(values[len(program.steps) - 1], height).alias(RESULT_NAME)


def called(step: Call, operands: list[Operand], height: int) -> pl.Series:
    if step.name in OPERATOR_SERIES:
        if not any(isinstance(operand, pl.Series) for operand in operands):
            operands[0] = broadcast(operands[0], height)
        return OPERATOR_SERIES[step.name](*operands)
    return IMPLEMENTATIONS[step.name](*(broadcast(operand, height) for operand in operands), *step.literals)


def broadcast(value: Operand, height: int) -> pl.Series:
    if isinstance(value, pl.Series):
        return value
    dtype = pl.Boolean if isinstance(value, bool) else pl.Float64
    return pl.repeat(value, height, dtype=dtype, eager=True)


def column_values(column: Column, values: pl.Series) -> pl.Series:
    """An input in the language's types; DataError where it has none of them."""
    dtype = values.dtype
    if column.is_clock:
        if not isinstance(dtype, pl.Datetime):
            raise DataError(
                f"the column {column.name!r} holds {dtype}; the functions of the clock read a UTC timestamp."
            )
        return values if dtype.time_zone in (None, "UTC") else values.dt.convert_time_zone("UTC")
    if column.kind == "boolean":
        if dtype not in (pl.Boolean, pl.Null):
            raise DataError(f"the column {column.name!r} holds {dtype}; the expression takes it for a condition.")
        return values.cast(pl.Boolean)
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise DataError(f"the column {column.name!r} holds {dtype}; the expression takes it for a number.")
    return finite(values.cast(pl.Float64))
