"""The command starts fast, and each sub-command says how it is used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from backtest.cli import build

HEAVY = ("polars", "numpy", "pandas", "pyarrow", "scipy", "httpx", "pydantic", "yaml", "rich.progress")


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every sub-command with the words that call it, at any depth."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, subcommand in sorted(inner.items()):
        yield from _commands(subcommand, (*words, name))


COMMANDS = list(_commands(typer.main.get_command(build())))


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom backtest.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "clean-runtime" in done.stdout


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_the_help_of_every_command_has_an_example_of_itself(words: tuple[str, ...], command: Any) -> None:
    assert "Example" in (command.help or ""), f"backtest {' '.join(words)} --help shows no example"
    assert " ".join(("backtest", *words)) in " ".join(command.help.split())


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_every_option_of_every_command_is_explained(words: tuple[str, ...], command: Any) -> None:
    unexplained = [option.name for option in command.params if not getattr(option, "help", None)]
    assert unexplained == [], f"backtest {' '.join(words)} --help does not explain {unexplained}"
