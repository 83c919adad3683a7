"""`backtest runs`: which runs there are, how one went, and what differs between two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.terminal_output import print_json
from backtest.terminal_output import show as show_table

if TYPE_CHECKING:
    from backtest.monitoring.run_changes import Cause
    from backtest.pipeline.history import RunDetails

RunIdArgument = Annotated[str, typer.Argument(help="RUN_ID of a run.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
MAX_LISTED = 30
MAX_DETAILS = 8


def register(app: typer.Typer) -> None:
    """Add the `runs` group."""
    group = typer.Typer(help="List runs, show one, compare two. Alone it lists. Example: backtest runs")
    group.callback(invoke_without_command=True)(alone)
    group.command("list")(list_runs)
    group.command("show")(show)
    group.command("diff")(diff)
    app.add_typer(group, name="runs")


def alone(context: typer.Context, as_json: AsJson = False) -> None:
    """List runs, show one, compare two. Alone it lists.

    Example: backtest runs
    """
    if context.invoked_subcommand is None:
        list_runs(as_json)


def list_runs(as_json: AsJson = False) -> None:
    """Every run: status, window, symbols, hypotheses, how many passed, duration; the latest last.

    A run whose manifest says running while no process holds its lock is shown as crashed.

    Example: backtest runs list
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.history import run_summaries
    from backtest.reports.operations import plain_table

    root = DataRoot.from_environment()
    runs = run_summaries(root)
    if as_json:
        print_json([dataclasses.asdict(run) for run in runs])
        return
    if not runs:
        print(f"{root.path} has no runs. Make one: make discover-edges-from-raw")
        return
    rows = [
        (
            run.run_id,
            run.status + (f" at {run.failed_stage}" if run.failed_stage else ""),
            (run.started_at or "–")[:16].replace("T", " "),
            " … ".join(run.window) if run.window else "–",
            ",".join(run.symbols),
            _number(run.n_hypotheses, ","),
            _number(run.n_passed, ","),
            _seconds(run.duration_seconds),
        )
        for run in runs
    ]
    columns = ("run", "status", "started (UTC)", "window", "symbols", "hypotheses", "passed", "duration")
    show_table(plain_table(f"Runs in {root.path}", columns, rows, right=("hypotheses", "passed", "duration")))
    last = runs[-1].run_id
    print(f"Next: how one went: backtest runs show {last}; what it found: backtest candidates --run-id {last}")


def show(run_id: RunIdArgument, as_json: AsJson = False) -> None:
    """One run: its stages with times, cache hits and warnings; where it stopped, the end of that log.

    Example: backtest runs show run_20250228
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.history import run_details

    details = run_details(DataRoot.from_environment(), run_id)
    if as_json:
        print_json(dataclasses.asdict(details))
    else:
        _print_details(details)


def diff(first: RunIdArgument, second: RunIdArgument, as_json: AsJson = False) -> None:
    """Which hypotheses changed verdict between two runs, and whether data, spec, code or parameters did it.

    Example: backtest runs diff run_20250228 run_20250301
    """
    from backtest.lake.paths import DataRoot
    from backtest.monitoring.run_changes import causes, change_counts, verdict_changes
    from backtest.pipeline.history import candidates_of, run_facts
    from backtest.reports.operations import plain_table

    root = DataRoot.from_environment()
    mine, other = candidates_of(root, first), candidates_of(root, second)
    changes = verdict_changes(mine, other)
    found = causes(run_facts(root, first), run_facts(root, second))
    if as_json:
        print_json(
            {
                "first": first,
                "second": second,
                "n_hypotheses": [len(mine), len(other)],
                "changed_verdicts": changes.to_dicts(),
                "causes": {cause.kind: list(cause.details) for cause in found},
            }
        )
        return
    print(f"{first}: {len(mine):,} hypotheses; {second}: {len(other):,}; {len(changes):,} with another verdict.")
    for before, after, count in change_counts(changes):
        print(f"  {count:,}: {before} → {after}")
    if len(changes):
        rows = [
            (row["candidate_id"], row["verdict_first"], row["verdict_second"], _why(row), _p_values(row))
            for row in changes.head(MAX_LISTED).iter_rows(named=True)
        ]
        title = f"Changed verdicts, {first} → {second}"
        show_table(plain_table(title, ("hypothesis", first, second, "failed gates", "p"), rows))
        if len(changes) > MAX_LISTED:
            print(f"… and {len(changes) - MAX_LISTED:,} more; all of them: backtest runs diff {first} {second} --json")
    _print_causes(found, has_changes=len(changes) > 0)
    if len(changes):
        print(f"Next: why one passed or not: backtest explain {changes['candidate_id'][0]} --run-id {second}")


def _print_details(details: RunDetails) -> None:
    from backtest.reports.operations import plain_table

    run = details.summary
    window = " … ".join(run.window) if run.window else "no window"
    print(f"{run.run_id}: {run.status}, {window}, {','.join(run.symbols)}, {_seconds(run.duration_seconds)}")
    if run.n_hypotheses is not None:
        print(f"{run.n_hypotheses:,} hypotheses, {_number(run.n_passed, ',')} passed")
    if details.command:
        print(f"command: {details.command}")
    rows = [
        (
            line.instance,
            line.status,
            (line.started_at or "–")[11:23],
            _seconds(line.duration_seconds),
            line.reason or "",
            str(len(line.warnings) or ""),
        )
        for line in details.instances
    ]
    columns = ("stage", "status", "started (UTC)", "duration", "why it ran", "warnings")
    show_table(plain_table("Stages", columns, rows, right=("duration", "warnings")))
    n_cached = sum(line.status == "cached" for line in details.instances)
    print(f"{n_cached} of {len(details.instances)} stages came from the cache.")
    warnings = [
        *details.warnings,
        *(f"{line.instance}: {text}" for line in details.instances for text in line.warnings),
    ]
    for warning in warnings:
        print(f"warning: {warning}")
    if details.error:
        print(f"\nerror: {details.error}")
    if run.status == "crashed":
        print(
            "\nIts process ended without a word (kill -9, power, memory). "
            + (f"It was at {', '.join(details.stopped_at)}. " if details.stopped_at else "")
            + f"Run it again: BACKTEST_STAGE_CACHE=1 {details.command or f'make discover-edges RUN_ID={run.run_id}'}"
        )
    for instance, lines in details.log_ends.items():
        print(f"\nEnd of the log of {instance}:")
        print("\n".join(f"  {line}" for line in lines) if lines else "  (empty)")
    if run.status == "finished" and run.n_hypotheses:
        print(
            f"Next: what it found: backtest candidates --run-id {run.run_id}; its pages: backtest report --run-id {run.run_id}"
        )


def _print_causes(found: Sequence[Cause], *, has_changes: bool) -> None:
    for cause in found:
        print(f"{cause.kind} differ{'' if cause.kind in ('data', 'parameters', 'libraries') else 's'}:")
        for detail in cause.details[:MAX_DETAILS]:
            print(f"  {detail}")
        if len(cause.details) > MAX_DETAILS:
            print(f"  … and {len(cause.details) - MAX_DETAILS:,} more")
    kinds = [cause.kind for cause in found]
    if not has_changes:
        print("No verdict changed." if kinds else "Nothing recorded differs, and no verdict changed.")
    elif len(kinds) == 1:
        print(f"So it was the {kinds[0]}: nothing else that is recorded differs.")
    elif kinds:
        print(
            f"Several things differ at once ({', '.join(kinds)}); which of them changed a verdict, a run tells that "
            "changes only one of them."
        )
    else:
        print(
            "Nothing recorded differs, yet verdicts do: a file was changed after its run. Look: backtest doctor --deep"
        )


def _why(row: dict[str, Any]) -> str:
    before, after = row["fail_reasons_first"] or "", row["fail_reasons_second"] or ""
    return after if not before else f"{before} → {after or 'none'}"


def _p_values(row: dict[str, Any]) -> str:
    return " → ".join(
        "–" if value is None else f"{value:.2g}" for value in (row["p_value_first"], row["p_value_second"])
    )


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} s"
