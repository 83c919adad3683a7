"""Stage: the discovery inside each training window, and what its finds earned in the test window after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.walk_forward import event_scores, folds_or_reason, score_files

if TYPE_CHECKING:
    from backtest.discovery.day_scores import DayScores


def partitions(plan: Plan) -> Sequence[str]:
    from backtest.spec.loader import load_spec

    return [str(number + 1) for number in range(load_spec(plan.spec_root).evaluation.walk_forward.folds)]


def inputs(plan: Plan, _fold: str) -> Sequence[Path]:
    root, run_id = plan.root, plan.run_id
    daily = [root.daily_bar_returns(run_id, symbol) for symbol in plan.symbols]
    return [root.design(run_id), root.register(run_id), *score_files(plan), *daily]


def parameters(plan: Plan, _fold: str) -> Mapping[str, Json]:
    return {"symbols": list(plan.symbols)}


def spec(plan: Plan, _fold: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash(
        "states", "events", "templates", "filters", "gates", "costs", "discovery", "evaluation"
    )


def run(plan: Plan, fold: str) -> Outcome:
    import polars as pl

    from backtest.discovery.candidates import assess_search
    from backtest.discovery.day_scores import in_series
    from backtest.discovery.hypotheses import REGISTER_SCHEMA
    from backtest.evaluation.walk_forward import BAR_RETURN_SCHEMA, TEST_SCHEMA, found_in, test_days, training_scores
    from backtest.lake.files import read_parquet, write_parquet
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    path = root.walk_forward_tests(run_id, fold)
    folds, reason = folds_or_reason(plan, definitions)
    if reason:
        write_parquet(path, pl.DataFrame(schema=TEST_SCHEMA), metadata={"n_tested": "0"})
        return Outcome(outputs=(path,), summary={"tested": 0, "found": 0})
    own = folds[int(fold) - 1]
    daily = pl.concat(
        [read_parquet(root.daily_bar_returns(run_id, symbol), BAR_RETURN_SCHEMA) for symbol in plan.symbols]
    )
    register = read_parquet(root.register(run_id), REGISTER_SCHEMA)

    def scores_of(event_type: str) -> dict[str, DayScores]:
        return {
            symbol: in_series(training_scores(frame, daily, own), own.train.first_confirmation_day)
            for symbol, frame in event_scores(plan, event_type).items()
        }

    candidates = assess_search(register, scores_of, own.train, definitions)
    found = found_in(candidates, definitions.templates)
    tests = pl.concat(
        [
            pl.DataFrame(schema=TEST_SCHEMA),
            *(
                test_days(finds, pl.concat(event_scores(plan, str(event_type)).values()), own)
                for (event_type,), finds in found.group_by("event_type", maintain_order=True)
            ),
        ]
    ).sort("candidate_id", "day")
    n_tested, n_found = int(candidates["gate_eligible"].sum()), tests["candidate_id"].n_unique()
    write_parquet(path, tests, metadata={"n_tested": str(n_tested)})
    return Outcome(outputs=(path,), summary={"tested": n_tested, "found": n_found})


STAGE = Stage(
    name="walk_forward_folds",
    title="Discovering in training windows",
    reads=("walk_forward_scores", "hypotheses"),
    writes=("walk_forward_folds",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
