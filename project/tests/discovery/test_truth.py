"""The truth of a trade against a loop over its bars; day scores carry it where a frame has it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.discovery.day_scores import SCORE_SCHEMA, SUM_TRUTH, Held, TradeScores, score_frame, sum_by_day
from backtest.discovery.truth import planted_truth


@given(
    st.lists(st.floats(-0.01, 0.01) | st.just(float("nan")), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10), st.sampled_from([-1.0, 1.0])), max_size=6),
)
def test_truth_is_the_growth_planted_in_the_bars_held(
    drift: list[float], windows: list[tuple[int, int, float]]
) -> None:
    clipped = [(min(a, b, len(drift)), min(max(a, b), len(drift)), side) for a, b, side in windows]
    entry = np.array([window[0] for window in clipped], dtype=np.int64)
    exit_ = np.array([window[1] for window in clipped], dtype=np.int64)
    side = np.array([window[2] for window in clipped])
    expected = []
    for first, last, direction in clipped:
        growth = 1.0
        for bar in range(first, last):
            growth *= np.exp(drift[bar]) if drift[bar] == drift[bar] else 1.0
        expected.append(direction * (growth - 1.0))
    assert planted_truth(np.array(drift), entry, exit_, side) == pytest.approx(expected, abs=1e-12)


def test_the_bar_left_at_its_open_does_not_count() -> None:
    drift = np.array([0.0, 0.01, 0.02, 0.04])
    found = planted_truth(drift, np.array([1, 1]), np.array([3, 1]), np.array([-1.0, 1.0]))
    assert found == pytest.approx([-np.expm1(0.03), 0.0])


def test_day_scores_carry_the_truth_only_where_it_is_known() -> None:
    ones = np.ones(3)
    days = np.array([1, 1, 2])
    members = np.array([[True, True], [True, False], [True, False]])
    for truth in (None, np.array([1e-4, 2e-4, 4e-4])):
        trades = TradeScores(days, *[ones] * 8, truth)
        frame = score_frame(
            [("time", "5m", sum_by_day(trades, np.arange(3), Held.of(members), np.zeros(3, bool)))], ["all", "some"]
        )
        known = {} if truth is None else {SUM_TRUTH: pl.Float64()}
        assert dict(frame.schema) == {**SCORE_SCHEMA, **known}
        if truth is not None:
            assert frame.select("state_id", "day", SUM_TRUTH).rows() == [
                ("all", 1, pytest.approx(3e-4)),
                ("all", 2, pytest.approx(4e-4)),
                ("some", 1, pytest.approx(1e-4)),
            ]
