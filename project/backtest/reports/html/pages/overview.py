"""The first page: what was run, what it found, the funnel, and whether it is more than luck."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from backtest.reports.html import figures, formats
from backtest.reports.html.pages.funnel import FunnelStep, funnel
from backtest.reports.html.pages.selection import file_name
from backtest.reports.html.pages.verdict import named, verdict, where
from backtest.reports.html.rendering import page
from backtest.reports.html.results import Missing, RunResults
from backtest.reports.html.svg import element

if TYPE_CHECKING:
    import polars as pl

BEST: Final = 12
POINTS: Final = 400


def overview(results: RunResults, colours: Mapping[str, str]) -> str:
    """index.html of a report."""
    candidates = results.candidates
    tested = not isinstance(candidates, Missing)
    values: dict[str, Any] = {
        "verdict": verdict(results),
        "made": _made(results),
        "simulated": results.is_simulated,
        "notices": notices(results),
        **_what_was_run(results),
        "funnel": _funnel_rows(results) if tested else [],
        "later_missing": _later_missing(results),
        "has_promotion": results.promotion is not None,
        "candidates_missing": None if tested else candidates,
        **_best(results, colours),
        "figures": _figures(candidates) if not isinstance(candidates, Missing) else [],
        "planted": _planted(results),
        "run_line": _run_line(results),
        "warnings": results.warnings,
        "stages": [(name, status, formats.decimal(seconds)) for name, status, seconds in results.stages],
    }
    return page("index.html.j2", run_id=results.run_id, title="Overview", section="index.html", **values)


def notices(results: RunResults) -> list[str]:
    """What a reader must know before believing the page."""
    found = []
    if not results.spec_is_unchanged:
        found.append(
            "The spec has changed since this run: definitions and limits shown here are today's, the figures are the run's."
        )
    if results.manifest.get("git_dirty"):
        found.append("The code had changes that were not committed when this run was made.")
    failed = results.manifest.get("failed_stage")
    if failed:
        found.append(
            f"The run stopped in {failed}: {results.manifest.get('error') or 'see its log'}. What it made before is shown."
        )
    openings = (results.search or {}).get("confirmation_openings", 1)
    if isinstance(openings, int) and openings > 1:
        found.append(
            f"{openings} different searches have read these untouched days, so the confirmation level is divided by {openings}."
        )
    return found


def _made(results: RunResults) -> str:
    started = results.manifest.get("started_at")
    return f"started {str(started)[:16].replace('T', ' ')} UTC" if started else ""


def _what_was_run(results: RunResults) -> dict[str, str]:
    manifest, folds, candidates = results.manifest, results.folds, results.candidates
    search = results.search or {}
    ever = search.get("hypotheses_ever_tested_on_this_window")
    searches = search.get("searches_on_this_window")
    counted = isinstance(candidates, Missing)
    commit = str(manifest.get("git_commit") or "")[:10]
    return {
        "symbols": ", ".join(map(str, manifest.get("symbols") or ())) or formats.NOTHING,
        "window": ""
        if folds is None
        else f"{formats.days(folds.discovery_start, folds.confirmation_end)}, 5-minute bars",
        "discovery": formats.NOTHING if folds is None else formats.days(folds.discovery_start, folds.discovery_end),
        "confirmation": formats.NOTHING
        if folds is None
        else formats.days(folds.confirmation_start, folds.confirmation_end),
        "embargo": "" if folds is None else f"after {formats.plural(folds.embargo_days, 'day')} that nobody uses",
        "n_hypotheses": formats.NOTHING if isinstance(candidates, Missing) else formats.count(len(candidates)),
        "n_eligible": ""
        if isinstance(candidates, Missing)
        else f"{int(candidates['gate_eligible'].sum()):,} with enough events",
        "ledger": formats.NOTHING if counted or ever is None else f"{ever:,} ever tested",
        "ledger_note": ""
        if counted or searches is None
        else f"on these days, in {formats.plural(searches, 'search', 'searches')}",
        "spec_hash": str(manifest.get("ontology_spec_hash") or formats.NOTHING)[:12],
        "commit": f"commit {commit}" if commit else "",
    }


def run_funnel(results: RunResults) -> list[FunnelStep]:
    """The funnel of a run whose hypotheses are tested, as far as it was judged: to the gates, to robust, or to promoted."""
    from backtest.evaluation.robustness import ROBUST
    from backtest.reports.html.pages.promotion import promotion_reasons

    assert not isinstance(results.candidates, Missing)
    later: list[tuple[str, str, Mapping[str, str | None]]] = []
    if results.robustness is not None:
        told = {
            row["candidate_id"]: None
            if row["verdict"] == ROBUST
            else row["reason"] or f"fragile: {formats.words(str(row['failed_checks']).split(', ')[0])}"
            for row in results.robustness.iter_rows(named=True)
        }
        later.append(("Robust", "robust", told))
        if results.promotion is not None:
            later.append(("Promoted", "promotion", promotion_reasons(results.promotion)))
    return funnel(results.candidates, results.spec.gates.profiles["discovery"], later)


def _funnel_rows(results: RunResults) -> list[dict[str, Any]]:
    steps = run_funnel(results)
    most = max(step.left for step in steps)
    return [
        {
            "name": step.name,
            "term": step.term,
            "left_text": formats.count(step.left),
            "bar": _bar(step.left, most),
            "lost": step.lost,
            "lost_text": formats.count(step.lost),
            "reasons": step.reasons,
        }
        for step in steps
    ]


def _bar(value: int, most: int) -> Markup:
    """A bar whose length is the logarithm of a number."""
    share = math.log1p(value) / math.log1p(most) if most else 0.0
    return element(
        "svg",
        element("rect", x=0, y=2, width=float(100 * share), height=12, class_="bar"),
        viewBox="0 0 100 16",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _later_missing(results: RunResults) -> list[dict[str, Any]]:
    """Steps of the funnel that this run was not asked about."""
    from backtest.reports.html.pages.promotion import not_promoted_yet

    if isinstance(results.candidates, Missing):
        return []
    lacking = []
    if results.robustness is None:
        robust = Missing("Not judged in this run.", f"make discover-hybrid RUN_ID={results.run_id}")
        lacking.append({"name": "Robust", "term": "robust", "section": robust})
    if results.robustness is None or results.promotion is None:
        section = not_promoted_yet(results)
        lacking.append({"name": "Promoted", "term": "promotion", "section": section})
    return lacking


def _best(results: RunResults, colours: Mapping[str, str]) -> dict[str, Any]:
    from backtest.reports.html.pages.selection import with_pages
    from backtest.reports.terminal import best_candidates, nearest_misses

    empty: dict[str, Any] = {"best_rows": [], "best_title": "", "best_note": "", "best_last": ""}
    if isinstance(results.candidates, Missing):
        return empty
    paged = set(with_pages(results.candidates)["candidate_id"])
    best = best_candidates(results.candidates, BEST)
    if not best.is_empty():
        rows = [
            _row(row, paged, colours, f"+{row['n_others']} in other states or symbols" if row["n_others"] else "alone")
            for row in best.iter_rows(named=True)
        ]
        return {
            "best_rows": rows,
            "best_title": "Best candidates",
            "best_note": "One line for all states and symbols of an event, trade and horizon: they overlap and are "
            "not separate evidence.",
            "best_last": "also passed",
        }
    misses = nearest_misses(results.candidates, BEST)
    rows = [_row(row, paged, colours, formats.words(row["failed_gate"])) for row in misses.iter_rows(named=True)]
    return (
        {
            "best_rows": rows,
            "best_title": "Nearest misses",
            "best_note": "None of these passed. They are shown so that you can see how near the nearest came.",
            "best_last": "failed first at",
        }
        if rows
        else empty
    )


def _row(row: Mapping[str, Any], paged: set[str], colours: Mapping[str, str], last: str) -> dict[str, Any]:
    one = row["candidate_id"]
    return {
        "event": row["event_type"],
        "colour": colours.get(row["event_type"], ""),
        "trade": f"{formats.words(row['template_verb'])} {row['horizon']}",
        "where": where(dict(row)),
        "n": formats.count(row["n_events"]),
        "mean": formats.bps(row["posterior_mean"]),
        "interval": formats.bps_interval(row["posterior_low"], row["posterior_high"]),
        "cost": formats.bps(row["cost"]),
        "net": formats.bps(row["after_cost_expectancy"], plus=True),
        "q": formats.small(row["q_value"]),
        "last": last,
        "href": f"candidates/{file_name(one)}.html" if one in paged else "candidates.html",
    }


def _figures(candidates: pl.DataFrame) -> list[dict[str, Any]]:
    import polars as pl

    tested = candidates.filter(pl.col("p_value").is_not_null())
    if tested.is_empty():
        return []
    p = tested["p_value"].to_numpy()
    small = float((p <= 0.05).mean())
    made = [
        {
            "svg": figures.p_value_figure(p, title="Distribution of the p-values of all tested hypotheses"),
            "title": "p-values of all tested hypotheses",
            "text": f"Luck alone would spread them evenly. {formats.share(small)} are below 0.05, where luck would "
            f"put 5 %. Hypotheses on the same event overlap, so the bars are not independent.",
        }
    ]
    confirmed = candidates.filter(
        pl.col("is_confirmation_candidate")
        & pl.col("confirmation_expectancy").is_not_null()
        & pl.col("posterior_mean").is_not_null()
    ).sort("p_value", "candidate_id")
    if not confirmed.is_empty():
        points = [
            figures.Point(
                row["posterior_mean"] * 1e4,
                row["confirmation_expectancy"] * 1e4,
                f"{named(row)}: discovery {formats.bps(row['posterior_mean'])}, confirmation "
                f"{formats.bps(row['confirmation_expectancy'])} bps",
                "" if row["gate_phase2_final"] else "off",
            )
            for row in confirmed.head(POINTS).iter_rows(named=True)
        ]
        more = (
            f" The {POINTS} with the smallest p-values of {len(confirmed):,} are drawn."
            if len(confirmed) > POINTS
            else ""
        )
        made.append(
            {
                "svg": figures.agreement_figure(
                    points, title="Estimates of the discovery fold against the confirmation fold"
                ),
                "title": "Does it hold on days the search never saw?",
                "text": f"Each point is a hypothesis that was tested on the confirmation fold; filled ones passed "
                f"every gate. On the dashed line both estimates are equal; what was luck falls to zero.{more}",
            }
        )
    return made


def _planted(results: RunResults) -> dict[str, Any] | None:
    from backtest.reports.planted import COLUMNS, planted_comparison

    edges = results.spec.simulation.planted_edges
    if isinstance(results.candidates, Missing) or not results.is_demonstration or not edges:
        return None
    rows = planted_comparison(edges, results.candidates)
    return {
        "columns": COLUMNS,
        "rows": [
            [
                "" if (cell := row[name]) is None else formats.decimal(cell) if isinstance(cell, float) else str(cell)
                for name in COLUMNS
            ]
            for row in rows
        ],
    }


def _run_line(results: RunResults) -> str:
    manifest = results.manifest
    parts = [f"Command: {manifest.get('command') or 'not recorded'}."]
    python = manifest.get("python")
    if python:
        packages = manifest.get("package_versions") or {}
        parts.append(
            f"Python {python}, polars {packages.get('polars', '?')}, numpy {packages.get('numpy', '?')}, on "
            f"{manifest.get('platform', '?')}."
        )
    if manifest.get("data_hash"):
        parts.append(
            f"Data hash {str(manifest['data_hash'])[:12]}, register hash {str(manifest.get('register_hash') or '?')[:12]}."
        )
    return " ".join(parts)
