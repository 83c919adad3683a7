"""Stage: day scores of the candidates' trades with something changed, on each symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.markets import market_files, run_market
from backtest.pipeline.run_tables import candidate_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.stages import scores
from backtest.pipeline.window import symbol_frame, symbol_window, window_parameters


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, symbol: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("evaluation") + scores.spec(plan, symbol)


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    return [*market_files(plan, symbol), *candidate_files(plan)]


def parameters(plan: Plan, partition: str) -> Mapping[str, Json]:
    return window_parameters(plan, partition)


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

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
        frame = symbol_frame(plan, definitions, symbol)
        market = run_market(plan, definitions, symbol)
        for event_type, rows in groups:
            occurrences = events.filter(pl.col("event_type") == event_type).sort("timestamp")
            found.append(score_variations(market, frame, occurrences, rows, definitions))
    path = root.variation_scores(run_id, symbol)
    varied = pl.concat(found).sort(pl.all())
    write_parquet(path, varied)
    return Outcome(outputs=(path,), summary={"events": len(groups), "rows": len(varied)})


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
