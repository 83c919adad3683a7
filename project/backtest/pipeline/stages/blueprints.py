"""Stage: a blueprint for each candidate that passed every gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    return [plan.root.design(plan.run_id), *_candidate_files(plan), plan.root.robustness(plan.run_id)]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"run_id": plan.run_id}


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    return f"{definitions.ontology_hash}.{definitions.part_hash('backtest')}"


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.discovery.candidates import CANDIDATE_SCHEMA
    from backtest.discovery.folds import Folds
    from backtest.lake.files import read_json, read_parquet, write_text
    from backtest.pipeline.cleaned_data import cleaned_data_hash
    from backtest.pipeline.results import run_robustness
    from backtest.spec.loader import load_spec
    from backtest.strategies.blueprints import SearchFacts, compile_blueprints, to_jsonl

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design = read_json(root.design(run_id))
    candidates = pl.concat(
        [read_parquet(root.candidates(run_id, event_type), CANDIDATE_SCHEMA) for event_type in definitions.events]
    )
    folds, verdicts = Folds.from_json(design), run_robustness(root, run_id)
    search = SearchFacts(
        run_id=run_id,
        tested=design["tested"],
        window=(design["discovery_start"], design["confirmation_end"]),
        data_hash=cleaned_data_hash(root, plan.symbols, folds.discovery_start, folds.confirmation_end),
        register_hash=design["register_hash"],
        robustness={} if verdicts is None else dict(verdicts.select("candidate_id", "verdict").iter_rows()),
    )
    blueprints = compile_blueprints(candidates, definitions, search)
    write_text(root.blueprints(run_id), to_jsonl(blueprints))
    return Outcome(outputs=(root.blueprints(run_id),), summary={"blueprints": len(blueprints)})


def _candidate_files(plan: Plan) -> list[Path]:
    return sorted(plan.root.reports("phase2", plan.run_id).glob("*/candidates.parquet"))


STAGE = Stage(
    name="blueprints",
    title="Writing blueprints",
    reads=("candidates", "robustness"),
    writes=("blueprints",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
