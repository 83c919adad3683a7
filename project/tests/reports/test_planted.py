"""Planted edges beside what the search made of them, by hand."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from backtest.reports.planted import planted_comparison, planted_table
from backtest.spec.models import PlantedEdge

EDGE = PlantedEdge(event_type="VOL_SHOCK", side="against", horizon="60m", bps=40)


def candidate(**changes: Any) -> dict[str, Any]:
    return {
        "event_type": "VOL_SHOCK",
        "policy": "lag1",
        "horizon": "60m",
        "state_id": "all",
        "symbol": "POOLED",
        "direction": -1,
        "n_events": 400,
        "expectancy": 38e-4,
        "expectancy_standard_error": 5e-4,
        "cost": 11e-4,
        "t_stat": 8.0,
        "gate_eligible": True,
        "gate_significant": True,
        "gate_confirmed": True,
        "gate_phase2_final": True,
        "fail_reasons": "",
        **changes,
    }


def test_the_trade_that_was_planted_is_the_one_compared() -> None:
    others = [
        candidate(symbol="BTCUSDT", n_events=1),
        candidate(policy="lag3", n_events=2),
        candidate(horizon="5m", n_events=3),
        candidate(state_id="session_us", n_events=4),
    ]
    (row,) = planted_comparison([EDGE], pl.DataFrame([*others, candidate()]))
    assert row["n"] == 400
    assert (row["planted bps"], row["found bps"], row["cost bps"]) == pytest.approx((40.0, 38.0, 11.0))
    assert row["± 1.96 se"] == pytest.approx(9.8)
    assert row["verdict"] == "found"


def test_without_a_pooled_scope_the_symbol_is_compared() -> None:
    (row,) = planted_comparison([EDGE], pl.DataFrame([candidate(symbol="BTCUSDT")]))
    assert row["n"] == 400


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"gate_phase2_final": False, "fail_reasons": "economic"}, "seen, and refused: economic"),
        (
            {"gate_phase2_final": False, "gate_confirmed": False, "fail_reasons": "confirmed, economic"},
            "not found: confirmed, economic",
        ),
        ({"gate_phase2_final": False, "gate_eligible": False, "t_stat": None}, "too few events to be tested"),
        ({"direction": 1}, "the search prefers the other side: an error"),
        ({"event_type": "VOL_SPIKE"}, "not tested: the event or the trade is not in the search"),
    ],
)
def test_the_verdict_says_what_became_of_the_edge(changes: dict[str, Any], verdict: str) -> None:
    (row,) = planted_comparison([EDGE], pl.DataFrame([candidate(**changes)], infer_schema_length=None))
    assert row["verdict"] == verdict
    if "direction" in changes:
        assert row["found bps"] == pytest.approx(-38.0)


def test_an_edge_of_one_state_is_also_shown_over_all_states() -> None:
    edge = EDGE.model_copy(update={"state_id": "session_us"})
    rows = planted_comparison([edge], pl.DataFrame([candidate(state_id="session_us"), candidate(n_events=900)]))
    assert [(row["state"], row["planted bps"], row["n"]) for row in rows] == [
        ("session_us", 40.0, 400),
        ("all", None, 900),
    ]
    assert planted_table(rows).row_count == 2
