"""Text tables read row by row faithfully: every line either becomes a row of text or is reported."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import polars as pl

from backtest.errors import DataError
from backtest.sources.rows import SHOWN_ROWS, Defect


def first_lines(data: bytes, count: int = 3) -> list[list[str]]:
    """Fields of the first non-empty lines, without byte-order mark."""
    lines = data[: 1 << 16].decode("utf-8-sig", "replace").splitlines()
    return list(csv.reader([line for line in lines if line.strip()][:count]))


def is_header(fields: list[str]) -> bool:
    """No field but text: a damaged first data row still has numbers in it."""
    return not any(_is_number(field) for field in fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def column_positions(
    line: list[str], dataset: str, names: Sequence[str], required: Sequence[str], aliases: Mapping[str, str]
) -> dict[str, int]:
    """Where each known column stands: by name where `line` is a header row, by the order of `names` where it is not.

    Raises DataError (text starting with ``it``) where a required column is absent or the width is not known.
    """
    if not is_header(line):
        if len(line) != len(names):
            raise DataError(f"it has {len(line)} columns without header, {dataset} has {len(names)}")
        return {name: number for number, name in enumerate(names)}
    positions: dict[str, int] = {}
    for number, field in enumerate(line):
        name = field.strip().lower()
        positions.setdefault(aliases.get(name, name), number)
    missing = [name for name in required if name not in positions]
    if missing:
        raise DataError(f"its header lacks {', '.join(missing)}; it has {', '.join(line)[:200]}")
    return {name: number for name, number in positions.items() if name in names}


def named_rows(
    data: bytes, file: str, dataset: str, names: Sequence[str], required: Sequence[str], aliases: Mapping[str, str]
) -> tuple[pl.DataFrame, list[Defect]]:
    """Lines as text columns named by `column_positions`, header row left out, with ``row`` (1-based line)."""
    lines = first_lines(data, 1)
    if not lines:
        raise DataError("it is empty")
    positions = column_positions(lines[0], dataset, names, required, aliases)
    table, defects = text_rows(data, len(lines[0]), file)
    table = table.slice(1) if is_header(lines[0]) else table
    return table.select("row", *(pl.col(str(number)).alias(name) for name, number in positions.items())), defects


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
