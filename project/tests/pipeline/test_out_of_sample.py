"""Days after a search are recorded as opened before they are read, once for each thing that is judged on them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from backtest.discovery.folds import Folds
from backtest.evaluation.walk_forward import TEST_SCHEMA
from backtest.lake.files import read_parquet, write_json
from backtest.lake.ledger import openings, searches
from backtest.lake.paths import DataRoot
from backtest.pipeline.chosen_strategies import ChosenRule
from backtest.pipeline.out_of_sample import opening_warning, recorded_opening
from backtest.pipeline.stage import Plan
from backtest.pipeline.stages import walk_forward_folds
from backtest.pipeline.walk_forward import folds_or_reason
from backtest.spec.loader import load_spec
from backtest.strategies.rules import rule_of_strategy

SPEC_ROOT = Path(__file__).resolve().parents[3] / "spec"
SPEC = load_spec(SPEC_ROOT)
NOW = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SEARCHED = Folds(dt.date(2024, 1, 1), dt.date(2024, 9, 1), dt.date(2024, 9, 3), dt.date(2025, 1, 1))


def rule(name: str, found_in: str | None) -> ChosenRule:
    made = rule_of_strategy(SPEC.strategies[name], SPEC, ("BTCUSDT",), SPEC.backtest.sizing)
    return ChosenRule(f"{found_in}.{name}" if found_in else name, made, found_in)


BLUEPRINT, OTHER = rule("vol_shock_mean_reversion_v1", "first"), rule("compression_breakout_v1", "first")
BY_HAND = rule("vol_shock_mean_reversion_v1", None)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(DataRoot(tmp_path), SPEC_ROOT, "later", ("BTCUSDT",))


def opened(
    plan: Plan, *chosen: ChosenRule, days: int = 30, first: dt.date = SEARCHED.discovery_start
) -> dict[str, object] | None:
    folds = {one.name: SEARCHED for one in chosen}
    made = recorded_opening(plan, SPEC, chosen, folds, (first, SEARCHED.confirmation_end + days * DAY), now=NOW)
    return None if made is None else dict(made)


def test_nothing_is_opened_within_the_search_nor_by_what_nobody_searched(plan: Plan) -> None:
    assert opened(plan, BLUEPRINT, days=0) is None
    assert opened(plan, BY_HAND) is None
    assert searches(plan.root) == []
    assert opening_warning(None) == []


def test_a_first_look_is_recorded_and_the_same_one_again_is_no_other(plan: Plan) -> None:
    first = opened(plan, BLUEPRINT, BY_HAND)
    assert first == {
        **{"start": "2025-01-01", "end": "2025-01-31"},
        **{"ledger_sequence": 1, "is_new": True, "openings": 1},
    }
    assert opened(plan, BY_HAND, BLUEPRINT) == {**first, "is_new": False}
    assert opening_warning(first) == []
    assert openings(plan.root, ["BTCUSDT"], dt.date(2025, 1, 30), dt.date(2025, 3, 1)).as_confirmation == 1
    assert openings(plan.root, ["BTCUSDT"], dt.date(2025, 1, 31), dt.date(2025, 3, 1)).as_confirmation == 0
    assert openings(plan.root, ["ETHUSDT"], dt.date(2025, 1, 1), dt.date(2025, 3, 1)).as_confirmation == 0


def test_another_rule_or_account_on_the_same_days_is_another_look_and_warned_of(plan: Plan) -> None:
    opened(plan, BLUEPRINT)
    second = opened(plan, OTHER)
    assert second is not None
    assert second["openings"] == 2
    assert "opened 2 times" in opening_warning(second)[0]
    wider = dataclasses.replace(BLUEPRINT, rule=BLUEPRINT.rule.model_copy(update={"cooldown_bars": 99}))
    third = opened(plan, wider, days=10)
    assert third is not None
    assert third["openings"] == 3


def test_days_that_are_not_traded_are_not_opened(plan: Plan) -> None:
    made = opened(plan, BLUEPRINT, first=dt.date(2025, 1, 9))
    assert made is not None
    assert (made["start"], made["end"]) == ("2025-01-09", "2025-01-31")


def test_a_run_of_eighteen_days_has_no_folds_and_a_reason_and_ends_all_the_same(plan: Plan) -> None:
    days = ["2024-01-01", "2024-01-13", "2024-01-15", "2024-01-19"]
    names = ("discovery_start", "discovery_end", "confirmation_start", "confirmation_end")
    write_json(plan.root.design(plan.run_id), dict(zip(names, days, strict=True)))
    folds, reason = folds_or_reason(plan, SPEC)
    assert folds == []
    assert reason.startswith("there is no walk-forward: the window 2024-01-01 … 2024-01-09 has 9 days: too short")
    made = walk_forward_folds.run(plan, "1")
    assert read_parquet(made.outputs[0], TEST_SCHEMA).is_empty()
    assert made.summary == {"tested": 0, "found": 0}
