"""Stage: conditional expectancy of every event, state and horizon, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.run_tables import candidate_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    return [plan.root.event_quality(plan.run_id), *candidate_files(plan)]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"run_id": plan.run_id}


def no_spec(_plan: Plan, _partition: str) -> str:
    return ""


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.evaluation.expectancy import COLUMN_TEXTS, expectancy_table
    from backtest.lake.files import read_parquet, write_parquet, write_text
    from backtest.pipeline.run_tables import read_candidates

    path = plan.root.expectancy(plan.run_id)
    table = expectancy_table(read_candidates(plan))
    quality = read_parquet(plan.root.event_quality(plan.run_id))
    untested = dict(quality.filter(~pl.col("is_tested")).select("event_type", "verdict").sort("event_type").iter_rows())
    write_parquet(path, table)
    described = path.with_suffix(".json")
    head = {"run_id": plan.run_id, "columns": COLUMN_TEXTS, "untested_events": untested}
    # The rows are written by Polars: ten thousand of them take the standard library seconds.
    write_text(described, json.dumps(head, ensure_ascii=False)[:-1] + f', "rows": {table.write_json()}}}\n')
    return Outcome(outputs=(path, described), summary={"rows": len(table), "events": table["event_type"].n_unique()})


STAGE = Stage(
    name="expectancy",
    title="Tabulating expectancy",
    reads=("candidates",),
    writes=("expectancy",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=no_spec,
)
