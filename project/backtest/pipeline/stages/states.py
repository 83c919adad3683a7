"""Stage: the market states of each symbol at each bar of the window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backtest.pipeline.stage import Outcome, Plan, Stage
from backtest.pipeline.window import feature_files, symbol_frame, symbol_window, window_parameters


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("columns", "calendars", "features", "states", "events", "discovery")


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    return feature_files(plan, symbol)


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.lake.files import write_parquet
    from backtest.spec.loader import load_spec
    from backtest.states.evaluate import evaluate_states

    definitions = load_spec(plan.spec_root)
    frame, start = symbol_frame(plan, definitions, symbol)
    states = evaluate_states(frame, definitions.states.values()).filter(pl.col("timestamp") >= start)
    write_parquet(plan.root.states(plan.run_id, symbol), states)
    shares = states.select(pl.exclude("timestamp").mean().round(4)).row(0, named=True)
    return Outcome(outputs=(plan.root.states(plan.run_id, symbol),), summary={"bars": len(states), "shares": shares})


STAGE = Stage(
    name="states",
    title="Evaluating states",
    reads=("features",),
    writes=("states",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=window_parameters,
    spec=spec,
)
