"""Names that lead out of a folder or into a shell are refused by every command that takes one, before anything is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from backtest.cli import build
from tests.commands.conftest import Desk

HOSTILE = {
    "separators": "../../outside",
    "a path": "/etc/passwd",
    "a folder": "a/b",
    "parent": "..",
    "NUL": "a\0b",
    "10,000 characters": "x" * 10_000,
    "a substitution": "$(touch pwned)",
    "backquotes": "`touch pwned`",
    "a command": "a; touch pwned",
    "a line feed": "a\nb",
    "an option": "-rf",
    "a homoglyph": "ВTCUSDT",
    "a wildcard": "*",
}
NAMES = {
    "run_id",
    "symbol",
    "symbols",
    "event",
    "event_type",
    "strategies",
    "candidate_id",
    "blueprint_id",
    "first",
    "second",
    "name",
}
SOUND = {
    "run_id": "r1",
    "symbol": "BTCUSDT",
    "symbols": "BTCUSDT",
    "event_type": "VOL_SHOCK",
    "strategies": "vol_shock_mean_reversion_v1",
    "candidate_id": "x",
    "first": "r1",
    "second": "r1",
    "start": "2024-01-01",
    "end": "2024-01-02",
    "eval_start": "2024-01-01",
    "eval_end": "2024-01-02",
    "market": "perp",
    "dataset": "ohlcv_5m",
    "origin": "binance",
    "source": "simulated",
}


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, one in getattr(command, "commands", {}).items():
        if hasattr(one, "commands"):
            yield from _commands(one, (*path, name))
        else:
            yield " ".join((*path, name)), one


COMMANDS = dict(_commands(typer.main.get_command(build())))
CASES = [
    (command, parameter.name)
    for command, one in COMMANDS.items()
    for parameter in one.params
    if parameter.name in NAMES and command != "calibrate"
]


def _arguments(command: str, hostile: str, value: str, file: Path) -> list[str]:
    """The command with all that it needs, and `value` for its parameter `hostile`."""
    options: list[str] = []
    positional: list[str] = []
    for parameter in COMMANDS[command].params:
        is_needed = parameter.required or parameter.name in (
            "run_id",
            "symbols",
            "strategies",
            "start",
            "end",
            "source",
        )
        if parameter.name != hostile and not is_needed:
            continue
        given = value if parameter.name == hostile else SOUND.get(parameter.name, str(file))
        if parameter.param_type_name == "argument":
            positional.append(given)
        else:
            options.append(f"{parameter.opts[0]}={given}")
    return [*command.split(), *options, "--", *positional]


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def test_every_command_that_takes_a_name_is_tried() -> None:
    assert len(CASES) > 30
    assert {name for _, name in CASES} >= {"run_id", "symbol", "symbols", "event", "event_type", "strategies"}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "parameter"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_hostile_name_is_refused_and_nothing_is_written(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, parameter: str
) -> None:
    desk.write_run("r1")
    desk.write_bars("BTCUSDT", dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    folder = desk.root.path.parent
    file = folder / "given.csv"
    file.write_text("x\n1\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BACKTEST_SPEC_ROOT", str(Path(__file__).resolve().parents[3] / "spec"))
    before = _everything(folder)
    for what, value in HOSTILE.items():
        code = desk.run(*_arguments(command, parameter, value, file))
        told = capsys.readouterr()
        assert code != 0, f"{what} was let through"
        assert "Traceback" not in told.err, what
        assert len(told.err) < 5_000, f"{what}: the whole name is printed"
        changed = {name for name, content in _everything(folder).items() if before.get(name) != content}
        assert not changed, what
