"""Printing tables where a command is run: as wide as the terminal, or wide enough for all where there is none."""

from __future__ import annotations

import shutil
import sys
from typing import Final

WIDTH_OF_A_PIPE: Final = 190


def width() -> int:
    """Columns of the terminal; a pipe has none of its own, and a table cut to 80 would lose figures."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_OF_A_PIPE


def show(table: object) -> None:
    """Print a rich table on stdout."""
    from rich.console import Console

    Console(width=width(), highlight=False, soft_wrap=False).print(table)
