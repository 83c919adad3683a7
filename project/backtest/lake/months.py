"""Data sets that lie in calendar months: ``year=YYYY/month=MM/<name>.parquet``."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from backtest.errors import DataError
from backtest.lake.files import TEMPORARY_PREFIX, write_parquet
from backtest.lake.values_hash import VALUES_HASH, values_hash

if TYPE_CHECKING:
    import polars as pl

_FOLDERS: Final = {"year": re.compile(r"year=(?!0000)\d{4}"), "month": re.compile(r"month=(0[1-9]|1[0-2])")}
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MonthNumber: TypeAlias = tuple[int, int]
"""Year and month."""
_Listing: TypeAlias = tuple[list[_MonthNumber], list[Path]]
"""The month of each file, and the files, oldest first."""
_FIRST_MONTH: Final[_MonthNumber] = (0, 1)
_LAST_MONTH: Final[_MonthNumber] = (9999, 12)


def month_folder(dataset: Path, year: int, month: int) -> Path:
    return dataset / f"year={year:04d}" / f"month={month:02d}"


@dataclass
class Listings:
    """What was found where: the month files of data sets, and which data sets there are."""

    files: dict[Path, _Listing] = field(default_factory=dict)
    datasets: dict[tuple[Path, str], list[Path]] = field(default_factory=dict)


_listings: ContextVar[Listings | None] = ContextVar("listings", default=None)


@contextlib.contextmanager
def listing_once(listings: Listings) -> Iterator[None]:
    """Let the functions below look at what is in `listings` no more: the parts of a stage ask for the same data sets."""
    token = _listings.set(listings)
    try:
        yield
    finally:
        _listings.reset(token)


def month_files(dataset: Path, start: dt.datetime | None = None, end: dt.datetime | None = None) -> list[Path]:
    """Files of the months that touch [start, end), oldest month first; all of them without bounds."""
    first = (start.year, start.month) if start is not None else _FIRST_MONTH
    last = (end.year, end.month) if end is not None else _LAST_MONTH
    touches_last = end is None or end > dt.datetime(end.year, end.month, 1, tzinfo=dt.UTC)
    months, files = _kept(dataset) or _listed(dataset, first, last)
    return files[bisect_left(months, first) : (bisect_right if touches_last else bisect_left)(months, last)]


def month_span(dataset: Path) -> tuple[dt.datetime, dt.datetime] | None:
    """Starts of the first and the last month that have a file; None where none has."""
    months, _ = _outermost(dataset)
    if not months:
        return None
    (first_year, first_month), (last_year, last_month) = months[0], months[-1]
    return dt.datetime(first_year, first_month, 1, tzinfo=dt.UTC), dt.datetime(last_year, last_month, 1, tzinfo=dt.UTC)


def first_and_last_file(dataset: Path) -> tuple[Path, Path] | None:
    """The first and the last of `month_files`, without a look at the months between; None where there is none."""
    _, files = _outermost(dataset)
    return (files[0], files[-1]) if files else None


def datasets_with_files(lake: Path, pattern: str) -> list[Path]:
    """Folders below `lake` that match a pattern and hold month files, in no order."""
    listings = _listings.get()
    kept = listings.datasets.get((lake, pattern)) if listings is not None else None
    if kept is None:
        kept = [folder for folder in lake.glob(pattern) if month_span(folder) is not None]
        if listings is not None:
            listings.datasets[lake, pattern] = kept
    return list(kept)


def _kept(dataset: Path) -> _Listing | None:
    """All files of a data set within `listing_once`; None outside of it."""
    listings = _listings.get()
    if listings is None:
        return None
    if dataset not in listings.files:
        listings.files[dataset] = _listed(dataset, _FIRST_MONTH, _LAST_MONTH)
    return listings.files[dataset]


def _listed(dataset: Path, first: _MonthNumber, last: _MonthNumber) -> _Listing:
    """The files of the months from the first to the last, both included."""
    found: list[tuple[_MonthNumber, str]] = []
    for year, year_folder in _numbered(str(dataset), "year"):
        if not first[0] <= year <= last[0]:
            continue
        for month, folder in _numbered(year_folder, "month"):
            if first <= (year, month) <= last:
                found += [((year, month), path) for path in _files(folder)]
    found.sort()
    return [month for month, _ in found], [Path(path) for _, path in found]


def _outermost(dataset: Path) -> _Listing:
    """The files of the first and of the last month that have some, and perhaps of those between."""
    kept = _kept(dataset)
    if kept is not None:
        return kept
    ends = [next(_months_with_files(dataset, newest_first=reverse), None) for reverse in (False, True)]
    found = [(month, path) for end in ends if end is not None for month, paths in [end] for path in sorted(paths)]
    return [month for month, _ in found], [Path(path) for _, path in found]


def _months_with_files(dataset: Path, *, newest_first: bool) -> Iterator[tuple[_MonthNumber, list[str]]]:
    for year, year_folder in sorted(_numbered(str(dataset), "year"), reverse=newest_first):
        for month, folder in sorted(_numbered(year_folder, "month"), reverse=newest_first):
            if files := _files(folder):
                yield (year, month), files


def _files(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if entry.name.endswith(".parquet") and not entry.name.startswith(TEMPORARY_PREFIX)
        ]


def _numbered(folder: str, unit: str) -> list[tuple[int, str]]:
    """Sub-folders named ``unit=NN`` with their numbers; months of 1 to 12 in two digits, years in four."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.path) for entry in entries if _FOLDERS[unit].fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [(int(name.rpartition("=")[2]), path) for name, path in found]


def write_months(
    dataset: Path,
    frame: pl.DataFrame,
    name: str = "part",
    metadata: dict[str, str] | None = None,
    *,
    is_derived: bool = False,
    is_hashed: bool = False,
) -> list[Path]:
    """Write rows into one file for each month of their ``timestamp``; returns the files, oldest first.

    `is_derived` as of `write_parquet`; with `is_hashed` the metadata hold the hash of the values too (`lake.values_hash`).
    """
    import polars as pl

    months: dict[dt.datetime, list[pl.DataFrame]] = defaultdict(list)
    first = 0
    for length, month in frame["timestamp"].dt.truncate("1mo").rle().struct.unnest().iter_rows():
        months[month].append(frame.slice(first, length))
        first += length
    written = []
    for month, rows in sorted(months.items()):
        path = month_folder(dataset, month.year, month.month) / f"{name}.parquet"
        content = pl.concat(rows).rechunk()
        own = {**(metadata or {}), VALUES_HASH: values_hash(content)} if is_hashed else metadata
        write_parquet(path, content, own, is_derived=is_derived)
        written.append(path)
    return written


def read_months(
    dataset: Path,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
    columns: list[str] | None = None,
    schema: Mapping[str, pl.DataType] | None = None,
) -> pl.DataFrame:
    """Rows with start <= timestamp < end of all files, in file order; an empty frame of `schema` where there are none.

    With `columns` or `schema` only those columns are read. Raises DataError where a file is damaged or has not those columns
    and types.
    """
    import polars as pl

    from backtest.lake.files import MEND, read_parquet_files, require_schema

    wanted = columns if schema is None else list(schema)
    files = month_files(dataset, start, end)
    frame = (
        read_parquet_files(files, wanted, relaxed=True)
        if files
        else pl.DataFrame(schema=schema or {"timestamp": pl.Datetime("ms", "UTC")})
    )
    require_schema(dataset, frame, schema or {})
    if (kind := frame.schema.get("timestamp")) != pl.Datetime("ms", "UTC"):
        raise DataError(f"{dataset}: timestamp has the type {kind}, not UTC time in milliseconds. {MEND}")
    frame = between(frame, start, end)
    return frame if columns is None else frame.select(columns)


def between(frame: pl.DataFrame, start: dt.datetime | None, end: dt.datetime | None = None) -> pl.DataFrame:
    """Rows with start <= timestamp < end; of rows in order of time a view, which copies nothing."""
    import polars as pl

    stamps = frame["timestamp"]
    if stamps.null_count() == 0 and stamps.is_sorted():
        first = 0 if start is None else _first_row_from(stamps, start)
        behind = len(stamps) if end is None else _first_row_from(stamps, end)
        return frame.slice(first, max(behind - first, 0))
    if start is not None:
        frame = frame.filter(pl.col("timestamp") >= start)
    return frame if end is None else frame.filter(pl.col("timestamp") < end)


def _first_row_from(stamps: pl.Series, start: dt.datetime) -> int:
    """How many of ascending UTC times in milliseconds, none of them null, lie before a time."""
    import numpy as np

    # Series.search_sorted is a query, whose overhead is a hundred times the search.
    milliseconds = (start - _EPOCH) // dt.timedelta(milliseconds=1)
    return int(stamps.to_numpy().searchsorted(np.datetime64(milliseconds, "ms")))
