"""`backtest ingest`: raw bars and funding from Binance into the lake."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from backtest.command_options import AsJson, spec_root
from backtest.errors import DataError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    symbols: Annotated[
        str, typer.Option("--symbols", envvar="BACKTEST_SYMBOLS", help="Comma-separated: BTCUSDT,ETHUSDT.")
    ],
    start: Annotated[str, typer.Option("--start", envvar="BACKTEST_START", help="First day, YYYY-MM-DD (UTC).")],
    end: Annotated[str, typer.Option("--end", envvar="BACKTEST_END", help="Last day, included, YYYY-MM-DD (UTC).")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            help="ohlcv_5m, ohlcv_1m, funding, mark_5m, index_5m, premium_5m, metrics, liquidations, book_ticker or "
            "book_depth; may be repeated. Default: ohlcv_5m and funding, and of mark_5m, index_5m, premium_5m and "
            "metrics what there is.",
        ),
    ] = None,
    market: Annotated[
        list[str] | None, typer.Option("--market", help="perp or spot; may be repeated. Default: both.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="End with exit code 0 although something could not be had.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch what the lake lacks: the archive's monthly files, its daily ones, REST for the newest days.

    A second run fetches only what is missing. What was asked for and could not be had ends it with exit code 1: bars,
    funding and every data set named with --dataset. What only came along by default is said and is no error.

    Addresses: BINANCE_ARCHIVE_URL, BINANCE_API_URL, BINANCE_SPOT_API_URL.

    Example: backtest ingest --symbols BTCUSDT,ETHUSDT --start 2023-01-01 --end 2023-12-31
    """
    import datetime as dt

    from backtest.lake.paths import DataRoot
    from backtest.pipeline import ingestion
    from backtest.pipeline.download_display import download_display
    from backtest.spec.loader import load_spec

    now = dt.datetime.now(dt.UTC)
    wanted = ingestion.parsed_symbols(symbols)
    first, last = ingestion.parsed_days(start, end, now.date())
    series = ingestion.chosen_series(market or [], dataset or [])
    optional = ingestion.optional_series(dataset or [])
    addresses = ingestion.Addresses.from_environment()
    with download_display(sys.stderr) as progress:
        result = ingestion.ingest_binance(
            DataRoot.from_environment(),
            wanted,
            first,
            last,
            series,
            addresses=addresses,
            now=now,
            progress=progress,
            optional=optional,
        )
    needing = ingestion.events_that_need(load_spec(spec_root()), optional) if result.missing_optional else {}
    left_out = ingestion.optional_text(result.missing_optional, needing)
    for line in (*left_out, *result.notes, *(str(defect) for defect in result.defects)):
        print(line, file=sys.stderr)
    for line in [result.quality.write_json()] if as_json else ingestion.quality_lines(result.quality):
        print(line)
    print(
        f"{result.files_fetched} files fetched ({result.bytes_fetched / 1e6:.1f} MB, {result.rows_written:,} rows), "
        f"{result.months_there} months were there already",
        file=sys.stderr,
    )
    _settle_missing(result.missing, allow_missing)
    print("\nNext: make discover-edges-from-raw", file=sys.stderr)


def _settle_missing(missing: list[str], allow_missing: bool) -> None:
    if not missing:
        return
    from backtest.errors import listed

    text = f"{len(missing)} span(s) of days could not be had:\n{listed(missing)}\nWhat was fetched is kept."
    if allow_missing:
        print(f"{text} Going on, as --allow-missing says.", file=sys.stderr)
        return
    raise DataError(f"{text} Add --allow-missing to go on without them, or bring them with backtest import-raw.")
