"""One process at a time works on a run; one that is ended leaves a run that can be done again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import toy_stages
from toy_lake import ToyLake, make_toy_lake

from backtest.errors import RunError
from backtest.lake.files import TEMPORARY_PREFIX
from backtest.pipeline.display import Display, SilentDisplay
from backtest.pipeline.executors import ProcessWorkers
from backtest.pipeline.lock import holding_run, run_is_held
from backtest.pipeline.runner import RunReport

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
PROJECT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys"


def _start(lake: ToyLake, *arguments: str, run_id: str = "toy") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TOYS / "toy_run.py"), str(lake.root.path), run_id, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_until_it_waits(lake: ToyLake, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while not (lake.root.path / "waiting").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the stage never began"
        time.sleep(0.01)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class _WaitsToldOf(SilentDisplay):
    """Sets `told` at the first warning."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)
        self.told.set()


def _temporary_files(lake: ToyLake) -> list[str]:
    return [path.name for path in lake.root.path.rglob(f"{TEMPORARY_PREFIX}*")]


def test_a_second_run_with_the_same_name_is_told_who_holds_it(lake: ToyLake):
    with (
        holding_run(lake.root, "toy", now=NOW, command="make run"),
        pytest.raises(RunError) as caught,
    ):
        lake.run()
    assert str(caught.value) == (
        f"RUN_ID toy is being worked on by process {os.getpid()} on {socket.gethostname()} "
        "since 2025-01-01T12:00:00+00:00 (make run). "
        f"Wait until it has finished, end it (kill {os.getpid()}), or choose another RUN_ID."
    )
    assert not lake.root.run_manifest("toy").exists()
    assert lake.run().status == "finished"


def test_another_run_is_not_held_up(lake: ToyLake):
    with holding_run(lake.root, "toy", now=NOW, command=""):
        assert run_is_held(lake.root, "toy")
        assert not run_is_held(lake.root, "other")
        assert lake.run([toy_stages.THREADS], run_id="other").status == "finished"
    assert not run_is_held(lake.root, "toy")


def test_a_lock_left_by_a_dead_process_is_taken_over_and_noted(lake: ToyLake):
    lock = lake.root.run("toy") / ".lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(
        '{"pid": 4000000, "host": "there", "started_at": "2025-01-01T00:00:00+00:00", "command": "make run"}'
    )
    lake.run()
    assert lake.manifest()["lock_left_by"]["pid"] == 4000000
    lake.run()
    assert lake.manifest()["lock_left_by"] is None


def test_two_runs_at_the_same_shared_part_take_turns(lake: ToyLake):
    lake.plan = replace(lake.plan, symbols=("AAA",))
    reports: dict[str, RunReport] = {}

    def in_processes(name: str, display: Display, parameters: dict[str, str]) -> None:
        reports[name] = lake.run(
            run_id=name, cache=True, display=display, parameters=parameters, executor_factory=ProcessWorkers, workers=1
        )

    first = threading.Thread(target=in_processes, args=("first", SilentDisplay(), {"clean_AAA_does": "wait"}))
    first.start()
    _wait_until((lake.root.path / "waiting").exists)
    display = _WaitsToldOf()
    second = threading.Thread(target=in_processes, args=("second", display, {}))
    second.start()
    _wait_until(display.told.is_set)
    (lake.root.path / "go_on").touch()
    first.join()
    second.join()
    assert lake.n_calls("clean__AAA") == 1
    statuses = {name: report.instances[0].status for name, report in reports.items()}
    assert statuses == {"first": "finished", "second": "cached"}
    assert display.texts == list(reports["second"].warnings)
    assert f"waiting for process {os.getpid()}" in display.texts[0]


@pytest.mark.parametrize(
    "number, to_group",
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, False)],
)
def test_an_interrupted_run_says_so_and_leaves_nothing_half_done(lake: ToyLake, number: int, to_group: bool):
    process = _start(lake, "clean_BBB_does=wait")
    _wait_until_it_waits(lake, process)
    worker = int((lake.root.path / "waiting").read_text())
    assert _temporary_files(lake)
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "run interrupted after" in errors
    manifest = lake.manifest()
    assert (manifest["status"], manifest["failed_stage"]) == ("interrupted", None)
    statuses = {name: entry["status"] for name, entry in manifest["stages"].items()}
    assert statuses == {
        "clean__AAA": "finished",
        "clean__BBB": "interrupted",
        "total": "not_started",
        "report": "not_started",
    }
    assert lake.manifest("clean__AAA")["status"] == "finished"
    assert _temporary_files(lake) == []
    assert not run_is_held(lake.root, "toy")
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_killed_run_done_again_equals_one_never_interrupted(tmp_path: Path):
    killed, whole = make_toy_lake(tmp_path / "killed"), make_toy_lake(tmp_path / "whole")
    process = _start(killed, "total_does=wait")
    _wait_until_it_waits(killed, process)
    second = _start(killed)
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 1
    assert f"RUN_ID toy is being worked on by process {process.pid}" in errors
    process.kill()
    process.communicate(timeout=20)
    assert killed.manifest()["status"] == "running"
    assert not run_is_held(killed.root, "toy")
    for lake in (killed, whole):
        report = lake.run(cache=True, symbols=("AAA", "BBB"))
        assert report.status == "finished"
    assert killed.results() == whole.results()
    assert killed.manifest()["lock_left_by"]["pid"] == process.pid
    assert killed.n_calls("clean__AAA") == 1  # done before the kill, and kept
