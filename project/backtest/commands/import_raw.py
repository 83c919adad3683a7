"""`backtest import-raw`: market data an operator has in files, into the lake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from backtest.command_options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-raw")(import_raw)


def import_raw(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Parquet, Feather or CSV files; CSV also as .zip or .csv.gz.")
    ],
    market: Annotated[Literal["perp", "spot"], typer.Option("--market", help="perp or spot.")],
    dataset: Annotated[
        str,
        typer.Option("--dataset", help="ohlcv_5m, ohlcv_1m, funding, mark_5m, …; backtest ingest --help lists all."),
    ],
    symbol: Annotated[str, typer.Option("--symbol", help="The symbol the files hold, e.g. BTCUSDT.")],
    as_json: AsJson = False,
) -> None:
    """Import bars or funding from files; says what each file was recognised as.

    Taken are Binance's own columns (with or without header row), open_time/timestamp with OHLCV, funding_time with
    funding_rate, freqtrade's and CryptoDataDownload's files. Columns a file lacks stay empty.

    Example: backtest import-raw --market perp --dataset ohlcv_5m --symbol BTCUSDT BTCUSDT-5m-2023-01.csv
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline import ingestion

    result = ingestion.import_files(
        DataRoot.from_environment(), market, dataset, symbol, files, narrate=lambda line: print(line, file=sys.stderr)
    )
    for line in [result.quality.write_json()] if as_json else ingestion.quality_lines(result.quality):
        print(line)
    print("\nNext: what is in the lake: backtest doctor; then make discover-edges-from-raw", file=sys.stderr)
