"""Text tables read row by row faithfully: every line either becomes a row of text or is reported."""

from __future__ import annotations

import csv
import io

import polars as pl

from backtest.sources.rows import SHOWN_ROWS, Defect


def first_lines(data: bytes, count: int = 3) -> list[list[str]]:
    """Fields of the first non-empty lines, without byte-order mark."""
    lines = data[: 1 << 16].decode("utf-8-sig", "replace").splitlines()
    return list(csv.reader([line for line in lines if line.strip()][:count]))


def text_rows(data: bytes, n_columns: int, file: str) -> tuple[pl.DataFrame, list[Defect]]:
    """Lines as text columns ``0 … n-1`` and ``row`` (1-based line); lines of another width are reported."""
    names = [str(number) for number in range(n_columns)]
    if b'"' not in data and not data.startswith(b"\xef\xbb\xbf"):
        quick = _quick_rows(data, names)
        if quick is not None:
            return quick, []
    return _careful_rows(data, names, file)


def _quick_rows(data: bytes, names: list[str]) -> pl.DataFrame | None:
    """The table where every line has every field, else null."""
    try:
        table = pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            infer_schema=False,
            quote_char=None,
            row_index_name="row",
            row_index_offset=1,
        )
    except pl.exceptions.PolarsError:
        return None
    if table.width != len(names) + 1 or sum(table.null_count().row(0)):
        return None
    table.columns = ["row", *names]
    return table if table.height == data.count(b"\n") + (not data.endswith(b"\n")) else None


def _careful_rows(data: bytes, names: list[str], file: str) -> tuple[pl.DataFrame, list[Defect]]:
    numbers: list[int] = []
    rows: list[list[str]] = []
    wrong: list[tuple[int, int]] = []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = next(csv.reader([line.rstrip("\r")]))
        except csv.Error:
            fields = []
        if len(fields) == len(names):
            numbers.append(number)
            rows.append(fields)
        else:
            wrong.append((number, len(fields)))
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return table.insert_column(0, pl.Series("row", numbers, dtype=pl.UInt32)), _width_defects(wrong, len(names), file)


def _width_defects(wrong: list[tuple[int, int]], n_columns: int, file: str) -> list[Defect]:
    defects = [
        Defect(file, row, f"it has {width} of {n_columns} columns", "row left out") for row, width in wrong[:SHOWN_ROWS]
    ]
    if len(wrong) > SHOWN_ROWS:
        n_more = len(wrong) - SHOWN_ROWS
        row = wrong[SHOWN_ROWS][0]
        found = f"and {n_more:,} more rows from here on that do not have {n_columns} columns"
        defects.append(Defect(file, row, found, "row left out", n_more))
    return defects
