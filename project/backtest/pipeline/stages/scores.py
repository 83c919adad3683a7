"""Stage: day scores of every tested event type on each symbol; the first stage that reads returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.markets import market_files, run_market
from backtest.pipeline.run_tables import score_files, write_day_scores
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.window import symbol_window


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash(
        "columns",
        "calendars",
        "features",
        "states",
        "events",
        "templates",
        "filters",
        "contracts",
        "costs",
        "discovery",
    )


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    return market_files(plan, symbol)


def parameters(plan: Plan, _symbol: str) -> Mapping[str, Json]:
    """The one event type asked for, where not all are."""
    return {"event_type": plan.parameters.get("event_type")}


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import event_scores
    from backtest.lake.files import read_json, read_parquet
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design = read_json(root.design(run_id))
    cut = Folds.from_json(design).first_confirmation_day
    market = run_market(plan, definitions, symbol)
    events = read_parquet(root.symbol_events(run_id, symbol))
    only = plan.parameters.get("event_type")
    outputs: list[Path] = []
    event_types, rows = 0, 0
    for event_type in (name for name, symbols in design["tested"].items() if symbol in symbols):
        files = score_files(plan, {event_type: [symbol]})
        if only in (None, event_type):
            occurrences = events.filter(pl.col("event_type") == event_type).sort("timestamp")
            scores = event_scores(market, event_type, occurrences, definitions, cut)
            write_day_scores(plan, event_type, symbol, scores)
            rows += len(scores.days)
        if all(path.is_file() for path in files):
            outputs += files
            event_types += 1
    return Outcome(outputs=tuple(outputs), summary={"event_types": event_types, "rows": rows})


STAGE = Stage(
    name="scores",
    title="Scoring days",
    reads=("hypotheses",),
    writes=("scores",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
