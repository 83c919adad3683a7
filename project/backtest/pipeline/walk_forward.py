"""The folds and the day scores of a run's walk-forward, as its stages agree on them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.errors import DataError
from backtest.lake.files import read_json
from backtest.pipeline.stage import Plan

if TYPE_CHECKING:
    import polars as pl

    from backtest.evaluation.walk_forward import Fold
    from backtest.spec.compiled import Spec


def run_folds(plan: Plan, spec: Spec) -> list[Fold]:
    """The walk-forward folds of the days that the run's design covers; DataError where they are too few."""
    from backtest.discovery.hypotheses import longest_window_bars
    from backtest.evaluation.walk_forward import walk_forward_folds

    design = read_json(plan.root.design(plan.run_id))
    return walk_forward_folds(
        dt.date.fromisoformat(design["discovery_start"]),
        dt.date.fromisoformat(design["confirmation_end"]),
        spec.evaluation.walk_forward,
        discovery_share=spec.discovery.discovery_share,
        longest_window_bars=longest_window_bars(spec),
    )


def folds_or_reason(plan: Plan, spec: Spec) -> tuple[list[Fold], str]:
    """The folds, or none and why: a run over few days has a discovery and a backtest, and nothing to walk forward through."""
    try:
        return run_folds(plan, spec), ""
    except DataError as fault:
        return [], f"there is no walk-forward: {fault}"


def score_files(plan: Plan) -> list[Path]:
    """The day scores without drift of every tested event type on each of its symbols."""
    tested = read_json(plan.root.design(plan.run_id))["tested"]
    return [
        plan.root.walk_forward_scores(plan.run_id, event_type, symbol)
        for event_type, symbols in tested.items()
        for symbol in symbols
    ]


def event_scores(plan: Plan, event_type: str) -> dict[str, pl.DataFrame]:
    """`drift_free.DRIFT_FREE_SCHEMA` of one event type by symbol: all events together need not fit into memory."""
    from backtest.evaluation.drift_free import DRIFT_FREE_SCHEMA
    from backtest.lake.files import read_parquet

    symbols = read_json(plan.root.design(plan.run_id))["tested"][event_type]
    return {
        symbol: read_parquet(plan.root.walk_forward_scores(plan.run_id, event_type, symbol), DRIFT_FREE_SCHEMA)
        for symbol in symbols
    }
