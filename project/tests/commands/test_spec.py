"""`spec list`: every definition with its sentence, by kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backtest.cli import build
from backtest.commands.spec import PARTS

SPEC_ROOT = Path(__file__).resolve().parents[3] / "spec"


def told(*arguments: str) -> str:
    result = CliRunner().invoke(build(), ["spec", "list", *arguments], env={"BACKTEST_SPEC_ROOT": str(SPEC_ROOT)})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("kind", [part for part in PARTS if part != "filters"])
def test_every_file_of_a_kind_is_listed_with_a_sentence(kind: str) -> None:
    rows = json.loads(told(kind, "--json"))
    files = {path.stem for path in (SPEC_ROOT / kind).glob("*.yaml")}
    filters = {row["name"] for row in json.loads(told("filters", "--json"))}
    assert {row["name"] for row in rows} == files - (filters if kind == "templates" else set())
    assert all(row["description"] and row["kind"] == kind for row in rows)


def test_all_kinds_are_listed_and_the_next_command_is_named() -> None:
    lines = told().splitlines()
    assert lines[-1] == "Next: what follows from one: backtest spec show NAME"
    assert len(lines) - 1 == len(json.loads(told("--json")))
    assert any(line.startswith("only_if_liquidity ") and " filters " in line for line in lines)


def test_a_kind_that_there_is_not_is_refused_with_the_nearest() -> None:
    from backtest.errors import MisuseError

    result = CliRunner().invoke(build(), ["spec", "list", "event"], env={"BACKTEST_SPEC_ROOT": str(SPEC_ROOT)})
    assert isinstance(result.exception, MisuseError)
    assert "Did you mean 'events'?" in str(result.exception)
