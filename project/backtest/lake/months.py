"""Data sets that lie in calendar months: ``year=YYYY/month=MM/<name>.parquet``."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.lake.files import TEMPORARY_PREFIX, write_parquet

if TYPE_CHECKING:
    import polars as pl

_FOLDERS: Final = {"year": re.compile(r"year=(?!0000)\d{4}"), "month": re.compile(r"month=(0[1-9]|1[0-2])")}


def month_folder(dataset: Path, year: int, month: int) -> Path:
    return dataset / f"year={year:04d}" / f"month={month:02d}"


def month_files(dataset: Path, start: dt.datetime | None = None, end: dt.datetime | None = None) -> list[Path]:
    """Files of the months that touch [start, end), oldest month first; all of them without bounds."""
    first = (start.year, start.month) if start is not None else (0, 0)
    found: list[tuple[int, int, Path]] = []
    for year, year_folder in _numbered(dataset, "year"):
        if year < first[0] or (end is not None and year > end.year):
            continue
        for month, folder in _numbered(year_folder, "month"):
            if (year, month) < first or (end is not None and dt.datetime(year, month, 1, tzinfo=dt.UTC) >= end):
                continue
            names = (entry.name for entry in os.scandir(folder))
            found += [
                (year, month, folder / name)
                for name in names
                if name.endswith(".parquet") and not name.startswith(TEMPORARY_PREFIX)
            ]
    return [path for _, _, path in sorted(found)]


def _numbered(folder: Path, unit: str) -> list[tuple[int, Path]]:
    """Sub-folders named ``unit=NN`` with their numbers; months of 1 to 12 in two digits, years in four."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _FOLDERS[unit].fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [(int(name.rpartition("=")[2]), folder / name) for name in names]


def write_months(
    dataset: Path, frame: pl.DataFrame, name: str = "part", metadata: dict[str, str] | None = None
) -> list[Path]:
    """Write rows into one file for each month of their ``timestamp``; returns the files, oldest first."""
    import polars as pl

    written = []
    by_month = frame.with_columns(
        pl.col("timestamp").dt.year().alias("_year"), pl.col("timestamp").dt.month().alias("_month")
    ).partition_by("_year", "_month", maintain_order=True, as_dict=True, include_key=False)
    for (year, month), rows in sorted(by_month.items()):
        path = month_folder(dataset, year, month) / f"{name}.parquet"
        write_parquet(path, rows, metadata)
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

    With `columns` or `schema` only those columns are read. Raises DataError where a file is damaged or lacks a column.
    """
    import polars as pl

    wanted = columns if schema is None else list(schema)
    files = month_files(dataset, start, end)
    frame = _rows(files, wanted) if files else pl.DataFrame(schema=schema or {"timestamp": pl.Datetime("ms", "UTC")})
    if start is not None:
        frame = frame.filter(pl.col("timestamp") >= start)
    if end is not None:
        frame = frame.filter(pl.col("timestamp") < end)
    return frame if columns is None else frame.select(columns)


def _rows(files: list[Path], columns: list[str] | None) -> pl.DataFrame:
    """Files one after another: in one go where all have the same columns and types, else one by one."""
    import polars as pl

    from backtest.lake.files import read_parquet

    try:
        return pl.read_parquet(files, columns=columns)
    except (OSError, pl.exceptions.PolarsError):
        return pl.concat([read_parquet(path, columns=columns) for path in files], how="vertical_relaxed")
