"""What came of a run, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.reports.html.formats import bps, bps_interval, plural, words
from backtest.reports.html.results import Missing, RunResults

if TYPE_CHECKING:
    import polars as pl


def verdict(results: RunResults) -> str:
    """One or two sentences: what passed, how much it is expected to earn, or that nothing did and what came nearest."""
    if isinstance(results.candidates, Missing):
        return f"No verdict. {results.candidates.text}"
    return of_candidates(results.candidates)


def of_candidates(candidates: pl.DataFrame) -> str:
    """The verdict on all hypotheses of a run."""
    import polars as pl

    from backtest.reports.terminal import best_candidates, nearest_misses

    total, tested = len(candidates), int(candidates["gate_eligible"].sum())
    passed = candidates.filter("gate_phase2_final")
    if passed.is_empty():
        text = (
            f"No edge found: of {plural(total, 'hypothesis', 'hypotheses')}, {tested:,} had enough events, and "
            f"none passed every gate."
        )
        near = nearest_misses(candidates, 1)
        if near.is_empty():
            return text
        row = near.row(0, named=True)
        return (
            f"{text} Nearest was {named(row)}, at {bps(row['after_cost_expectancy'])} bps per trade after cost; "
            f"it failed at {words(row['failed_gate'])}."
        )
    events = passed["event_type"].n_unique()
    best = best_candidates(candidates, 1).row(0, named=True)
    low, high = best["posterior_low"] - best["cost"], best["posterior_high"] - best["cost"]
    kinds = passed.select(pl.struct("event_type", "template_verb", "horizon").n_unique()).item()
    return (
        f"{plural(len(passed), 'hypothesis', 'hypotheses')} of {total:,} passed every gate: {plural(kinds, 'trade')} on "
        f"{plural(events, 'event type')}, seen in overlapping states and symbols. The best, {named(best)}, is expected to earn "
        f"{bps(best['after_cost_expectancy'])} bps per trade after cost (90 % interval {bps_interval(low, high)} bps)."
    )


def named(row: dict[str, object]) -> str:
    """A candidate as a reader says it: ``VOL_SHOCK mean reversion 60m (all states, all symbols)``."""
    return f"{row['event_type']} {words(str(row['template_verb']))} {row['horizon']} ({where(row)})"


def where(row: dict[str, object]) -> str:
    """State and symbols of a candidate in words."""
    state = "all states" if row["state_id"] == "all" else words(str(row["state_id"]))
    symbol = "all symbols" if row["symbol"] == "POOLED" else str(row["symbol"])
    return f"{state}, {symbol}"
