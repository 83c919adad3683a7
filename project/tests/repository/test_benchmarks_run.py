"""The benchmark runner measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_benchmark_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    code = (
        'import os\nNAME = "large"\ndef run():\n    block = b"x" * 150_000_000\n    return {"process": os.getpid()}\n'
    )
    (tmp_path / "bench_large.py").write_text(code)
    (tmp_path / "bench_small.py").write_text(code.replace("150_000_000", "1").replace("large", "small"))
    done = _run("--folder", str(tmp_path), "--json")
    large, small = json.loads(done.stdout)
    assert (large["name"], small["name"]) == ("large", "small")
    assert large["cost"]["peak_memory_mb"] > small["cost"]["peak_memory_mb"] + 140
    assert large["figures"]["process"] != small["figures"]["process"]
    assert large["cost"]["wall_s"] > 0
    assert large["cost"]["cpu_s"] > 0


def test_the_table_shows_cost_and_figures(tmp_path: Path) -> None:
    (tmp_path / "bench_a.py").write_text(
        'NAME = "first"\ndef run():\n    print("noise")\n    return {"rows/s": 12.5}\n'
    )
    lines = _run("--folder", str(tmp_path), "a").stdout.splitlines()
    assert lines[0].split() == ["benchmark", "wall", "s", "CPU", "s", "peak", "MB"]
    assert lines[1].startswith("first ")
    assert lines[2].split() == ["rows/s", "12.5"]


def test_none_an_unknown_and_a_broken_one_end_with_1(tmp_path: Path) -> None:
    nothing = _run("--folder", str(tmp_path))
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr == f"no benchmark in {tmp_path}; there are: none\n"
    (tmp_path / "bench_a.py").write_text("NAME = 'a'\n")
    unknown = _run("--folder", str(tmp_path), "b")
    assert unknown.returncode == 1
    assert "no benchmark b" in unknown.stderr
    broken = _run("--folder", str(tmp_path))
    assert broken.returncode == 1
    assert "lacks run" in broken.stderr
