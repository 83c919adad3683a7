"""Kill a full run at random moments (SIGKILL), run it again, and compare every artifact with an uninterrupted run's.

    python project/tests/crashes/kill_at_random_moments.py [--moments 100] [--seed 0] [--symbols 1] [--days 60]

The run has all stages, from ingest of a simulated market to backtest, walk-forward, promotion and report, on a spec of
three event types. A moment is a share of the processor time that the uninterrupted run takes, so that moments lie evenly
over its work however busy the machine is. Half of the kills end the main process alone, half its workers too. Every
difference is told, and the script ends with 1 where there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[3]
EVENTS: Final = ("VOL_SHOCK", "BREAKOUT_TRIGGER", "RANGE_COMPRESSION_END")
START: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
RUN_ID: Final = "killed"
NO_ARTIFACTS: Final = (
    re.compile(r"runs/.*"),  # manifests and logs: times and durations of this very run
    re.compile(r"lake/stage_records/.*"),
    re.compile(r"lake/file_hashes\.json"),
    re.compile(r"lake/\.lock|.*/\.lock"),
    re.compile(r"reports/(killed/)?index\.html"),  # they tell the same of this very run
    re.compile(r"ledger/.*"),  # compared without the time of the search
)


def small_spec(folder: Path) -> Path:
    """A copy of the spec with three event types and the strategies made of them."""
    import yaml

    shutil.copytree(REPOSITORY / "spec", folder)
    for path in (folder / "events").glob("*.yaml"):
        if path.stem not in EVENTS:
            path.unlink()
    for path in (folder / "strategies").glob("*.yaml"):
        if yaml.safe_load(path.read_text(encoding="utf-8")).get("event_type") not in EVENTS:
            path.unlink()
    gates = folder / "gates.yaml"
    content = yaml.safe_load(gates.read_text(encoding="utf-8"))
    content["overrides"] = {name: one for name, one in (content.get("overrides") or {}).items() if name in EVENTS}
    gates.write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def run_all(root: Path, spec: Path, *, symbols: int, days: int) -> int:
    """The whole chain in this process; its exit code."""
    from backtest.errors import BacktestError
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.runs import BASELINE, Request, execute

    request = Request(
        root=DataRoot(root),
        spec_root=spec,
        run_id=RUN_ID,
        symbols=("BTCUSDT", "ETHUSDT")[:symbols],
        start=START,
        end=START + dt.timedelta(days=days),
        workers=2,
        cache=True,
        parameters={
            "source": "simulated",
            "venue": "simulated",
            "strategies": "vol_shock_mean_reversion_v1,compression_breakout_v1",
        },
    )
    try:
        report = execute(request, BASELINE, now=dt.datetime.now(dt.UTC), command="kill_at_random_moments")
    except BacktestError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0 if report.status == "finished" else 1


def artifacts(root: Path) -> dict[str, bytes]:
    """Every file of a data root that says what was found, by its name, and the ledger without its times."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if not any(pattern.fullmatch(name) for pattern in NO_ARTIFACTS):
            found[name] = path.read_bytes()
    searches = root / "ledger" / "searches.jsonl"
    entries = [json.loads(line) for line in searches.read_text().splitlines()] if searches.is_file() else []
    times = {"made_at", "hash", "previous"}
    found["ledger"] = repr([{k: v for k, v in entry.items() if k not in times} for entry in entries]).encode()
    return found


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """Names of files that are missing, too many or of other bytes."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def started(root: Path, spec: Path, options: Mapping[str, int], log: Path) -> subprocess.Popen[bytes]:
    """A run in a process group of its own."""
    arguments = [sys.executable, __file__, "--child", str(root), str(spec)]
    arguments += [f"--{name}={value}" for name, value in options.items()]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKTEST_")}
    with log.open("wb") as output:
        return subprocess.Popen(
            arguments,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=kept | {"PYTHONPATH": str(REPOSITORY / "project")},
        )


def processor_seconds(pid: int) -> float:
    """Processor time that a process, its live children and its ended ones have taken."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = {int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in _words(task / "children")}
        return (sum(_ticks(pid)) + sum(sum(_ticks(child)[:2]) for child in children)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _words(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text().split()
    return []


def _ticks(pid: int) -> list[int]:
    """User and system time of a process, then of its ended children."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(field) for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]
    return [0, 0, 0, 0]


def killed_and_repeated(
    folder: Path, spec: Path, options: Mapping[str, int], *, after_seconds: float, workers_too: bool
) -> tuple[bool, int, dict[str, bytes]]:
    """Kill a run after some processor time and run it again: whether it had not ended, the second exit code, the artifacts."""
    root, log = folder / "root", folder / "log"
    first = started(root, spec, options, log)
    while first.poll() is None and processor_seconds(first.pid) < after_seconds:
        time.sleep(0.01)
    was_killed = first.poll() is None
    if was_killed:
        (os.killpg if workers_too else os.kill)(first.pid, signal.SIGKILL)
    first.wait()
    second = started(root, spec, options, log)
    code = second.wait()
    return was_killed, code, artifacts(root)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--symbols", type=int, default=1)
    parser.add_argument("--days", type=int, default=60)
    given = parser.parse_args(arguments)
    options = {"symbols": given.symbols, "days": given.days}
    if given.child:
        return run_all(Path(given.child[0]), Path(given.child[1]), **options)
    generator = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="kill-") as temporary:
        base = Path(temporary)
        spec = small_spec(base / "spec")
        whole = base / "whole"
        whole.mkdir()
        before = os.times()
        if started(whole / "root", spec, options, whole / "log").wait():
            print((whole / "log").read_text(errors="replace")[-3000:], file=sys.stderr)
            return 1
        now = os.times()
        seconds = now.children_user + now.children_system - before.children_user - before.children_system
        expected = artifacts(whole / "root")
        print(
            f"uninterrupted: {seconds:.1f} s of processor time, {len(expected)} artifacts; seed {given.seed}",
            flush=True,
        )
        killed, bad = 0, 0
        for number in range(given.moments):
            moment = generator.uniform(0.01, 0.99) * seconds
            folder = base / f"{number}"
            folder.mkdir()
            was_killed, code, found = killed_and_repeated(
                folder, spec, options, after_seconds=moment, workers_too=bool(number % 2)
            )
            wrong = differences(found, expected)
            killed += was_killed
            bad += bool(code or wrong)
            told = "equal" if not (code or wrong) else f"exit {code}, differ: {wrong[:5]}"
            print(
                f"{number + 1}: killed after {moment:.2f} s{'' if was_killed else ' (had ended)'}: {told}", flush=True
            )
            if code or wrong:
                print((folder / "log").read_text(errors="replace")[-3000:], file=sys.stderr, flush=True)
            shutil.rmtree(folder)
        print(f"{killed} kills before the end, {bad} of {given.moments} repetitions failed or differ", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
