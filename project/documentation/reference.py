"""The reference: pages made from the spec, the commands, the schemas and the docstrings, each time the site is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from backtest.spec.compiled import Spec

REPOSITORY = Path(__file__).resolve().parents[2]


def pages() -> dict[str, Callable[[], str]]:
    """Writers of the pages by their place under docs/, in the order of the navigation."""
    from commands_page import commands_page
    from files_page import files, python

    kinds = {
        "events": ("Events", events),
        "features": ("Features", features),
        "states": ("States", states),
        "templates": ("Templates", templates),
        "strategies": ("Strategies", strategies),
        "columns": ("Bar columns", bar_columns),
        "functions": ("Functions of expressions", functions),
        "gates": ("Gates and other settings", settings),
        "files": ("Files and columns", files),
        "python": ("Python", python),
    }
    return {
        "reference/index.md": index_page,
        "reference/commands.md": commands_page,
        **{f"reference/{name}.md": partial(page, title, write) for name, (title, write) in kinds.items()},
    }


def index_page() -> str:
    """What there is to look up."""
    spec = loaded()
    rows = [
        ("[Commands](commands.md)", "every command with its options, variables and an example"),
        ("[Events](events.md)", f"{len(spec.events)} event types: rule, mechanism, what is tested on each"),
        ("[Features](features.md)", f"{len(spec.features)} numbers known at a bar's close, with look-back and source"),
        ("[States](states.md)", f"{len(spec.states)} market states that condition events"),
        ("[Templates](templates.md)", f"{len(spec.templates)} trades and {len(spec.filters)} filters of trades"),
        ("[Strategies](strategies.md)", f"{len(spec.strategies)} rules written by hand"),
        ("[Bar columns](columns.md)", f"{len(spec.columns)} columns of the cleaned bars"),
        ("[Functions](functions.md)", "the expression language"),
        ("[Files and columns](files.md)", "every file of a data root, with a sentence for each column of each table"),
        ("[Python](python.md)", "a run as frames, for notebooks and scripts"),
        ("[Gates and settings](gates.md)", "limits, costs and everything else a search is held to"),
    ]
    lead = "These pages are made from the spec, the schemas and the docstrings whenever this site is built."
    return "\n".join(["# Reference", "", lead, "", *table(("page", "holds"), rows), ""])


def page(title: str, write: Callable[[Spec], Iterable[str]]) -> str:
    """A page of the reference."""
    return "\n".join([f"# {title}", "", *write(loaded()), ""])


@cache
def loaded() -> Spec:
    """The repository's spec."""
    from backtest.spec.loader import load_spec

    return load_spec(REPOSITORY / "spec")


# -- pages --------------------------------------------------------------------------------------------------


def events(spec: Spec) -> Iterable[str]:
    """Every event by family."""
    yield "How to write one: [adding an event](../adding_an_event.md)."
    yield "`backtest spec show VOL_SHOCK` shows the same of your own spec."
    families: dict[str, list[str]] = {}
    for name, event in spec.events.items():
        families.setdefault(event.model.family, []).append(name)
    for family, names in sorted(families.items()):
        yield from ("", f"## {family}", "")
        for name in sorted(names):
            yield from definition(spec, name)


def features(spec: Spec) -> Iterable[str]:
    """Every feature in alphabetical order."""
    yield "How to write one: [adding a feature](../adding_a_feature.md)."
    yield ""
    for name in sorted(spec.features):
        yield from definition(spec, name, level=2)


def states(spec: Spec) -> Iterable[str]:
    """Every state with the condition of each value."""
    yield "A state conditions an event: a hypothesis holds for the occurrences at which its state has one value."
    yield ""
    for name in sorted(spec.states):
        yield from definition(spec, name, level=2)


def templates(spec: Spec) -> Iterable[str]:
    """Every trade, then every filter."""
    section = "../concepts.md#templates-two-legs-filters-and-duplicates"
    yield f"What the kinds are: [templates, two legs, filters and duplicates]({section})."
    for title, names in (("Trades", spec.templates), ("Filters", spec.filters)):
        yield from ("", f"## {title}", "")
        for name in sorted(names):
            yield from definition(spec, name)


def strategies(spec: Spec) -> Iterable[str]:
    """Every strategy."""
    yield "Rules without evidence; how to write one: [adding a strategy](../adding_a_strategy.md)."
    yield ""
    for name in sorted(spec.strategies):
        yield from definition(spec, name, level=2)


def bar_columns(spec: Spec) -> Iterable[str]:
    """What expressions may name of a bar."""
    yield "Columns of the cleaned bars that an expression may name, besides features."
    yield ""
    rows = [(f"`{name}`", one.unit, one.dataset, one.description) for name, one in spec.columns.items()]
    yield from table(("column", "unit", "data set", "meaning"), rows)


def functions(_spec: Spec) -> Iterable[str]:
    """The expression language."""
    from backtest.expressions.registry import FUNCTIONS

    yield "`x`, `a` and `b` are expressions; windows, lags and shares are literals. No function reads a later bar, and"
    yield "`trailing_…` functions leave out the current one. The look-back is counted in bars before the current one."
    yield ""
    rows = [(f"`{one.signature}`", one.result, one.reach.rule, one.meaning) for one in FUNCTIONS.values()]
    yield from table(("function", "gives", "look-back", "meaning"), rows)


def settings(_spec: Spec) -> Iterable[str]:
    """Fields of the settings with their values, as the files explain them."""
    yield "The files as they are in `spec/`; `backtest spec check` lists every fault of them at once."
    for name, title in SETTINGS.items():
        yield from ("", f"## {title}", "", f"`spec/{name}`", "", "```yaml")
        yield (REPOSITORY / "spec" / name).read_text(encoding="utf-8").strip()
        yield "```"


SETTINGS: Mapping[str, str] = {
    "gates.yaml": "Gates",
    "discovery.yaml": "How hypotheses are tested",
    "costs.yaml": "Costs",
    "evaluation.yaml": "Evaluation after discovery",
    "backtest.yaml": "The account of a backtest",
    "simulation.yaml": "The simulated market",
    "known_defects.yaml": "Known defects of the venue's files",
}


# -- Markdown -----------------------------------------------------------------------------------------------


def definition(spec: Spec, name: str, level: int = 3) -> Iterable[str]:
    """What `backtest spec show` says, as a section."""
    from backtest.reports.definitions import described

    shown = described(spec, name)
    yield f"{'#' * level} {name}"
    yield ""
    yield shown.rows["meaning"]
    yield ""
    rows = [
        (label.strip(), code(text) if label in EXPRESSIONS or label in spec.conditions else escaped(text))
        for label, text in shown.rows.items()
        if label != "meaning"
    ]
    yield from table((shown.kind, ""), rows)
    yield ""


EXPRESSIONS = frozenset(
    {"when", "direction", "strength", "expression", "condition", "trigger", "event direction", "invalidation"}
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """A table of Markdown; a bar in a cell does not end it."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in row)} |"


def escaped(text: str) -> str:
    """Plain text that Markdown leaves alone."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#$" else sign for sign in text)


def code(text: str) -> str:
    """Text set as code."""
    return f"`{text}`" if text else ""
