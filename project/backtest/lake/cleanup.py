"""Removing what runs left in the data root, and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backtest.errors import DataError, MisuseError, RunError, listed
from backtest.lake.paths import DataRoot

RUNTIME_FOLDERS: Final = ("runs", "reports", "events", "lake/runs")
ALL_DATA_FOLDERS: Final = ("runs", "reports", "events", "lake")
RUN_LOCK: Final = ".lock"


@dataclass(frozen=True)
class Removal:
    """One removed path with what lay in it; a symbolic link counts as one file, its target as nothing."""

    path: Path
    folders: int
    files: int
    size_bytes: int


def clean_runtime(root: DataRoot) -> list[Removal]:
    """Remove runs, reports, events and the runs' part of the lake; raw, cleaned and features stay.

    Raises MisuseError where the folder is no data root, RunError where a run is in progress, DataError where the file
    system refuses.
    """
    return _clean(root, RUNTIME_FOLDERS)


def clean_all_data(root: DataRoot) -> list[Removal]:
    """Remove the whole lake, runs, reports and events; the folder stays a data root. Raises as `clean_runtime`."""
    return _clean(root, ALL_DATA_FOLDERS)


def _clean(root: DataRoot, folders: Sequence[str]) -> list[Removal]:
    root.require()
    targets = [_inside(root, folder) for folder in folders]
    with _no_run_in_progress(root):
        return [removed(target) for target in targets if os.path.lexists(target)]


def _inside(root: DataRoot, folder: str) -> Path:
    """`folder` under the root; MisuseError where a symbolic link above it leads elsewhere."""
    target = root.path / folder
    for parent in list(target.relative_to(root.path).parents)[:-1]:
        if (root.path / parent).is_symlink():
            raise MisuseError(
                f"{root.path / parent} is a symbolic link, so {target} lies outside the data root and nothing was "
                f"removed. Remove it yourself where the link leads: {os.path.realpath(target)}"
            )
    return target


@contextlib.contextmanager
def _no_run_in_progress(root: DataRoot) -> Iterator[None]:
    """Hold the lock of every run; RunError that names the runs another process holds."""
    runs = root.path / "runs"
    with contextlib.ExitStack() as held:
        busy = []
        for lock in sorted(runs.glob(f"*/{RUN_LOCK}")) if not runs.is_symlink() else []:
            if lock.parent.is_symlink() or lock.is_symlink():
                continue
            file = held.enter_context(lock.open("rb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy.append(f"RUN_ID={lock.parent.name}")
        if busy:
            raise RunError(
                f"runs are in progress under {root.path}, so nothing was removed:\n{listed(busy)}\n"
                "Wait until they have ended or stop them, then run the same command again."
            )
        yield


def removed(path: Path) -> Removal:
    """Remove one file, link or folder and return what it held; a link is removed itself, never what it points to.

    Raises DataError where the file system refuses; what could be removed until then is gone.
    """
    removal = contents(path)
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as fault:
        where = fault.filename or path
        raise DataError(
            f"cannot remove {where}: {fault.strerror or fault}. Mend its permissions, then run the same command again."
        ) from fault
    return removal


def contents(path: Path) -> Removal:
    """What lies at `path`, itself included, without following links; sizes in bytes as the files state them."""
    folders, files, size_bytes = 0, 0, 0
    pending = [path]
    while pending:
        current = pending.pop()
        try:
            status = current.lstat()
            if stat.S_ISDIR(status.st_mode):
                folders += 1
                pending.extend(current.iterdir())
                continue
        except FileNotFoundError:
            continue
        except OSError as fault:
            raise DataError(
                f"cannot read {current}: {fault.strerror or fault}. Mend its permissions, then run the same command "
                "again."
            ) from fault
        files += 1
        size_bytes += status.st_size
    return Removal(path, folders, files, size_bytes)
