"""What differs between blueprints."""

from __future__ import annotations

from backtest.spec.compiled import Spec
from backtest.strategies.blueprints import Blueprint
from backtest.strategies.comparing import Difference, differences, run_differences
from tests.strategies.cases import blueprints_from, passed


def test_the_names_of_the_runs_do_not_count(blueprint: Blueprint) -> None:
    renamed = blueprint.model_copy(
        update={"run_id": "second", "blueprint_id": blueprint.blueprint_id.replace("first", "second")}
    )
    assert differences(blueprint, renamed) == ()
    assert run_differences([blueprint], [renamed]).is_empty


def test_nested_fields_are_named_with_dots(blueprint: Blueprint) -> None:
    other = blueprint.model_copy(
        update={"cooldown_bars": 24, "exits": blueprint.exits.model_copy(update={"horizon_bars": 6})}
    )
    assert differences(blueprint, other) == (
        Difference("exits.horizon_bars", 12, 6),
        Difference("cooldown_bars", 12, 24),
    )


def test_runs_differ_by_what_only_one_has_and_by_what_changed(spec: Spec) -> None:
    kept, gone = blueprints_from(
        spec, passed("mean_reversion", "lag1", -1), passed("mean_reversion", "lag1", -1, horizon="15m")
    )
    changed, new = blueprints_from(
        spec, passed("mean_reversion", "lag1", -1, q_value=0.02), passed("continuation", "lag1", 1, horizon="15m")
    )
    found = run_differences([kept, gone], [changed, new])
    assert found.only_first == ("VOL_SHOCK.mean_reversion.15m.all.POOLED",)
    assert found.only_second == ("VOL_SHOCK.continuation.15m.all.POOLED",)
    assert found.changed == {
        "VOL_SHOCK.mean_reversion.60m.all.POOLED": (Difference("q_value", 0.01, 0.02),),
    }
    assert not found.is_empty
