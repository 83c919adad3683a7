"""Run every benchmark beside this file in a process of its own and show what it cost.

    python project/benchmarks/run.py [--json] [NAME ...]

A benchmark is a module ``bench_*.py`` with ``NAME``, its title, and ``run() -> dict[str, float]``, its own figures by
name and unit. Wall and CPU time and peak memory are those of the whole process with its children, start-up included.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parent
COST_UNITS = ("wall_s", "cpu_s", "peak_memory_mb")
BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


def load(path: Path) -> ModuleType:
    """The module at `path`; SystemExit where it lacks ``NAME`` or ``run``."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise SystemExit(f"{path} cannot be imported")
    # What benchmarks and tests share lies beside this folder.
    sys.path.append(str(FOLDER.parent))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    missing = [name for name in ("NAME", "run") if not hasattr(module, name)]
    if missing:
        raise SystemExit(f"{path} lacks {' and '.join(missing)}; see {Path(__file__).name}")
    return module


def run_one(path: Path) -> dict[str, Any]:
    """Run one benchmark in this process: its title and its figures."""
    module = load(path)
    return {"name": module.NAME, "figures": module.run()}


def measure(path: Path) -> dict[str, Any]:
    """Run one benchmark as the only child of a process of its own; title, figures and cost."""
    return _child("--cost-of", path)


def cost_of(path: Path) -> dict[str, Any]:
    """Run one benchmark as the only child of this process and add its cost: seconds and megabytes (10⁶ bytes)."""
    begun = time.perf_counter()
    result = _child("--one", path)
    wall = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss * BYTES_PER_MAXRSS / 1e6
    return {**result, "cost": dict(zip(COST_UNITS, (wall, used.ru_utime + used.ru_stime, peak), strict=True))}


def _child(option: str, path: Path) -> dict[str, Any]:
    """What this script prints with `option` in a new process; its narration goes to stderr."""
    command = [sys.executable, __file__, option, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"{path.name} failed with exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def table(results: list[dict[str, Any]]) -> str:
    """One line a benchmark, its own figures below it."""
    lines = [f"{'benchmark':<40}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}"]
    for result in results:
        cost = result["cost"]
        lines.append(f"{result['name']:<40}" + "".join(f"{cost[unit]:>10.2f}" for unit in COST_UNITS))
        lines += [f"    {name:<36}{value:>10.4g}" for name, value in result["figures"].items()]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run what is asked for; exit code 1 where there is no such benchmark or one fails."""
    parser = argparse.ArgumentParser(
        description="Run the benchmarks in processes of their own and show what they cost."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="file names without bench_ and .py; all where none is given"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the bench_*.py files")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cost-of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one or given.cost_of:
        print(json.dumps(run_one(given.one) if given.one else cost_of(given.cost_of)))
        return 0
    found = {path.stem.removeprefix("bench_"): path for path in sorted(given.folder.glob("bench_*.py"))}
    unknown = [name for name in given.names if name not in found]
    if unknown or not found:
        asked = f"no benchmark {', '.join(unknown)}" if unknown else "no benchmark"
        print(f"{asked} in {given.folder}; there are: {', '.join(found) or 'none'}", file=sys.stderr)
        return 1
    results = []
    for name in given.names or found:
        print(f"running {name} …", file=sys.stderr)
        results.append(measure(found[name]))
    print(json.dumps(results, indent=2) if given.json else table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
