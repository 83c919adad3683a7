"""What happens inside a worker: taking tasks from the run's process, and one stage instance from start to end.

Imports nothing heavy, since the number of Polars threads is set before Polars is imported.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import BacktestError
from backtest.lake.files import content_hash
from backtest.pipeline.capture import captured
from backtest.pipeline.stage import Outcome, Plan

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from backtest.spec.loader import HandedSpec


IMPORTED_AHEAD: Final = ("backtest.spec.loader", "numba", "scipy.special")
"""What takes long to import and most tasks need: imported while no task waits, one after another."""

PATIENCE_SECONDS: Final = 0.005
"""How long the next task may take to arrive before the time is used to import ahead: the run's process has one at once."""

GARBAGE_THRESHOLDS: Final = (50_000, 20, 20)
"""Tasks make many small objects that live on and hardly any cycles: looking through them as often as Python does by itself
takes a tenth of some tasks' time."""


@dataclass(frozen=True)
class Task:
    """One stage instance to run."""

    instance: str
    run: Callable[[Plan, str], Outcome]
    plan: Plan
    partition: str
    log: Path
    spec: HandedSpec | None = field(default=None, repr=False)
    """What the run's process read, so that its workers need not read it again."""


@dataclass(frozen=True)
class Result:
    """How it went: an outcome with the content hash of each output, or an error (with a traceback if it is a bug).

    `exit_code` is what a command ends with that fails for this error.
    """

    seconds: float
    outcome: Outcome | None = None
    output_hashes: Mapping[Path, str] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    exit_code: int = BacktestError.exit_code


def execute(task: Task) -> Result:
    """Run one stage instance with all it prints in its log; faults are returned, not raised."""
    started = time.perf_counter()
    try:
        with captured(task.log):
            result = _attempt(task)
    except OSError as fault:
        text = f"cannot write {task.log}: {fault.strerror or fault}. Mend the permissions of the data root."
        result = Result(0.0, error=text)
    return replace(result, seconds=time.perf_counter() - started)


def _attempt(task: Task) -> Result:
    try:
        with contextlib.ExitStack() as spec:
            if task.spec is not None:
                from backtest.spec.loader import reading_once, take_over

                take_over(task.plan.spec_root, task.spec)
                spec.enter_context(reading_once(task.plan.spec_root))
            outcome = task.run(task.plan, task.partition)
        return Result(0.0, outcome, _checked(outcome, task))
    except BacktestError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return Result(0.0, error=str(fault), exit_code=fault.exit_code)
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - whatever a stage raises fails that stage alone
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, end="")
        return Result(0.0, error=f"this is a fault of the program: {type(fault).__name__}: {fault}", traceback=trace)


def _checked(outcome: object, task: Task) -> dict[Path, str]:
    """Content hash of each output; raises where the stage broke what a stage promises."""
    if not isinstance(outcome, Outcome):
        raise TypeError(f"{task.instance} returned {type(outcome).__name__}; a stage returns an Outcome")
    json.dumps({"summary": outcome.summary, "warnings": outcome.warnings}, allow_nan=False)
    for path in outcome.outputs:
        if not path.is_relative_to(task.plan.root.path):
            raise ValueError(f"{task.instance} wrote {path}, which is outside the data root {task.plan.root.path}")
        if not path.is_file():
            raise FileNotFoundError(f"{task.instance} names the output {path}, which it did not write")
    return {path: content_hash(path) for path in outcome.outputs}


def serve(connection: Connection, environment: Mapping[str, str]) -> None:
    """Main function of a worker process: answer calls until the other end closes or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # answered by the run's process
    os.environ.update(environment)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    importlib.import_module("polars")
    ahead = _ahead()
    while True:
        while not connection.poll(PATIENCE_SECONDS) and (step := next(ahead, None)):
            with contextlib.suppress(Exception):  # told by the task that needs it
                step()
        try:
            function, arguments, keywords = connection.recv()
            answer: tuple[bool, Any] = (True, function(*arguments, **keywords))
        except EOFError:
            return
        except Exception as fault:  # noqa: BLE001 - handed to whoever waits for the result
            answer = (False, fault)
        _answer(connection, answer)


def _ahead() -> Iterator[Callable[[], object]]:
    """What takes long and most tasks need, in steps."""
    for module in IMPORTED_AHEAD:
        yield functools.partial(importlib.import_module, module)
    yield _make_kernels_ready


def _make_kernels_ready() -> None:
    from backtest.expressions.compiling import make_ready

    make_ready()


def _answer(connection: Connection, answer: tuple[bool, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        try:
            connection.send(answer)
        except BrokenPipeError:
            raise
        except Exception as fault:  # noqa: BLE001 - an answer that cannot be sent is told as such
            connection.send((False, RuntimeError(f"the answer {answer[1]!r:.200} cannot be sent: {fault}")))


def _end_with_parent() -> None:
    """A run that was killed must not leave workers that go on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
