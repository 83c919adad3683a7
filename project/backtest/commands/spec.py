"""`spec check`, `spec list` and `spec show`: what is researched, and whether it says so soundly."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from backtest.command_options import spec_root
from backtest.terminal_output import print_json

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
PARTS: Final = ("features", "states", "events", "templates", "filters", "strategies")
Name = Annotated[str, typer.Argument(help="An event, feature, state, template, filter or strategy, such as VOL_SHOCK.")]


def register(app: typer.Typer) -> None:
    """Add the `spec` group."""
    group = typer.Typer(help="Check and show the definitions under spec/.", no_args_is_help=True)
    group.command("check")(check)
    group.command("list")(list_definitions)
    group.command("show")(show)
    app.add_typer(group, name="spec")


def check(as_json: AsJson = False) -> None:
    """Check every file under spec/ and list all faults at once.

    Example: backtest spec check
    """
    from backtest.spec.loader import load_spec

    spec = load_spec(spec_root())
    if as_json:
        counts = {part: len(getattr(spec, part)) for part in PARTS}
        print_json({"spec_root": str(spec_root()), **counts, "ontology_hash": spec.ontology_hash})
        return
    print(
        f"{spec_root()}: {len(spec.features)} features, {len(spec.states)} states, {len(spec.events)} events, "
        f"{len(spec.templates)} templates, "
        f"{len(spec.filters)} filters, {len(spec.strategies)} strategies. No fault. Ontology hash {spec.ontology_hash}"
    )
    print("Next: what follows from a definition: backtest spec show NAME")


def list_definitions(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(PARTS)}; all of them where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every definition with its sentence.

    Example: backtest spec list filters
    """
    from backtest.errors import MisuseError, did_you_mean
    from backtest.spec.loader import load_spec

    if kind is not None and kind not in PARTS:
        raise MisuseError(f"kind {kind[:40]!r} is none.{did_you_mean(kind, PARTS)} There are: {', '.join(PARTS)}.")
    spec = load_spec(spec_root())
    rows = [
        {"name": name, "kind": part, "description": _sentence(found)}
        for part in PARTS
        if kind in (None, part)
        for name, found in getattr(spec, part).items()
    ]
    if as_json:
        print_json(rows)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        told = [f"{row['name']:<{width}}", *([] if kind else [f"{row['kind']:<10}"]), row["description"]]
        print("  ".join(told).rstrip())
    print("Next: what follows from one: backtest spec show NAME")


def _sentence(definition: Any) -> str:
    """What a definition says of itself, on one line."""
    model = getattr(definition, "model", definition)
    return " ".join(str(model.description).split())


def show(name: Name, as_json: AsJson = False) -> None:
    """Show one definition and what follows from it: inputs, data sets, look-back, what is tested.

    Example: backtest spec show VOL_SHOCK
    """
    from backtest.reports.definitions import described
    from backtest.spec.loader import load_spec

    found = described(load_spec(spec_root()), name)
    if as_json:
        print_json({"name": found.name, "kind": found.kind, **found.rows})
    else:
        print(found.text)
