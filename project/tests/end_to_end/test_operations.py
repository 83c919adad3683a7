"""Watching and comparing real runs on a simulated market."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import SPAN, Desk

pytestmark = pytest.mark.slow

END = "2024-09-01T00:00:00Z"


def test_a_finished_run_is_listed_shown_and_free_of_findings(small: Desk) -> None:
    listed = json.loads(small.command("runs", "--json").stdout)
    first = next(run for run in listed if run["run_id"] == "first")
    assert first["status"] == "finished"
    assert first["n_hypotheses"] > 100
    assert first["n_passed"] is not None
    shown = small.command("runs", "show", "first")
    assert shown.returncode == 0
    assert "scores__BTCUSDT" in shown.stdout
    findings = json.loads(small.command("doctor", "--deep", "--json").stdout)
    assert [finding for finding in findings if finding["area"] == "hashes"] == []
    assert [finding for finding in findings if finding["severity"] == "error"] == []


def test_the_lake_is_fresh_at_its_end_and_stale_twenty_minutes_later(small: Desk) -> None:
    assert small.command("monitor-data-freshness", "--now", END).returncode == 0
    assert small.command("monitor-data-freshness", "--now", "2024-09-01T00:20:00Z").returncode == 1


def test_the_days_of_a_real_run_are_not_out_of_sample_and_those_after_its_embargo_are(small: Desk) -> None:
    check = ("validate-oos-window", "--run-id", "first", "--eval-end", "2024-12-31", "--eval-start")
    assert small.command(*check, "2024-08-31").returncode == 1
    told = small.command(*check, "2024-08-31").stderr
    free = told.split("free of the run's search is ")[1][:10]
    assert small.command(*check, free).returncode == 0


def test_the_kill_switch_reads_a_real_run(small: Desk, tmp_path: Path) -> None:
    desk = small.copy(tmp_path / "data")
    done = desk.command("kill-switch", "--run-id", "first", "--symbol", "BTCUSDT", "--now", END, "--json")
    assert done.returncode == 1, done.stderr
    told = {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert (told["run"], told["staleness"], told["funding"]) == ("PASS", "PASS", "PASS")
    late = desk.command("kill-switch", "--run-id", "first", "--symbol", "BTCUSDT", "--now", "2024-09-01T00:20:00Z")
    assert late.returncode == 2


def test_a_stricter_gate_is_named_as_what_changed_the_verdicts(small: Desk, tmp_path: Path) -> None:
    desk = small.copy(tmp_path / "data")
    spec = Path(shutil.copytree(small.spec_root, tmp_path / "spec"))
    gates = (spec / "gates.yaml").read_text(encoding="utf-8")
    assert "min_events: 50" in gates
    (spec / "gates.yaml").write_text(gates.replace("min_events: 50", "min_events: 90"), encoding="utf-8")
    again = desk.command("discover-edges", "--run-id", "strict", *SPAN, BACKTEST_SPEC_ROOT=str(spec))
    assert again.returncode == 0, again.stderr
    told = json.loads(desk.command("runs", "diff", "first", "strict", "--json").stdout)
    assert list(told["causes"]) == ["spec"]
    changed = {(row["verdict_first"], row["verdict_second"]) for row in told["changed_verdicts"]}
    assert ("failed", "not eligible") in changed
    assert not any(second == "passed" and first == "not eligible" for first, second in changed)
