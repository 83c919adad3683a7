"""`run`, `discover-…`: from raw data to features, candidates and blueprints."""

from __future__ import annotations

from typing import Annotated

import typer

from backtest.command_options import (
    AsJson,
    FetchOptions,
    RequiredRunId,
    RunOptions,
    Symbols,
    Workers,
    parsed_symbols,
    spec_root,
    with_options,
)
from backtest.errors import MisuseError, did_you_mean
from backtest.run_requests import cache_asked, executed, requested
from backtest.run_results import print_candidates, print_quality, print_robustness, print_run, say_next


def register(app: typer.Typer) -> None:
    """Add the commands that end with features, candidates or blueprints."""
    app.command("run")(run)
    app.command("discover-edges")(discover_edges)
    app.command("discover-edges-from-raw")(discover_edges_from_raw)
    app.command("discover-hybrid")(discover_hybrid)
    app.command("discover-event")(discover_event)


@with_options(FetchOptions)
def run(options: FetchOptions) -> None:
    """Fetch raw data, clean it and build features.

    Example: backtest run --symbols BTCUSDT,ETHUSDT --start 2023-01-01 --end 2023-12-31
    """
    from backtest.pipeline.runs import BOOTSTRAP

    request = requested(options)
    report = executed(request, BOOTSTRAP)
    if options.as_json:
        print_run(request.root, report)
        return
    print_quality(request.root, report)
    say_next("discover edges on it: make discover-edges")


@with_options(RunOptions)
def discover_edges(options: RunOptions) -> None:
    """Events, tests, candidates and blueprints from the features that are in the lake.

    Example: backtest discover-edges --run-id run_20250228 --symbols BTCUSDT,ETHUSDT
    """
    from backtest.pipeline.runs import DISCOVERY

    _discover(options, DISCOVERY)


@with_options(RunOptions)
def discover_edges_from_raw(options: RunOptions) -> None:
    """Clean the raw lake, build features, and discover edges; fetches nothing.

    Example: backtest discover-edges-from-raw --start 2023-01-01 --end 2025-02-28
    """
    from backtest.pipeline.runs import FROM_RAW

    _discover(options, FROM_RAW)


@with_options(RunOptions)
def discover_hybrid(options: RunOptions) -> None:
    """Discovery from the raw lake, then conditional expectancy and the robustness of the candidates.

    Example: backtest discover-hybrid --run-id run_20250228
    """
    from backtest.pipeline.runs import HYBRID

    request = requested(options)
    report, root = executed(request, HYBRID), request.root
    if options.as_json:
        print_run(root, report)
        return
    print_quality(root, report)
    print_candidates(root, report)
    print_robustness(root, report)
    say_next(
        f"what was changed about a candidate and what was left: {root.robustness(report.run_id).with_suffix('.json')}; "
        f"why one passed or not: backtest explain CANDIDATE_ID --run-id {report.run_id}"
    )


def discover_event(
    run_id: RequiredRunId,
    event_type: Annotated[str, typer.Option("--event-type", help="The event type to score again, such as VOL_SHOCK.")],
    symbols: Symbols = None,
    mode: Annotated[str, typer.Option("--mode", help="research is the one mode there is.")] = "research",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Score one event type of a finished run again and redo the tests of the whole search with it.

    Example: backtest discover-event --run-id run_20250228 --event-type VOL_SHOCK --symbols BTCUSDT,ETHUSDT
    """
    import dataclasses

    from backtest.lake.paths import DataRoot
    from backtest.pipeline.one_event import request_for_event
    from backtest.spec.loader import load_spec

    if mode != "research":
        raise MisuseError(f"mode {mode[:40]!r} is not known.{did_you_mean(mode, ['research'])} There is: research.")
    load_spec(spec_root()).event(event_type)
    request = request_for_event(DataRoot.from_environment(), spec_root(), run_id, event_type, parsed_symbols(symbols))
    request = dataclasses.replace(request, workers=workers, cache=cache_asked())
    report = executed(request, ("scores", "candidates", "placebo", "blueprints", "report"))
    if as_json:
        print_run(request.root, report, event_type)
        return
    print_candidates(request.root, report, event_type)
    _say_why(report.run_id)


def _discover(options: RunOptions, stages: tuple[str, ...]) -> None:
    request = requested(options)
    report = executed(request, stages)
    if options.as_json:
        print_run(request.root, report)
        return
    print_quality(request.root, report)
    print_candidates(request.root, report)
    _say_why(report.run_id)


def _say_why(run_id: str) -> None:
    say_next(f"see why one passed or not: backtest explain CANDIDATE_ID --run-id {run_id} (ids: backtest candidates)")
