"""Blueprints: all an engine needs to trade a candidate exactly as it was tested, and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from backtest.spec.models import ALL_STATES, POOLED, Model
from backtest.strategies.rules import (
    ALWAYS,
    Exits,
    TradingRule,
    bar_expressions,
    close_barriers,
    contracts_of,
    definitions_of,
    one_line,
    second_legs_of,
)

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.compiled import Spec

BLUEPRINT_VERSION: Final = 2
NOT_ASSESSED: Final = "not assessed"
Probability = Annotated[float, Field(ge=0, le=1)]


Interval = tuple[Probability, Probability, Probability]
"""A share with the lower and upper end of its 95 % interval."""


class CalibrationReference(Model):
    """The published calibration that shows the error rates of the gates a blueprint passed.

    Shares are of worlds without an edge: how many of them had a hypothesis confirmed on the untouched fold, and how many had
    one that passed every gate. ``rejected_at_5_percent`` is of such a world's hypotheses, whose p-values should be even.
    """

    page: str
    command: str
    measured_on: str
    commit: str | None
    code_hash: str
    ontology_spec_hash: str
    null_worlds: Annotated[int, Field(ge=1)]
    rejected_at_5_percent: Interval
    null_worlds_with_any_confirmed: Interval
    null_worlds_with_any_passed: Interval
    n_limits: Annotated[int, Field(ge=0)]
    n_broken_limits: Annotated[int, Field(ge=0)]


class Evidence(Model):
    """What a search found; returns, costs and standard errors are fractions per trade.

    Figures are of the discovery fold, those called ``confirmation_…`` of the other one. ``effective_n_days`` is the number
    of equally weighted days that would make the same standard error possible: that of the t statistic's degrees of
    freedom. ``discovery_start`` and ``discovery_end`` (exclusive) span all data the search has read, both folds.
    """

    run_id: str
    ontology_spec_hash: str
    data_hash: str
    """Hash of the cleaned bars of the window, all of the search's symbols."""
    register_hash: str
    template_verb: str
    state_id: str
    scope: str
    """The symbol it was tested on, or ``POOLED`` for all of them together."""
    n_events: Annotated[int, Field(ge=1)]
    n_days: Annotated[int, Field(ge=1)]
    effective_n_days: Annotated[float, Field(ge=1)]
    expectancy: float
    expectancy_standard_error: Annotated[float, Field(ge=0)]
    cost: float
    posterior_mean: float
    posterior_sd: Annotated[float, Field(ge=0)]
    posterior_low: float
    posterior_high: float
    local_false_sign_rate: Probability
    p_block_null: Probability
    after_cost_expectancy: float
    break_even_cost: float
    probability_above_cost: Probability
    capacity_usd: Annotated[float, Field(ge=0)]
    t_stat: float
    p_value: Probability
    q_value: Probability
    family_wise_p: Probability | None
    confirmation_n_events: Annotated[int, Field(ge=0)]
    confirmation_n_days: Annotated[int, Field(ge=0)]
    confirmation_expectancy: float
    confirmation_p: Probability
    confirmation_q: Probability
    confirmation_level: Probability
    confirmation_openings: Annotated[int, Field(ge=1)]
    tainted_share: Probability
    robustness: str = NOT_ASSESSED
    """Verdict of the robustness analysis of its run."""
    calibration_reference: CalibrationReference | None = None
    """The calibration that shows the error rates of the gates it passed; None where there is none for its spec."""
    calibration_note: str = ""
    """Why there is no calibration reference, or in what the calibrated search differs from this one."""
    discovery_start: str
    discovery_end: str

    @model_validator(mode="after")
    def _interval_in_order(self) -> Evidence:
        if not self.posterior_low <= self.posterior_high:
            raise ValueError(f"posterior_low {self.posterior_low:g} exceeds posterior_high {self.posterior_high:g}")
        return self


class Blueprint(TradingRule, Evidence):
    """One candidate as a rule, with the evidence for it."""

    version: Literal[2] = BLUEPRINT_VERSION
    blueprint_id: Annotated[str, Field(min_length=1, max_length=300)]


@dataclass(frozen=True)
class SearchFacts:
    """What is known of a search besides its candidates.

    Attributes
    ----------
    tested : the symbols each event type was tested on; a pooled candidate trades all of them.
    window : first and last instant of the data it was made on, both folds.
    robustness : verdict by candidate id, of those that were assessed.
    """

    run_id: str
    tested: Mapping[str, Sequence[str]]
    window: tuple[str, str]
    data_hash: str
    register_hash: str
    robustness: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    calibration_reference: CalibrationReference | None = None
    calibration_note: str = ""


def compile_blueprints(candidates: pl.DataFrame, spec: Spec, search: SearchFacts) -> list[Blueprint]:
    """A blueprint for each candidate that passed every gate, the highest expectancy after cost first.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`.
    """
    passed = candidates.filter("gate_phase2_final").sort(
        "after_cost_expectancy", "candidate_id", descending=[True, False]
    )
    return [_blueprint(row, spec, search) for row in passed.iter_rows(named=True)]


def _blueprint(row: Mapping[str, Any], spec: Spec, search: SearchFacts) -> Blueprint:
    from backtest.discovery.hypotheses import event_trials

    event_type = row["event_type"]
    event = spec.events[event_type].model
    trial = next(
        trial
        for trial in event_trials(spec, event_type)
        if (trial.policy.policy_id, trial.horizon) == (row["policy"], row["horizon"])
    )
    target, stop = close_barriers(trial.policy, row["direction"])
    symbols = tuple(search.tested[event_type]) if row["symbol"] == POOLED else (row["symbol"],)
    second_legs = second_legs_of(spec, trial.policy, symbols)
    if trial.policy.second_leg is not None:
        symbols = tuple(second_legs)
    texts = {
        "trigger": one_line(event.when),
        "event_direction": one_line(event.direction),
        "condition": _condition(spec, row["state_id"]),
        **bar_expressions(spec),
    }
    named = {name: row[name] for name in Blueprint.model_fields if name in row and name not in ("policy", "version")}
    return Blueprint.model_validate(
        {
            **named,
            **texts,
            "blueprint_id": f"{search.run_id}.{row['candidate_id']}",
            "run_id": search.run_id,
            "ontology_spec_hash": spec.ontology_hash,
            "data_hash": search.data_hash,
            "register_hash": search.register_hash,
            "scope": row["symbol"],
            "effective_n_days": row["degrees_of_freedom"] + 1.0,
            "robustness": search.robustness.get(row["candidate_id"], NOT_ASSESSED),
            "calibration_reference": search.calibration_reference,
            "calibration_note": search.calibration_note,
            "discovery_start": search.window[0],
            "discovery_end": search.window[1],
            "symbols": symbols,
            "parameters": event.parameters,
            "entry_lag_bars": trial.policy.entry_lag_bars,
            "policy": trial.policy,
            "exits": Exits(horizon_bars=trial.horizon_bars, close_target_atr=target, close_stop_atr=stop),
            "cooldown_bars": event.cooldown_bars,
            "sizing": spec.backtest.sizing,
            "definitions": definitions_of(spec, list(texts.values()), event.parameters),
            "costs": spec.costs,
            "second_legs": second_legs,
            "contracts": contracts_of(spec, symbols, second_legs),
        }
    )


def _condition(spec: Spec, state_id: str) -> str:
    """The expression of a state or of a filter; that which always holds for the state ``all``."""
    return ALWAYS if state_id == ALL_STATES else one_line(spec.conditions[state_id].text)


def to_jsonl(blueprints: Sequence[Blueprint]) -> str:
    """One line of JSON a blueprint; an empty text where there are none."""
    return "".join(blueprint.model_dump_json() + "\n" for blueprint in blueprints)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a line of ``blueprints.jsonl``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Blueprint, version {BLUEPRINT_VERSION}",
        **{key: value for key, value in Blueprint.model_json_schema().items() if key != "title"},
    }
