"""A candidate's rule in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backtest.reports.html.figures import BAR_MINUTES, minutes_text
from backtest.reports.html.formats import words
from backtest.spec.models import ALL_STATES, POOLED, horizon_bars

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec
    from backtest.spec.models import Policy


def rule_in_words(row: Mapping[str, Any], spec: Spec) -> str:
    """When it enters, on which side, and when it leaves."""
    event = spec.events.get(row["event_type"])
    what = event.model.description.rstrip(".") if event is not None else row["event_type"]
    where = "any symbol of the run" if row["symbol"] == POOLED else row["symbol"]
    state = "" if row["state_id"] == ALL_STATES else f", while the market is in state {words(row['state_id'])}"
    side = "in the event's direction" if row["direction"] > 0 else "against the event's direction"
    policy = _policy(row, spec)
    enter = "at the next open" if policy is None else _entry(policy)
    leave = minutes_text(horizon_bars(row["horizon"]) * BAR_MINUTES)
    barriers = "" if policy is None else _barriers(policy, row["direction"])
    if row["state_id"] in spec.filters:
        return (
            f"{row['event_type']} on {where} ({lowered(what)}): the mean of the same trade {side} where "
            f"{words(row['state_id'])} holds, less its mean where it does not. A condition on trades, not one of its own."
        )
    if policy is not None and policy.second_leg is not None:
        leg = "the spot market" if policy.second_leg == "spot" else "the symbol's pair"
        barriers += f". A second leg in {leg}, of the same size on the other side, is entered and left with it"
    return f"{row['event_type']} on {where} ({lowered(what)}){state}: trade {side}, {enter}, and leave after {leave}{barriers}."


def lowered(sentence: str) -> str:
    """A sentence inside another: its first letter small unless the word is a name or an abbreviation."""
    first = sentence.split(" ", 1)[0]
    return sentence[:1].lower() + sentence[1:] if first[1:].islower() or len(first) == 1 else sentence


def _policy(row: Mapping[str, Any], spec: Spec) -> Policy | None:
    from backtest.discovery.hypotheses import event_trials

    if row["event_type"] not in spec.events:
        return None
    return next(
        (
            trial.policy
            for trial in event_trials(spec, row["event_type"])
            if trial.policy.policy_id == row["policy"] and trial.horizon == row["horizon"]
        ),
        None,
    )


def _entry(policy: Policy) -> str:
    at = (
        "at the next open"
        if policy.entry_lag_bars == 1
        else f"at the open {minutes_text(policy.entry_lag_bars * BAR_MINUTES)} later"
    )
    within = minutes_text(policy.waits_bars * BAR_MINUTES)
    if policy.breakout_atr is not None:
        return f"once a close within {within} lies {policy.breakout_atr:g} average true ranges away, {at}"
    if policy.retrace_fraction is None:
        return at
    return f"once the price has come back by {policy.retrace_fraction:.0%} of the move within {within}, {at}"


def _barriers(policy: Policy, direction: int) -> str:
    """Barriers are seen from the event's direction; a trade against it meets them the other way round."""
    target, stop = policy.upper_barrier_atr, policy.lower_barrier_atr
    if direction < 0:
        target, stop = stop, target
    parts = []
    if target is not None:
        parts.append(f"{target:g} average true ranges in its favour")
    if stop is not None:
        parts.append(f"{stop:g} against it")
    return f", or at the open after a close {' or '.join(parts)}" if parts else ""
