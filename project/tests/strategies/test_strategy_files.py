"""The files under spec/strategies: what they may say, and that the shipped ones say it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from backtest.errors import SpecError
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec
from backtest.strategies.compiled import compile_rule
from backtest.strategies.rules import rule_of_strategy
from tests.strategies.cases import SHIPPED

NAME = "vol_shock_mean_reversion_v1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped spec that a test may damage."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "spec"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def fault_of(folder: Path) -> str:
    with pytest.raises(SpecError) as fault:
        load_spec(folder)
    return str(fault.value)


def test_every_family_has_a_strategy_and_the_runbooks_are_there(spec: Spec) -> None:
    families = {event.model.family for event in spec.events.values()}
    assert {strategy.model.family for strategy in spec.strategies.values()} == families
    assert spec.strategy("vol_shock_mr_v1") is spec.strategies[NAME]
    assert "liquidity_dislocation_mr_v1" in spec.strategies


def test_every_strategy_becomes_a_rule_that_can_be_evaluated(spec: Spec) -> None:
    for name, strategy in spec.strategies.items():
        rule = rule_of_strategy(strategy, spec, ["BTCUSDT", "SOLUSDT"], spec.backtest.sizing)
        assert rule.symbols == ("BTCUSDT", "SOLUSDT")
        assert compile_rule(name, rule, spec).rule is rule
        assert strategy.model.mechanism.endswith(".")


def test_an_unknown_strategy_names_the_nearest(spec: Spec) -> None:
    with pytest.raises(SpecError, match=r"Did you mean 'vol_shock_mr_v1'\?"):
        spec.strategy("vol_shock_mr_v2")


def test_strategies_are_no_part_of_what_a_search_finds(folder: Path, spec: Spec) -> None:
    (folder / "strategies" / f"{NAME}.yaml").unlink()
    assert load_spec(folder).ontology_hash == spec.ontology_hash


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f"strategy: {NAME}", "strategy: other_v1", "it must equal the file's name"),
        ("[vol_shock_mr_v1]", "[climax_volume_fade_v1]", "is taken by strategies/climax_volume_fade_v1.yaml"),
        ("event_type: VOL_SHOCK", "event_type: VOL_SHOK", "Did you mean 'VOL_SHOCK'?"),
        (
            "event_type: VOL_SHOCK",
            "trigger: close > 1",
            "event_direction is missing; a strategy without event_type needs",
        ),
        ("event_type: VOL_SHOCK", "event_type: VOL_SHOCK\ntrigger: close > 1", "either event_type, or trigger"),
        ("family: VOLATILITY_TRANSITION", "family: TREND_STRUCTURE", "its event type is of 'VOLATILITY_TRANSITION'"),
        ("family: VOLATILITY_TRANSITION", "family: TREND", "family names 'TREND', which does not exist"),
        ("horizon: 60m", "horizon: 7m", "a horizon is a multiple of 5 minutes"),
        ("side: against", "side: against\ncondition: closs > 1", "Did you mean 'close'?"),
        ("side: against", "side: against\ncondition: close", "condition: is a number; a boolean is needed"),
        ("side: against", "side: against\nparameters: { threshold: 1 }", "'threshold' is its event type's already"),
        ("side: against", "side: against\nparameters: { close: 1 }", "'close' has the name of a column"),
        ("intrabar_stop_atr: 8.0", "invalidation: lead(close, 1) > 1", "exit.invalidation: "),
        ("intrabar_stop_atr: 8.0", "stop: 8.0", "exit.stop: is no field that is known here"),
        ("max_fraction: 0.5", "fraction: 0.5", "method volatility_target takes volatility_per_trade and max_fraction"),
    ],
)
def test_a_fault_names_file_and_field(folder: Path, old: str, new: str, expected: str) -> None:
    edit(folder / "strategies" / f"{NAME}.yaml", old, new)
    text = fault_of(folder)
    assert f"strategies/{NAME}.yaml: " in text
    assert expected in text


def test_the_same_rule_under_two_names_is_refused(folder: Path) -> None:
    text = (folder / "strategies" / f"{NAME}.yaml").read_text(encoding="utf-8")
    other = text.replace(NAME, "another_v1").replace("aliases: [vol_shock_mr_v1]\n", "")
    (folder / "strategies" / "another_v1.yaml").write_text(other, encoding="utf-8")
    assert "is the same rule as strategies/another_v1.yaml" in fault_of(folder)


def test_the_file_of_the_page_is_a_strategy(folder: Path) -> None:
    page = (SHIPPED.parent / "docs" / "adding_a_strategy.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    (folder / "strategies" / "quiet_stretch_fade_v1.yaml").write_text(block[1], encoding="utf-8")
    assert load_spec(folder).strategy("quiet_stretch_v1").model.strategy == "quiet_stretch_fade_v1"
