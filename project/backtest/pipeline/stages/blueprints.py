"""Stage: a blueprint for each candidate that passed every gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.pipeline.stage import Json, Outcome, Plan, Stage

if TYPE_CHECKING:
    from backtest.strategies.blueprints import CalibrationReference

PAGE: Final = "docs/calibration.md"
"""Where people read the calibration."""


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    return [plan.root.design(plan.run_id), *_candidate_files(plan), plan.root.robustness(plan.run_id)]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    from backtest.evaluation.measured import measured_error_rates

    rates = measured_error_rates()
    return {"run_id": plan.run_id, "calibration": None if rates is None else f"{rates.measured_on}.{rates.code_hash}"}


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
    reference, note = calibration_reference(definitions.ontology_hash)
    folds, verdicts = Folds.from_json(design), run_robustness(root, run_id)
    search = SearchFacts(
        run_id=run_id,
        tested=design["tested"],
        window=(design["discovery_start"], design["confirmation_end"]),
        data_hash=cleaned_data_hash(root, plan.symbols, folds.discovery_start, folds.confirmation_end),
        register_hash=design["register_hash"],
        robustness={} if verdicts is None else dict(verdicts.select("candidate_id", "verdict").iter_rows()),
        calibration_reference=reference,
        calibration_note=note,
    )
    blueprints = compile_blueprints(candidates, definitions, search)
    write_text(root.blueprints(run_id), to_jsonl(blueprints))
    return Outcome(outputs=(root.blueprints(run_id),), summary={"blueprints": len(blueprints)})


def calibration_reference(ontology_hash: str) -> tuple[CalibrationReference | None, str]:
    """The published calibration of the spec with this hash, and what is to be said of it: why there is none, what differs."""
    from backtest.evaluation.measured import NULL, measured_error_rates
    from backtest.pipeline.calibration import search_code_hash
    from backtest.strategies.blueprints import CalibrationReference

    rates = measured_error_rates()
    if rates is None or NULL not in rates.groups:
        return None, "no calibration is published with this version"
    if not rates.is_of_spec(ontology_hash):
        return None, (
            f"the calibration of {rates.measured_on} is of another spec ({rates.ontology_spec_hash}); "
            "measure this one: make calibrate"
        )
    null = rates.groups[NULL]
    shares = {name: null["procedures"][name]["share_with_any"] for name in ("confirmed", "final")}
    reference = CalibrationReference(
        page=PAGE,
        **{
            name: getattr(rates, name)
            for name in ("command", "measured_on", "commit", "code_hash", "ontology_spec_hash")
        },
        null_worlds=null["worlds"],
        rejected_at_5_percent=null["rejection"]["cluster"]["all"]["0.05"],
        null_worlds_with_any_confirmed=shares["confirmed"],
        null_worlds_with_any_passed=shares["final"],
        n_limits=len(rates.limits),
        n_broken_limits=len(rates.broken_limits),
    )
    code = search_code_hash()
    note = "" if code == rates.code_hash else f"the code of the search has changed since ({code})"
    return reference, note


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
