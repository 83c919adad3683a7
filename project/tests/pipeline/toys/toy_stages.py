"""Stages that do next to nothing, for the tests of the runner; a module of its own so that workers can import it.

raw (files put there by the test) -> cleaned, by symbol, shared -> totals, one file of the run.
What the stages do beside that is asked for by parameters: ``<stage>_does`` or ``<stage>_<SYMBOL>_does``.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.errors import DataError
from backtest.lake.files import TEMPORARY_PREFIX, read_json, this_host, write_json
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

DEADLINE_SECONDS = 30.0


def is_imported(module: str) -> bool:
    return module in sys.modules


def symbols(plan: Plan) -> Sequence[str]:
    return plan.symbols


def raw_file(plan: Plan, symbol: str) -> Path:
    return plan.root.lake / "raw" / f"{symbol}.json"


def raw_files(plan: Plan, symbol: str) -> Sequence[Path]:
    return [raw_file(plan, symbol)]


def cleaned_file(plan: Plan, symbol: str) -> Path:
    return plan.root.lake / "cleaned" / f"{symbol}.json"


def cleaned_files(plan: Plan, _partition: str) -> Sequence[Path]:
    return [cleaned_file(plan, symbol) for symbol in plan.symbols]


def total_file(plan: Plan) -> Path:
    return plan.root.run_lake(plan.run_id) / "totals.json"


def counted_calls(plan: Plan, instance: str) -> Path:
    """Each call of a stage leaves one line here, outside all that is hashed."""
    return plan.root.path / "calls" / instance


def by_scale(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {"scale": plan.parameters.get("scale", 1)}


def spec_of_gates(plan: Plan, _partition: str) -> str:
    return (plan.spec_root / "gates.yaml").read_text(encoding="utf-8")


def clean(plan: Plan, symbol: str) -> Outcome:
    _note_call(plan, f"clean__{symbol}")
    _misbehave(plan, "clean", symbol)
    scale = plan.parameters.get("scale", 1)
    values = [value * scale for value in read_json(raw_file(plan, symbol))]
    write_json(cleaned_file(plan, symbol), values)
    print(f"cleaned {len(values)} values of {symbol}")
    warnings = ("one value was doubtful",) if 13 in values else ()
    return Outcome((cleaned_file(plan, symbol),), {"n_values": len(values)}, warnings)


def total(plan: Plan, _partition: str) -> Outcome:
    _note_call(plan, "total")
    _misbehave(plan, "total", "")
    totals = {symbol: sum(read_json(cleaned_file(plan, symbol))) for symbol in plan.symbols}
    write_json(total_file(plan), totals)
    return Outcome((total_file(plan),), {"facts": {"discovery_end": "2021-01-01T00:00:00+00:00"}})


def report(plan: Plan, _partition: str) -> Outcome:
    _note_call(plan, "report")
    path = plan.root.reports("toy", plan.run_id) / "report.json"
    write_json(path, {"text": f"total {sum(read_json(total_file(plan)).values())}"})
    return Outcome((path,))


def total_files(plan: Plan, _partition: str) -> Sequence[Path]:
    return [total_file(plan)]


CLEAN = Stage(
    "clean", "Cleaning", ("raw",), ("cleaned",), clean, symbols, raw_files, by_scale, spec_of_gates, shared=True
)
TOTAL = Stage("total", "Adding up", ("cleaned",), ("totals",), total, inputs=cleaned_files, parameters=by_scale)
REPORT = Stage("report", "Reporting", ("totals",), ("report",), report, inputs=total_files, parameters=by_scale)
STAGES = (REPORT, TOTAL, CLEAN)


def speak(_plan: Plan, _partition: str) -> Outcome:
    """Print in every way there is."""
    print("from print")
    print("from print to stderr", file=sys.stderr)
    os.write(1, b"from os.write\n")
    os.write(2, b"from os.write to stderr\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"from native code")
    os.system("echo from a child process")  # noqa: S605 - a child inherits the descriptors
    print("ünïcode without a line end", end="")
    return Outcome(())


SPEAK = Stage("speak", "Speaking", (), ("speech",), speak)


def threads(plan: Plan, partition: str) -> Outcome:
    """Tell how many threads Polars has in a worker."""
    import polars as pl

    path = plan.root.run_lake(plan.run_id) / f"threads{partition}.json"
    write_json(path, [pl.thread_pool_size(), os.environ.get("OPENBLAS_NUM_THREADS"), os.getpid()])
    return Outcome((path,))


THREADS = Stage("threads", "Counting threads", (), ("thread_counts",), threads, symbols)


def _note_call(plan: Plan, instance: str) -> None:
    path = counted_calls(plan, instance)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("called\n")


def _misbehave(plan: Plan, stage: str, symbol: str) -> None:
    action = plan.parameters.get(f"{stage}_{symbol}_does") or plan.parameters.get(f"{stage}_does")
    if action == "raise a data error":
        raise DataError(f"bars of {symbol} are damaged; run make clean-all-data")
    if action == "divide by zero":
        print("about to divide")
        _ = 1 / 0
    if action == "die":
        (plan.root.path / f"{TEMPORARY_PREFIX}{this_host()}-{os.getpid()}-half.json").write_text("half")
        os.kill(os.getpid(), 9)
    if action == "exit":
        sys.exit(3)
    if action == "change its input":
        write_json(raw_file(plan, symbol), [0])
    if action == "wait":
        wait_for_release(plan)


def wait_for_release(plan: Plan) -> None:
    """Tell that it waits, with a half-written file about, until the test lets it go on."""
    (plan.root.path / f"{TEMPORARY_PREFIX}{this_host()}-{os.getpid()}-half.json").write_text("half")
    (plan.root.path / "waiting").write_text(str(os.getpid()))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (plan.root.path / "go_on").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the test never let the stage go on")
        time.sleep(0.01)
