"""Stage: tests, control over the whole search, confirmation and gates; one file of candidates an event type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.errors import RunError
from backtest.pipeline.run_tables import read_day_scores, score_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.day_scores import DayScores
    from backtest.discovery.folds import Folds
    from backtest.lake.ledger import Standing
    from backtest.spec.compiled import Spec


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash(
        "features", "states", "events", "templates", "filters", "gates", "costs", "discovery"
    )


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    from backtest.lake.files import read_json

    design = plan.root.design(plan.run_id)
    return [design, plan.root.register(plan.run_id), *score_files(plan, read_json(design)["tested"])]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    """The one event type asked for: other events' scores may then be missing."""
    return {"event_type": plan.parameters.get("event_type")}


def without_scores(plan: Plan, tested: Mapping[str, Sequence[str]]) -> list[str]:
    """Event types of the search whose day scores are missing on some symbol."""
    return [
        event_type
        for event_type, symbols in tested.items()
        if not all(path.is_file() for path in score_files(plan, {event_type: symbols}))
    ]


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.discovery.candidates import TESTED_COLUMNS, assess_search
    from backtest.discovery.folds import Folds
    from backtest.lake.files import read_json
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design, only = read_json(root.design(run_id)), plan.parameters.get("event_type")
    folds = Folds.from_json(design)
    missing = without_scores(plan, design["tested"]) if only is not None else []
    register = _fixed_register(plan, design["register_hash"]).filter(~pl.col("event_type").is_in(missing))
    # Recorded before the fold is read: a search that is killed afterwards has been made all the same.
    standing = _recorded(plan, definitions, register, folds, design["register_hash"], is_whole=not missing)

    def scores_of(event_type: str) -> dict[str, DayScores]:
        return {
            symbol: read_day_scores(plan, event_type, symbol, TESTED_COLUMNS) for symbol in design["tested"][event_type]
        }

    candidates = assess_search(
        register,
        scores_of,
        folds,
        definitions,
        confirmation_openings=standing.confirmation_openings,
        hypotheses_ever=standing.n_hypotheses,
        is_whole=not missing,
    )
    # Without the whole search, candidates of the other events stay what the whole search that made them said.
    outputs = _written(plan, candidates, definitions.events, only=str(only) if missing else None)
    share = definitions.gates.share_of_level(standing.confirmation_openings)
    return Outcome(
        outputs=outputs,
        summary=_summary(candidates, missing, standing),
        warnings=(*_openings_warning(standing.confirmation_openings, share), *_scope_warning(run_id, missing)),
    )


def _fixed_register(plan: Plan, fixed_hash: str) -> pl.DataFrame:
    """The hypotheses as they were fixed before any return was read; RunError where the file holds others."""
    from backtest.discovery.hypotheses import REGISTER_SCHEMA, register_hash
    from backtest.lake.files import read_parquet

    path = plan.root.register(plan.run_id)
    register = read_parquet(path, REGISTER_SCHEMA)
    if register_hash(register) != fixed_hash:
        raise RunError(
            f"{path} is not the register that was fixed for run {plan.run_id}. "
            "Run the discovery again: make discover-edges"
        )
    return register


def _recorded(
    plan: Plan, definitions: Spec, register: pl.DataFrame, folds: Folds, fixed_hash: str, *, is_whole: bool
) -> Standing:
    """Enter the search in the ledger; where it stands among all on these days."""
    import datetime as dt

    from backtest.discovery.hypotheses import hypothesis_digests
    from backtest.lake.ledger import Search, record
    from backtest.pipeline.cleaned_data import cleaned_data_hash

    return record(
        plan.root,
        Search(
            plan.run_id,
            dt.datetime.now(dt.UTC),
            plan.symbols,
            folds.discovery_start,
            folds.confirmation_end,
            # What is no whole search does not read the confirmation fold.
            folds.confirmation_start if is_whole else folds.confirmation_end,
            folds.confirmation_end,
            cleaned_data_hash(plan.root, plan.symbols, folds.discovery_start, folds.confirmation_end),
            fixed_hash,
            hypothesis_digests(register, definitions),
        ),
    )


def _written(plan: Plan, candidates: pl.DataFrame, event_types: Iterable[str], *, only: str | None) -> tuple[Path, ...]:
    """One file an event type, empty where it has no candidates; with `only` the others' files stay, where there are any."""
    import polars as pl

    from backtest.lake.files import write_parquet

    paths = []
    for event_type in event_types:
        path = plan.root.candidates(plan.run_id, event_type)
        if only in (None, event_type) or not path.is_file():
            write_parquet(path, candidates.filter(pl.col("event_type") == event_type))
        paths.append(path)
    return tuple(paths)


def _summary(candidates: pl.DataFrame, missing: Sequence[str], standing: Standing) -> dict[str, Json]:
    from backtest.discovery.gates import GATES

    return {
        "hypotheses": len(candidates),
        "passed": {gate: int(candidates[gate].sum()) for gate in (*GATES, "gate_phase2_final")},
        "facts": {
            "search_scope": "partial" if missing else "whole",
            "event_types_without_scores": list(missing),
        },
        "search": {
            "ledger_sequence": standing.sequence,
            "is_new": standing.is_new,
            "searches_on_this_window": standing.n_searches,
            "hypotheses_ever_tested_on_this_window": standing.n_hypotheses,
            "confirmation_openings": standing.confirmation_openings,
        },
    }


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
