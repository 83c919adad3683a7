"""Worker processes: logs, deaths, threads; and the door to a Dask cluster."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest
import toy_stages
from toy_lake import ToyLake, make_toy_lake

from backtest.errors import MisuseError, RunError
from backtest.lake.files import TEMPORARY_PREFIX, read_json
from backtest.pipeline.capture import captured, tail
from backtest.pipeline.executors import (
    ProcessWorkers,
    SerialWorkers,
    WorkerDied,
    available_cores,
    executor_factory_for,
)
from backtest.pipeline.stage import Outcome, Plan, Stage
from backtest.pipeline.worker import IMPORTED_AHEAD, Task, execute
from backtest.spec import loader, reader
from backtest.spec.loader import handed_over, load_spec, reading_once

SHIPPED_SPEC = Path(__file__).resolve().parents[3] / "spec"
SPOKEN = [
    *("from print", "from print to stderr", "from os.write", "from os.write to stderr", "from native code"),
    *("from a child process", "ünïcode without a line end"),
]


@pytest.mark.parametrize("factory", [ProcessWorkers, SerialWorkers])
def test_a_log_has_all_that_a_stage_prints_native_code_included(
    lake: ToyLake, factory: type, capfd: pytest.CaptureFixture[str]
):
    assert lake.run([toy_stages.SPEAK], executor_factory=factory, workers=1).status == "finished"
    assert sorted(lake.log("speak").splitlines()) == sorted(SPOKEN)
    print("after")
    os.write(1, b"after too\n")
    assert capfd.readouterr() == ("after\nafter too\n", "")


def test_capture_gives_the_streams_back_after_a_fault(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    before = sys.stdout, sys.stderr
    with pytest.raises(ZeroDivisionError), captured(tmp_path / "log"):
        print("inside")
        _ = 1 / 0
    assert (sys.stdout, sys.stderr) == before
    print("outside")
    assert capfd.readouterr().out == "outside\n"
    assert (tmp_path / "log").read_text() == "inside\n"


def test_capture_leaks_no_descriptors(tmp_path: Path):
    folder = Path("/dev/fd")
    before = len(list(folder.iterdir()))
    for _ in range(5):
        with captured(tmp_path / "log"):
            print("x")
    assert len(list(folder.iterdir())) == before


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path):
    (tmp_path / "log").write_text("\n".join(str(number) for number in range(50_000)))
    assert tail(tmp_path / "log", 3) == ["49997", "49998", "49999"]
    assert tail(tmp_path / "absent", 3) == []


def test_a_killed_worker_fails_its_part_and_no_other(lake: ToyLake):
    report = lake.run(executor_factory=ProcessWorkers, workers=2, parameters={"clean_BBB_does": "die"})
    statuses = {entry.instance: entry.status for entry in report.instances}
    assert statuses == {"clean__AAA": "finished", "clean__BBB": "failed", "clean__CCC": "finished"}
    assert report.error is not None
    assert "was ended by signal 9 (SIGKILL); most often the system ran out of memory" in report.error
    assert "while it ran clean__BBB" in report.error
    assert lake.log("clean__BBB") == f"{report.error}\n"
    assert not list(lake.root.path.rglob(f"{TEMPORARY_PREFIX}*"))


def test_the_processors_are_shared_among_the_workers(lake: ToyLake):
    n_workers = 2
    lake.run([toy_stages.THREADS], executor_factory=ProcessWorkers, workers=n_workers)
    for symbol in lake.plan.symbols:
        n_polars, n_blas, pid = read_json(lake.root.run_lake("toy") / f"threads{symbol}.json")
        assert (n_polars, n_blas) == (max(1, available_cores() // n_workers), "1")
        assert pid != os.getpid()


def test_workers_are_reused_and_no_more_are_started_than_there_are_tasks():
    with ProcessWorkers(8) as workers:
        pids = {workers.submit(os.getpid).result() for _ in range(3)}
        assert len(pids) == 1
        assert workers.pids == pids


def test_an_exception_in_a_task_reaches_its_future_and_the_worker_lives_on():
    with ProcessWorkers(1) as workers:
        with pytest.raises(ZeroDivisionError):
            workers.submit(divmod, 1, 0).result()
        with pytest.raises(Exception, match=r"[Pp]ickle|lambda|local"):
            workers.submit(lambda: None).result()
        with pytest.raises(RuntimeError, match="cannot be sent"):
            workers.submit(memoryview, b"x").result()
        assert workers.submit(abs, -3).result() == 3


def test_an_idle_worker_imports_ahead_what_tasks_need():
    # The last is what Numba imports before its first kernel.
    needed = (*IMPORTED_AHEAD, "numba.np.arrayobj")
    deadline = time.monotonic() + toy_stages.DEADLINE_SECONDS
    with ProcessWorkers(1) as workers:
        workers.expect_tasks()
        while not all(workers.submit(toy_stages.is_imported, name).result() for name in needed):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert len(workers.pids) == 1


def _count_events(plan: Plan, _partition: str) -> Outcome:
    return Outcome(outputs=(), summary={"events": len(load_spec(plan.spec_root).events)})


def test_a_task_takes_the_spec_along_as_the_run_read_it(lake: ToyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = replace(lake.plan, spec_root=Path(shutil.copytree(SHIPPED_SPEC, tmp_path / "spec")))
    with reading_once(plan.spec_root):
        n_events = len(load_spec(plan.spec_root).events)
        handed = handed_over(plan.spec_root)
    assert handed is not None
    sent = pickle.dumps(Task("count", _count_events, plan, "", tmp_path / "log", handed))
    loader._load.cache_clear()
    monkeypatch.delattr(reader, "SpecReader")
    result = execute(pickle.loads(sent))  # noqa: S301 - made above
    assert result.error is None
    assert result.outcome is not None
    assert result.outcome.summary == {"events": n_events}


def test_a_run_hands_the_spec_to_its_workers(lake: ToyLake, tmp_path: Path):
    plan = replace(lake.plan, spec_root=Path(shutil.copytree(SHIPPED_SPEC, tmp_path / "shipped")))

    def events_hash(plan: Plan, _partition: str) -> str:
        return load_spec(plan.spec_root).part_hash("events")

    handed = []

    class Watched(SerialWorkers):
        def submit(self, fn, /, *args, **kwargs):
            handed.extend(task.spec for task in args if isinstance(task, Task))
            return super().submit(fn, *args, **kwargs)

    stage = Stage("count", "Counting events", (), ("count",), _count_events, spec=events_hash)
    report = ToyLake(plan).run([stage], executor_factory=Watched)
    assert report.status == "finished"
    assert len(handed) == 1
    assert handed[0] is not None


def test_a_script_whose_workers_start_it_over_again_is_told_what_to_do(tmp_path: Path):
    script = tmp_path / "own_script.py"
    script.write_text(
        "from backtest.pipeline.executors import ProcessWorkers\n"
        "try:\n    ProcessWorkers(1).submit(abs, -1).result()\n"
        "except Exception as fault:\n    print(fault, fault.hint)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert "ended with exit code" in done.stdout
    assert 'if __name__ == "__main__":' in done.stdout


def test_a_worker_that_cannot_be_started_fails_its_task(monkeypatch: pytest.MonkeyPatch):
    def refused(**_: object) -> None:
        raise BlockingIOError("no more processes")

    with ProcessWorkers(1) as workers:
        monkeypatch.setattr(workers._context, "Process", refused)
        with pytest.raises(BlockingIOError, match="no more processes"):
            workers.submit(abs, -1).result(timeout=10)


def test_an_idle_worker_that_died_is_replaced():
    with ProcessWorkers(1) as workers:
        pid = workers.submit(os.getpid).result()
        os.kill(pid, 9)
        _wait_until_gone(pid)
        assert workers.submit(abs, -3).result() == 3


@pytest.mark.parametrize("end", [ProcessWorkers.shutdown, ProcessWorkers.kill])
def test_workers_that_expect_no_task_end_of_their_own_accord(end: Callable[[ProcessWorkers], None]):
    workers = ProcessWorkers(2)
    pid = workers.submit(os.getpid).result()
    workers.expect_none()
    _wait_until_gone(pid)
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(abs, 1)
    end(workers)
    assert workers.pids == {pid}


def test_killing_the_workers_ends_what_runs_and_what_waits():
    workers = ProcessWorkers(1)
    workers.submit(abs, 1).result()
    running, waiting = workers.submit(time.sleep, 60), workers.submit(time.sleep, 60)
    workers.kill()
    with pytest.raises((WorkerDied, CancelledError)):
        running.result(timeout=10)
    with pytest.raises(CancelledError):
        waiting.result(timeout=10)
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(abs, 1)


def test_workers_end_with_a_run_that_was_killed(tmp_path: Path):
    code = (
        "import os, sys, time\nfrom backtest.pipeline.executors import ProcessWorkers\n"
        "if __name__ == '__main__':\n"
        "    workers = ProcessWorkers(1)\n    pid = workers.submit(os.getpid).result()\n"
        "    workers.submit(time.sleep, 60)\n    print(pid, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    folder = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folder},
        timeout=30,
    )
    _wait_until_gone(int(done.stdout))


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            n_threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            return
        # A leader is a zombie before its last thread has closed the process's files.
        if state == "Z" and n_threads <= 1:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} lives on")


# -- Dask ---------------------------------------------------------------------------------------------------


def test_no_scheduler_means_processes_of_this_machine():
    assert executor_factory_for(None) is executor_factory_for("") is ProcessWorkers


def test_an_address_that_is_none_is_refused():
    with pytest.raises(MisuseError, match=r"BACKTEST_SCHEDULER=localhost is not a Dask address. Example: .*tcp://"):
        executor_factory_for("localhost")


def test_without_dask_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch, lake: ToyLake):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MisuseError, match=r"pip install 'distributed>=2026.8'"):
        lake.run(executor_factory=executor_factory_for("tcp://127.0.0.1:1"))


def test_a_scheduler_that_does_not_answer_is_told(lake: ToyLake, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("distributed", reason="Dask is an optional extra")
    monkeypatch.setattr("backtest.pipeline.executors.SCHEDULER_TIMEOUT_SECONDS", 1)
    with pytest.raises(RunError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 within 1 s"):
        lake.run(executor_factory=executor_factory_for("tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bytes(tmp_path: Path):
    distributed = pytest.importorskip("distributed", reason="Dask is an optional extra")
    here, there = make_toy_lake(tmp_path / "here"), make_toy_lake(tmp_path / "there")
    here.run()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        factory = executor_factory_for(cluster.scheduler_address)
        report = there.run(executor_factory=factory)
        report.raise_for_failure()
        assert there.manifest()["workers"] == 2
        assert there.log("clean__AAA") == "cleaned 2 values of AAA\n"
        died = there.run(executor_factory=factory, run_id="dying", parameters={"clean_BBB_does": "die"})
    assert here.results() == {name: there.results()[name] for name in here.results()}
    assert (died.status, died.failed_stage) == ("failed", "clean__BBB")
    assert died.error is not None
    assert "gave no result for clean__BBB: KilledWorker" in died.error
