"""How a run is ended from outside: the signals that do it, and when they have to wait."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final


class Signals:
    """Signals that end a run, answered in the main thread."""

    ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """No further Ctrl-C while the run is being closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, signal.SIG_IGN) for number in self.ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[Signals]:
    """SIGTERM and SIGHUP interrupt like Ctrl-C, unless they were being ignored (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield Signals()
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in Signals.ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield Signals()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
