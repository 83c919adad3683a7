"""Half-written temporary files whose writer was ended by force: finding and removing them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from backtest.lake.files import TEMPORARY_PREFIX
from backtest.lake.paths import DataRoot

# Process ids are those of one host; another host that shares the lake may be writing under an id unused here.
UNTOUCHED_SECONDS: Final = 3600.0
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"(\d+)-.+")


def remove_of_processes(folder: Path, pids: Collection[int]) -> list[Path]:
    """Remove what the ended processes `pids` were writing below `folder`; returns what was removed."""
    return _remove(path for path, pid in _temporary_files(folder) if pid in pids) if pids else []


def remove_of_run(root: DataRoot, run_id: str) -> list[Path]:
    """Remove the temporary files of dead processes in a run's folders; returns what was removed.

    For whoever holds the run's lock: no other host writes there then.
    """
    folders = [root.run(run_id), root.run_lake(run_id), root.events(run_id).parent]
    folders.extend(sorted((root.path / "reports").glob(f"*/{run_id}")))
    return _remove(path for folder in folders for path, pid in _temporary_files(folder) if not _is_alive(pid))


def remove_of_dead(folder: Path, now: datetime) -> list[Path]:
    """Remove below `folder` what no live process of this host can be writing and nobody touched for an hour."""
    return _remove(
        path
        for path, pid in _temporary_files(folder)
        if not _is_alive(pid) and now.timestamp() - path.stat().st_mtime > UNTOUCHED_SECONDS
    )


def _temporary_files(folder: Path) -> Iterator[tuple[Path, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if matched := _TEMPORARY.fullmatch(name):
                yield Path(parent, name), int(matched[1])


def _remove(paths: Iterator[Path]) -> list[Path]:
    removed = []
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def left_by_dead(folder: Path) -> list[Path]:
    """Temporary files below `folder` that no live process of this host can be writing, sorted; removes nothing."""
    return sorted(path for path, pid in _temporary_files(folder) if not _is_alive(pid))
