"""Binance's bar and funding tables, as its archive publishes them, brought to the raw data sets."""

from __future__ import annotations

from backtest.errors import DataError
from backtest.sources.columns import FUNDING_COLUMNS, KLINE_COLUMNS, mapping_of
from backtest.sources.rows import REQUIRED, Parsed, raw_rows
from backtest.sources.tables import first_lines, text_rows


def parse_archive_csv(data: bytes, dataset: str, file: str, period_ms: tuple[int, int] | None = None) -> Parsed:
    """Rows of an archive's CSV, with or without header row, stamps in milliseconds, microseconds or both.

    Raises DataError where the columns are not those of the data set, the step is another, or no row is usable; the text
    starts with ``it`` and is meant to stand after the file's name. What happens to single rows: see
    `backtest.sources.rows.raw_rows`.
    """
    names = FUNDING_COLUMNS if dataset == "funding" else KLINE_COLUMNS
    lines = first_lines(data, 1)
    if not lines:
        raise DataError("it is empty")
    header = lines[0] if _is_header(lines[0]) else None
    if header is None and len(lines[0]) != len(names):
        raise DataError(f"it has {len(lines[0])} columns without header, {dataset} has {len(names)}")
    if header is not None:
        mapping = mapping_of(header, dataset)
        missing = [name for name in ("timestamp", *REQUIRED[dataset]) if name not in mapping]
        if missing:
            raise DataError(f"its header lacks {', '.join(missing)}; it has {', '.join(header)[:200]}")
    else:
        mapping = {name: str(number) for number, name in enumerate(names)}
    table, defects = text_rows(data, len(lines[0]), file)
    if header is not None:
        mapping = {name: str(header.index(column)) for name, column in mapping.items()}
        table = table.slice(1)
    parsed = raw_rows(table.select("row", **mapping), dataset, file, period_ms)
    return Parsed(parsed.frame, defects + parsed.defects)


def _is_header(fields: list[str]) -> bool:
    """No field but text: a damaged first data row still has numbers in it."""
    return not any(_is_number(field) for field in fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
