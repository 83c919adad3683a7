"""What a live account leaves in the data root: ``live/<run_id>/equity`` and ``fills`` as CSV, Parquet or JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import polars as pl

from backtest.errors import DataError
from backtest.lake.paths import DataRoot

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
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True).read()
        table.validate(full=True)
        frame = pl.from_arrow(table)
    except (pyarrow.ArrowException, ValueError, MemoryError) as fault:
        raise DataError(
            f"{path} is not a readable Parquet file: {(str(fault) or repr(fault)).splitlines()[0]}."
        ) from None
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"{path} holds no table.")
    return frame
