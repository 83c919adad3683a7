"""Binance's tables of bars, funding and metrics, as its archive publishes them, brought to the raw data sets."""

from __future__ import annotations

import polars as pl

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.sources.columns import HEADERLESS, KLINE_COLUMNS, METRICS_COLUMNS, mapping_of
from backtest.sources.liquidations import of_symbol
from backtest.sources.rows import REQUIRED, Defect, Parsed, raw_rows
from backtest.sources.tables import first_lines, is_header, text_rows


def parse_archive_csv(
    data: bytes, dataset: str, file: str, period_ms: tuple[int, int] | None = None, symbol: str | None = None
) -> Parsed:
    """Rows of an archive's CSV, with or without header row, stamps in milliseconds, microseconds or both.

    Raises DataError where the columns are not those of the data set, the step is another, or no row is usable; the text
    starts with ``it`` and is meant to stand after the file's name. Metrics rows of another symbol than `symbol` are left
    out. What happens to single rows: see
    `backtest.sources.rows.raw_rows`.
    """
    names = HEADERLESS.get(dataset, KLINE_COLUMNS)
    lines = first_lines(data, 1)
    if not lines:
        raise DataError("it is empty")
    header = lines[0] if is_header(lines[0]) else None
    if header is None and len(lines[0]) != len(names):
        raise DataError(f"it has {len(lines[0])} columns without header, {dataset} has {len(names)}")
    if header is not None:
        mapping = mapping_of(header, dataset)
        missing = [name for name in ("timestamp", *REQUIRED[dataset]) if name not in mapping]
        if missing:
            raise DataError(f"its header lacks {', '.join(missing)}; it has {', '.join(header)[:200]}")
    else:
        known = ("timestamp", *RAW_SCHEMAS[dataset])
        mapping = {name: str(number) for number, name in enumerate(names) if name in known}
    table, defects = text_rows(data, len(lines[0]), file)
    if symbol is not None and dataset == "metrics":
        at = METRICS_COLUMNS.index("symbol") if header is None else _position("symbol", header)
        table = table if at is None else _of_symbol(table, str(at), symbol, header is not None, file, defects)
    if header is not None:
        mapping = {name: str(header.index(column)) for name, column in mapping.items()}
        table = table.slice(1)
    parsed = raw_rows(table.select("row", **mapping), dataset, file, period_ms)
    return Parsed(parsed.frame, defects + parsed.defects)


def _position(name: str, header: list[str]) -> int | None:
    return next((number for number, field in enumerate(header) if field.strip().lower() == name), None)


def _of_symbol(
    table: pl.DataFrame, column: str, symbol: str, has_header: bool, file: str, defects: list[Defect]
) -> pl.DataFrame:
    named = table.with_columns(pl.col(column).alias("symbol"))
    own = of_symbol(named.slice(1) if has_header else named, symbol, file, defects)
    return (pl.concat([named.head(1), own]) if has_header else own).drop("symbol")
