"""Who works on a run: one process at a time, told apart by a lock that ends with its process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from backtest.errors import DataError, RunError
from backtest.lake.paths import DataRoot
from backtest.outside_bytes import parsed_json

LOCK_FILE: Final = ".lock"
# Far longer than run_is_held() keeps a lock to see whether it is free.
PROBE_SECONDS: Final = 0.05


@contextlib.contextmanager
def holding_run(root: DataRoot, run_id: str, *, now: datetime, command: str) -> Iterator[Mapping[str, Any] | None]:
    """Hold the run's lock for the block; yields who left it behind without ending, where someone did.

    Raises RunError at once where another process holds it, DataError where the run's folder cannot be written.
    """

    def refuse(holder: Mapping[str, Any]) -> None:
        raise RunError(
            f"RUN_ID {run_id} is being worked on by process {_shown(holder)}. "
            f"Wait until it has finished, end it (kill {holder.get('pid', '<pid>')}), or choose another RUN_ID."
        )

    with holding(root.run(run_id) / LOCK_FILE, now=now, command=command, when_held=refuse) as left_by:
        yield left_by


def run_is_held(root: DataRoot, run_id: str) -> bool:
    """Whether a live process works on the run; a manifest that says running while this is False was left by a crash."""
    return file_is_held(root.run(run_id) / LOCK_FILE)


def file_is_held(path: Path) -> bool:
    """Whether a live process holds the lock file `path`; False where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def holding(
    path: Path, *, now: datetime, command: str, when_held: Callable[[Mapping[str, Any]], None]
) -> Iterator[Mapping[str, Any] | None]:
    """Hold the lock file `path` for the block, writing into it who holds it.

    Where another process holds it, `when_held` is called with that process's entry; if it returns, wait for the lock.
    """
    descriptor = _open(path)
    try:
        if not _try_lock(descriptor):
            time.sleep(PROBE_SECONDS)
            if not _try_lock(descriptor):
                when_held(_entry(descriptor) or {})
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        left_by = _entry(descriptor)
        _write(descriptor, {"pid": os.getpid(), "host": socket.gethostname(), "started_at": now, "command": command})
        try:
            yield left_by
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as fault:
        raise DataError(
            f"cannot write {path}: {fault.strerror or fault}. Mend the permissions of that folder, "
            "or set BACKTEST_DATA_ROOT to a data root you may write to."
        ) from fault


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _entry(descriptor: int) -> dict[str, Any] | None:
    try:
        value = parsed_json(os.pread(descriptor, 1 << 16, 0))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _write(descriptor: int, entry: Mapping[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(entry, default=lambda moment: moment.isoformat(timespec="seconds")).encode(), 0)


def _shown(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "that has just taken it"
    text = f"{holder.get('pid')} on {holder.get('host')} since {holder.get('started_at')}"
    return f"{text} ({holder['command']})" if holder.get("command") else text
