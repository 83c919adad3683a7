"""Openings of out-of-sample days: what is about to be judged on days after its search is recorded before they are read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from backtest.lake.ledger import record_evaluation
from backtest.pipeline.cache import canonical_hash
from backtest.pipeline.cleaned_data import cleaned_data_hash

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds
    from backtest.pipeline.chosen_strategies import ChosenRule
    from backtest.pipeline.stage import Plan
    from backtest.spec.compiled import Spec


def recorded_opening(
    plan: Plan,
    spec: Spec,
    chosen: Sequence[ChosenRule],
    folds: Mapping[str, Folds],
    days: tuple[dt.date, dt.date],
    *,
    now: dt.datetime,
) -> Mapping[str, object] | None:
    """Record in the ledger that blueprints are traded on days after their search; None where there is no such day.

    Parameters
    ----------
    folds : of each rule's search, by name.
    days : first day that is traded, and the end (exclusive) of all.

    Returns
    -------
    ``start``, ``end`` (exclusive), ``ledger_sequence``, ``is_new`` and ``openings``: how many searches and evaluations
    have opened days of it, this one included. The same rules, account and costs on the same bars again are no other opening.

    Raises
    ------
    DataError
        Where the ledger was changed from outside, or cannot be written: what cannot be recorded is not judged.
    """
    first, end = days
    judged = [one for one in chosen if one.found_in is not None and folds[one.name].confirmation_end < end]
    if not judged:
        return None
    start = max(first, min(folds[one.name].confirmation_end for one in judged))
    rules = sorted(one.rule.model_dump_json() for one in judged)
    standing = record_evaluation(
        plan.root,
        run_id=plan.run_id,
        made_at=now,
        symbols=plan.symbols,
        start=start,
        end=end,
        data_hash=cleaned_data_hash(plan.root, plan.symbols, start, end),
        subject=canonical_hash({"rules": rules, "trading": spec.part_hash("contracts", "costs", "backtest")}),
    )
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "ledger_sequence": standing.sequence,
        "is_new": standing.is_new,
        "openings": standing.confirmation_openings,
    }


def opening_warning(opening: Mapping[str, object] | None) -> list[str]:
    """A sentence where somebody had looked at those days before."""
    if opening is None or opening["openings"] == 1:
        return []
    return [
        f"days from {opening['start']} on were opened {opening['openings']} times by searches and evaluations, this one "
        "included (ledger/searches.jsonl): they are no untouched test, and the promotion does not count them as one"
    ]
