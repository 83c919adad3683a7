"""`demo`: a complete run on a simulated market whose truth is known."""

from __future__ import annotations

import datetime as dt
import sys

import typer

from backtest.command_options import AsJson, Workers, spec_root
from backtest.run_requests import cache_asked, executed
from backtest.run_results import candidates_of, print_backtest, print_candidates, print_quality, print_run, say_next
from backtest.terminal_output import show


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command("demo")(demo)


def demo(workers: Workers = None, as_json: AsJson = False) -> None:
    """A simulated market with planted edges, from raw data to blueprints and their backtest, in data/demo.

    Example: backtest demo
    """
    from backtest.lake.paths import ENVIRONMENT_VARIABLE, DataRoot
    from backtest.pipeline.runs import DEMONSTRATION, Request
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
        cache=cache_asked(),
        parameters={"source": "simulated", "venue": "simulated", "strategies": "portfolio"},
    )
    report = executed(request, DEMONSTRATION)
    if as_json:
        print_run(root, report)
        return
    print_quality(root, report)
    print_candidates(root, report)
    print()
    show(planted_table(planted_comparison(described.planted_edges, candidates_of(root, report))))
    print_backtest(root, report)
    say_next(
        f"look at one event: backtest spec show VOL_SHOCK; or run on it yourself: "
        f"{ENVIRONMENT_VARIABLE}={root.path} make discover-edges RUN_ID=mine"
    )
