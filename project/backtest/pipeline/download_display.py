"""How far a download is: one live line on a terminal, one plain line a file elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from backtest.sources.binance import Progress


@contextlib.contextmanager
def download_display(stream: TextIO) -> Iterator[Callable[[Progress], None]]:
    """Yield what takes each step of the download and shows it on `stream`."""
    if not stream.isatty():

        def plain(step: Progress) -> None:
            if step.line:
                print(f"[{step.files_done}/{step.files_planned}] {step.line}", file=stream, flush=True)

        yield plain
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files · {task.fields[megabytes]:.1f} MB · {task.fields[rate]:.1f} MB/s ·"),
        TimeRemainingColumn(),
    )
    with Display(*columns, console=Console(file=stream), transient=True) as display:
        task = display.add_task("fetching", total=None, megabytes=0.0, rate=0.0)

        def live(step: Progress) -> None:
            megabytes = step.bytes_done / 1e6
            elapsed = display.tasks[0].elapsed or 0.0
            rate = megabytes / elapsed if elapsed else 0.0
            display.update(task, completed=step.files_done, total=step.files_planned, megabytes=megabytes, rate=rate)

        yield live
