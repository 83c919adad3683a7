"""Stage: tests, control over the whole search, confirmation and gates; one file of candidates an event type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.errors import RunError
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("states", "events", "templates", "filters", "gates", "discovery")


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    from backtest.lake.files import read_json

    design = plan.root.design(plan.run_id)
    tested = read_json(design)["tested"]
    scores = [plan.root.scores(plan.run_id, event, symbol) for event, symbols in tested.items() for symbol in symbols]
    return [design, plan.root.register(plan.run_id), *scores]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    """The one event type asked for: other events' scores may then be missing."""
    return {"event_type": plan.parameters.get("event_type")}


def without_scores(plan: Plan, tested: Mapping[str, Sequence[str]]) -> list[str]:
    """Event types of the search whose day scores are missing on some symbol."""
    return [
        event_type
        for event_type, symbols in tested.items()
        if not all(plan.root.scores(plan.run_id, event_type, symbol).is_file() for symbol in symbols)
    ]


def run(plan: Plan, _partition: str) -> Outcome:
    import datetime as dt

    import polars as pl

    from backtest.discovery.candidates import assess_search
    from backtest.discovery.day_scores import SCORE_SCHEMA
    from backtest.discovery.folds import Folds
    from backtest.discovery.gates import GATES
    from backtest.discovery.hypotheses import REGISTER_SCHEMA, hypothesis_digests, register_hash
    from backtest.lake.files import read_json, read_parquet, write_parquet
    from backtest.lake.ledger import Search, record
    from backtest.pipeline.cleaned_data import cleaned_data_hash
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design = read_json(root.design(run_id))
    register = read_parquet(root.register(run_id), REGISTER_SCHEMA)
    if register_hash(register) != design["register_hash"]:
        raise RunError(
            f"{root.register(run_id)} is not the register that was fixed for run {run_id}. "
            "Run the discovery again: make discover-edges"
        )

    def scores_of(event_type: str) -> dict[str, pl.DataFrame]:
        return {
            symbol: read_parquet(root.scores(run_id, event_type, symbol), SCORE_SCHEMA)
            for symbol in design["tested"][event_type]
        }

    folds, only = Folds.from_json(design), plan.parameters.get("event_type")
    missing = without_scores(plan, design["tested"]) if only is not None else []
    register = register.filter(~pl.col("event_type").is_in(missing))
    # Recorded before the fold is read: a search that is killed afterwards has been made all the same.
    standing = record(
        root,
        Search(
            run_id,
            dt.datetime.now(dt.UTC),
            plan.symbols,
            folds.discovery_start,
            folds.confirmation_end,
            # What is no whole search does not read the confirmation fold.
            folds.confirmation_end if missing else folds.confirmation_start,
            folds.confirmation_end,
            cleaned_data_hash(root, plan.symbols, folds.discovery_start, folds.confirmation_end),
            design["register_hash"],
            hypothesis_digests(register, definitions),
        ),
    )
    candidates = assess_search(
        register,
        scores_of,
        folds,
        definitions,
        confirmation_openings=standing.confirmation_openings,
        hypotheses_ever=standing.n_hypotheses,
        is_whole=not missing,
    )
    outputs = []
    # Without the whole search, candidates of the other events stay what the whole search that made them said.
    for event_type in definitions.events:
        path = root.candidates(run_id, event_type)
        if not missing or event_type == only or not path.is_file():
            write_parquet(path, candidates.filter(pl.col("event_type") == event_type))
        outputs.append(path)
    passed = {gate: int(candidates[gate].sum()) for gate in (*GATES, "gate_phase2_final")}
    return Outcome(
        outputs=tuple(outputs),
        summary={
            "hypotheses": len(candidates),
            "passed": passed,
            "facts": {
                "search_scope": "partial" if missing else "whole",
                "event_types_without_scores": missing,
            },
            "search": {
                "ledger_sequence": standing.sequence,
                "is_new": standing.is_new,
                "searches_on_this_window": standing.n_searches,
                "hypotheses_ever_tested_on_this_window": standing.n_hypotheses,
                "confirmation_openings": standing.confirmation_openings,
            },
        },
        warnings=(
            *_openings_warning(
                standing.confirmation_openings, definitions.gates.share_of_level(standing.confirmation_openings)
            ),
            *_scope_warning(run_id, missing),
        ),
    )


def _openings_warning(openings: int, share: float) -> list[str]:
    if openings <= 1:
        return []
    return [
        f"{openings} different searches have read days of this confirmation fold (ledger/searches.jsonl), so this "
        f"one has {share:.3g} of the confirmation level (confirmation_budget in spec/gates.yaml)"
    ]


def _scope_warning(run_id: str, missing: Sequence[str]) -> list[str]:
    if not missing:
        return []
    named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return [
        f"the day scores of {len(missing)} event types of run {run_id} are missing ({named}), so nothing is controlled over "
        "the whole search: q-values, family-wise p and confirmation are left out, and no candidate passes "
        f"(search_scope is partial). For the whole search: make discover-edges RUN_ID={run_id}"
    ]


STAGE = Stage(
    name="candidates",
    title="Testing hypotheses",
    reads=("scores", "hypotheses"),
    writes=("candidates",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
