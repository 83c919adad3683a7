"""Raw data sets in the lake: one file a month and source, and which of several sources a row is taken from.

Within a month folder the file's name says where it comes from. From the lowest priority to the highest:
``import-NNNN-…`` (an operator's file, later ones over earlier ones), ``rest-YYYY-MM-DD``, ``daily-YYYY-MM-DD``,
``monthly`` (archive files). Names of no such form (other sources) stand lowest. Nothing is merged on writing:
`read_raw` gives all rows, lowest priority first, so that of rows with one stamp the last wins; the cleaning layer
counts and resolves them.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from backtest.errors import DataError
from backtest.lake.files import read_parquet, read_parquet_files, require_schema, write_parquet
from backtest.lake.months import between, month_files, month_folder, write_months
from backtest.lake.paths import DataRoot, Market
from backtest.lake.schemas import RAW_SCHEMAS

PRIORITY: Final = ("import-", "rest-", "daily-", "monthly")
_STEP: Final = {
    **{name: dt.timedelta(minutes=5) for name in RAW_SCHEMAS if name not in ("funding", "ohlcv_1m")},
    "ohlcv_1m": dt.timedelta(minutes=1),
}
# No venue leaves more time than this between two funding payments.
_LONGEST_FUNDING_STEP: Final = dt.timedelta(hours=8)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IMPORTED: Final = re.compile(r"import-(\d{4})-([0-9a-f]+)")


def write_raw(
    root: DataRoot, venue: str, market: Market, symbol: str, dataset: str, frame: pl.DataFrame, name: str
) -> list[Path]:
    """Keep rows of one source, one file a calendar month, each atomically; an older file of that name is replaced.

    Raises DataError where the frame has not the columns and types of the data set, or the disk refuses.
    """
    schema = RAW_SCHEMAS[dataset]
    if dict(frame.schema) != schema:
        raise DataError(f"rows for {symbol} {dataset} have the columns {dict(frame.schema)}, the lake takes {schema}.")
    if not _FILE_NAME.fullmatch(name):
        raise DataError(f"{name!r} cannot be the name of a file in the lake.")
    return write_months(root.raw(venue, market, symbol, dataset), frame, name)


def read_raw(
    root: DataRoot,
    venue: str,
    market: Market,
    symbol: str,
    dataset: str,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
    columns: Collection[str] = (),
) -> pl.DataFrame:
    """Rows with start <= timestamp < end of all sources, month by month, lowest priority first, duplicates left in.

    Only ``timestamp`` and the named columns where some are named. Empty where there are none. Raises DataError where a file is
    damaged.
    """
    schema = RAW_SCHEMAS[dataset]
    if columns:
        schema = {name: schema[name] for name in ("timestamp", *columns)}
    paths = sorted(month_files(root.raw(venue, market, symbol, dataset), start, end), key=_order)
    frame = read_parquet_files(paths, list(schema)) if paths else pl.DataFrame(schema=schema)
    if dict(frame.schema) != schema:
        require_schema(root.raw(venue, market, symbol, dataset), frame, schema)
    return between(frame, start, end)


def have_days(
    root: DataRoot, venue: str, market: Market, symbol: str, dataset: str, first: dt.date, last: dt.date
) -> bool:
    """Whether the days [first, last] of one calendar month are there in full.

    They are where the archive's monthly file is, else where each day has its daily file or every row of its grid
    (funding: a payment at least every eight hours), from whatever source. A day's file lies in the folder of its rows.
    """
    folder = month_folder(root.raw(venue, market, symbol, dataset), first.year, first.month)
    files = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    names = {path.stem for path in files}
    if "monthly" in names:
        return True
    days = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    if not files:
        return False
    if all(f"daily-{day}" in names for day in days):
        return True
    stamps = read_parquet_files(files, ["timestamp"])["timestamp"].unique().sort()
    if dataset not in _STEP:
        return _is_paid_throughout(stamps, _midnight(first), _midnight(last) + dt.timedelta(days=1))
    per_day = dt.timedelta(days=1) // _STEP[dataset]
    full = {day for day, count in stamps.dt.date().value_counts().iter_rows() if count >= per_day}
    return all(day in full or f"daily-{day}" in names for day in days)


def have_month(root: DataRoot, venue: str, market: Market, symbol: str, dataset: str, year: int, month: int) -> bool:
    """Whether a whole calendar month is there; see `have_days`."""
    last = calendar.monthrange(year, month)[1]
    return have_days(root, venue, market, symbol, dataset, dt.date(year, month, 1), dt.date(year, month, last))


def import_name(root: DataRoot, venue: str, market: Market, symbol: str, dataset: str, digest: str) -> str:
    """Name for an imported file of this content hash: that of its earlier import, else the next number."""
    latest = 0
    for path in root.raw(venue, market, symbol, dataset).glob("year=*/month=*/import-*.parquet"):
        matched = _IMPORTED.fullmatch(path.stem)
        if matched is not None:
            if matched[2] == digest[:12]:
                return path.stem
            latest = max(latest, int(matched[1]))
    return f"import-{latest + 1:04d}-{digest[:12]}"


# -- the table of quality ---------------------------------------------------------------------------------


def write_raw_quality(root: DataRoot, venue: str, table: pl.DataFrame) -> Path:
    """Replace the rows of the series in `table` (market, symbol, dataset) in the venue's table of quality."""
    path = root.raw_quality(venue)
    series = ["market", "symbol", "dataset"]
    if path.is_file():
        kept = read_parquet(path, table.schema).join(table.select(series).unique(), on=series, how="anti")
        table = pl.concat([kept.select(table.columns), table])
    write_parquet(path, table.sort(*series, "month"))
    return path


def read_raw_quality(root: DataRoot, venue: str) -> pl.DataFrame:
    """The venue's table of quality: one row a market, symbol, data set and month; DataError where there is none."""
    return read_parquet(root.raw_quality(venue))


def _order(path: Path) -> tuple[str, int, str]:
    rank = next((number for number, prefix in enumerate(PRIORITY) if path.name.startswith(prefix)), -1)
    return path.parent.as_posix(), rank, path.name


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def _is_paid_throughout(stamps: pl.Series, start: dt.datetime, end: dt.datetime) -> bool:
    inside = stamps.filter((stamps >= start) & (stamps < end))
    if inside.is_empty():
        return False
    edges = pl.concat([pl.Series([start]).cast(stamps.dtype), inside, pl.Series([end]).cast(stamps.dtype)])
    return bool((edges.diff().drop_nulls() <= _LONGEST_FUNDING_STEP).all())
