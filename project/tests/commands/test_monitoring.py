"""What the monitoring commands print, and that nothing wrong ever ends with 0."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backtest.lake.ledger import record_evaluation

from .conftest import BAR, Desk

REPOSITORY = Path(__file__).resolve().parents[3]
NOON = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)
FRESHNESS = ("monitor-data-freshness", "--now", "2025-01-01T12:00:00Z")


def _door(name: str, arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "project" / "scripts" / f"{name}.py"
    surroundings = {**os.environ, "PYTHONPATH": str(REPOSITORY / "project"), "BACKTEST_DATA_ROOT": str(root)}
    command = [sys.executable, str(script), *arguments.split()]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)


# -- freshness --------------------------------------------------------------------------------------------


def test_fresh_bars_end_with_0_and_the_runbook_call_is_understood(desk: Desk) -> None:
    desk.write_bars("BTCUSDT", NOON - 4 * BAR)
    done = _door(
        "monitor_data_freshness",
        "--symbols BTCUSDT --timeframe 5m --max_staleness_bars 3 --now 2025-01-01T12:00:00Z",
        desk.root.path,
    )
    assert done.returncode == 0, done.stderr
    assert "2025-01-01 11:40" in done.stdout
    assert done.stderr == ""


def test_a_bar_too_old_ends_with_1_and_names_the_command_that_mends_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.write_bars("BTCUSDT", NOON - 5 * BAR)
    assert desk.run(*FRESHNESS) == 1
    assert "make run SYMBOLS=BTCUSDT START=2025-01-01 END=2025-01-01" in capsys.readouterr().err


def test_a_gap_at_the_end_is_no_bar(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_bars("BTCUSDT", NOON - BAR, n_bars=10, gaps_at_end=6)
    assert desk.run(*FRESHNESS, "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)["datasets"]
    assert (row["staleness_bars"], row["status"], row["required"]) == (6, "stale", True)


def test_a_gap_over_a_whole_month_looks_further_back(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_bars("BTCUSDT", dt.datetime(2025, 1, 1, 0, 10, tzinfo=dt.UTC), n_bars=6, gaps_at_end=3)
    assert desk.run(*FRESHNESS, "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)["datasets"]
    assert row["last_complete"] == "2024-12-31T23:55:00+00:00"


def test_one_stale_symbol_is_enough_and_without_symbols_all_are_checked(desk: Desk) -> None:
    desk.write_bars("BTCUSDT", NOON - BAR)
    assert desk.run(*FRESHNESS) == 0
    desk.write_bars("ETHUSDT", NOON - 9 * BAR)
    assert desk.run(*FRESHNESS) == 1
    assert desk.run(*FRESHNESS, "--symbols", "BTCUSDT") == 0


def test_a_symbol_that_is_not_there_is_a_finding(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_bars("BTCUSDT", NOON - BAR)
    assert desk.run(*FRESHNESS, "--symbols", "BTCUSDT,SOLUSDT") == 1
    told = capsys.readouterr().err
    assert "SOLUSDT: cleaned perpetual bars are missing" in told
    assert "make run SYMBOLS=SOLUSDT" in told


def test_an_empty_lake_and_a_missing_data_root_are_findings(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run(*FRESHNESS) == 1
    assert "holds no bars of any symbol" in capsys.readouterr().err
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "nowhere"))
    assert desk.run(*FRESHNESS, "--json") == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["status"] == "stale"
    assert "is not a data root" in told.err
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_file_and_a_row_of_the_future_are_findings(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_bars("BTCUSDT", NOON + 2 * BAR)
    assert desk.run(*FRESHNESS) == 1
    assert "Set this machine's clock" in capsys.readouterr().err
    (file,) = desk.root.cleaned_bars("perp", "BTCUSDT").rglob("*.parquet")
    file.write_bytes(b"PAR1 no more PAR1")
    assert desk.run(*FRESHNESS) == 1
    assert "unreadable" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [("--timeframe", "7m"), ("--timeframe", "1h"), ("--symbols", "btc/usdt"), ("--now", "noon")],
)
def test_what_cannot_be_meant_ends_with_2(desk: Desk, wrong: tuple[str, str]) -> None:
    desk.write_bars("BTCUSDT", NOON - BAR)
    assert desk.run(*FRESHNESS, *wrong) == 2


# -- out-of-sample window ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        ("2024-02-29", "2024-06-30", 1),  # the last searched day
        ("2024-03-02", "2024-06-30", 1),  # inside the embargo of two days
        ("2024-03-03", "2024-06-30", 0),
        ("2023-01-01", "2023-12-29", 0),
        ("2023-01-01", "2023-12-30", 1),
        ("2023-01-01", "2025-01-01", 1),
    ],
)
def test_days_of_the_search_and_its_embargo_are_not_out_of_sample(desk: Desk, start: str, end: str, code: int) -> None:
    desk.write_run("r1")
    done = _door("validate_oos_window", f"--run_id r1 --eval_start {start} --eval_end {end}", desk.root.path)
    assert done.returncode == code, done.stderr
    assert ("free:" in done.stdout) == (code == 0)


def test_the_distance_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_run("r1")
    window = ("--run-id", "r1", "--eval-start", "2024-03-11", "--eval-end", "2024-03-20")
    assert desk.run("validate-oos-window", *window) == 0
    assert "lies 10 days after" in capsys.readouterr().out
    assert desk.run("validate-oos-window", *window, "--json") == 0
    assert json.loads(capsys.readouterr().out)["distance_days"] == 10.0


def test_what_cannot_be_told_ends_with_2(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    window = ("--eval-start", "2024-06-01", "--eval-end", "2024-06-30")
    check = ("validate-oos-window", "--run-id", "r1")
    assert desk.run(*check, *window) == 2
    desk.write_run("r1", status="running")
    assert desk.run(*check, *window) == 2
    desk.root.run_manifest("r1").write_text("{")
    assert desk.run(*check, *window) == 2
    desk.root.run_manifest("r1").write_text("[]")
    assert desk.run(*check, *window) == 2
    desk.write_run("r1")
    assert desk.run(*check, *window) == 0
    assert desk.run(*check, "--eval-start", "2024-06-01") == 2
    assert desk.run(*check, "--eval-start", "2024-06-01", "--eval-end", "2024-05-01") == 2
    assert desk.run(*check, "--eval-start", "2024-06-01", "--eval-end", "2024-02-30") == 2
    assert desk.run("validate-oos-window", "--run-id", "../r1", *window) == 2
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "nowhere"))
    assert desk.run(*check, *window) == 2


def test_a_wrong_flag_is_named(desk: Desk) -> None:
    done = _door("kill_switch", "--run_id r1 --symbol BTCUSDT --max_drawdwn -0.15", desk.root.path)
    assert done.returncode == 2
    assert "--max-drawdwn" in done.stderr


def _open(desk: Desk, *, times: int, symbol: str = "BTCUSDT") -> None:
    for number in range(times):
        record_evaluation(
            desk.root,
            run_id="r1",
            made_at=dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
            symbols=[symbol],
            start=dt.date(2024, 6, 10),
            end=dt.date(2024, 6, 20),
            data_hash="ab",
            subject=f"{symbol} {number}",
        )


def test_a_window_that_was_opened_often_is_used_up(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """With a budget of two levels the eleventh opening would have 1/110 of one, the tenth has 1/90."""
    desk.write_run("r1")
    window = (
        "validate-oos-window",
        "--run-id",
        "r1",
        "--eval-start",
        "2024-06-19",
        "--eval-end",
        "2024-06-30",
        "--json",
    )
    _open(desk, times=20, symbol="ETHUSDT")
    assert desk.run(*window) == 0
    assert json.loads(capsys.readouterr().out)["share_of_level_left"] == 1.0
    _open(desk, times=9)
    assert desk.run(*window) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["earlier_openings"], told["searches_with_days_of_it"]) == (9, 9)
    assert told["share_of_level_left"] == pytest.approx(1 / 90)
    _open(desk, times=10)
    assert desk.run(*window) == 1
    out = capsys.readouterr()
    assert "days of it were opened 10 times before" in out.err
    assert json.loads(out.out)["status"] == "used"
    later = [text.replace("2024-06-19", "2024-06-20") for text in window]
    assert desk.run(*later) == 0


def test_a_damaged_ledger_or_symbols_that_cannot_be_told_end_with_2(desk: Desk) -> None:
    window = ("validate-oos-window", "--run-id", "r1", "--eval-start", "2024-06-10", "--eval-end", "2024-06-30")
    desk.write_run("r1", symbols=None)
    assert desk.run(*window) == 2
    desk.write_run("r1")
    _open(desk, times=1)
    desk.root.ledger_head.write_text('{"entries": 1}')
    assert desk.run(*window) == 2
