"""Stage: the pages of the run, and the list over all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    from backtest.pipeline.report_inputs import input_files

    return input_files(plan.root, plan.run_id, plan.symbols)


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"run_id": plan.run_id}


def run(plan: Plan, _partition: str) -> Outcome:
    from backtest.pipeline.reporting import make_report

    made = make_report(plan.root, plan.spec_root, plan.run_id)
    return Outcome(
        outputs=made.files,
        summary={
            "files": len(made.files),
            "size_bytes": made.size_bytes,
            "index": made.index.relative_to(plan.root.path).as_posix(),
        },
    )


STAGE = Stage(
    name="report",
    title="Writing the report",
    reads=("candidates", "blueprints", "placebo", "robustness", "backtest", "promotions"),
    writes=("report",),
    run=run,
    inputs=inputs,
    parameters=parameters,
)
