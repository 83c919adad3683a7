"""Stage: the verdict on the robustness of each candidate that matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.run_tables import candidate_files, score_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    from backtest.lake.files import read_json

    design = plan.root.design(plan.run_id)
    varied = [plan.root.variation_scores(plan.run_id, symbol) for symbol in plan.symbols]
    return [design, *candidate_files(plan), *score_files(plan, read_json(design)["tested"]), *varied]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"run_id": plan.run_id, "symbols": list(plan.symbols)}


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("evaluation", "discovery")


def run(plan: Plan, _partition: str) -> Outcome:
    import numpy as np
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.evaluation.robustness import assessed, questioned
    from backtest.evaluation.variations import VARIED_SCHEMA
    from backtest.lake.files import read_json, read_parquet, write_json, write_parquet
    from backtest.pipeline.run_tables import json_rows, read_candidates, read_scores
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    settings = definitions.evaluation.robustness
    candidates = read_candidates(plan)
    chosen = questioned(candidates, settings.max_candidates)
    varied = pl.concat([read_parquet(root.variation_scores(run_id, symbol), VARIED_SCHEMA) for symbol in plan.symbols])
    found = assessed(
        chosen,
        read_scores(plan, chosen["event_type"].unique().to_list()),
        varied,
        Folds.from_json(read_json(root.design(run_id))),
        settings,
        rng=np.random.default_rng(definitions.discovery.seed),
    )
    outputs = (root.robustness(run_id), root.robustness_checks(run_id), root.robustness(run_id).with_suffix(".json"))
    write_parquet(outputs[0], found.verdicts)
    write_parquet(outputs[1], found.details)
    checks = {str(name): rows for (name,), rows in found.details.group_by("candidate_id", maintain_order=True)}
    write_json(
        outputs[2],
        {
            "run_id": run_id,
            "limits": settings.model_dump(mode="json"),
            "candidates": [
                {**row, "checks": json_rows(checks[row["candidate_id"]].drop("candidate_id"))}
                for row in json_rows(found.verdicts)
                if row["candidate_id"] in checks
            ],
        },
    )
    counts = dict(found.verdicts["verdict"].value_counts().sort("verdict").iter_rows())
    return Outcome(outputs=outputs, summary={"assessed": len(chosen), "of": len(candidates), "verdicts": counts})


STAGE = Stage(
    name="robustness",
    title="Judging robustness",
    reads=("variations", "scores", "candidates"),
    writes=("robustness",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
