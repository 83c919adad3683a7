"""Which market states hold at each bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from backtest.spec.loader import CompiledState


def evaluate_states(frame: pl.DataFrame, states: Iterable[CompiledState]) -> pl.DataFrame:
    """``timestamp`` and one Boolean column a state id, one row a bar; null where an input is. Row t uses rows ≤ t."""
    return frame.select(
        "timestamp",
        *(
            pl.when(pl.int_range(pl.len()) >= expression.lookback_bars).then(expression.polars()).alias(state_id)
            for state in states
            for state_id, expression in state.values.items()
        ),
    )
