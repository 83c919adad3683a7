"""Half-written temporary files whose writer was ended by force: finding and removing them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from backtest.lake.files import TEMPORARY_PREFIX, this_host
from backtest.lake.paths import DataRoot

UNTOUCHED_SECONDS: Final = 3600.0
"""What another host that shares the lake has not touched for this long it is not writing any more."""
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"([0-9a-f]{8})-(\d+)-.+")


def remove_of_processes(folder: Path, pids: Collection[int]) -> list[Path]:
    """Remove what the ended processes `pids` of this host were writing below `folder`; returns what was removed."""
    return _remove(path for path, pid in _temporary_files(folder) if pid in pids) if pids else []


def remove_of_run(root: DataRoot, run_id: str) -> list[Path]:
    """Remove the temporary files in a run's folders that no live process of this host writes; returns what was removed.

    For whoever holds the run's lock: no other host writes there then.
    """
    folders = [root.run(run_id), root.run_lake(run_id), root.events(run_id).parent]
    folders.extend(sorted((root.path / "reports").glob(f"*/{run_id}")))
    return _remove(path for folder in folders for path, pid in _temporary_files(folder) if not _is_alive(pid))


def remove_of_dead(folder: Path, now: datetime) -> list[Path]:
    """Remove below `folder` what dead processes of this host were writing, and what another one left an hour ago."""
    return _remove(path for path, pid in _temporary_files(folder) if _is_left(path, pid, now))


def left_by_dead(folder: Path) -> list[Path]:
    """Temporary files below `folder` that no live process of this host can be writing, sorted; removes nothing."""
    return sorted(path for path, pid in _temporary_files(folder) if not _is_alive(pid))


def _is_left(path: Path, pid: int | None, now: datetime) -> bool:
    if pid is not None:
        return not _is_alive(pid)
    try:
        return now.timestamp() - path.stat().st_mtime > UNTOUCHED_SECONDS
    except OSError:
        return False  # its writer has just renamed it


def _temporary_files(folder: Path) -> Iterator[tuple[Path, int | None]]:
    """Temporary files with the process that writes each; None where that is one of another host, or cannot be told."""
    # Not by os.walk, which makes lists of all names: every run looks through the whole data root.
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                found = [
                    entry
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) or entry.name.startswith(TEMPORARY_PREFIX)
                ]
        except OSError:
            continue  # gone meanwhile, or not for us to read
        waiting += [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
        for entry in found:
            if not entry.is_dir():
                matched = _TEMPORARY.fullmatch(entry.name)
                is_ours = matched is not None and matched[1] == this_host()
                yield Path(entry.path), int(matched[2]) if matched is not None and is_ours else None


def _remove(paths: Iterator[Path]) -> list[Path]:
    removed = []
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed


def _is_alive(pid: int | None) -> bool:
    """Whether a process of this host lives; None is one of another host."""
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
