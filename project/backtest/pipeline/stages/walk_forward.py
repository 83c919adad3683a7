"""Stage: what came of the walk-forward, and the probability that the search is overfitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.run_tables import candidate_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.stages import walk_forward_folds
from backtest.pipeline.walk_forward import event_scores, folds_or_reason, score_files


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    root, run_id = plan.root, plan.run_id
    folds = [root.walk_forward_tests(run_id, fold) for fold in walk_forward_folds.partitions(plan)]
    return [root.design(run_id), root.register(run_id), *folds, *score_files(plan), *candidate_files(plan)]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"run_id": plan.run_id, "symbols": list(plan.symbols)}


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("events", "templates", "filters", "discovery", "evaluation")


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.evaluation.search_overfitting import search_overfitting
    from backtest.evaluation.walk_forward import TEST_SCHEMA, fold_rows, results
    from backtest.lake.files import parquet_metadata, read_json, read_parquet, write_json, write_parquet
    from backtest.pipeline.run_tables import json_rows, read_candidates
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    settings = definitions.evaluation.walk_forward
    folds, reason = folds_or_reason(plan, definitions)
    paths = [root.walk_forward_tests(run_id, str(fold.number)) for fold in folds]
    tests = pl.concat([pl.DataFrame(schema=TEST_SCHEMA), *(read_parquet(path, TEST_SCHEMA) for path in paths)])
    n_tested = [int(parquet_metadata(path)["n_tested"]) for path in paths]
    by_fold, by_find = fold_rows(folds, n_tested, tests), results(tests, len(folds))
    trades = read_candidates(plan).filter(pl.col("template_verb").is_in(list(definitions.templates)))
    overfitting = search_overfitting(
        trades,
        lambda event_type: event_scores(plan, event_type),
        Folds.from_json(read_json(root.design(run_id))),
        settings.overfitting_blocks,
    )
    outputs = [
        root.walk_forward(run_id, name)
        for name in ("folds.parquet", "finds.parquet", "days.parquet", "walk_forward.json")
    ]
    for path, frame in zip(outputs, (by_fold, by_find, tests), strict=False):
        write_parquet(path, frame)
    write_json(
        outputs[3],
        {
            "run_id": run_id,
            "settings": settings.model_dump(mode="json"),
            "folds": [
                {name: str(value) if name.endswith(("_start", "_end")) else value for name, value in row.items()}
                for row in json_rows(by_fold)
            ],
            "finds": json_rows(by_find),
            "overfitting": overfitting,
            "reason_for_none": reason or None,
        },
    )
    return Outcome(
        outputs=tuple(outputs),
        summary={"finds": len(by_find), "trades": int(by_fold["n_trades"].sum()), "overfitting": overfitting},
        warnings=(reason,) if reason else (),
    )


STAGE = Stage(
    name="walk_forward",
    title="Walking forward",
    reads=("walk_forward_folds", "walk_forward_scores", "candidates"),
    writes=("walk_forward",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
