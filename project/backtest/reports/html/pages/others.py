"""Pages with little on them: all hypotheses, one of them, operations, terms, and sections that a run has nothing for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from backtest.reports.html.formats import day
from backtest.reports.html.rendering import page
from backtest.reports.html.results import Missing, RunResults
from backtest.reports.html.terms import TERMS, term

COLUMNS: Final = (
    ("event_type", "text", "Event", "event"),
    ("template_verb", "text", "Trade", "trade"),
    ("horizon", "text", "Horizon", "horizon"),
    ("state_id", "text", "State", "state"),
    ("symbol", "text", "Symbols", "pooled"),
    ("n_events", "count", "n", "n_events"),
    ("expectancy", "bps", "Raw", "raw_mean"),
    ("posterior_mean", "bps", "Shrunk", "shrunk_mean"),
    ("cost", "bps", "Cost", "cost"),
    ("after_cost_expectancy", "bps", "Net", "net"),
    ("t_stat", "decimal", "t", "t_stat"),
    ("q_value", "small", "q", "q_value"),
    ("confirmation_expectancy", "bps", "Confirm", "confirmation_fold"),
    ("confirmation_q", "small", "Confirm q", "confirmation_q"),
    ("placebo_mean", "bps", "Placebo", "placebo_times"),
    ("placebo_p", "small", "Placebo p", "placebo_times"),
    ("mean_favourable_excursion", "bps", "MFE", "excursions"),
    ("mean_adverse_excursion", "bps", "MAE", "excursions"),
    ("verdict", "text", "Verdict", "gate"),
)
FIGURES: Final = (
    ("n_events", "count", "n_events", "trades"),
    ("n_days", "count", "n_days", "days"),
    ("expectancy", "bps", "raw_mean", "bps per trade"),
    ("expectancy_standard_error", "bps", None, "bps"),
    ("posterior_mean", "bps", "shrunk_mean", "bps per trade"),
    ("posterior_low", "bps", "interval90", "bps, lower end"),
    ("posterior_high", "bps", "interval90", "bps, upper end"),
    ("cost", "bps", "cost", "bps per trade"),
    ("after_cost_expectancy", "bps", "net", "bps per trade"),
    ("probability_above_cost", "two", "probability_above_cost", ""),
    ("break_even_cost", "bps", "break_even", "bps"),
    ("capacity_usd", "count", "capacity", "USD an order"),
    ("t_stat", "decimal", "t_stat", ""),
    ("adjusted_t_stat", "decimal", "adjusted_t_stat", "which p and q rest on"),
    ("p_value", "small", "p_value", ""),
    ("q_value", "small", "q_value", ""),
    ("family_wise_p", "small", "family_wise", ""),
    ("local_false_sign_rate", "small", "false_sign_rate", ""),
    ("confirmation_n_events", "count", None, "trades in the confirmation fold"),
    ("confirmation_expectancy", "bps", "confirmation_fold", "bps per trade"),
    ("confirmation_p", "small", None, "p on the confirmation fold"),
    ("confirmation_q", "small", "confirmation_q", ""),
    ("placebo_mean", "bps", "placebo_times", "bps per trade"),
    ("placebo_p", "small", "placebo_times", "p of the difference"),
    ("mean_favourable_excursion", "bps", "mfe", "bps, mean"),
    ("mean_adverse_excursion", "bps", "mae", "bps, mean"),
    ("largest_day_share", "share", "day_concentration", "of the sum, largest day"),
    ("tainted_share", "share", "tainted", "of the trades"),
    ("signs_by_year", "text", None, "sign of the sum by year"),
    ("signs_by_symbol", "text", None, "sign of the sum by symbol"),
)
NAMES: Final = {
    "expectancy_standard_error": "Standard error",
    "confirmation_n_events": "Trades to confirm on",
    "confirmation_p": "Confirmation p",
    "signs_by_year": "By year",
    "signs_by_symbol": "By symbol",
}
DATA_SCRIPT: Final = "data/candidates.js"
KINDS: Final[Mapping[str, str]] = {
    "PASS": "pass",
    "OK": "pass",
    "WARN": "warned",
    "HALT": "fail",
    "FAIL": "fail",
    "STALE": "fail",
    "MISSING": "fail",
    "UNKNOWN": "fail",
    "UNREADABLE": "fail",
    "DRIFT": "fail",
    "OVERLAP": "fail",
    "FREE": "pass",
    "FRESH": "pass",
}


def table_page(results: RunResults) -> str:
    """candidates.html."""
    from backtest.discovery.gates import GATES

    missing = results.candidates if isinstance(results.candidates, Missing) else None
    return page(
        "candidates.html.j2",
        run_id=results.run_id,
        title="Candidates",
        section="candidates.html",
        scripts=() if missing else (DATA_SCRIPT,),
        candidates_missing=missing,
        gates=[gate.removeprefix("gate_") for gate in GATES[1:]],
        columns=[
            {"key": key, "kind": kind, "label": label, "tip": TERMS[name][1]} for key, kind, label, name in COLUMNS
        ],
    )


def hypothesis_page(results: RunResults) -> str:
    """hypothesis.html: any hypothesis, chosen by the number after the ``#``."""
    has_any = not isinstance(results.candidates, Missing)
    figures = [
        {"key": key, "kind": kind, "term": term(name) if name else NAMES[key], "unit": unit}
        for key, kind, name, unit in FIGURES
    ]
    return page(
        "hypothesis.html.j2",
        run_id=results.run_id,
        title="One hypothesis",
        section="candidates.html",
        scripts=(DATA_SCRIPT,) if has_any else (),
        figures=figures,
    )


def operations_page(results: RunResults) -> str:
    """operations.html."""
    monitors = [
        {
            "name": monitor.name,
            "status": monitor.status,
            "kind": KINDS.get(monitor.status, "warned"),
            "checked_at": f"checked {day(monitor.checked_at)} {str(monitor.checked_at)[11:16]} UTC"
            if monitor.checked_at
            else "",
            "details": [(name, status, text, KINDS.get(status, "warned")) for name, status, text in monitor.details],
            "command": monitor.command,
        }
        for monitor in results.monitors
        if not isinstance(monitor, Missing)
    ]
    return page(
        "operations.html.j2",
        run_id=results.run_id,
        title="Operations",
        section="operations.html",
        monitors=monitors,
        missing_monitors=[monitor for monitor in results.monitors if isinstance(monitor, Missing)],
    )


def missing_page(results: RunResults, place: str, title: str, lead: str, section: Missing) -> str:
    """A page for a section that the run has no data for."""
    return page(
        "section.html.j2", run_id=results.run_id, title=title, section=place, lead=lead, section_missing=section
    )


def terms_page(results: RunResults) -> str:
    """terms.html."""
    entries: list[Any] = sorted(((key, *texts) for key, texts in TERMS.items()), key=lambda entry: entry[1].casefold())
    return page("terms.html.j2", run_id=results.run_id, title="Terms", section="terms.html", terms=entries)
