"""`backtest import-fills`: fills of Binance, freqtrade or NautilusTrader into a run's live record."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import typer

from backtest.command_options import RequiredRunId, spec_root


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("import-fills")(import_fills)


def import_fills(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="CSV, JSON, JSON lines, Parquet or SQLite files.")
    ],
    run_id: RequiredRunId,
    origin: Annotated[
        Literal["binance", "freqtrade", "nautilus", "backtest"],
        typer.Option("--from", help="The program the files are of; backtest: this one's own columns."),
    ],
) -> None:
    """Add exported fills to live/<run_id>/fills, each once however often it is imported; one wrong row and nothing is written.

    Example: backtest import-fills --run-id run_20250228 --from freqtrade tradesv3.sqlite
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.import_fills import import_fills as imported

    done = imported(DataRoot.from_environment(), spec_root(), run_id, origin, files, dt.datetime.now(dt.UTC))
    print(f"{done.n_new:,} new fill(s), {done.n_known:,} already there: {done.path}")
    print(f"Next: backtest kill-switch --run-id {run_id} --symbol SYMBOL")
