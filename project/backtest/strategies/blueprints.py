"""Blueprints: all an engine needs to trade a candidate exactly as it was tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from backtest.spec.models import POOLED, Model, Policy

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.loader import Spec

BLUEPRINT_VERSION: Final = 1


class Blueprint(Model):
    """One candidate as a rule, with the evidence for it.

    ``trigger``, ``event_direction`` and ``condition`` are in the causal expression language, with ``parameters`` as
    names; ``direction`` is +1 for a trade with the event's direction and −1 for one against it. Barriers are in ATR and
    seen from the *event's* direction; ``policy`` says how the trade enters and leaves. Returns, costs and standard
    errors are fractions per trade.
    """

    version: Literal[1] = 1
    blueprint_id: str
    run_id: str
    ontology_spec_hash: str
    event_type: str
    family: str
    template_verb: str
    horizon: str
    state_id: str
    symbols: tuple[str, ...]
    trigger: str
    event_direction: str
    fallback_direction: str
    parameters: Mapping[str, int | float]
    condition: str
    direction: Literal[-1, 1]
    entry_lag_bars: int
    policy: Policy
    cooldown_bars: int
    average_true_range: str
    event_move: str
    n_events: int
    n_days: int
    expectancy: float
    expectancy_standard_error: float
    cost: float
    posterior_mean: float
    posterior_sd: float
    posterior_low: float
    posterior_high: float
    local_false_sign_rate: float
    p_block_null: float
    after_cost_expectancy: float
    break_even_cost: float
    capacity_usd: float
    t_stat: float
    p_value: float
    q_value: float
    confirmation_expectancy: float
    confirmation_p: float
    confirmation_q: float
    discovery_start: str
    discovery_end: str


def compile_blueprints(
    candidates: pl.DataFrame, spec: Spec, *, run_id: str, tested: Mapping[str, Sequence[str]], window: tuple[str, str]
) -> list[Blueprint]:
    """A blueprint for each candidate that passed every gate, the highest expectancy after cost first.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`.
    tested : the symbols each event type was tested on; a pooled candidate trades all of them.
    window : first and last instant of the data it was found on.
    """
    from backtest.discovery.hypotheses import event_trials

    conditions = {state_id: value.text for state in spec.states.values() for state_id, value in state.values.items()}
    blueprints = []
    passed = candidates.filter("gate_phase2_final").sort(
        "after_cost_expectancy", "candidate_id", descending=[True, False]
    )
    for row in passed.iter_rows(named=True):
        event = spec.events[row["event_type"]].model
        policies = {
            (trial.policy.policy_id, trial.horizon): trial.policy for trial in event_trials(spec, row["event_type"])
        }
        policy = policies[row["policy"], row["horizon"]]
        evidence: dict[str, Any] = {
            name: row[name] for name in Blueprint.model_fields if name in row and name != "policy"
        }
        blueprints.append(
            Blueprint(
                **evidence,
                blueprint_id=f"{run_id}.{row['candidate_id']}",
                run_id=run_id,
                ontology_spec_hash=spec.ontology_hash,
                symbols=tuple(tested[row["event_type"]]) if row["symbol"] == POOLED else (row["symbol"],),
                trigger=event.when,
                event_direction=event.direction,
                fallback_direction=spec.discovery.fallback_direction,
                parameters=event.parameters,
                condition=conditions.get(row["state_id"], "True"),
                entry_lag_bars=policy.entry_lag_bars,
                policy=policy,
                cooldown_bars=event.cooldown_bars,
                average_true_range=spec.discovery.average_true_range,
                event_move=spec.discovery.event_move,
                discovery_start=window[0],
                discovery_end=window[1],
            )
        )
    return blueprints


def to_jsonl(blueprints: Sequence[Blueprint]) -> str:
    """One line of JSON a blueprint; an empty text where there are none."""
    return "".join(blueprint.model_dump_json() + "\n" for blueprint in blueprints)
