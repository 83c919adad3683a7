"""Stage: day scores of every tested event type on each symbol without any drift taken off, over the whole window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.markets import run_market
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.stages import scores as scores_stage


def parameters(_plan: Plan, _symbol: str) -> Mapping[str, Json]:
    return {}


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    return scores_stage.inputs(plan, symbol)


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.evaluation.drift_free import drift_free_scores, market_bar_returns, whole_window
    from backtest.lake.files import read_json, read_parquet, write_parquet
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design = read_json(root.design(run_id))
    tested = [name for name, symbols in design["tested"].items() if symbol in symbols]
    market = whole_window(run_market(plan, definitions, symbol), Folds.from_json(design))
    events = read_parquet(root.symbol_events(run_id, symbol)).sort("timestamp")
    outputs, rows = [root.daily_bar_returns(run_id, symbol)], 0
    write_parquet(outputs[0], market_bar_returns(market), is_passing=True)
    for name in tested:
        scores = drift_free_scores(market, name, events.filter(pl.col("event_type") == name), definitions)
        outputs.append(root.walk_forward_scores(run_id, name, symbol))
        write_parquet(outputs[-1], scores, is_passing=True)
        rows += len(scores)
    return Outcome(outputs=tuple(outputs), summary={"event_types": len(tested), "rows": rows})


STAGE = Stage(
    name="walk_forward_scores",
    title="Scoring days without drift",
    reads=("hypotheses",),
    writes=("walk_forward_scores",),
    run=run,
    partitions=scores_stage.partitions,
    inputs=inputs,
    parameters=parameters,
    spec=scores_stage.spec,
)
