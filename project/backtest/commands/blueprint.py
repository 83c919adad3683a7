"""`backtest blueprint`: check blueprints, show one, compare two."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.command_options import spec_root
from backtest.errors import DataError, listed
from backtest.terminal_output import print_json
from backtest.terminal_output import show as show_table

if TYPE_CHECKING:
    from backtest.lake.paths import DataRoot
    from backtest.strategies.blueprints import Blueprint
    from backtest.strategies.comparing import Difference

FileOrRun = Annotated[str, typer.Argument(help="A file of JSON lines, or the RUN_ID of a run.", show_default=False)]
BlueprintId = Annotated[str, typer.Argument(help="As in the field blueprint_id.", show_default=False)]
First = Annotated[str, typer.Argument(help="A blueprint's id, a run, or a file.", show_default=False)]
Second = Annotated[str, typer.Argument(help="Another one of the same kind.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
MAX_LISTED = 40


def register(app: typer.Typer) -> None:
    """Add the `blueprint` group."""
    group = typer.Typer(help="Check, show and compare blueprints.", no_args_is_help=True)
    group.command("validate")(validate)
    group.command("show")(show)
    group.command("diff")(diff)
    group.command("schema")(schema)
    app.add_typer(group, name="blueprint")


def validate(file_or_run: FileOrRun, as_json: AsJson = False) -> None:
    """Check every blueprint of a file or run: its form, its expressions, and that its features still mean what was tested.

    Ends with 1 where there is a fault.

    Example: backtest blueprint validate run_20250228
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.blueprint_files import blueprints_of
    from backtest.reports.blueprints import blueprint_table
    from backtest.spec.loader import load_spec
    from backtest.strategies.compiled import compile_rule

    spec = load_spec(spec_root())
    found = blueprints_of(DataRoot.from_environment(), file_or_run)
    faults = []
    for blueprint in found:
        try:
            compile_rule(blueprint.blueprint_id, blueprint, spec)
        except DataError as fault:
            faults.append(str(fault))
    if faults:
        raise DataError(f"{len(faults)} of {len(found)} blueprints of {file_or_run} at fault:\n{listed(faults)}")
    if as_json:
        print_json([blueprint.model_dump(mode="json") for blueprint in found])
        return
    if found:
        show_table(blueprint_table(found))
    print(f"{len(found)} blueprint{'' if len(found) == 1 else 's'} of {file_or_run}. No fault.")
    if found:
        print(f"Next: what one trades, and on which evidence: backtest blueprint show {found[0].blueprint_id}")


def show(blueprint_id: BlueprintId, as_json: AsJson = False) -> None:
    """One blueprint: what is traded, the evidence for it, what it assumes, and whether a backtest traded what was tested.

    Example: backtest blueprint show run_20250228.VOL_SHOCK.mean_reversion.60m.all.POOLED
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.blueprint_files import blueprint, certificates_of
    from backtest.reports.blueprints import blueprint_text

    root = DataRoot.from_environment()
    found = blueprint(root, blueprint_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print(blueprint_text(found, certificates_of(root, found)))
        print(f"\nNext: trade it in its run: backtest simulate --run-id {found.run_id} --strategies {blueprint_id}")


def diff(first: First, second: Second, as_json: AsJson = False) -> None:
    """What differs between two blueprints, field by field, or between all blueprints of two runs or files.

    Ends with 0 where nothing does, and with 1 where something does. The names of the runs do not count.

    Example: backtest blueprint diff run_20250228 run_20250301
    """
    from backtest.lake.paths import DataRoot
    from backtest.strategies.comparing import RunDifference, candidate_of, differences, run_differences

    mine, other = (_blueprints(DataRoot.from_environment(), name) for name in (first, second))
    if len(mine) == len(other) == 1 and candidate_of(mine[0]) != candidate_of(other[0]):
        # Two single blueprints are compared with each other, whatever they are called.
        changed = {f"{candidate_of(mine[0])} → {candidate_of(other[0])}": differences(mine[0], other[0])}
        found = RunDifference((), (), changed, 0)
    else:
        found = run_differences(mine, other)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _print_difference(found, first, second)
    raise typer.Exit(code=0 if found.is_empty else 1)


def schema() -> None:
    """The JSON Schema of a line of blueprints.jsonl, as in docs/reference/blueprint.schema.json.

    Example: backtest blueprint schema
    """
    from backtest.strategies.blueprints import json_schema

    print_json(json_schema())


def _blueprints(root: DataRoot, name: str) -> list[Blueprint]:
    """Those of a file or run, or the one with that id."""
    from backtest.pipeline.blueprint_files import blueprint, blueprints_of, names_a_file, runs_with_blueprints

    runs = runs_with_blueprints(root)
    if not names_a_file(name) and name not in runs and any(name.startswith(f"{run_id}.") for run_id in runs):
        return [blueprint(root, name)]
    return blueprints_of(root, name)


def _print_difference(found: Any, first: str, second: str) -> None:
    for side, names in ((first, found.only_first), (second, found.only_second)):
        for name in names:
            print(f"only in {side}: {name}")
    for name, fields in found.changed.items():
        _print_fields(name, fields)
    if found.is_empty:
        print(f"No difference in {found.n_equal} blueprint{'' if found.n_equal == 1 else 's'}.")
    else:
        print(
            f"{len(found.changed)} changed, {len(found.only_first)} only in {first}, "
            f"{len(found.only_second)} only in {second}, {found.n_equal} equal."
        )


def _print_fields(name: str, fields: tuple[Difference, ...]) -> None:
    from backtest.strategies.comparing import shown

    print(name)
    for field in fields[:MAX_LISTED]:
        print(f"  {field.field}: {shown(field.first)} → {shown(field.second)}")
    if len(fields) > MAX_LISTED:
        print(f"  … and {len(fields) - MAX_LISTED} more fields; all of them: --json")
