"""Printing where a command is run: tables as wide as the terminal, or wide enough where there is none; JSON."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import polars as pl

WIDTH_OF_A_PIPE: Final = 240


def width() -> int:
    """Columns of the terminal; a pipe has none of its own, and a table cut to 80 would lose figures."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_OF_A_PIPE


def show(table: object) -> None:
    """Print a rich table on stdout."""
    from rich.console import Console

    Console(width=width(), highlight=False, soft_wrap=False).print(table)


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as JSON values: times as texts, NaN as null."""
    rows: list[dict[str, Any]] = json.loads(frame.write_json())
    return rows


def print_json(value: Any) -> None:
    """Print JSON with sorted keys on stdout."""
    print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))
