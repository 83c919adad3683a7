"""Make hands variables on as text, calls one command a target, and lists its targets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
RUNBOOK_TARGETS = {
    "run", "baseline", "discover-edges", "discover-edges-from-raw", "discover-hybrid", "discover-hybrid-backtest",
    "test", "test-fast", "compile", "monitor", "clean-runtime", "clean-all-data", "clean-repo", "check-hygiene",
    "clean-hygiene",
}  # fmt: skip
RECORDER = """#!{python} -IS
import json, os, sys
with open("called.json", "w") as file:
    json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}, file)
sys.exit(int(os.environ.get("BACKTEST_TEST_EXIT_CODE", "0")))
"""
HOSTILE = [
    "x; touch pwned", "$(touch pwned)", "`touch pwned`", "$(shell touch pwned)", "${shell touch pwned}",
    "a\ntouch pwned", "'\"; touch pwned #", "a$$b", "a b", "&& touch pwned", "--help", "%s\\n", "a#b",
]  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `backtest` writes down how it was called."""
    folder = tmp_path / "a checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "project" / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    shutil.copy(REPOSITORY / "project" / "scripts" / "makefile_help.awk", folder / "project" / "scripts")
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt", "requirements.lock"):
        (folder / name).touch()
    command = folder / ".venv" / "bin" / "backtest"
    command.write_text(RECORDER.format(python=sys.executable))
    command.chmod(0o755)
    (folder / ".venv" / ".installed").write_text(f"{folder.resolve()}\n")
    return folder


def _make(
    checkout: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("BACKTEST_", "MAKE"))}
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env={**surroundings, **(environment or {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def _called(checkout: Path) -> Any:
    return json.loads((checkout / "called.json").read_text())


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize(
    ("given", "received"), [("RUN_ID", "BACKTEST_RUN_ID"), ("BACKTEST_DATA_ROOT", "BACKTEST_DATA_ROOT")]
)
def test_a_variable_reaches_the_command_as_text(checkout: Path, text: str, way: str, given: str, received: str) -> None:
    if way == "argument":
        done = _make(checkout, "discover-edges", f"{given}={text}")
    else:
        done = _make(checkout, "discover-edges", environment={given: text})
    assert done.returncode == 0, done.stderr
    assert not (checkout / "pwned").exists()
    called = _called(checkout)
    assert called["arguments"] == ["discover-edges"]
    assert called["environment"][received] == text


@pytest.mark.parametrize(
    "variable", ["name", ".", "SHELL", "PYTHON", "BACKTEST", "OPERATOR_VARIABLES", "CURDIR", "FOO"]
)
def test_any_other_variable_is_harmless_too(checkout: Path, variable: str) -> None:
    _make(checkout, "run", f"{variable}=$(shell touch pwned); touch pwned")
    assert not (checkout / "pwned").exists()
    if variable != "CURDIR":
        assert _called(checkout)["arguments"] == ["run"]


def test_every_variable_is_handed_on_under_its_own_name_only(checkout: Path) -> None:
    names = (
        "RUN_ID",
        "SYMBOLS",
        "START",
        "END",
        "STRATEGIES",
        "SOURCE",
        "DATASETS",
        "ALLOW_MISSING",
        "QUICK",
        "REAL",
        "WORLDS",
    )
    _make(checkout, "run", *(f"{name}=value of {name}" for name in names), "BACKTEST_STAGE_CACHE=1")
    environment = _called(checkout)["environment"]
    for name in names:
        assert environment[f"BACKTEST_{name}"] == f"value of {name}"
        assert name not in environment
    assert environment["BACKTEST_STAGE_CACHE"] == "1"


def test_what_is_unset_or_empty_is_not_handed_on(checkout: Path) -> None:
    _make(checkout, "run", "SYMBOLS=", environment={"START": ""})
    handed_on = [name for name in _called(checkout)["environment"] if name.startswith("BACKTEST_")]
    assert handed_on == []


def test_a_variable_of_the_environment_passes_through(checkout: Path) -> None:
    _make(checkout, "run", environment={"BACKTEST_RUN_ID": "from_environment", "BACKTEST_SCHEDULER": "tcp://h:1"})
    environment = _called(checkout)["environment"]
    assert environment["BACKTEST_RUN_ID"] == "from_environment"
    assert environment["BACKTEST_SCHEDULER"] == "tcp://h:1"


def test_an_argument_wins_over_the_environment(checkout: Path) -> None:
    _make(checkout, "run", "RUN_ID=argument", environment={"BACKTEST_RUN_ID": "environment", "RUN_ID": "other"})
    assert _called(checkout)["environment"]["BACKTEST_RUN_ID"] == "argument"


def test_a_failure_names_the_exit_code_of_the_command(checkout: Path) -> None:
    done = _make(checkout, "run", environment={"BACKTEST_TEST_EXIT_CODE": "3"})
    assert done.returncode == 2
    assert re.search(r"\[Makefile:\d+: run\] Error 3", done.stderr)


def test_help_is_the_default_and_lists_every_target(checkout: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, flags=re.MULTILINE))
    assert targets >= RUNBOOK_TARGETS | {"help", "demo", "check", "bench", "lock", "format"}
    done = _make(checkout)
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", done.stdout, flags=re.MULTILINE))
    assert set(listed) == targets
    for name in (
        "RUN_ID",
        "SYMBOLS",
        "START",
        "END",
        "STRATEGIES",
        "SOURCE",
        "DATASETS",
        "ALLOW_MISSING",
        "QUICK",
        "BACKTEST_DATA_ROOT",
    ):
        assert re.search(rf"\b{name}\b", done.stdout.split("Variables")[1])


@pytest.mark.parametrize("cause", ["no stamp", "moved", "newer requirements"])
def test_the_environment_is_set_up_only_when_needed(checkout: Path, cause: str) -> None:
    script = checkout / "project" / "scripts" / "set_up_environment.sh"
    script.write_text("touch set_up_was_called\n")
    _make(checkout, "run")
    assert not (checkout / "set_up_was_called").exists()
    stamp = checkout / ".venv" / ".installed"
    if cause == "no stamp":
        stamp.unlink()
    elif cause == "moved":
        stamp.write_text("/somewhere/else\n")
    else:
        os.utime(stamp, (1, 1))
    _make(checkout, "run")
    assert (checkout / "set_up_was_called").exists()


def test_a_failed_set_up_stops_the_target(checkout: Path) -> None:
    (checkout / ".venv" / ".installed").unlink()
    (checkout / "project" / "scripts" / "set_up_environment.sh").write_text("exit 1\n")
    assert _make(checkout, "run").returncode == 2
    assert not (checkout / "called.json").exists()
