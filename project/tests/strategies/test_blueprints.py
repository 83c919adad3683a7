"""What a candidate becomes, and that the published schema is the model's."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from backtest.spec.compiled import Spec
from backtest.strategies.blueprints import Blueprint, json_schema, to_jsonl
from backtest.strategies.compiled import compile_rule
from backtest.strategies.reading import parse_blueprints
from tests.strategies.cases import blueprints_from, passed

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "reference" / "blueprint.schema.json"


def test_the_published_schema_is_the_models() -> None:
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == json_schema(), (
        "write it again: backtest blueprint schema > docs/reference/blueprint.schema.json"
    )


def test_a_written_blueprint_is_valid_by_the_schema_and_reads_back_equal(blueprint: Blueprint) -> None:
    line = to_jsonl([blueprint])
    jsonschema.validate(json.loads(line), json_schema(), cls=jsonschema.Draft202012Validator)
    assert parse_blueprints(line, "a file") == [blueprint]


def test_the_schema_refuses_what_the_model_refuses(blueprint: Blueprint) -> None:
    value = json.loads(to_jsonl([blueprint]))
    for change in ({"version": 1}, {"q_value": 1.5}, {"direction": 0}, {"colour": "red"}, {"entry_lag_bars": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value | change, json_schema(), cls=jsonschema.Draft202012Validator)
        with pytest.raises(ValidationError):
            Blueprint.model_validate(value | change)


def test_the_runbooks_fields_are_at_the_top(blueprint: Blueprint) -> None:
    value = json.loads(to_jsonl([blueprint]))
    assert (value["event_type"], value["horizon"]) == ("VOL_SHOCK", "60m")


def test_it_carries_trigger_condition_side_exits_and_the_features_they_rest_on(
    blueprint: Blueprint, spec: Spec
) -> None:
    assert blueprint.trigger == "crosses_above(realized_vol_1h_ratio, threshold)"
    assert blueprint.condition == "realized_vol_24h_rank_30d <= 0.33"
    assert (blueprint.direction, blueprint.cooldown_bars, blueprint.exits.horizon_bars) == (-1, 12, 12)
    assert blueprint.symbols == ("BTCUSDT", "ETHUSDT") == tuple(blueprint.contracts)
    assert blueprint.definitions["realized_vol_1h"] == "rolling_std(log_return, 12)"
    assert {"log_return", "realized_vol_24h_rank_30d", "average_true_range"} <= blueprint.definitions.keys()
    assert blueprint.costs == spec.costs
    assert blueprint.effective_n_days == 41.0


def test_barriers_of_a_trade_against_the_event_are_turned_to_its_own_side(spec: Spec) -> None:
    # overshoot_repair takes 1.5 ATR of profit; against the event that is a fall of 1.5 ATR, the policy's lower barrier.
    (made,) = blueprints_from(spec, passed("overshoot_repair", "lag1_up3_down1.5", -1))
    assert (made.policy.upper_barrier_atr, made.policy.lower_barrier_atr) == (3.0, 1.5)
    assert (made.exits.close_target_atr, made.exits.close_stop_atr) == (1.5, 3.0)


def test_exits_that_contradict_the_policy_are_refused(blueprint: Blueprint) -> None:
    value = json.loads(to_jsonl([blueprint]))
    value["exits"]["close_stop_atr"] = 2.0
    with pytest.raises(ValidationError, match="different close barriers"):
        Blueprint.model_validate(value)


def test_every_trial_of_every_event_can_be_a_blueprint_that_compiles(spec: Spec) -> None:
    from backtest.discovery.hypotheses import event_trials

    for event_type in spec.events:
        trial = event_trials(spec, event_type)[-1]
        state_id = spec.state_ids(event_type)[-1]
        row = passed(
            str(trial.with_verb or trial.against_verb),
            trial.policy.policy_id,
            1 if trial.with_verb else -1,
            event_type=event_type,
            horizon=trial.horizon,
            state_id=state_id,
            symbol="BTCUSDT",
        )
        (made,) = blueprints_from(spec, row)
        assert compile_rule("x", made, spec).rule is made
