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
from backtest.run_results import (
    print_backtest,
    print_candidates,
    print_promotions,
    print_quality,
    print_robustness,
    print_run,
    print_walk_forward,
    say_next,
)

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
    """Everything: raw data, candidates, blueprints, robustness, the backtest of strategies, walk-forward, promotion, report.

    Example: backtest baseline --strategies vol_shock_mr_v1 --start 2023-01-01
    """
    from backtest.pipeline.runs import BASELINE

    request = requested(options, strategies=_checked(strategies, options.run_id))
    _print_judged(request, executed(request, BASELINE), as_json=options.as_json)


@with_options(RunOptions)
def discover_hybrid_backtest(options: RunOptions, strategies: Strategies = None) -> None:
    """Discovery from the raw lake, expectancy, robustness, the backtest of strategies, walk-forward and promotion.

    Example: backtest discover-hybrid-backtest --strategies vol_shock_mean_reversion_v1
    """
    from backtest.pipeline.runs import HYBRID_BACKTEST

    request = requested(options, strategies=_checked(strategies, options.run_id))
    _print_judged(request, executed(request, HYBRID_BACKTEST), as_json=options.as_json)


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

    # The run is finished: its own blueprints are there, or the name is wrong.
    names = _checked(strategies, None)
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


def _print_judged(request: Request, report: RunReport, *, as_json: bool) -> None:
    """Everything that a whole run found, in the order in which it was asked."""
    root, run_id = request.root, report.run_id
    if as_json:
        print_run(root, report)
        return
    print_quality(root, report)
    print_candidates(root, report)
    print_robustness(root, report)
    print_backtest(root, report)
    print()
    print_walk_forward(root, run_id)
    print_promotions(root, run_id)
    say_next(
        f"read each trade: {root.backtest(run_id, 'trades.parquet')} (columns: docs/backtest.md); each gate of the promotion "
        f"with its reason: {root.report(run_id) / 'promotion.html'}; trade others on the same run: {_simulate(run_id)}"
    )


def _print_traded(request: Request, report: RunReport) -> None:
    print_backtest(request.root, report)
    say_next(
        f"read each trade: {request.root.backtest(report.run_id, 'trades.parquet')} (columns: docs/backtest.md); trade others "
        f"on the same run: {_simulate(report.run_id)}; hold what was found to the promotion, with this backtest: "
        f"backtest promote --run-id {report.run_id}"
    )


def _simulate(run_id: str) -> str:
    return f"backtest simulate --run-id {run_id} --strategies blueprints"
