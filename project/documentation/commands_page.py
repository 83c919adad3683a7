"""Every command with its options, variables and an example, from the command itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

EXAMPLE = re.compile(r"\bExamples?: (.+)", flags=re.DOTALL)
KINDS = {int: "N", float: "X", Path: "PATH"}


def commands_page() -> str:
    """The page of all commands."""
    from backtest.errors import __doc__ as errors

    lines = [
        "# Commands",
        "",
        "Options are written with hyphens or underscores (`--run-id`, `--run_id`). An option with a variable takes its",
        "value from there, and `make` hands its variables on as them (`RUN_ID=x` is `BACKTEST_RUN_ID=x`). Results go to",
        "stdout, narration and progress to stderr.",
        "",
        "## Exit codes",
        "",
        "```text",
        (errors or "").strip(),
        "```",
        "",
    ]
    for path, command in every_command():
        lines += [f"## {' '.join(path)}", "", *section(path, command), ""]
    return "\n".join(lines)


def every_command() -> Iterator[tuple[Sequence[str], Any]]:
    """Each command that does something, with the words that call it."""
    import typer.main

    from backtest.cli import build

    def walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[Sequence[str], Any]]:
        inner = getattr(command, "commands", {})
        if not inner:
            yield path, command
        for name in sorted(inner):
            yield from walk((*path, name), inner[name])

    yield from walk(("backtest",), typer.main.get_command(build()))


def section(path: Sequence[str], command: Any) -> Iterable[str]:
    """What it does, an example, its arguments and options."""
    from reference import table

    text = inspect.cleandoc(command.help or "")
    yield EXAMPLE.sub("", text).strip()
    yield ""
    shown = example(command)
    yield from ("```console", f"$ {shown or ' '.join(path)}", "```", "")
    parameters = [one for one in command.params if not getattr(one, "hidden", False)]
    if parameters:
        yield from table(("option", "variable", "meaning"), [_row(one) for one in parameters])


def example(command: Any) -> str:
    """The example in a command's help; empty where there is none."""
    found = EXAMPLE.search(inspect.cleandoc(command.help or ""))
    return " ".join(found[1].split()) if found else ""


def _row(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.name.upper()}`" + (" …" if parameter.nargs == -1 else "")
        return name, "", getattr(parameter, "help", None) or ""
    names = ", ".join(f"`{name}`" for name in parameter.opts if "_" not in name)
    values = "" if parameter.is_flag else f" `{_value(parameter)}`"
    told = parameter.help or ""
    if parameter.default not in (None, False, [], ()) and not callable(parameter.default):
        told += f" Default: `{parameter.default}`."
    needed = " Required." if parameter.required else ""
    return names + values, f"`{parameter.envvar}`" if parameter.envvar else "", told + needed


def _value(parameter: Any) -> str:
    """What an option takes: the values allowed, or the kind of value."""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    kinds = [one for one in (kind, *get_args(kind)) if one in KINDS]
    return KINDS[kinds[0]] if kinds else "TEXT"
