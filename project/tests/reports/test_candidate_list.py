"""Candidates are chosen and ranked as asked, and a wrong name is answered with the nearest right one."""

from __future__ import annotations

import pytest

from backtest.errors import MisuseError
from backtest.reports.candidate_list import chosen_candidates

NOTHING = dict.fromkeys(("event_type", "symbol", "state_id", "horizon"))


@pytest.fixture
def candidates(made):
    return made(
        {"symbol": "BTCUSDT", "after_cost_expectancy": 30e-4, "q_value": 0.2, "failed": ("significant", "confirmed")},
        {"symbol": "ETHUSDT", "after_cost_expectancy": 5e-4, "q_value": 0.001},
        {"event_type": "FUNDING_FLIP", "after_cost_expectancy": 9e-4, "q_value": 0.01, "horizon": "5m"},
        {"state_id": "low", "after_cost_expectancy": 99e-4, "q_value": None, "failed": ("eligible",)},
        {"state_id": "high", "after_cost_expectancy": 1e-4, "q_value": 0.05, "failed": ("confirmed",)},
    )


def test_without_a_column_the_fewest_failures_come_first_and_what_was_not_tested_last(candidates) -> None:
    ranked = chosen_candidates(candidates, only=NOTHING)
    assert (ranked["after_cost_expectancy"] * 1e4).round().to_list() == [9, 5, 1, 30, 99]


def test_small_is_good_for_q_values_and_large_for_returns_and_nulls_are_last(candidates) -> None:
    assert chosen_candidates(candidates, only=NOTHING, sort="q_value")["q_value"].to_list()[:2] == [0.001, 0.01]
    assert chosen_candidates(candidates, only=NOTHING, sort="q_value")["q_value"].to_list()[-1] is None
    assert chosen_candidates(candidates, only=NOTHING, sort="after_cost_expectancy")["state_id"][0] == "low"


def test_filters_hold_together(candidates) -> None:
    chosen = chosen_candidates(candidates, only={**NOTHING, "event_type": "VOL_SHOCK", "horizon": "60m"}, passed=True)
    assert chosen["symbol"].to_list() == ["ETHUSDT"]
    confirmed = chosen_candidates(candidates, only=NOTHING, gates=["gate_confirmed", "significant"])
    assert len(confirmed) == 3
    assert len(chosen_candidates(candidates, only=NOTHING, limit=2)) == 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"only": {"event_type": "VOL_SHOK"}}, "no event type 'VOL_SHOK' here. Did you mean 'VOL_SHOCK'"),
        ({"only": {"horizon": "7m"}}, "no horizon '7m' here.* There are: 5m, 60m."),
        ({"only": NOTHING, "gates": ["conformed"]}, "no gate 'conformed' here. Did you mean 'confirmed'"),
        ({"only": NOTHING, "sort": "qvalue"}, "no column 'qvalue' here. Did you mean 'q_value'"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(candidates, asked, message) -> None:
    with pytest.raises(MisuseError, match=message):
        chosen_candidates(candidates, **asked)
