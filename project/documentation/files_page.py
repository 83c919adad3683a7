"""The page of every file and column, and the page of the Python interface."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

from backtest.spec.compiled import Spec

OTHERS: Final = (
    ("runs/<run_id>/run_manifest.json", "what was asked for, with which data, spec and code; stages, times, warnings"),
    ("runs/<run_id>/<stage>.json", "the same of one stage, with the hashes of what it read and wrote"),
    ("runs/<run_id>/<stage>.log", "everything that the stage printed"),
    ("runs/<run_id>/report_summary.json", "what the list over all runs says of the run"),
    ("runs/<run_id>/kill_switch_status.json", "the kill switch's last verdict with every check"),
    ("runs/<run_id>/monitors/<monitor>.json", "the last word of each monitor on the run"),
    ("lake/monitors/<monitor>.json", "the last word of each monitor on the lake"),
    ("lake/runs/<run_id>/design.json", "window, folds and what each event can be tested on, fixed before any return is read"),
    ("lake/runs/<run_id>/detected/<SYMBOL>/<quarter>.needs.json", "data sets that events lack in a quarter"),
    ("reports/<run_id>/index.html", "the report of the run, to be opened in a browser"),
    ("reports/index.html", "all runs, and any two beside each other"),
    ("reports/strategy_blueprints/<run_id>/blueprints.jsonl",
     "what passed every gate as rules an engine can trade ([schema](blueprint.schema.json))"),
    ("reports/expectancy/<run_id>/expectancy.json, robustness.json", "the tables beside them as JSON"),
    ("reports/walk_forward/<run_id>/walk_forward.json", "folds and probabilities of overfitting"),
    ("reports/promotions/<run_id>/promotions.json", "each candidate with every gate"),
    ("reports/backtest/<run_id>/summary.json", "account, window, folds, strategies, warnings, counts"),
    ("lake/stage_records/<stage>.json", "the manifests of the stages that all runs share, which the cache goes by"),
    ("lake/file_hashes.json, runs/.source_imports.json",
     "what was hashed and parsed before, so that it is not done again; made anew where they are missing"),
    ("ledger/searches.jsonl, head.json, hypotheses/<hash>.hex", "every search ever made on these data; never cleaned up"),
    ("calibration/<key>/", "figures of worlds that were calibrated"),
    ("live/<run_id>/equity, fills (.csv, .parquet or .jsonl)", "what a live account left; see [operations](../operations.md)"),
)  # fmt: skip

LIVE: Final = (
    "`live/<run_id>/equity` and `fills`, as `.csv`, `.parquet` or `.jsonl`. Other columns are kept and not read."
)
LIVE_COLUMNS: Final = {
    "timestamp": "when the equity was taken, or the fill was made (UTC)",
    "equity_usd": "equity: value of the account (USD)",
    "cash_flow_usd": "equity, optional: deposits less withdrawals since the row before (USD)",
    "fill_id": "fills, optional: the venue's name of the fill; a name twice is refused",
    "symbol": "fills: what was traded",
    "side": "fills: `buy` or `sell`",
    "price": "fills: price it was filled at (quote currency)",
    "quantity": "fills: size (base currency)",
    "expected_price": "fills: price the blueprint expected (quote currency)",
    "modelled_slippage_bps": "fills: slippage the blueprint's costs allow for (bps)",
    "blueprint_id": "fills, optional: which blueprint asked for it",
}


def files(spec: Spec) -> Iterable[str]:
    """Every file below the data root, with a sentence for each column of each table."""
    from columns import tables
    from reference import table

    yield "All paths are below the data root (`$BACKTEST_DATA_ROOT`, `./data` where it is unset). Times are UTC and open times"
    yield "of bars, returns are fractions, money is USD unless a column says otherwise. A null is a value that is not known;"
    yield "nothing is filled in. `backtest sql` asks the tables of all runs, [`open_run`](python.md) gives those of one."
    group = ""
    for one in tables(spec):
        if one.group != group:
            group = one.group
            yield from ("", f"## {group}")
        yield from ("", f"### `{one.place}`", "", f"One row: {one.row}.", "")
        yield from table(("column", "meaning"), [(f"`{name}`", text) for name, text in one.columns.items()])
    yield from ("", "## Live account", "", LIVE, "")
    yield from table(("column", "meaning"), [(f"`{name}`", text) for name, text in LIVE_COLUMNS.items()])
    yield from ("", "## Other files", "")
    yield from table(("file", "holds"), [(f"`{place}`", text) for place, text in OTHERS])


def python(_spec: Spec) -> Iterable[str]:
    """The Python interface, from its docstrings."""
    import backtest
    from backtest.pipeline.open_run import OpenRun

    yield "What a notebook or script imports. Everything else in the package may change without notice."
    for name in backtest.__all__:
        yield from ("", f"## backtest.{name}", "", *_documented(name, getattr(backtest, name)))
    yield from ("", "## OpenRun", "", *_docstring(OpenRun))
    for name, member in vars(OpenRun).items():
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        shown = member.fget if isinstance(member, property) else member
        yield from (
            "",
            f"### {name}",
            "",
            *(_docstring(shown) if isinstance(member, property) else _documented(name, shown)),
        )


def _documented(name: str, function: Any) -> Iterable[str]:
    yield from ("```python", f"{name}{_signature(function)}", "```", "", *_docstring(function))


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    kept = [one for one in found.parameters.values() if one.name != "self"]
    return str(found.replace(parameters=kept)).replace("'", "")


def _docstring(documented: Any) -> Iterable[str]:
    """The docstring; an example in it as code."""
    text = inspect.getdoc(documented) or ""
    lead, prompt, example = text.partition(">>> ")
    yield lead.replace("``", "`").strip()
    if prompt:
        lines = (prompt + example).splitlines()
        yield from (
            "",
            "```python",
            *(line.removeprefix(">>> ").split("  # doctest")[0].rstrip() for line in lines),
            "```",
        )
