"""Which market states hold at each bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from backtest.expressions.arrays import UNKNOWN
from backtest.expressions.evaluation import Evaluation, as_series

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledState


def evaluate_states(frame: pl.DataFrame, states: Iterable[CompiledState]) -> pl.DataFrame:
    """``timestamp`` and one Boolean column a state id, one row a bar; null where an input is. Row t uses rows ≤ t."""
    evaluation = Evaluation.of_frame(frame)
    holds = {}
    for state in states:
        for state_id, expression in state.values.items():
            values = evaluation.values(expression.program).copy()
            values[: expression.lookback_bars] = UNKNOWN
            holds[state_id] = as_series(values)
    return pl.DataFrame({"timestamp": frame["timestamp"], **holds})
