"""Everything a stage prints, in one file: Python's streams, ``os.write`` and native code alike."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

STDOUT: Final = 1
STDERR: Final = 2
# Descriptors belong to the process: where it has several threads that run stages, they take turns.
_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def captured(log: Path) -> Iterator[None]:
    """Send descriptors 1 and 2 to `log`, written anew, as long as the block runs; OSError where it cannot be opened."""
    with _ONE_AT_A_TIME, contextlib.ExitStack() as restore:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        _flush()
        for target in (STDOUT, STDERR):
            saved = os.dup(target)
            restore.callback(os.close, saved)
            restore.callback(os.dup2, saved, target)
            os.dup2(descriptor, target)
        os.close(descriptor)
        restore.callback(_flush)
        restore.enter_context(contextlib.redirect_stdout(_stream(STDOUT)))
        restore.enter_context(contextlib.redirect_stderr(_stream(STDERR)))
        restore.callback(_flush)
        yield


def tail(log: Path, n_lines: int) -> list[str]:
    """The last `n_lines` lines of a log; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 16)))
            return file.read().decode("utf-8", "replace").splitlines()[-n_lines:]
    except OSError:
        return []


def _stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _flush() -> None:
    """Empty Python's buffers and the C library's."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    ctypes.CDLL(None).fflush(None)
