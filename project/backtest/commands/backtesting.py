"""`baseline`, `discover-hybrid-backtest`, `simulate`: strategies and blueprints traded on one account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from backtest.command_options import (
    AsJson,
    FetchOptions,
    RequiredRunId,
    RunOptions,
    Strategies,
    Workers,
    spec_root,
    with_options,
)
from backtest.run_requests import cache_asked, executed, requested
from backtest.run_results import print_backtest, print_candidates, print_quality, print_robustness, print_run, say_next

if TYPE_CHECKING:
    from backtest.pipeline.runner import RunReport
    from backtest.pipeline.runs import Request


def register(app: typer.Typer) -> None:
    """Add the commands that end with a backtest."""
    app.command("baseline")(baseline)
    app.command("discover-hybrid-backtest")(discover_hybrid_backtest)
    app.command("simulate")(simulate)


@with_options(FetchOptions)
def baseline(options: FetchOptions, strategies: Strategies = None) -> None:
    """Everything from fetching raw data to candidates, blueprints and the backtest of strategies.

    Example: backtest baseline --strategies vol_shock_mr_v1 --start 2023-01-01
    """
    from backtest.pipeline.runs import BASELINE, TRADED

    request = requested(options, strategies=_checked(strategies, options.run_id))
    report = executed(request, (*BASELINE, *TRADED))
    if options.as_json:
        print_run(request.root, report)
        return
    print_quality(request.root, report)
    print_candidates(request.root, report)
    _print_traded(request, report)


@with_options(RunOptions)
def discover_hybrid_backtest(options: RunOptions, strategies: Strategies = None) -> None:
    """Discovery from the raw lake, expectancy, robustness, and the backtest of strategies.

    Example: backtest discover-hybrid-backtest --strategies vol_shock_mean_reversion_v1
    """
    from backtest.pipeline.runs import HYBRID, TRADED

    request = requested(options, strategies=_checked(strategies, options.run_id))
    report = executed(request, (*HYBRID, *TRADED))
    if options.as_json:
        print_run(request.root, report)
        return
    print_quality(request.root, report)
    print_candidates(request.root, report)
    print_robustness(request.root, report)
    _print_traded(request, report)


def simulate(
    run_id: RequiredRunId, strategies: Strategies = None, workers: Workers = None, as_json: AsJson = False
) -> None:
    """The backtest of a finished run alone, with these strategies; nothing is searched again.

    Example: backtest simulate --run-id run_20250228 --strategies blueprints
    """
    import dataclasses

    from backtest.lake.paths import DataRoot
    from backtest.pipeline.finished_run import request_for_run
    from backtest.pipeline.runs import TRADED

    names = _checked(strategies, run_id)
    request = request_for_run(DataRoot.from_environment(), spec_root(), run_id)
    parameters = {**request.parameters, "strategies": names}
    request = dataclasses.replace(request, parameters=parameters, workers=workers, cache=cache_asked())
    report = executed(request, (*TRADED, "report"))
    if as_json:
        print_run(request.root, report)
    else:
        _print_traded(request, report)


def _checked(strategies: str | None, run_id: str | None) -> str:
    """STRATEGIES by the strategies' own names; MisuseError, before anything runs, for one that is nothing."""
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.chosen_strategies import check_names
    from backtest.spec.loader import load_spec

    return ",".join(check_names(strategies, load_spec(spec_root()), DataRoot.from_environment(), run_id))


def _print_traded(request: Request, report: RunReport) -> None:
    print_backtest(request.root, report)
    say_next(
        f"read each trade: {request.root.backtest(report.run_id, 'trades.parquet')} (columns: docs/backtest.md); trade others "
        f"on the same run: backtest simulate --run-id {report.run_id} --strategies blueprints; walk forward and hold what was "
        f"found to the promotion: backtest promote --run-id {report.run_id}"
    )
