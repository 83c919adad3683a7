"""Let the disk be full, then read-only, from the moment each stage begins; look at what is told and left, then let it go on.

    sudo .venv/bin/python project/tests/crashes/full_disk_at_each_stage.py [--days 60]

The run is that of `kill_at_random_moments`, on a file system in memory of its own (mounting it needs root). A stage that has
to write fails: the run must end with an error that names the disk and an exit code other than 0, leave no temporary file
and no file that differs from an uninterrupted run's, and go on where it stopped when there is space again. In the end
every artifact must equal the uninterrupted run's. Ends with 1 where one of that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import functools
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from tests.crashes.kill_at_random_moments import RUN_ID, START, artifacts, differences, small_spec  # noqa: E402

SIZE_MB: Final = 600
NEEDS_ROOT: Final = 2
TOLD: Final = {"full": "No space left on device", "read-only": "Read-only file system"}


@contextlib.contextmanager
def file_system(folder: Path) -> Iterator[Path]:
    """A file system in memory, mounted on `folder`."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Disk:
    """What happens to the file system, and back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"
        self._is_bound = False

    def fail(self, how: str) -> None:
        """From now on nothing new can be written, although open files stay open."""
        if how == "full" and not self._filler.exists():
            free = os.statvfs(self._folder)
            with self._filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
        if how == "read-only" and not self._is_bound:
            _mount("--bind", str(self._folder), str(self._folder))
            self._is_bound = True
            _mount("-o", "remount,bind,ro", str(self._folder))

    def mend(self) -> None:
        """As before."""
        if self._is_bound:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
            self._is_bound = False
        self._filler.unlink(missing_ok=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def run(root: Path, spec: Path, days: int, stages: list[Any]) -> tuple[int, str]:
    """Run the stages with the cache, one after the other in this process: exit code and what an operator is told."""
    from backtest.errors import BacktestError
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.display import display_for
    from backtest.pipeline.executors import SerialWorkers
    from backtest.pipeline.runner import run_stages
    from backtest.pipeline.stage import Plan

    names = "vol_shock_mean_reversion_v1,compression_breakout_v1"
    parameters = {"source": "simulated", "venue": "simulated", "strategies": names}
    end = START + dt.timedelta(days=days)
    plan = Plan(DataRoot(root), spec, RUN_ID, ("BTCUSDT",), START, end, parameters)
    told = io.StringIO()
    try:
        run_stages(
            plan, stages, display=display_for(told), cache=True, executor_factory=SerialWorkers
        ).raise_for_failure()
    except BacktestError as fault:
        return fault.exit_code, f"{told.getvalue()}\nerror: {fault}"
    return 0, told.getvalue()


def failing(stage: Any, disk: Disk, how: str) -> Any:
    """The stage on a disk that fails when it begins; the cache takes it for the stage itself."""
    work: Callable[..., Any] = stage.run

    @functools.wraps(work)
    def begun(*arguments: Any) -> Any:
        disk.fail(how)
        return work(*arguments)

    return dataclasses.replace(stage, run=begun)


def faults_of(code: int, told: str, how: str, found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """What is wrong with how a run ended whose disk failed."""
    last = told.rpartition("error: ")[2]
    faults = [] if code else ["it ended with 0"]
    faults += [] if TOLD[how] in last else [f"it told {last[-300:]!r}"]
    faults += [f"it left {name}" for name in found if ".writing-" in name]
    faults += [f"it changed {name}" for name in found.keys() & expected.keys() if found[name] != expected[name]]
    return faults


def main(arguments: list[str] | None = None) -> int:
    """Run, print a line a stage, end with 1 where one was at fault."""
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.graph import chosen, find_stages
    from backtest.pipeline.runs import BASELINE

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--show", action="store_true", help="what an operator is told, too")
    given = parser.parse_args(arguments)
    if os.geteuid() != 0:
        print("not done: it mounts a file system, for which it must be run by root", file=sys.stderr)
        return NEEDS_ROOT
    stages = list(chosen(find_stages(), BASELINE))
    n_faults = 0
    with tempfile.TemporaryDirectory(prefix="disk-") as temporary:
        base = Path(temporary)
        spec = small_spec(base / "spec")
        DataRoot(base / "whole").create()
        code, told = run(base / "whole", spec, given.days, stages)
        if code:
            print(told[-3000:], file=sys.stderr)
            return 1
        expected = artifacts(base / "whole")
        for how in TOLD:
            with file_system(base / how) as mounted:
                root, disk = mounted / "root", Disk(mounted)
                DataRoot(root).create()
                for number, stage in enumerate(stages):
                    code, told = run(root, spec, given.days, [*stages[:number], failing(stage, disk, how)])
                    faults = faults_of(
                        code, told, how, artifacts(root), {**expected, "ledger": artifacts(root)["ledger"]}
                    )
                    disk.mend()
                    if given.show:
                        print(told)
                    code, told = run(root, spec, given.days, stages[: number + 1])
                    faults += [f"it did not go on: {told[-300:]!r}"] if code else []
                    n_faults += len(faults)
                    print(f"{how} at {stage.name}: {'; '.join(faults) or 'told, and gone on'}", flush=True)
                wrong = differences(artifacts(root), expected)
                n_faults += len(wrong)
                print(f"{how}: {len(expected)} artifacts, {len(wrong)} differ {wrong[:5] or ''}", flush=True)
    return 1 if n_faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
