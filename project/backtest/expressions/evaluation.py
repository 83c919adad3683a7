"""Carries out programs' steps on the columns of a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from backtest.errors import DataError
from backtest.expressions.arrays import OPERATOR_ARRAYS, TRUE, UNKNOWN, Floats, Operand, Values, finite, truth
from backtest.expressions.implementations import IMPLEMENTATIONS
from backtest.expressions.program import Call, Column, Constant, Meaning, Program
from backtest.expressions.registry import Kind

RESULT_NAME: Final = "value"
DTYPES: Final[Mapping[Kind, type[pl.DataType]]] = {"number": pl.Float64, "boolean": pl.Boolean}


class Evaluation:
    """Expressions over the same rows: one symbol's, on a full grid, oldest first.

    Columns are converted once, and windows that several expressions read are computed once.
    """

    def __init__(self, columns: Callable[[str], pl.Series], height: int) -> None:
        self._column = columns
        self.height = height
        self._columns: dict[Column, Values] = {}
        self._defined: dict[str, Floats] = {}
        self._windows: dict[Meaning, Values] = {}

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> Evaluation:
        """Over the rows of a frame; an expression that reads a column it lacks raises DataError."""

        def column(name: str) -> pl.Series:
            if name not in frame.columns:
                raise DataError(
                    f"the frame lacks the column {name}, which an expression reads; it has {', '.join(frame.columns)}."
                )
            return frame[name]

        return cls(column, frame.height)

    def define(self, name: str, values: Floats) -> None:
        """Give expressions evaluated from now on a column of numbers, (height,), NaN for null."""
        self._defined[name] = values

    def values(self, program: Program) -> Values:
        """An expression's value at each row as arrays have it (`backtest.expressions.arrays`), warm-up not blanked."""
        with np.errstate(all="ignore"):
            return self._run(program)

    def series(self, program: Program) -> pl.Series:
        """The same as a series, null where it is unknown."""
        return as_series(self.values(program))

    def _run(self, program: Program) -> Values:
        """Each step once, in order; a step's array is let go after its last use, unless it is a window's."""
        last_use, meanings = program.last_uses, program.meanings
        values: dict[int, Operand] = {}
        for position, step in enumerate(program.steps):
            match step:
                case Column():
                    values[position] = self._values_of(step)
                case Constant():
                    values[position] = step.value
                case Call():
                    found = self._windows.get(meanings[position]) if step.literals else None
                    if found is None:
                        found = self._called(step, [values[operand] for operand in step.operands])
                        if step.literals:
                            self._windows[meanings[position]] = found
                    values[position] = found
                    for operand in step.operands:
                        if last_use[operand] == position:
                            values.pop(operand, None)
        return self._broadcast(values[len(program.steps) - 1])

    def _values_of(self, column: Column) -> Values:
        if column.kind == "number" and column.name in self._defined:
            return self._defined[column.name]
        if column not in self._columns:
            self._columns[column] = column_values(column, self._column(column.name))
        return self._columns[column]

    def _called(self, step: Call, operands: list[Operand]) -> Values:
        if step.name in OPERATOR_ARRAYS:
            if not any(isinstance(operand, np.ndarray) for operand in operands):
                operands[0] = self._broadcast(operands[0])
            return OPERATOR_ARRAYS[step.name](*operands)
        return IMPLEMENTATIONS[step.name](*(self._broadcast(operand) for operand in operands), *step.literals)

    def _broadcast(self, value: Operand) -> Values:
        if isinstance(value, bool):
            return truth(np.full(self.height, value))
        return np.full(self.height, value, dtype=np.float64) if isinstance(value, float | int) else value


def as_polars(program: Program, kind: Kind) -> pl.Expr:
    """The program as one Polars expression over its input columns."""
    names = sorted(program.inputs)

    def compute(inputs: Sequence[pl.Series]) -> pl.Series:
        evaluation = Evaluation(dict(zip(names, inputs, strict=False)).__getitem__, inputs[0].len())
        return evaluation.series(program)

    # Without inputs the number of rows still has to come from somewhere.
    columns = [pl.col(name) for name in names] or [pl.int_range(pl.len())]
    return pl.map_batches(columns, compute, return_dtype=DTYPES[kind]).alias(RESULT_NAME)


def as_series(values: Values) -> pl.Series:
    """An array of numbers or conditions as a series, null where it is unknown."""
    if values.dtype != np.uint8:
        return pl.Series(RESULT_NAME, values, nan_to_null=True)
    holds = pl.Series(RESULT_NAME, values == TRUE)
    unknown = values == UNKNOWN
    if not unknown.any():
        return holds
    return holds.zip_with(pl.Series(~unknown), pl.repeat(None, len(holds), dtype=pl.Boolean, eager=True))


def as_numbers(values: Values) -> Floats:
    """The same as numbers: 1 and 0 for true and false, NaN where it is unknown."""
    if values.dtype != np.uint8:
        return values.astype(np.float64, copy=False)
    numbers = values / 2.0
    numbers[values == UNKNOWN] = np.nan
    return numbers


def column_values(column: Column, values: pl.Series) -> Values:
    """An input in the language's types; DataError where it has none of them."""
    dtype = values.dtype
    if column.is_clock:
        if not isinstance(dtype, pl.Datetime):
            raise DataError(
                f"the column {column.name!r} holds {dtype}; the functions of the clock read a UTC timestamp."
            )
        return values.dt.timestamp("ms").cast(pl.Float64).to_numpy()
    if column.kind == "boolean":
        if dtype not in (pl.Boolean, pl.Null):
            raise DataError(f"the column {column.name!r} holds {dtype}; the expression takes it for a condition.")
        holds = values.cast(pl.Boolean)
        return (holds.cast(pl.UInt8) * 2).fill_null(int(UNKNOWN)).to_numpy()
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise DataError(f"the column {column.name!r} holds {dtype}; the expression takes it for a number.")
    return finite(values.cast(pl.Float64).to_numpy())
