"""What a live account leaves in the data root: ``live/<run_id>/equity`` and ``fills`` as CSV, Parquet or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from backtest.errors import DataError
from backtest.lake.files import write_parquet, write_text
from backtest.lake.paths import DataRoot
from backtest.outside_bytes import arrow_table, parsed_json

Kind = Literal["equity", "fills"]
SUFFIXES: Final = (".csv", ".parquet", ".jsonl")
MAX_BYTES: Final = 1 << 28


def live_file(root: DataRoot, run_id: str, kind: Kind) -> Path | None:
    """The one file of that kind; None where there is none, DataError where there are several."""
    found = [path for suffix in SUFFIXES if (path := root.live(run_id) / f"{kind}{suffix}").exists()]
    if len(found) > 1:
        raise DataError(f"{' and '.join(map(str, found))} are both there; keep the one that is right.")
    return found[0] if found else None


def read_live(path: Path) -> pl.DataFrame:
    """The rows of a live file as they are; texts of a CSV stay texts. DataError where it is unreadable or too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MiB; keep what lies further back elsewhere.")
        if path.suffix == ".parquet":
            return _parquet(path)
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty: it has not even a header or one row.")
        if path.suffix == ".csv":
            return pl.read_csv(path, infer_schema=False)
        return pl.read_ndjson(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as fault:
        raise DataError(f"{path} is unreadable: {str(fault).splitlines()[0]}.") from None


def _parquet(path: Path) -> pl.DataFrame:
    """Rows of a Parquet file of outside origin, read by PyArrow: damaged sizes in one make Polars end the process."""
    try:
        frame = pl.from_arrow(arrow_table(path))
    except (ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as fault:
        raise DataError(
            f"{path} is not a readable Parquet file: {(str(fault) or repr(fault)).splitlines()[0]}."
        ) from None
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"{path} holds no table.")
    return frame


# -- exports of other programs, and what is written from them ------------------------------------------------

FREQTRADE_QUERY: Final = (
    "SELECT o.*, t.pair AS trade_pair, t.is_short AS trade_is_short, t.enter_tag AS trade_enter_tag "
    "FROM orders o JOIN trades t ON t.id = o.ft_trade_id ORDER BY o.id"
)


def read_export(path: Path) -> Any:
    """What a file of another program holds: rows of a CSV, Parquet or SQLite file (freqtrade's database), the value of a JSON.

    DataError where it is missing, too large or unreadable.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MiB; export a shorter span.")
        with path.open("rb") as file:
            head = file.read(16)
        if head.startswith(b"SQLite format 3\0"):
            return _freqtrade_database(path)
        if head.startswith(b"PAR1"):
            return _parquet(path).to_dicts()
        if head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
            raise DataError(
                f"{path} is packed, or a spreadsheet: unpack it, or export it as CSV, and import that file."
            )
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [parsed_json(line, allow_nan=True) for line in text.splitlines() if line.strip()]
        if text.lstrip()[:1] in ("[", "{"):
            return parsed_json(text, allow_nan=True)
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return [_csv_row(row, rows.line_num) for row in rows]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (OSError, ValueError, RecursionError, csv.Error, sqlite3.Error) as fault:
        raise DataError(f"{path} is unreadable: {(str(fault) or repr(fault)).splitlines()[0]}.") from None


def _csv_row(row: dict[Any, Any], line: int) -> dict[str, str]:
    if None in row or None in row.values():
        raise ValueError(f"line {line} has more or fewer fields than the header")
    return row


def _freqtrade_database(path: Path) -> list[dict[str, Any]]:
    """Orders of freqtrade's database with their trade's pair, side and tag; the file is opened for reading only."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute(FREQTRADE_QUERY)]
    names = {"pair": "trade_pair", "is_short": "trade_is_short", "enter_tag": "trade_enter_tag"}
    return [{**row, **{name: row[other] for name, other in names.items()}} for row in rows]


def write_live(path: Path, frame: pl.DataFrame) -> None:
    """Replace a live file in the form its suffix names, atomically; timestamps as ISO 8601 in UTC where it is text."""
    if path.suffix == ".parquet":
        write_parquet(path, frame)
        return
    told = frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    write_text(path, told.write_csv() if path.suffix == ".csv" else told.write_ndjson())
