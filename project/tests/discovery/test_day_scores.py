"""Day scores as series and days: the same rows as in long form, and totals against a group-by."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtest.discovery.day_scores import (
    LATER,
    ROW_SCHEMA,
    SCORE_SCHEMA,
    SERIES,
    SERIES_SCHEMA,
    SUMMED,
    TOTALS_ONLY,
    DaySums,
    Held,
    TradeScores,
    in_series,
    long_form,
    score_frame,
    sum_by_day,
    trial_scores,
)

STATES = ["all", "calm", "never", "wild"]
CUT = 30


def trials(seed: int) -> list[tuple[str, str, DaySums]]:
    rng = np.random.default_rng(seed)
    found = []
    for policy, horizon in (("stop", "1h"), ("time", "1h"), ("time", "4h")):
        n = int(rng.integers(0, 200))
        scores = TradeScores(np.sort(rng.integers(0, 50, n)), *rng.normal(size=(8, n)))
        members = rng.random((n, 4)) < (1.0, 0.4, 0.0, 0.1)
        found.append((policy, horizon, sum_by_day(scores, np.arange(n), Held.of(members), rng.random(n) < 0.2)))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_series_and_days_are_the_long_form_with_totals(seed: int) -> None:
    made, long = trial_scores(trials(seed), STATES, CUT), score_frame(trials(seed), STATES)
    assert dict(made.series.schema) == SERIES_SCHEMA
    assert dict(made.days.schema) == ROW_SCHEMA
    assert dict(long.schema) == SCORE_SCHEMA
    assert_frame_equal(long_form(made), long.drop(TOTALS_ONLY))
    is_first = pl.col("day") < CUT
    expected = long.group_by(SERIES, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        *(pl.col(name).filter(is_first).sum().cast(pl.Float64) for name in SUMMED),
        *(pl.col(name).filter(~is_first).sum().cast(pl.Float64).alias(LATER + name) for name in SUMMED),
    )
    assert_frame_equal(made.series, expected)


@pytest.mark.parametrize("seed", range(4))
def test_long_form_in_any_order_goes_back_into_series(seed: int) -> None:
    made, long = trial_scores(trials(seed), STATES, CUT), score_frame(trials(seed), STATES)
    for frame in (long, long.with_columns(pl.lit("E").alias("event_type"))):
        again = in_series(frame, CUT)
        assert_frame_equal(again.series, made.series)
        assert_frame_equal(again.days.drop(TOTALS_ONLY), made.days)
    mixed = in_series(long.sample(fraction=1.0, shuffle=True, seed=seed), CUT)
    assert_frame_equal(mixed.series, made.series)
    assert_frame_equal(mixed.days.drop(TOTALS_ONLY), made.days)


def test_without_trials_or_trades_there_is_neither() -> None:
    nothing = np.zeros(0)
    untraded = sum_by_day(
        TradeScores(nothing, *[nothing] * 8), np.arange(0), Held.of(np.zeros((0, 4), bool)), np.zeros(0, bool)
    )
    for empty in ([], [("time", "1h", untraded)]):
        made = trial_scores(empty, STATES, CUT)
        assert made.series.is_empty()
        assert made.days.is_empty()
        assert dict(score_frame(empty, STATES).schema) == SCORE_SCHEMA
        assert dict(in_series(score_frame(empty, STATES), CUT).series.schema) == SERIES_SCHEMA
