"""Stage: day scores of every tested event type on each symbol; the first stage that reads returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.window import feature_files, symbol_frame, symbol_window, trading_frame

if TYPE_CHECKING:
    from backtest.spec.loader import Spec


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
    from backtest.spec.loader import load_spec

    own = (plan.root.symbol_events(plan.run_id, symbol), plan.root.states(plan.run_id, symbol))
    pair = _pair(plan, load_spec(plan.spec_root), symbol)
    of_pair = [] if pair is None else feature_files(plan, pair)
    return [*feature_files(plan, symbol), *of_pair, *own, plan.root.design(plan.run_id)]


def _pair(plan: Plan, definitions: Spec, symbol: str) -> str | None:
    """The second leg of the symbol's pair trades, where the run has it."""
    other = definitions.discovery.pair(symbol)
    return other if other in plan.symbols else None


def parameters(plan: Plan, _symbol: str) -> Mapping[str, Json]:
    """The one event type asked for, where not all are."""
    return {"event_type": plan.parameters.get("event_type")}


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import score_event, symbol_market
    from backtest.lake.files import read_json, read_parquet, write_parquet
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design = read_json(root.design(run_id))
    frame, _ = symbol_frame(plan, definitions, symbol)
    other = _pair(plan, definitions, symbol)
    market = symbol_market(
        frame,
        read_parquet(root.states(run_id, symbol)),
        symbol,
        definitions,
        Folds.from_json(design),
        pair=None if other is None else trading_frame(plan, definitions, other),
    )
    events = read_parquet(root.symbol_events(run_id, symbol))
    only = plan.parameters.get("event_type")
    outputs, rows = [], 0
    for event_type in (name for name, symbols in design["tested"].items() if symbol in symbols):
        path = root.scores(run_id, event_type, symbol)
        if only in (None, event_type):
            occurrences = events.filter(pl.col("event_type") == event_type).sort("timestamp")
            scores = score_event(market, event_type, occurrences, definitions)
            write_parquet(path, scores)
            rows += len(scores)
        if path.is_file():
            outputs.append(path)
    return Outcome(outputs=tuple(outputs), summary={"event_types": len(outputs), "rows": rows})


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
