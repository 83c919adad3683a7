"""Data sets that lie in calendar months: ``year=YYYY/month=MM/<name>.parquet``."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.lake.files import TEMPORARY_PREFIX, write_parquet

if TYPE_CHECKING:
    import polars as pl

_MONTH_FOLDER = re.compile(r"year=(\d{4})/month=(\d{2})")


def month_folder(dataset: Path, year: int, month: int) -> Path:
    return dataset / f"year={year:04d}" / f"month={month:02d}"


def month_files(dataset: Path, start: dt.datetime | None = None, end: dt.datetime | None = None) -> list[Path]:
    """Files of the months that touch [start, end), oldest month first; all of them without bounds."""
    found: list[tuple[int, int, Path]] = []
    for path in dataset.glob("year=*/month=*/*.parquet"):
        matched = _MONTH_FOLDER.fullmatch(path.parent.relative_to(dataset).as_posix())
        if matched is None or path.name.startswith(TEMPORARY_PREFIX):
            continue
        year, month = int(matched[1]), int(matched[2])
        if start is not None and (year, month) < (start.year, start.month):
            continue
        if end is not None and dt.datetime(year, month, 1, tzinfo=dt.UTC) >= end:
            continue
        found.append((year, month, path))
    return [path for _, _, path in sorted(found)]


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
