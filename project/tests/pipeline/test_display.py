from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import threading
from pathlib import Path

import pytest
import toy_stages
from toy_lake import ToyLake

from backtest.pipeline.display import PlainDisplay, TerminalDisplay, display_for, duration


def _plain(lake: ToyLake, **options) -> str:
    stream = io.StringIO()
    lake.run(display=PlainDisplay(stream), **options)
    return re.sub(r"\d+\.\d s", "N s", stream.getvalue()).replace(str(lake.root.path), "ROOT")


def test_plain_lines_tell_the_run_stage_by_stage(lake: ToyLake):
    assert _plain(lake).splitlines() == [
        "run toy: 3 stages, 1 worker",
        "[1/3] Cleaning (clean): 3 parts",
        "  1/3 clean__AAA finished in N s: no earlier result",
        "  2/3 clean__BBB finished in N s: no earlier result",
        "  3/3 clean__CCC finished in N s: no earlier result",
        "  clean: 3 of 3 done in N s",
        "[2/3] Adding up (total): 1 part",
        "  total: 1 of 1 done in N s",
        "[3/3] Reporting (report): 1 part",
        "  report: 1 of 1 done in N s",
        "run finished after N s; manifest: ROOT/runs/toy/run_manifest.json",
    ]
    assert "  clean: 3 of 3 done in N s, 3 unchanged" in _plain(lake, cache=True)


def test_a_failure_shows_its_reason_the_end_of_the_log_and_the_next_command(lake: ToyLake):
    text = _plain(lake, parameters={"total_does": "divide by zero"})
    assert "FAILED total: this is a fault of the program: ZeroDivisionError: division by zero" in text
    assert "  log: ROOT/runs/toy/total.log, its end:\n  | about to divide\n  | Traceback" in text
    assert "continue from here with: BACKTEST_STAGE_CACHE=1 make toys" in text
    assert "warning: report was not started: it needs totals, which total did not make" in text
    assert "run failed after N s" in text


def test_a_fault_of_the_operator_shows_no_traceback(lake: ToyLake):
    text = _plain(lake, parameters={"total_does": "raise a data error"})
    assert "FAILED total: bars of  are damaged" in text
    assert "Traceback" not in text


def test_a_terminal_gets_progress_and_keeps_it_out_of_the_logs(lake: ToyLake):
    reading, writing = pty.openpty()
    seen: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(reading, seen))
    reader.start()
    with os.fdopen(writing, "w") as terminal:
        assert isinstance(display_for(terminal, is_plain=True), PlainDisplay)
        display = display_for(terminal)
        assert isinstance(display, TerminalDisplay)
        lake.run(display=display, parameters={"total_does": "divide by zero"})
    reader.join()
    os.close(reading)
    text = b"".join(seen).decode()
    assert "run toy: 3 stages, 1 worker" in text
    assert re.search(r"Cleaning \(clean\): \d\.\d s", text)
    assert "FAILED total: this is a fault of the program" in text
    assert "run failed after" in text
    assert lake.log("clean__AAA") == "cleaned 2 values of AAA\n"


def _read_all(descriptor: int, seen: list[bytes]) -> None:
    """Until the other end of the terminal is closed, which Linux tells by an error and others by nothing more."""
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 1 << 16):
            seen.append(part)


def test_a_file_gets_plain_lines(tmp_path: Path):
    with (tmp_path / "out").open("w") as stream:
        assert isinstance(display_for(stream), PlainDisplay)


@pytest.mark.parametrize("seconds, text", [(0.04, "0.0 s"), (12, "12.0 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")])
def test_durations_are_told_in_their_unit(seconds: float, text: str):
    assert duration(seconds) == text


def test_toys_have_titles():
    assert all(stage.title for stage in toy_stages.STAGES)
