"""`audit lookahead` and `features warmup`: definitions checked on the data in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backtest.command_options import Symbols, Workers, parsed_symbols, spec_root
from backtest.terminal_output import show

if TYPE_CHECKING:
    from backtest.pipeline.audits import LookAheadReport

ROUNDING = 1e-6
"""A relative change beyond this is no rounding: the look-back is too short."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the `audit` and `features` groups."""
    audit = typer.Typer(no_args_is_help=True)
    audit.command("lookahead")(lookahead)
    audit.callback()(_audit)
    app.add_typer(audit, name="audit")
    features = typer.Typer(no_args_is_help=True)
    features.command("warmup")(warmup)
    features.callback()(_features)
    app.add_typer(features, name="features")


def _audit() -> None:
    """Check on the data in the lake that no definition looks ahead."""


def _features() -> None:
    """Check on the data in the lake how far back features look."""


def lookahead(
    event: Annotated[str | None, typer.Option("--event", help="Only this event and the features it rests on.")] = None,
    cuts: Annotated[int, typer.Option("--cuts", min=1, max=10_000, help="Places at which the future is cut off.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides where the cuts lie.")] = 0,
    symbols: Symbols = None,
    as_json: AsJson = False,
    workers: Workers = None,
) -> None:
    """Cut off the future at random bars and behind events; every value before a cut must stay the same, bit for bit.

    Ends with exit code 1 where one does not. Example: backtest audit lookahead --event VOL_SHOCK --cuts 40
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.audits import audit_look_ahead

    root = DataRoot.from_environment()
    root.require()
    report = audit_look_ahead(
        root, spec_root(), parsed_symbols(symbols), event_type=event, n_cuts=cuts, seed=seed, workers=workers
    )
    if as_json:
        _print_json({"mismatches": report.mismatches, "cuts": report.cuts, "definitions": report.checks})
    else:
        _print_look_ahead(report)
    if report.mismatches:
        raise typer.Exit(1)


def warmup(symbols: Symbols = None, as_json: AsJson = False) -> None:
    """Each feature's look-back, and how much its values past it change when the history starts later.

    Ends with exit code 1 where one changes by more than rounding. Example: backtest features warmup --symbols BTCUSDT
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.audits import audit_warm_up
    from backtest.reports.audits import warm_up_table

    root = DataRoot.from_environment()
    root.require()
    measured = audit_warm_up(root, spec_root(), parsed_symbols(symbols))
    changed = [row for row in measured if row.n_null_changes or (row.largest_relative_change or 0.0) > ROUNDING]
    if as_json:
        _print_json({"features": measured, "changed": [row.feature for row in changed]})
    else:
        show(warm_up_table(measured))
        print(f"{len(changed)} of {len(measured)} features change by more than rounding ({ROUNDING:g}).")
        if changed:
            print(f"Next: what one is made of: backtest spec show {changed[0].feature}")
    if changed:
        raise typer.Exit(1)


def _print_look_ahead(report: LookAheadReport) -> None:
    from backtest.reports.audits import look_ahead_table

    show(look_ahead_table(report.checks))
    behind = sum(cut.event_type is not None for cut in report.cuts)
    checked = sum(check.checked for check in report.checks)
    verdict = f"{report.mismatches:,} MISMATCHES" if report.mismatches else "no mismatch"
    print(
        f"{checked:,} values of {len(report.checks)} definitions before {len(report.cuts)} cuts ({behind} of them one bar "
        f"behind an event): {verdict}."
    )


def _print_json(value: object) -> None:
    import dataclasses
    import datetime as dt
    import json

    def plain(found: object) -> object:
        if dataclasses.is_dataclass(found) and not isinstance(found, type):
            return dataclasses.asdict(found)
        if isinstance(found, dt.datetime):
            return found.isoformat()
        raise TypeError(f"{type(found).__name__} has no JSON form")

    print(json.dumps(value, default=plain, indent=2, allow_nan=False))
