"""Few blueprints for one account: the surest first, one an event, none that is the same bet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from backtest.spec.strategies import PortfolioSettings
from backtest.strategies.selection import correlation, few_of

DAYS = {
    "a": {1: 0.01, 2: -0.02, 3: 0.03, 5: 0.01},
    "same_event": {1: -0.01, 4: 0.02},
    "same_bet": {1: 0.011, 2: -0.019, 3: 0.031, 5: 0.01},
    "other": {1: -0.01, 2: 0.01, 4: 0.02, 6: 0.03},
}


def made(name: str, event_type: str, low: float) -> Any:
    return SimpleNamespace(blueprint_id=name, event_type=event_type, cost=5e-4, posterior_low=low)


BLUEPRINTS = cast(
    "list[Any]",
    [made("other", "C", 6e-4), made("same_bet", "B", 8e-4), made("same_event", "A", 9e-4), made("a", "A", 10e-4)],
)


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({}, ["a", "other"]),
        ({"most": 1}, ["a"]),
        ({"max_correlation": 1.0}, ["a", "same_bet", "other"]),
        ({"most_per_event": 2}, ["a", "same_event"]),
    ],
)
def test_the_surest_that_is_no_second_bet_is_taken_until_there_are_enough(
    settings: dict[str, Any], taken: list[str]
) -> None:
    assert [one.blueprint_id for one in few_of(BLUEPRINTS, DAYS, PortfolioSettings(**settings))] == taken


def test_days_without_a_trade_are_zero_in_the_correlation() -> None:
    expected = np.corrcoef([0.01, -0.02, 0.03, 0.0, 0.01, 0.0], [-0.01, 0.01, 0.0, 0.02, 0.0, 0.03])[0, 1]
    assert correlation(DAYS["a"], DAYS["other"]) == pytest.approx(expected)
    assert correlation(DAYS["a"], {}) == 0.0
