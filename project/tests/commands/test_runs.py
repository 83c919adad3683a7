"""What `backtest runs` says about runs, sound and broken ones."""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import Any

import polars as pl
import pytest

from backtest.lake.files import write_json, write_parquet
from backtest.monitoring.run_changes import VERDICT_COLUMNS
from backtest.pipeline.lock import holding_run

from .conftest import Desk

NOW = dt.datetime(2025, 1, 1, 10, tzinfo=dt.UTC)


def _listed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert desk.run("runs", "--json") == 0
    return {run["run_id"]: run for run in json.loads(capsys.readouterr().out)}


def _write_candidates(desk: Desk, run_id: str, **passed: bool) -> None:
    rows = [
        {"candidate_id": name, "n_events": 50, "expectancy": 0.001, "p_value": 0.5, "gate_eligible": True,
         "gate_phase2_final": verdict, "fail_reasons": "" if verdict else "significant"}
        for name, verdict in passed.items()
    ]  # fmt: skip
    write_parquet(desk.root.candidates(run_id, "VOL_SHOCK"), pl.DataFrame(rows, schema=VERDICT_COLUMNS))


def test_runs_are_listed_with_what_they_found(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_run("r1", n_hypotheses=390)
    write_json(desk.root.run("r1") / "candidates.json", {"summary": {"passed": {"gate_phase2_final": 7}}})
    desk.write_run("r2", status="failed", failed_stage="clean__perp.BTCUSDT", started_at="2025-01-02T10:00:00.000Z")
    found = _listed(desk, capsys)
    assert list(found) == ["r1", "r2"]
    assert (found["r1"]["n_hypotheses"], found["r1"]["n_passed"], found["r1"]["status"]) == (390, 7, "finished")
    assert found["r1"]["window"] == ["2024-01-01", "2024-02-29"]
    assert found["r2"]["n_passed"] is None
    assert desk.run("runs") == 0
    shown = capsys.readouterr().out
    assert "failed at clean__perp.BTCUSDT" in shown
    assert desk.run("runs", "list") == 0
    assert capsys.readouterr().out == shown


def test_a_running_run_that_nobody_holds_has_crashed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_run("r1", status="running", finished_at=None)
    with holding_run(desk.root, "r1", now=NOW, command="x"):
        assert _listed(desk, capsys)["r1"]["status"] == "running"
    assert _listed(desk, capsys)["r1"]["status"] == "crashed"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"status": {}, "symbols": 3, "stages": [], "n_hypotheses": "many"}'])
def test_a_damaged_manifest_is_listed_and_hides_no_other_run(
    desk: Desk, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    desk.write_run("r1")
    desk.write_run("r2")
    desk.root.run_manifest("r2").write_text(text)
    found = _listed(desk, capsys)
    assert found["r1"]["status"] == "finished"
    assert found["r2"]["status"] != "finished"


def test_a_duration_no_float_holds_is_not_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_run("r1", duration_seconds=10**400, stages={"clean": {"status": "cached", "duration_seconds": 10**400}})
    assert desk.run("runs") == 0
    assert desk.run("runs", "show", "r1") == 0
    assert "finished" in capsys.readouterr().out


def test_show_tells_stages_warnings_and_the_end_of_the_failing_log(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = {
        "clean__perp.BTCUSDT": {"status": "cached", "started_at": "2025-01-01T10:00:01.000Z", "duration_seconds": 0.5},
        "features__BTCUSDT.2024Q1": {"status": "failed", "started_at": "2025-01-01T10:00:02.000Z"},
    }
    desk.write_run("r1", status="failed", failed_stage="features__BTCUSDT.2024Q1", error="no bars", stages=stages)
    folder = desk.root.run("r1")
    write_json(folder / "clean__perp.BTCUSDT.json", {"warnings": ["two sources"]})
    (folder / "features__BTCUSDT.2024Q1.log").write_text("\n".join(f"line {n}" for n in range(100)) + "\x1b[2J")
    assert desk.run("runs", "show", "r1") == 0
    shown = capsys.readouterr().out
    assert "warning: clean__perp.BTCUSDT: two sources" in shown
    assert "1 of 2 stages came from the cache." in shown
    assert "error: no bars" in shown
    assert "line 80\n" in shown
    assert "line 79\n" not in shown
    assert "\x1b" not in shown


def test_show_names_the_stage_a_crashed_run_was_at(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    stages = {"clean__a": {"status": "planned"}, "clean__b": {"status": "planned"}}
    desk.write_run("r1", status="running", command="make run", stages=stages)
    started = NOW.timestamp()
    for name, moment in (("clean__a", started - 3600), ("clean__b", started + 5)):
        log = desk.root.run("r1") / f"{name}.log"
        log.write_text(f"log of {name}")
        os.utime(log, (moment, moment))
    assert desk.run("runs", "show", "r1") == 0
    shown = capsys.readouterr().out
    assert "It was at clean__b. Run it again: BACKTEST_STAGE_CACHE=1 make run" in shown
    assert "log of clean__b" in shown
    assert "log of clean__a" not in shown


def test_a_stage_name_that_leads_elsewhere_is_not_followed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.root.path / "secret.log").write_text("secret")
    desk.write_run("r1", status="failed", stages={"../../secret": {"status": "failed"}})
    assert desk.run("runs", "show", "r1") == 1
    told = capsys.readouterr()
    assert "cannot be one" in told.err
    assert "secret\n" not in told.out


def test_diff_names_what_changed_and_why(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for run_id, spec in (("r1", "g1"), ("r2", "g2")):
        desk.write_run(run_id, stages={"candidates": {"status": "finished"}}, git_commit="c" * 40)
        write_json(desk.root.run(run_id) / "candidates.json", {"spec_hash": spec, "code": {"m": "1"}})
    _write_candidates(desk, "r1", a=True, b=False, c=False)
    _write_candidates(desk, "r2", a=True, b=True, c=False)
    assert desk.run("runs", "diff", "r1", "r2") == 0
    shown = capsys.readouterr().out
    assert "1 with another verdict" in shown
    assert "So it was the spec: nothing else that is recorded differs." in shown
    assert desk.run("runs", "diff", "r1", "r2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["candidate_id"] for row in told["changed_verdicts"]] == ["b"]
    assert told["causes"] == {"spec": ["what candidates uses of it"]}


def test_a_run_that_is_not_there_is_named_with_the_nearest_one(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_run("run_1")
    for words in (("show", "run_2"), ("diff", "run_1", "run_2")):
        assert desk.run("runs", *words) == 1
        told = capsys.readouterr().err
        assert ("Did you mean 'run_1'?" in told) or ("run_1 has no candidates" in told)
    assert desk.run("runs", "show", "../run_1") == 2


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("manifest", "[]", "is not a run manifest: it holds a list"),
        ("manifest", '{"symbols": 5, "parameters": {}}', "is not the manifest of a run"),
        ("manifest", "{", "is unreadable"),
        ("design", "[1]", "does not say which event types were tested"),
        ("design", '{"tested": ["VOL_SHOCK"]}', "does not say which event types were tested"),
        ("design", "{", "is unreadable"),
    ],
)
def test_a_damaged_run_is_not_scored_again(
    desk: Desk, capsys: pytest.CaptureFixture[str], file: str, content: str, told: str
) -> None:
    desk.write_run("r1", parameters={})
    write_json(desk.root.design("r1"), {"tested": {"VOL_SHOCK": ["BTCUSDT"]}})
    path = desk.root.run_manifest("r1") if file == "manifest" else desk.root.design("r1")
    path.write_text(content)
    assert desk.run("discover-event", "--run-id", "r1", "--event-type", "VOL_SHOCK") == 1
    assert told in capsys.readouterr().err
