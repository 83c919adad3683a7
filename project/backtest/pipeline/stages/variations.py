"""Stage: day scores of the candidates' trades with something changed, on each symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.run_tables import candidate_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.window import feature_files, symbol_frame, symbol_window, window_parameters


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, _symbol: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash(
        "columns",
        "calendars",
        "features",
        "states",
        "events",
        "templates",
        "contracts",
        "costs",
        "discovery",
        "evaluation",
    )


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    own = (plan.root.symbol_events(plan.run_id, symbol), plan.root.states(plan.run_id, symbol))
    return [*feature_files(plan, symbol), *own, plan.root.design(plan.run_id), *candidate_files(plan)]


def parameters(plan: Plan, partition: str) -> Mapping[str, Json]:
    return window_parameters(plan, partition)


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import symbol_market
    from backtest.evaluation.robustness import questioned
    from backtest.evaluation.variations import VARIED_SCHEMA, by_event, score_variations
    from backtest.lake.files import read_json, read_parquet, write_parquet
    from backtest.pipeline.run_tables import read_candidates
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    chosen = questioned(read_candidates(plan), definitions.evaluation.robustness.max_candidates)
    design = read_json(root.design(run_id))
    events = read_parquet(root.symbol_events(run_id, symbol))
    found = [pl.DataFrame(schema=VARIED_SCHEMA)]
    groups = [(event, rows) for event, rows in by_event(chosen, symbol) if symbol in design["tested"][event]]
    if groups:
        frame, _ = symbol_frame(plan, definitions, symbol)
        market = symbol_market(
            frame, read_parquet(root.states(run_id, symbol)), symbol, definitions, Folds.from_json(design)
        )
        for event_type, rows in groups:
            occurrences = events.filter(pl.col("event_type") == event_type).sort("timestamp")
            found.append(score_variations(market, frame, occurrences, rows, definitions))
    path = root.variation_scores(run_id, symbol)
    scores = pl.concat(found).sort(pl.all())
    write_parquet(path, scores)
    return Outcome(outputs=(path,), summary={"events": len(groups), "rows": len(scores)})


STAGE = Stage(
    name="variations",
    title="Changing trades a little",
    reads=("candidates",),
    writes=("variations",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
