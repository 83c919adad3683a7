"""All files of a run's report, and the list over all runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backtest.reports.html import formats
from backtest.reports.html.colours import event_classes
from backtest.reports.html.pages.backtest import TRADES_SCRIPT, backtest_page
from backtest.reports.html.pages.calibration import calibration_report_page
from backtest.reports.html.pages.candidate import candidate_page
from backtest.reports.html.pages.data_quality import data_page
from backtest.reports.html.pages.events import event_pages
from backtest.reports.html.pages.others import (
    DATA_SCRIPT,
    hypothesis_page,
    missing_page,
    operations_page,
    table_page,
    terms_page,
)
from backtest.reports.html.pages.overview import overview, run_funnel
from backtest.reports.html.pages.promotion import promotion_page
from backtest.reports.html.pages.selection import file_name, with_pages
from backtest.reports.html.pages.table import table_data
from backtest.reports.html.pages.trades import trade_data
from backtest.reports.html.pages.verdict import verdict
from backtest.reports.html.rendering import list_page, static_files
from backtest.reports.html.results import Missing, RunResults
from backtest.reports.html.scripts import as_script

LIST_FOLDER: Final = "_list"
"""Beside the runs' folders: what the list of all runs needs. No RUN_ID starts with ``_``."""
MOST_PASSED_IN_LIST: Final = 500


def report_files(results: RunResults) -> Iterator[tuple[str, str]]:
    """Every file of a report as (place in its folder, text); index.html comes last."""
    colours = event_classes({name: event.model.family for name, event in results.spec.events.items()})
    yield from static_files().items()
    paged: set[str] = set()
    if not isinstance(results.candidates, Missing):
        chosen = with_pages(results.candidates)
        paged = set(chosen["candidate_id"])
        yield (
            DATA_SCRIPT,
            as_script("candidates", table_data(results.candidates, paged, results.placebo))
            + as_script("colours", colours),
        )
        for row in chosen.iter_rows(named=True):
            yield f"candidates/{file_name(row['candidate_id'])}.html", candidate_page(results, row, colours)
    yield "candidates.html", table_page(results)
    yield "hypothesis.html", hypothesis_page(results)
    yield from event_pages(results, colours, paged)
    yield "data.html", data_page(results)
    yield "promotion.html", promotion_page(results, paged, colours)
    if results.backtest is not None:
        yield TRADES_SCRIPT, as_script("trades", trade_data(results.backtest.trades, results.run_id))
    yield "backtest.html", backtest_page(results)
    if isinstance(results.calibration, Missing):
        yield (
            "calibration.html",
            missing_page(
                results,
                "calibration.html",
                "Calibration",
                "How often the whole procedure is wrong, measured on simulated markets where the truth is known: what "
                "a q-value is worth here.",
                results.calibration,
            ),
        )
    else:
        yield "calibration.html", calibration_report_page(results, results.calibration)
    yield "operations.html", operations_page(results)
    yield "terms.html", terms_page(results)
    yield "index.html", overview(results, colours)


def run_summary(results: RunResults) -> dict[str, Any]:
    """What the list over all runs says of this one."""
    manifest, folds, candidates = results.manifest, results.folds, results.candidates
    tested = not isinstance(candidates, Missing)
    facts = [
        ("symbols", ", ".join(map(str, manifest.get("symbols") or ()))),
        ("window", "" if folds is None else formats.days(folds.discovery_start, folds.confirmation_end)),
        ("confirmation from", "" if folds is None else f"{folds.confirmation_start}"),
        ("spec hash", str(manifest.get("ontology_spec_hash") or "")),
        ("data hash", str(manifest.get("data_hash") or "")),
        ("commit", str(manifest.get("git_commit") or "")),
    ]
    steps = run_funnel(results) if tested else []
    facts += [(step.name, formats.count(step.left)) for step in steps] or [("Hypotheses", "none tested")]
    facts.append(("verdict", verdict(results)))
    passed: list[tuple[str, float]] = []
    if not isinstance(candidates, Missing):
        rows = (
            candidates.filter("gate_phase2_final").select("candidate_id", "after_cost_expectancy").sort("candidate_id")
        )
        passed = [(one, round(net * 1e4, 2)) for one, net in rows.head(MOST_PASSED_IN_LIST).iter_rows()]
    return {
        "run_id": results.run_id,
        "made": str(manifest.get("started_at") or ""),
        "window": facts[1][1],
        "symbols": facts[0][1],
        "n_hypotheses": len(candidates) if not isinstance(candidates, Missing) else None,
        "n_passed": len(passed) if tested else None,
        "verdict": verdict(results),
        "facts": facts,
        "passed": passed,
    }


def list_files(summaries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The list over all runs, the latest first, as (place beside the runs' folders, text)."""
    latest = sorted(summaries, key=lambda run: (str(run["made"]), str(run["run_id"])), reverse=True)
    names = [name for name, _ in latest[0]["facts"]] if latest else []
    for place, text in static_files().items():
        yield f"{LIST_FOLDER}/{place}", text
    # Facts in the order of the latest run's: a run that has not some of them shows a dash there.
    runs = [
        {
            "run_id": run["run_id"],
            "facts": [(name, dict(run["facts"]).get(name, formats.NOTHING)) for name in names],
            "passed": run["passed"],
        }
        for run in latest
    ]
    yield f"{LIST_FOLDER}/runs.js", as_script("runs", runs)
    rows = [
        {
            "run_id": run["run_id"],
            "href": f"{run['run_id']}/index.html",
            "made": str(run["made"])[:16].replace("T", " "),
            "window": run["window"],
            "symbols": run["symbols"],
            "n_hypotheses": formats.count(run["n_hypotheses"]),
            "n_passed": formats.count(run["n_passed"]),
            "verdict": run["verdict"],
        }
        for run in latest
    ]
    lead = f"{formats.plural(len(rows), 'run')} with a report in this data root, the latest first."
    yield (
        "index.html",
        list_page(
            "runs.html.j2", title="All runs", assets=f"{LIST_FOLDER}/", scripts=("runs.js",), lead=lead, runs=rows
        ),
    )
