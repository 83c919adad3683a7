"""`backtest watch`: the kill switch's checks on a schedule, with metrics and alerts."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from backtest.command_options import RequiredRunId, Symbols, parsed_symbols, spec_root
from backtest.commands.monitoring import checked_limits

ADDRESSES_VARIABLE = "BACKTEST_ALERT_URLS"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("watch")(watch)


@contextlib.contextmanager
def _refusal_is_halt(once: bool) -> Iterator[None]:
    """A round that cannot be made must not end like one that warns."""
    from backtest.errors import BacktestError
    from backtest.monitoring.kill_switch import EXIT_CODES

    try:
        yield
    except BacktestError as fault:
        if once:
            fault.exit_code = EXIT_CODES["HALT"]
        raise


def watch(
    run_id: RequiredRunId,
    symbols: Symbols = None,
    every_seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds from one round to the next.")
    ] = 300.0,
    metrics_file: Annotated[
        Path | None, typer.Option(help="Prometheus text file to replace each round; its name ends with .prom.")
    ] = None,
    alert_urls_file: Annotated[
        Path | None,
        typer.Option(
            envvar="BACKTEST_ALERT_URLS_FILE",
            help="File of apprise addresses, one a line; or set BACKTEST_ALERT_URLS. They are never printed.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One round; the exit code is the kill switch's.")] = False,
    max_staleness_bars: Annotated[int, typer.Option(min=0, help="As kill-switch.")] = 3,
    max_drawdown: Annotated[float, typer.Option(help="As kill-switch.")] = -0.15,
    max_slippage_ratio: Annotated[float, typer.Option(help="As kill-switch.")] = 2.5,
    max_funding_bps: Annotated[float, typer.Option(help="As kill-switch.")] = 30.0,
    max_position_usd: Annotated[float | None, typer.Option(help="As kill-switch.")] = None,
    max_exposure: Annotated[float | None, typer.Option(help="As kill-switch.")] = None,
) -> None:
    """Repeat the kill switch's checks until stopped (SIGTERM, Ctrl-C): a JSON line a check, metrics, alerts on change.

    Without symbols, all of the run. Exit code 0 when stopped; with --once 0 PASS, 1 WARN, 2 HALT or a round
    that cannot be made.

    Example: backtest watch --run-id run_20250228 --every-seconds 300 --metrics-file /var/lib/node_exporter/backtest.prom
    """
    from backtest.alerting.channels import channels_of
    from backtest.errors import MisuseError
    from backtest.lake.paths import DataRoot, checked_run_id
    from backtest.monitoring.kill_switch import EXIT_CODES
    from backtest.pipeline import watch as watching

    if metrics_file is not None and metrics_file.suffix != ".prom":
        raise MisuseError(f"{metrics_file} does not end with .prom, so node exporter would not read it.")
    with _refusal_is_halt(once):
        root = DataRoot.from_environment()
        addresses, origin = watching.read_addresses(os.environ.get(ADDRESSES_VARIABLE), alert_urls_file)
        settings = watching.WatchSettings(
            root=root,
            spec_root=spec_root(),
            run_id=checked_run_id(run_id),
            symbols=watching.watched_symbols(root, run_id, parsed_symbols(symbols)),
            limits=checked_limits(
                max_staleness_bars, max_drawdown, max_slippage_ratio, max_funding_bps, max_position_usd, max_exposure
            ),
            every_seconds=every_seconds,
            channels=channels_of(addresses, origin),
            metrics_file=metrics_file,
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    status = watching.watch(
        settings,
        stop,
        emit=lambda line: print(line, flush=True),
        complain=lambda text: print(text, file=sys.stderr, flush=True),
        now=lambda: dt.datetime.now(dt.UTC),
        rounds=1 if once else None,
    )
    raise typer.Exit(EXIT_CODES[status] if once else 0)
