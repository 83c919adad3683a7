"""Scripts at the runbook's paths pass their arguments on to a sub-command."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from backtest import cli

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []
    monkeypatch.setattr(cli, "main", calls.append)
    return calls


def test_phase2_candidate_discovery_is_discover_event(
    received: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = PROJECT / "pipelines" / "research" / "phase2_candidate_discovery.py"
    flags = ["--run_id", "my_run", "--event_type", "VOL_SHOCK", "--symbols", "BTCUSDT,ETHUSDT", "--mode", "research"]
    monkeypatch.setattr(sys, "argv", [str(script), *flags])
    runpy.run_path(str(script), run_name="__main__")
    assert received == [["discover-event", *flags]]


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ("--run_id", "--run-id"),
        ("--run-id", "--run-id"),
        ("--run_id=a_b", "--run-id=a_b"),
        ("a_b", "a_b"),
        ("-0.15", "-0.15"),
        ("--", "--"),
    ],
)
def test_only_underscores_of_flags_become_hyphens(monkeypatch: pytest.MonkeyPatch, given: str, passed_on: str) -> None:
    received = []
    monkeypatch.setattr(cli, "build", lambda: lambda args, prog_name: received.append((prog_name, args)))
    cli.door("x", [given])
    assert received == [("backtest", ["x", passed_on])]


@pytest.mark.parametrize("flag", ["--run_id", "--run-id"])
def test_the_command_itself_takes_either_spelling(flag: str, capsys: pytest.CaptureFixture[str], desk) -> None:
    assert desk.run("candidates", flag, "nothing") == 1
    assert "run nothing has no candidates" in capsys.readouterr().err
