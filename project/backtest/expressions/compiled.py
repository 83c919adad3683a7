"""An expression ready to compute: its kind, the columns it reads, how far back it reaches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from backtest.errors import DataError
from backtest.expressions.checking import Checker, checked_kinds, checked_parameters
from backtest.expressions.program import Program
from backtest.expressions.registry import Kind
from backtest.expressions.syntax import parse

if TYPE_CHECKING:
    import polars as pl

_NO_PARAMETERS: Final[Mapping[str, float | int]] = MappingProxyType({})


@dataclass(frozen=True)
class CompiledExpression:
    """A checked expression of the causal language.

    Attributes
    ----------
    text
        The expression as written.
    kind
        "number" (Float64) or "boolean".
    inputs
        Columns it reads; "timestamp" for the functions of the clock.
    lookback_bars
        Bars before the current one that its own windows reach; nested windows add up. Row t depends on rows
        t - lookback_bars to t only, whose positions are bars on a full 5-minute grid.
    program
        The steps `polars` and `evaluate` carry out.
    """

    text: str
    kind: Kind
    inputs: frozenset[str]
    lookback_bars: int
    program: Program = field(repr=False)

    def polars(self) -> pl.Expr:
        """The expression over one symbol's rows on a full grid, in time order; the warm-up is not blanked.

        Null where the language says so; never NaN or infinite. The result is named "value".
        """
        from backtest.expressions.evaluation import as_polars

        return as_polars(self.program, self.kind)

    def evaluate(self, frame: pl.DataFrame) -> pl.Series:
        """The value at each row of `frame`, null at its first `lookback_bars` rows.

        Raises DataError where `frame` lacks an input or holds one of another type.
        """
        import polars as pl

        from backtest.expressions.evaluation import DTYPES, RESULT_NAME, Evaluation

        missing = sorted(self.inputs - set(frame.columns))
        if missing:
            raise DataError(
                f"the frame lacks the columns {', '.join(missing)}, which an expression reads; "
                f"it has {', '.join(frame.columns)}."
            )
        n_blank = min(self.lookback_bars, frame.height)
        warm_up = pl.repeat(None, n_blank, dtype=DTYPES[self.kind], eager=True)
        value = Evaluation.of_frame(frame).series(self.program)
        return pl.concat([warm_up, value.slice(n_blank)], rechunk=True).alias(RESULT_NAME)

    def thresholded(self) -> list[pl.Expr]:
        """The numbers the expression compares with something, as they are before they become true or false."""
        from backtest.expressions.evaluation import as_polars

        return [as_polars(self.program.part(step), "number") for step in self.program.thresholded]


def compile_expression(
    text: str,
    names: Collection[str] | Mapping[str, Kind],
    *,
    parameters: Mapping[str, float | int] = _NO_PARAMETERS,
) -> CompiledExpression:
    """Parse and check `text`.

    Parameters
    ----------
    text
        One expression; may run over several lines.
    names
        Columns and features it may read, all numbers; or a mapping from name to kind.
    parameters
        Named constants, which may stand wherever a number may, windows included.

    Raises
    ------
    ExpressionError
        Where `text` is not an expression of the language; points at the character.
    """
    checker = Checker(text, checked_kinds(names), checked_parameters(text, parameters))
    program, value = checker.run(parse(text))
    return CompiledExpression(text, value.kind, program.inputs, value.lookback_bars, program)
