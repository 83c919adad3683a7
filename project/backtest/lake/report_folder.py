"""The folder of a report: its files written one by one, what an earlier report left there removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from backtest.errors import DataError
from backtest.lake.files import write_text


def write_report(folder: Path, files: Iterable[tuple[str, str]]) -> list[Path]:
    """Write (place, text) pairs below `folder` in their order, then remove every other file there; returns what was written.

    Each file is replaced as a whole. Raises DataError where the disk refuses, or where a place would lie outside the folder.
    """
    written = []
    for place, text in files:
        path = folder / place
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise DataError(f"{place!r} is no place in {folder}.")
        # Not flushed one by one, which takes longer than making them: a report is made again from what it shows.
        write_text(path, text, flush=False)
        written.append(path)
    _remove_others(folder, frozenset(written))
    return written


def _remove_others(folder: Path, kept: frozenset[Path]) -> None:
    """Remove files that are not `kept` and folders that are empty then; links are removed, not followed."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent) / name
            if path not in kept:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
        for name in folders:
            path = Path(parent) / name
            if path.is_symlink():
                path.unlink()
                continue
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
