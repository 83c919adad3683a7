"""What holds for every command there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from backtest.cli import build

WITHOUT_A_TABLE = {
    "blueprint schema": "prints JSON",
    "check-hygiene": "prints a line a finding",
    "clean-all-data": "prints a line a removal",
    "clean-hygiene": "prints a line a removal",
    "clean-repo": "prints a line a removal",
    "clean-runtime": "prints a line a removal",
    "import-fills": "prints one line",
    "watch": "prints JSON lines",
}
COLOUR = re.compile(r"\x1b\[[\d;]*\b(?:3\d|4\d|9\d|10\d)(?:;\d+)*m")
ALL_HELPS = """
import sys
from backtest.cli import main
for words in sys.argv[1:]:
    try:
        main([*words.split(), "--help"])
    except SystemExit:
        pass
main(["spec", "show", "VOL_SHOCK"])
"""


def every_command(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    command = typer.main.get_command(build()) if command is None else command
    inner = getattr(command, "commands", {})
    if not inner:
        yield " ".join(path), command
    for name in sorted(inner):
        yield from every_command(inner[name], (*path, name))


COMMANDS = dict(every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_calls_the_command(name: str) -> None:
    found = re.search(r"Example: (.+)", COMMANDS[name].help or "", flags=re.DOTALL)
    assert found is not None
    assert f"backtest {name}" in " ".join(found[1].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_prints_a_table_prints_json_too(name: str) -> None:
    has_json = any("--json" in option.opts for option in COMMANDS[name].params)
    assert has_json != (name in WITHOUT_A_TABLE)


def printed_on_a_terminal(*commands: str, **environment: str) -> str:
    """What the help of commands and a definition look like on a terminal."""
    import pty

    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    leader, follower = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", ALL_HELPS, *commands],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env=kept | {"TERM": "xterm-256color"} | environment,
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert running.wait(timeout=60) == 0
    return b"".join(parts).decode()


@pytest.mark.slow
def test_no_color_switches_colours_off_in_every_command() -> None:
    shown = printed_on_a_terminal(*COMMANDS, NO_COLOR="1")
    assert all(name.rsplit(" ", 1)[-1] in shown for name in COMMANDS)
    assert COLOUR.search(shown) is None
    assert COLOUR.search(printed_on_a_terminal("runs list")) is not None


@pytest.mark.slow
def test_a_shell_completes_commands() -> None:
    asked = {"_BACKTEST_COMPLETE": "complete_bash", "COMP_WORDS": "backtest spec s", "COMP_CWORD": "2"}
    told = subprocess.run(
        [sys.executable, "-m", "backtest.cli"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["show"]
