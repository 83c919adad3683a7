"""Stage: which candidates are promoted, and why the others are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.pipeline.run_tables import candidate_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

if TYPE_CHECKING:
    import polars as pl

    from backtest.monitoring.oos_window import SearchedWindow, WindowVerdict

METRICS, SUMMARY = "metrics.parquet", "summary.json"


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    root, run_id = plan.root, plan.run_id
    walked = [root.walk_forward(run_id, name) for name in ("finds.parquet", "folds.parquet", "walk_forward.json")]
    return [
        root.design(run_id),
        *candidate_files(plan),
        root.robustness(run_id),
        root.placebo(run_id),
        *walked,
        *_backtest_files(plan),
    ]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"run_id": plan.run_id}


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("events", "gates", "evaluation")


def run(plan: Plan, _partition: str) -> Outcome:
    from backtest.evaluation.promotion import promoted
    from backtest.evaluation.robustness import VERDICT_SCHEMA
    from backtest.evaluation.walk_forward import FOLD_SCHEMA, RESULT_SCHEMA
    from backtest.lake.files import read_json, read_parquet, write_json, write_parquet
    from backtest.monitoring.oos_window import judged_window
    from backtest.pipeline.run_tables import json_rows, read_candidates
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    folds = read_parquet(root.walk_forward(run_id, "folds.parquet"), FOLD_SCHEMA)
    windows = [
        judged_window(_midnight(row["test_start"]), _midnight(row["test_end"]), _trained(plan, row))
        for row in folds.iter_rows(named=True)
    ]
    traded, traded_window = _traded(plan)
    overfitting = read_json(root.walk_forward(run_id, "walk_forward.json"))["overfitting"]["search"]["probability"]
    made = promoted(
        read_candidates(plan),
        {name: definitions.gates.profile("promotion", name) for name in definitions.events},
        read_parquet(root.placebo(run_id)) if root.placebo(run_id).is_file() else None,
        read_parquet(root.robustness(run_id), VERDICT_SCHEMA),
        read_parquet(root.walk_forward(run_id, "finds.parquet"), RESULT_SCHEMA),
        len(folds),
        overfitting,
        windows,
        traded,
        traded_window,
        definitions.evaluation.promotion,
    )
    names = ("promotions.parquet", "gates.parquet", "promotions.json")
    outputs = tuple(root.promotions(run_id, name) for name in names)
    write_parquet(outputs[0], made.promotions)
    write_parquet(outputs[1], made.gates)
    gates = {str(name): rows for (name,), rows in made.gates.group_by("candidate_id", maintain_order=True)}
    write_json(
        outputs[2],
        {
            "run_id": run_id,
            "limits": definitions.evaluation.promotion.model_dump(mode="json"),
            "profile": definitions.gates.profiles["promotion"].model_dump(mode="json"),
            "candidates": [
                {**row, "gates": json_rows(gates[row["candidate_id"]].drop("candidate_id"))}
                for row in json_rows(made.promotions)
            ],
        },
    )
    n_promoted = int(made.promotions["is_promoted"].sum())
    return Outcome(outputs=outputs, summary={"asked": len(made.promotions), "promoted": n_promoted})


def _midnight(day: Any) -> Any:
    import datetime as dt

    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _trained(plan: Plan, row: Mapping[str, Any]) -> SearchedWindow:
    """The training window of a fold as the out-of-sample guard sees a search, with the run's embargo."""
    from backtest.monitoring.oos_window import SearchedWindow

    name = f"{plan.run_id}, fold {row['fold']}"
    return SearchedWindow(name, _midnight(row["train_start"]), _midnight(row["train_end"]), _embargo(plan))


def _embargo(plan: Plan) -> Any:
    import datetime as dt

    from backtest.discovery.folds import Folds
    from backtest.lake.files import read_json

    return dt.timedelta(days=Folds.from_json(read_json(plan.root.design(plan.run_id))).embargo_days)


def _backtest_files(plan: Plan) -> tuple[Path, Path]:
    folder = plan.root.reports("backtest", plan.run_id)
    return folder / METRICS, folder / SUMMARY


def _traded(plan: Plan) -> tuple[pl.DataFrame | None, WindowVerdict | None]:
    """What each candidate's blueprint earned in the run's backtest, and whether its days after the search are free.

    None where the run has no backtest.
    """
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.lake.files import read_json, read_parquet
    from backtest.monitoring.oos_window import SearchedWindow, judged_window

    path, summary = _backtest_files(plan)
    if not path.is_file():
        return None, None
    columns = ["scope", "name", "span", "bound", "start", "end", "n_trades", "net_usd"]
    own = read_parquet(path, columns=columns).filter(
        (pl.col("scope") == "strategy")
        & (pl.col("bound") == "worst")
        & pl.col("name").str.starts_with(f"{plan.run_id}.")
    )
    own = own.with_columns(pl.col("name").str.strip_prefix(f"{plan.run_id}.").alias("candidate_id"))
    after = own.filter((pl.col("span") == "after") & (pl.col("n_trades") > 0))
    traded = (
        own.filter(pl.col("span") == "whole")
        .select("candidate_id", "net_usd", "n_trades")
        .join(after.select("candidate_id", after_net_usd="net_usd"), on="candidate_id", how="left")
    )
    if after.is_empty():
        return traded, None
    folds = Folds.from_json(read_json(plan.root.design(plan.run_id)))
    searched = SearchedWindow(
        plan.run_id, _midnight(folds.discovery_start), _midnight(folds.confirmation_end), _embargo(plan)
    )
    first, last = after["start"].min(), after["end"].max()
    verdict = judged_window(_midnight(first), _midnight(last), searched)
    openings = (read_json(summary)["out_of_sample_opening"] or {}).get("openings")
    if openings == 1:
        return traded, verdict
    before = "it is not recorded who opened its days" if openings is None else f"its days were opened {openings} times"
    return traded, dataclasses.replace(verdict, obstacles=(*verdict.obstacles, f"{before} (ledger/searches.jsonl)"))


STAGE = Stage(
    name="promotion",
    title="Deciding promotions",
    reads=("robustness", "walk_forward", "candidates", "backtest"),
    writes=("promotions",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
