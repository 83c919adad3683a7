"""What was asked of the candidates after the discovery: walk-forward, overfitting, and each gate of the promotion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from backtest.reports.html import formats
from backtest.reports.html.pages.others import missing_page
from backtest.reports.html.pages.selection import file_name
from backtest.reports.html.pages.verdict import where
from backtest.reports.html.rendering import page
from backtest.reports.html.results import Missing, PromotionResults, RunResults

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS: Final = 60
"""Candidates that are set against all gates: the promoted first, then those that failed the fewest."""
MARKS: Final[Mapping[bool | None, tuple[str, str, str]]] = {
    True: ("pass", "\N{CHECK MARK}", "passed"),
    False: ("fail", "\N{MULTIPLICATION X}", "failed"),
    None: ("soft", formats.NOTHING, "not asked"),
}
STANDARD_ERRORS: Final = 1.96
LEAD: Final = (
    "What passed every gate of the discovery is held to stricter ones, to its robustness, and to a discovery done again inside "
    "training windows, judged on the days after each. Nobody is promoted by a figure that is missing."
)


def not_promoted_yet(results: RunResults) -> Missing:
    """Why a run has no promotions."""
    return Missing(
        "No candidate of this run has been held to the promotion.", f"backtest promote --run-id {results.run_id}"
    )


def promotion_page(results: RunResults, paged: Collection[str], colours: Mapping[str, str]) -> str:
    """promotion.html; `paged` are the candidates with a page of their own."""
    found = results.promotion
    if found is None:
        return missing_page(results, "promotion.html", "Promotion", LEAD, not_promoted_yet(results))
    gates = found.gates["gate"].unique(maintain_order=True).to_list()
    rows = _rows(found, gates, paged, colours)
    return page(
        "promotion.html.j2",
        run_id=results.run_id,
        title="Promotion",
        section="promotion.html",
        lead=LEAD,
        verdict=_verdict(found),
        losses=_losses(found),
        gates=[formats.words(gate) for gate in gates],
        rows=rows,
        more=len(found.promotions) - len(rows),
        folds=_folds(found.folds),
        overfitting=[
            _overfitting(found.overfitting[key], what)
            for key, what in (("search", "trades of the whole search"), ("passed", "candidates that passed every gate"))
            if key in found.overfitting
        ],
    )


def promotion_reasons(found: PromotionResults) -> dict[str, str | None]:
    """By candidate the name of the first gate it failed; None where it is promoted."""
    return {
        name: None if promoted else formats.words(failed.split(", ")[0])
        for name, promoted, failed in found.promotions.select("candidate_id", "is_promoted", "failed_gates").iter_rows()
    }


def promotion_gates(found: PromotionResults, candidate_id: str) -> list[dict[str, Any]]:
    """Each gate of one candidate with its verdict and reason; empty where it was not asked."""
    import polars as pl

    own = found.gates.filter(pl.col("candidate_id") == candidate_id)
    return [
        {"name": formats.words(row["gate"]), "kind": kind, "verdict": verdict, "reason": _reason(row)}
        for row in own.iter_rows(named=True)
        for kind, _, verdict in (MARKS[row["passed"]],)
    ]


def _reason(row: Mapping[str, Any]) -> str:
    """The reason without the gate's own name before it, which stands beside it."""
    text = str(row["reason"]).replace("-", "\N{MINUS SIGN}") if row["gate"] == "backtest" else str(row["reason"])
    for start in (f"{row['gate']} of the promotion profile ", f"{row['gate']}: "):
        text = text.removeprefix(start)
    return text


def _verdict(found: PromotionResults) -> str:
    n = int(found.promotions["is_promoted"].sum())
    if found.promotions.is_empty():
        return "No candidate passed every gate of the discovery, so there was none to promote."
    asked = formats.plural(len(found.promotions), "candidate")
    return (
        f"{formats.count(n)} of {asked} that passed every gate of the discovery {'is' if n == 1 else 'are'} promoted."
    )


def _losses(found: PromotionResults) -> list[dict[str, Any]]:
    """Each gate with how many were asked, failed, and failed at it first."""
    import polars as pl

    first = found.promotions.filter(~pl.col("is_promoted")).with_columns(
        pl.col("failed_gates").str.split(", ").list.first().alias("gate")
    )
    firsts = dict(first.group_by("gate").len().iter_rows())
    counted = found.gates.group_by("gate", maintain_order=True).agg(
        pl.col("passed").is_not_null().sum().alias("asked"), (~pl.col("passed")).sum().alias("failed")
    )
    return [
        {
            "name": formats.words(row["gate"]),
            "asked": formats.count(row["asked"]),
            "failed": formats.count(row["failed"]),
            "first": formats.count(firsts.get(row["gate"], 0)),
        }
        for row in counted.iter_rows(named=True)
    ]


def _rows(
    found: PromotionResults, gates: list[str], paged: Collection[str], colours: Mapping[str, str]
) -> list[dict[str, Any]]:
    import polars as pl

    by_id: dict[str, dict[str, dict[str, Any]]] = {}
    for gate in found.gates.iter_rows(named=True):
        by_id.setdefault(gate["candidate_id"], {})[gate["gate"]] = gate
    failed = pl.col("failed_gates").str.count_matches(", ") + (pl.col("failed_gates") != "")
    chosen = found.promotions.with_columns(failed.alias("_failed")).sort(
        "is_promoted", "_failed", "after_cost_expectancy", descending=[True, False, True], maintain_order=True
    )
    made = []
    for row in chosen.head(MOST_ROWS).iter_rows(named=True):
        name = row["candidate_id"]
        own = by_id.get(name, {})
        made.append(
            {
                "event": row["event_type"],
                "colour": colours.get(row["event_type"], ""),
                "what": f"{formats.words(row['template_verb'])} {row['horizon']}, {where(row)}",
                "href": f"candidates/{file_name(name)}.html" if name in paged else "",
                "net": formats.bps(row["after_cost_expectancy"], plus=True),
                "tested": formats.bps(row["test_net"], plus=True),
                "promoted": row["is_promoted"],
                "cells": [_cell(own.get(gate)) for gate in gates],
            }
        )
    return made


def _cell(gate: Mapping[str, Any] | None) -> dict[str, str]:
    kind, mark, verdict = MARKS[None if gate is None else gate["passed"]]
    told = "" if gate is None else f": {_reason(gate)}"
    return {"kind": kind, "mark": mark, "tip": f"{verdict}{told}"}


def _folds(folds: pl.DataFrame) -> list[list[str]]:
    rows = []
    for row in folds.iter_rows(named=True):
        error = row["net_standard_error"]
        interval = (
            formats.NOTHING
            if row["net"] is None or error is None
            else formats.bps_interval(row["net"] - STANDARD_ERRORS * error, row["net"] + STANDARD_ERRORS * error)
        )
        rows.append(
            [
                formats.days(row["train_start"], row["train_end"]),
                formats.days(row["test_start"], row["test_end"]),
                formats.count(row["n_tested"]),
                formats.count(row["n_found"]),
                formats.count(row["n_book"]),
                formats.count(row["n_trades"]),
                formats.bps(row["expected_net"]),
                formats.bps(row["net"], plus=True),
                interval,
            ]
        )
    return rows


def _overfitting(found: Mapping[str, Any], what: str) -> str:
    n = formats.count(found.get("n_trials"))
    if found.get("probability") is None:
        return f"Probability of overfitting over {n} {what}: too few to choose among."
    share, halvings = formats.probability(found["probability"]), formats.count(found.get("n_halvings"))
    return (
        f"Probability of overfitting over {n} {what}: {share}. So often the best of one half of the time is at or below the "
        f"median of the other half, over {halvings} ways to halve."
    )
