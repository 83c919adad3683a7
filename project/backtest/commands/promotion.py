"""`walk-forward` and `promote`: what a finished run's discovery is worth on days it had not seen."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.command_options import RequiredRunId, Workers, spec_root
from backtest.run_results import print_promotions, print_walk_forward, say_next
from backtest.terminal_output import print_json

if TYPE_CHECKING:
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.runner import RunReport


AsJson = Annotated[bool, typer.Option("--json", help="Print what was written as JSON instead of tables.")]


def register(app: typer.Typer) -> None:
    """Add `walk-forward` and `promote`."""
    app.command("walk-forward")(walk_forward)
    app.command("promote")(promote)


def walk_forward(run_id: RequiredRunId, workers: Workers = None, as_json: AsJson = False) -> None:
    """Do the discovery of a finished run again inside rolling training windows; tell what it earned in the windows after.

    Example: backtest walk-forward --run-id run_20250228
    """
    from backtest.lake.files import read_json
    from backtest.pipeline.runs import WALK_FORWARD

    report, root = _executed(run_id, WALK_FORWARD, workers)
    if as_json:
        print_json(read_json(root.walk_forward(report.run_id, "walk_forward.json")))
        return
    print_walk_forward(root, report.run_id)
    say_next(f"which candidates are promoted: backtest promote --run-id {report.run_id}")


def promote(run_id: RequiredRunId, workers: Workers = None, as_json: AsJson = False) -> None:
    """Hold the candidates of a finished run to the promotion: profile, robustness, walk-forward, overfitting, backtest.

    What is missing of robustness and walk-forward is made first; what is there and unchanged is kept.

    Example: backtest promote --run-id run_20250228
    """
    from backtest.lake.files import read_json
    from backtest.pipeline.runs import EVALUATION, PROMOTION, WALK_FORWARD

    report, root = _executed(run_id, (*EVALUATION, *WALK_FORWARD, *PROMOTION, "report"), workers)
    if as_json:
        print_json(read_json(root.promotions(report.run_id, "promotions.json")))
        return
    print_walk_forward(root, report.run_id)
    print_promotions(root, report.run_id)
    say_next(f"each gate with its reason, candidate by candidate: {root.report(report.run_id) / 'promotion.html'}")


def _executed(run_id: str, stages: tuple[str, ...], workers: int | None) -> tuple[RunReport, DataRoot]:
    import datetime as dt

    from backtest.lake.paths import DataRoot
    from backtest.pipeline.finished_run import request_for_run
    from backtest.pipeline.runs import execute

    root = DataRoot.from_environment()
    # What comes after a discovery is made of it alone, so what is unchanged since an earlier call stands.
    request = dataclasses.replace(request_for_run(root, spec_root(), run_id), workers=workers, cache=True)
    report = execute(request, stages, now=dt.datetime.now(dt.UTC), command=f"backtest … --run-id {run_id}")
    report.raise_for_failure()
    return report, root
