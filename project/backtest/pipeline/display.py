"""What an operator sees of a run: plain lines, or a progress bar on a terminal. All of it goes to stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from backtest.pipeline.capture import tail

if TYPE_CHECKING:
    from rich.progress import TaskID


class Display(Protocol):
    """Told what happens in a run, in this order; every instance finishes within its stage."""

    def run_started(self, run_id: str, n_stages: int, n_workers: int) -> None: ...

    def stage_started(self, name: str, title: str, n_instances: int) -> None: ...

    def still_running(self, logs: Sequence[Path]) -> None:
        """Called every half second with the logs of what is running."""

    def instance_finished(self, instance: str, status: str, seconds: float, reason: str) -> None:
        """`status` is finished, cached, failed or interrupted."""

    def instance_failed(self, instance: str, error: str, log: Path, end: Sequence[str], next_command: str) -> None: ...

    def stage_finished(self, name: str, seconds: float) -> None: ...

    def warning(self, text: str) -> None: ...

    def run_finished(self, status: str, seconds: float, manifest: Path) -> None: ...


class SilentDisplay:
    """Says nothing."""

    def run_started(self, run_id: str, n_stages: int, n_workers: int) -> None: ...

    def stage_started(self, name: str, title: str, n_instances: int) -> None: ...

    def still_running(self, logs: Sequence[Path]) -> None: ...

    def instance_finished(self, instance: str, status: str, seconds: float, reason: str) -> None: ...

    def instance_failed(self, instance: str, error: str, log: Path, end: Sequence[str], next_command: str) -> None: ...

    def stage_finished(self, name: str, seconds: float) -> None: ...

    def warning(self, text: str) -> None: ...

    def run_finished(self, status: str, seconds: float, manifest: Path) -> None: ...


class PlainDisplay:
    """One line an event, without colour: for files, pipes and continuous integration.

    What runs for long is heard of every `PATIENCE_SECONDS`, by the last line of its log.
    """

    PATIENCE_SECONDS = 10.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._n_stages = 0
        self._n_started = 0
        self._n_done = 0
        self._n_cached = 0
        self._n_instances = 0
        self._last_seen: list[str] = []
        self._last_seen_at = time.monotonic()

    def run_started(self, run_id: str, n_stages: int, n_workers: int) -> None:
        self._n_stages = n_stages
        self._say(f"run {run_id}: {counted(n_stages, 'stage')}, {counted(n_workers, 'worker')}")

    def stage_started(self, name: str, title: str, n_instances: int) -> None:
        self._n_started += 1
        self._n_done = self._n_cached = 0
        self._n_instances = n_instances
        self._last_seen_at = time.monotonic()
        self._say(f"[{self._n_started}/{self._n_stages}] {title} ({name}): {counted(n_instances, 'part')}")

    def still_running(self, logs: Sequence[Path]) -> None:
        now = time.monotonic()
        if now - self._last_seen_at < self.PATIENCE_SECONDS:
            return
        self._last_seen_at, before, self._last_seen = now, self._last_seen, last_lines(logs)
        for line in self._last_seen:
            if line not in before:
                self._say(f"  … {line}")

    def instance_finished(self, instance: str, status: str, seconds: float, reason: str) -> None:
        self._n_done += 1
        self._n_cached += status == "cached"
        if self._n_instances > 1 or status not in ("finished", "cached"):
            self._say(f"  {self._n_done}/{self._n_instances} {instance} {status} in {duration(seconds)}: {reason}")

    def instance_failed(self, instance: str, error: str, log: Path, end: Sequence[str], next_command: str) -> None:
        self._say("\n".join(failure_lines(instance, error, log, end, next_command)))

    def stage_finished(self, name: str, seconds: float) -> None:
        cached = f", {self._n_cached} unchanged" if self._n_cached else ""
        self._say(f"  {name}: {self._n_done} of {self._n_instances} done in {duration(seconds)}{cached}")

    def warning(self, text: str) -> None:
        self._say(f"warning: {text}")

    def run_finished(self, status: str, seconds: float, manifest: Path) -> None:
        self._say(f"run {status} after {duration(seconds)}; manifest: {manifest}")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class TerminalDisplay:
    """Two progress bars, stages of the run and parts of the stage, with elapsed and remaining time.

    The stage's bar also shows the last line of the log of what is running.
    """

    LINE_LENGTH = 70

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        # A descriptor of its own: that of stderr may be turned to a stage's log for a while.
        own = os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors="backslashreplace")
        self._console = Console(file=own, force_terminal=True, highlight=False, markup=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._run: TaskID | None = None
        self._stage: TaskID | None = None
        self._title = ""
        self._n_cached = 0

    def run_started(self, run_id: str, n_stages: int, n_workers: int) -> None:
        self._console.print(f"run {run_id}: {counted(n_stages, 'stage')}, {counted(n_workers, 'worker')}")
        self._progress.start()
        self._run = self._progress.add_task(f"run {run_id}", total=n_stages)

    def stage_started(self, name: str, title: str, n_instances: int) -> None:  # noqa: ARG002
        self._title, self._n_cached = title, 0
        self._stage = self._progress.add_task(title, total=n_instances)

    def still_running(self, logs: Sequence[Path]) -> None:
        if self._stage is not None:
            line = "; ".join(last_lines(logs))
            self._progress.update(self._stage, description=f"{self._title}  {line[: self.LINE_LENGTH]}".rstrip())

    def instance_finished(self, instance: str, status: str, seconds: float, reason: str) -> None:
        self._n_cached += status == "cached"
        if self._stage is not None:
            self._progress.advance(self._stage)
        if status not in ("finished", "cached"):
            self._console.print(f"{instance} {status} after {duration(seconds)}: {reason}", soft_wrap=True)

    def instance_failed(self, instance: str, error: str, log: Path, end: Sequence[str], next_command: str) -> None:
        first, *others = failure_lines(instance, error, log, end, next_command)
        self._console.print(first, style="bold red", soft_wrap=True)
        self._console.print("\n".join(others), soft_wrap=True)

    def stage_finished(self, name: str, seconds: float) -> None:
        cached = f", {self._n_cached} unchanged" if self._n_cached else ""
        self._console.print(f"{self._title} ({name}): {duration(seconds)}{cached}", soft_wrap=True)
        if self._stage is not None:
            self._progress.remove_task(self._stage)
            self._stage = None
        if self._run is not None:
            self._progress.advance(self._run)

    def warning(self, text: str) -> None:
        self._console.print(f"warning: {text}", style="yellow", soft_wrap=True)

    def run_finished(self, status: str, seconds: float, manifest: Path) -> None:
        self._progress.stop()
        style = "green" if status == "finished" else "bold red"
        self._console.print(
            f"run {status} after {duration(seconds)}; manifest: {manifest}", style=style, soft_wrap=True
        )
        self._console.file.close()


def display_for(stream: TextIO, *, is_plain: bool = False) -> Display:
    """Progress bars where `stream` is a terminal, plain lines elsewhere and where `is_plain` (NO_COLOR, TERM=dumb)."""
    if is_plain or not stream.isatty():
        return PlainDisplay(stream)
    return TerminalDisplay(stream)


def last_lines(logs: Sequence[Path]) -> list[str]:
    """The last line of each log that has one."""
    return [line.strip() for log in logs for line in tail(log, 1) if line.strip()]


def failure_lines(instance: str, error: str, log: Path, end: Sequence[str], next_command: str) -> list[str]:
    """What failed, why, where its log is, how that ends, and what to do next."""
    lines = [f"FAILED {instance}: {error}"]
    said = f"error: {error}".splitlines()
    if list(end[-len(said) :]) == said:
        end = end[: -len(said)]
    if end:
        lines += [f"  log: {log}, its end:", *(f"  | {line}" for line in end)]
    else:
        lines += [f"  log: {log}"]
    return [*lines, f"  once that is mended, continue from here with: {next_command}"]


def duration(seconds: float) -> str:
    """``0.4 s``, ``12.0 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(n: int, noun: str) -> str:
    """``1 part``, ``3 parts``."""
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"
