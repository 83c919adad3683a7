"""`backtest doctor`: what is wrong with the environment, the data root, the spec and the lake."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Annotated

import typer

from backtest.command_options import spec_root
from backtest.terminal_output import print_json


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor")(doctor)


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every recorded output and raw file too; compare hash and checksum.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")] = False,
) -> None:
    """Examine environment, data root, spec and lake; says how bad each finding is and how to mend it. Changes nothing.

    Exit code 0 where there is nothing but notes, 1 where there is a warning or an error.

    Example: backtest doctor --deep
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.health import examine

    root = DataRoot.from_environment()
    findings = examine(root, spec_root(), now=dt.datetime.now(dt.UTC), deep=deep)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.severity}: {finding.area}: {finding.text}\n    mend: {finding.remedy}")
        counted = Counter(finding.severity for finding in findings)
        told = ", ".join(f"{counted[severity]} {severity}(s)" for severity in ("error", "warning", "note"))
        print(f"{root.path}: {told}" + ("" if deep else "; hashes of outputs not compared (--deep does)"))
    raise typer.Exit(1 if any(finding.severity != "note" for finding in findings) else 0)
