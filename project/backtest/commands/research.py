"""`run`, `baseline`, `discover-…`: from raw data to features, candidates and blueprints."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.command_options import (
    AllowMissing,
    Datasets,
    End,
    RequiredRunId,
    RunId,
    Start,
    Strategies,
    Symbols,
    Venue,
    Workers,
    parsed_symbols,
    parsed_window,
    spec_root,
)
from backtest.errors import MisuseError, NotAvailableError, did_you_mean
from backtest.terminal_output import show, width

if TYPE_CHECKING:
    import polars as pl

    from backtest.lake.paths import DataRoot
    from backtest.pipeline.runner import RunReport
    from backtest.pipeline.runs import Request

CACHE_VARIABLE = "BACKTEST_STAGE_CACHE"
SOURCES = ("binance", "simulated")
Source = Annotated[
    str, typer.Option("--source", envvar="BACKTEST_SOURCE", help="Where raw data comes from: binance or simulated.")
]


def register(app: typer.Typer) -> None:
    """Add the research commands."""
    app.command("run")(run)
    app.command("baseline")(baseline)
    app.command("discover-edges")(discover_edges)
    app.command("discover-edges-from-raw")(discover_edges_from_raw)
    app.command("discover-hybrid")(discover_hybrid)
    app.command("discover-hybrid-backtest")(discover_hybrid_backtest)
    app.command("discover-event")(discover_event)
    app.command("demo")(demo)


def run(
    run_id: RunId = None,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    source: Source = "binance",
    venue: Venue = None,
    datasets: Datasets = None,
    allow_missing: AllowMissing = False,
    workers: Workers = None,
) -> None:
    """Fetch raw data, clean it and build features.

    Example: backtest run --symbols BTCUSDT,ETHUSDT --start 2023-01-01 --end 2023-12-31
    """
    from backtest.pipeline.runs import BOOTSTRAP

    request = _request(run_id, symbols, start, end, workers, _source(source, venue, datasets, allow_missing))
    report = _executed(request, BOOTSTRAP)
    _print_quality(request.root, report)
    _say_next("discover edges on it: make discover-edges")


def baseline(
    strategies: Strategies = None,
    run_id: RunId = None,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    source: Source = "binance",
    venue: Venue = None,
    datasets: Datasets = None,
    allow_missing: AllowMissing = False,
    workers: Workers = None,
) -> None:
    """Everything from fetching raw data to blueprints; backtest and report are not available yet, so it exits with 2.

    Example: backtest baseline --strategies vol_shock_mr_v1 --start 2023-01-01
    """
    from backtest.pipeline.runs import BASELINE

    _require_strategies(strategies)
    request = _request(run_id, symbols, start, end, workers, _source(source, venue, datasets, allow_missing))
    _partly(request, BASELINE, "the backtest of strategies and its report")


def discover_edges(
    run_id: RunId = None,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    venue: Venue = None,
    workers: Workers = None,
) -> None:
    """Events, tests, candidates and blueprints from the features that are in the lake.

    Example: backtest discover-edges --run-id run_20250228 --symbols BTCUSDT,ETHUSDT
    """
    from backtest.pipeline.runs import DISCOVERY

    _discover(_request(run_id, symbols, start, end, workers, {"venue": venue}), DISCOVERY)


def discover_edges_from_raw(
    run_id: RunId = None,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    venue: Venue = None,
    workers: Workers = None,
) -> None:
    """Clean the raw lake, build features, and discover edges; fetches nothing.

    Example: backtest discover-edges-from-raw --start 2023-01-01 --end 2025-02-28
    """
    from backtest.pipeline.runs import FROM_RAW

    _discover(_request(run_id, symbols, start, end, workers, {"venue": venue}), FROM_RAW)


def discover_hybrid(
    run_id: RunId = None,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    venue: Venue = None,
    workers: Workers = None,
) -> None:
    """Discovery from the raw lake, then conditional expectancy and the robustness of the candidates.

    Example: backtest discover-hybrid --run-id run_20250228
    """
    from backtest.pipeline.runs import HYBRID

    request = _request(run_id, symbols, start, end, workers, {"venue": venue})
    report, root = _executed(request, HYBRID), request.root
    _print_quality(root, report)
    _print_candidates(root, report)
    _print_robustness(root, report)
    _say_next(
        f"what was changed about a candidate and what was left: {root.robustness(report.run_id).with_suffix('.json')}; "
        f"why one passed or not: backtest explain CANDIDATE_ID --run-id {report.run_id}"
    )


def discover_hybrid_backtest(
    strategies: Strategies = None,
    run_id: RunId = None,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    venue: Venue = None,
    workers: Workers = None,
) -> None:
    """Discovery from the raw lake, expectancy and robustness; the backtest is not available yet, so it exits with 2.

    Example: backtest discover-hybrid-backtest --strategies vol_shock_mean_reversion_v1
    """
    from backtest.pipeline.runs import HYBRID

    _require_strategies(strategies)
    request = _request(run_id, symbols, start, end, workers, {"venue": venue})
    _partly(request, HYBRID, "the backtest of strategies")


def discover_event(
    run_id: RequiredRunId,
    event_type: Annotated[str, typer.Option("--event-type", help="The event type to score again, such as VOL_SHOCK.")],
    symbols: Symbols = None,
    mode: Annotated[str, typer.Option("--mode", help="research is the one mode there is.")] = "research",
    workers: Workers = None,
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
    _discover(
        dataclasses.replace(request, workers=workers, cache=_cache_asked()),
        ("scores", "candidates", "blueprints"),
        event_type=event_type,
    )


def demo(workers: Workers = None) -> None:
    """A simulated market with planted edges, from raw data to blueprints, in data/demo.

    Example: backtest demo
    """
    from backtest.lake.paths import ENVIRONMENT_VARIABLE, DataRoot
    from backtest.pipeline.runs import BASELINE, Request
    from backtest.reports.planted import planted_comparison, planted_table
    from backtest.spec.loader import load_spec

    root = DataRoot(DataRoot.from_environment().path / "demo")
    described = load_spec(spec_root()).simulation
    start = dt.datetime.combine(described.start, dt.time(), dt.UTC)
    print(
        f"A simulated market: {', '.join(described.symbols)}, {described.days} days from {described.start}, with no edge "
        f"but {len(described.planted_edges)} planted ones (spec/simulation.yaml).",
        file=sys.stderr,
    )
    request = Request(
        root=root,
        spec_root=spec_root(),
        run_id="demo",
        symbols=described.symbols,
        start=start,
        end=start + dt.timedelta(days=described.days),
        workers=workers,
        cache=_cache_asked(),
        parameters={"source": "simulated", "venue": "simulated"},
    )
    report = _executed(request, BASELINE)
    _print_quality(root, report)
    _print_candidates(root, report)
    print()
    show(planted_table(planted_comparison(described.planted_edges, _candidates(root, report))))
    _say_next(
        f"look at one event: backtest spec show VOL_SHOCK; or run on it yourself: "
        f"{ENVIRONMENT_VARIABLE}={root.path} make discover-edges RUN_ID=mine"
    )


# -- what they share ----------------------------------------------------------------------------------------


def _request(
    run_id: str | None,
    symbols: str | None,
    start: str | None,
    end: str | None,
    workers: int | None,
    parameters: dict[str, str | bool | None],
) -> Request:
    from backtest.lake.paths import DataRoot, checked_run_id
    from backtest.pipeline.runs import Request

    first, last = parsed_window(start, end)
    return Request(
        root=DataRoot.from_environment(),
        spec_root=spec_root(),
        run_id=checked_run_id(run_id) if run_id is not None else None,
        symbols=parsed_symbols(symbols),
        start=first,
        end=last,
        workers=workers,
        cache=_cache_asked(),
        parameters=parameters,
    )


def _cache_asked() -> bool:
    text = os.environ.get(CACHE_VARIABLE, "")
    if text not in ("", "0", "1"):
        raise MisuseError(f"{CACHE_VARIABLE} is {text[:40]!r}; it is 1 (skip unchanged stages) or 0.")
    return text == "1"


def _source(source: str, venue: str | None, datasets: str | None, allow_missing: bool) -> dict[str, str | bool | None]:
    if source not in SOURCES:
        raise MisuseError(
            f"SOURCE {source[:40]!r} is not known.{did_you_mean(source, SOURCES)} There are: {', '.join(SOURCES)}."
        )
    if datasets and source == "binance":
        from backtest.pipeline.ingestion import chosen_series, parsed_datasets

        chosen_series([], parsed_datasets(datasets))
    return {"source": source, "venue": venue or source, "datasets": datasets or None, "allow_missing": allow_missing}


def _require_strategies(strategies: str | None) -> None:
    if not (strategies or "").strip(" ,"):
        raise MisuseError("STRATEGIES is needed: the strategies to backtest. Example: STRATEGIES=vol_shock_mr_v1")


def _executed(request: Request, stages: tuple[str, ...]) -> RunReport:
    from backtest.pipeline.runs import execute

    report = execute(request, stages, now=dt.datetime.now(dt.UTC), command=_again())
    report.raise_for_failure()
    return report


def _again() -> str:
    """The command as it was called, for the hint on how to continue after a failure."""
    if "MAKELEVEL" in os.environ:
        names = ("RUN_ID", "SYMBOLS", "START", "END", "STRATEGIES", "SOURCE", "VENUE", "DATASETS", "ALLOW_MISSING")
        given = ((name, os.environ.get(f"BACKTEST_{name}")) for name in names)
        return shlex.join(["make", *sys.argv[1:2], *(f"{name}={value}" for name, value in given if value)])
    is_door = sys.argv[0].endswith(".py") and not sys.argv[0].endswith("cli.py")
    return shlex.join([*(["python", sys.argv[0]] if is_door else ["backtest"]), *sys.argv[1:]])


def _discover(request: Request, stages: tuple[str, ...], event_type: str | None = None) -> None:
    report = _executed(request, stages)
    _print_quality(request.root, report)
    _print_candidates(request.root, report, event_type)
    _say_next(
        f"see why one passed or not: backtest explain CANDIDATE_ID --run-id {report.run_id} (ids: backtest candidates)"
    )


def _partly(request: Request, stages: tuple[str, ...], missing: str) -> None:
    """Run what is built, then end with NotAvailableError, saying so before and after."""
    print(f"note: {missing}: not available yet; everything before it runs now", file=sys.stderr)
    report = _executed(request, stages)
    _print_quality(request.root, report)
    _print_candidates(request.root, report)
    raise NotAvailableError(
        f"{missing}: not available yet. Discovery is done and kept (run {report.run_id}); "
        "make discover-edges-from-raw does the same and ends with 0."
    )


def _print_quality(root: DataRoot, report: RunReport) -> None:
    import polars as pl

    from backtest.lake.files import read_parquet
    from backtest.reports.terminal import cross_check_table, quality_table

    paths = [
        root.cleaned_quality(
            "spot" if instance.summary["market"] == "spot" else "perp", str(instance.summary["symbol"])
        )
        for instance in report.instances
        if instance.stage.name == "clean"
    ]
    if paths:
        show(quality_table(pl.concat([read_parquet(path) for path in paths])))
    checks = [
        root.cross_check(instance.partition) for instance in report.instances if instance.stage.name == "cross_check"
    ]
    if checks:
        spans = pl.concat([read_parquet(path) for path in checks])
        if spans.is_empty():
            print("Perpetual, spot, index and mark agree wherever there are both.")
        else:
            show(cross_check_table(spans))


def _candidates(root: DataRoot, report: RunReport) -> pl.DataFrame:
    import polars as pl

    from backtest.lake.files import read_parquet

    folder = root.reports("phase2", report.run_id)
    return pl.concat([read_parquet(path) for path in sorted(folder.glob("*/candidates.parquet"))])


def _print_candidates(root: DataRoot, report: RunReport, event_type: str | None = None) -> None:
    import polars as pl

    from backtest.reports.terminal import best_candidates, candidate_table, nearest_misses

    folder, candidates = root.reports("phase2", report.run_id), _candidates(root, report)
    if event_type is not None:
        candidates = candidates.filter(pl.col("event_type") == event_type)
    tested, passed = int(candidates["gate_eligible"].sum()), int(candidates["gate_phase2_final"].sum())
    print(f"\n{len(candidates):,} hypotheses, {tested:,} with enough events, {passed:,} passed every gate.")
    if passed:
        title = "Best candidates, one for all states and symbols of an event, trade and horizon"
        show(candidate_table(best_candidates(candidates, 20), title, width()))
    else:
        print("No candidate passed: with these data, costs and error rates there is no edge to report.")
    if passed < 10 and tested:
        show(candidate_table(nearest_misses(candidates, 10), "Nearest misses", width()))
    print("\nWritten to:")
    for place in (root.run(report.run_id), root.events(report.run_id), folder, root.blueprints(report.run_id)):
        print(f"  {place}")


def _print_robustness(root: DataRoot, report: RunReport) -> None:
    from backtest.lake.files import read_parquet
    from backtest.reports.robustness import verdict_counts, verdict_table

    verdicts = read_parquet(root.robustness(report.run_id))
    print(f"\n{verdict_counts(verdicts)}")
    if len(verdicts):
        show(verdict_table(verdicts))
    print(f"Written to:\n  {root.reports('expectancy', report.run_id)}")


def _say_next(text: str) -> None:
    print(f"\nNext: {text}")
