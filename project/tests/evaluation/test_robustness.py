"""Checks by hand on a few days, blocks of days against a loop, and verdicts on an edge and on noise."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.discovery.folds import Folds
from backtest.discovery.gates import GATES
from backtest.evaluation.robustness import (
    CHECKS,
    DETAIL_SCHEMA,
    VERDICT_SCHEMA,
    Assessed,
    assessed,
    day_block_weights,
    questioned,
)
from backtest.evaluation.variations import VARIED_SCHEMA
from backtest.reports.robustness import verdict_counts, verdict_table
from backtest.spec.loader import load_spec

SETTINGS = load_spec(Path(__file__).resolve().parents[3] / "spec").evaluation.robustness
FOLDS = Folds(dt.date(2023, 1, 1), dt.date(2023, 7, 1), dt.date(2023, 7, 2), dt.date(2023, 10, 1))
FIRST = 19358
"""2023-01-01 in days since 1970-01-01."""


def candidate(name: str, *, symbol: str = "POOLED", direction: int = 1, cost: float = 1e-4, **other: object) -> dict:
    """A row of the candidates that passed every gate."""
    empty: dict[str, object] = dict.fromkeys(CANDIDATE_SCHEMA)
    return {
        **empty, "candidate_id": name, "event_type": name, "policy": "lag1", "horizon": "15m", "state_id": "all",
        "symbol": symbol, "n_events": 100, "direction": direction, "cost": cost, "posterior_mean": 5e-4, "p_value": 0.01,
        "gate_phase2_final": True, "is_confirmation_candidate": True, **dict.fromkeys(GATES, True), **other,
    }  # fmt: skip


def frame(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=CANDIDATE_SCHEMA)


def scores(name: str, symbol: str, days: list[int], y: list[float], n: int = 20, cost: float = 1e-5) -> pl.DataFrame:
    """Day scores of one event on one symbol: `n` trades on each of some days of the fold, Σy as given."""
    zeros = {key: 0.0 for key in SCORE_SCHEMA if key.startswith("sum_")}
    rows = [
        {**zeros, "policy": "lag1", "horizon": "15m", "state_id": "all", "day": FIRST + day, "n": n, "n_tainted": 0,
         "sum_y": value, "sum_cost": n * cost}
        for day, value in zip(days, y, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCORE_SCHEMA).with_columns(
        pl.lit(name).alias("event_type"), pl.lit(symbol).alias("symbol")
    )


def varied(base: pl.DataFrame, check: str, label: str, factor: float) -> pl.DataFrame:
    """The same trades with another mean, as if something had been changed."""
    return base.with_columns(
        pl.lit(check).alias("check"), pl.lit(label).alias("variation"), pl.col("sum_y") * factor
    ).select(list(VARIED_SCHEMA))


def judged(candidates: pl.DataFrame, base: pl.DataFrame, *changed: pl.DataFrame) -> Assessed:
    every = pl.concat([varied(base, "unchanged", "", 1.0), *changed])
    return assessed(candidates, base, every, FOLDS, SETTINGS, rng=np.random.default_rng(1))


def values(found: Assessed, check: str) -> dict[str, float | None]:
    return dict(found.details.filter(pl.col("check") == check).select("variation", "value").iter_rows())


def test_what_is_kept_without_a_symbol_or_a_month_is_the_mean_of_the_rest() -> None:
    # BTC earns 3 and 1 bps·n in January and February, ETH 2 in May; 20 trades each: the mean is 6/60.
    base = pl.concat([scores("E", "BTCUSDT", [3, 40], [3e-3, 1e-3]), scores("E", "ETHUSDT", [125], [2e-3])])
    found = judged(frame(candidate("E")), base)
    assert values(found, "leave_one_symbol_out") == pytest.approx(
        {"without BTCUSDT": (2 / 20) / (6 / 60), "without ETHUSDT": (4 / 40) / (6 / 60)}
    )
    assert values(found, "leave_one_month_out") == pytest.approx(
        {"without 2023-01": (3 / 40) / 0.1, "without 2023-02": (5 / 40) / 0.1, "without 2023-05": (4 / 40) / 0.1}
    )
    assert found.verdicts["check_leave_one_symbol_out"].to_list() == [True]


def test_a_trade_that_lives_of_one_month_is_fragile() -> None:
    base = scores("E", "BTCUSDT", [3, 40, 70, 100, 130, 160], [1e-3, 1e-3, 20e-3, 1e-3, 1e-3, 1e-3])
    row = judged(frame(candidate("E", symbol="BTCUSDT")), base).verdicts.row(0, named=True)
    assert row["verdict"] == "fragile"
    assert row["failed_checks"] == "leave_one_month_out"
    assert row["check_leave_one_symbol_out"] is None
    assert "leave_one_symbol_out" in row["not_judged"]


def test_spans_with_a_gain_are_counted_in_the_direction_of_the_trade() -> None:
    # 181 days in six spans of 30: the third loses for a seller.
    base = scores("E", "BTCUSDT", [3, 40, 70, 100, 130, 160], [-1e-3, -1e-3, 1e-3, -1e-3, -1e-3, -1e-3])
    found = judged(frame(candidate("E", symbol="BTCUSDT", direction=-1)), base)
    assert values(found, "sub_periods") == pytest.approx({"6 of 6 spans with events": 5 / 6})
    bought = judged(frame(candidate("E", symbol="BTCUSDT")), base)
    assert values(bought, "sub_periods") == pytest.approx({"6 of 6 spans with events": 1 / 6})
    assert bought.verdicts["verdict"].item() == "fragile"


def test_changed_trades_are_held_against_the_candidates_own_mean() -> None:
    base = scores("E", "BTCUSDT", [3, 40, 70, 100, 130, 160], [2e-3] * 6)
    few = varied(base, "parameter_neighbours", "threshold 3 to 3.6", -1.0).head(1)
    found = judged(
        frame(candidate("E", symbol="BTCUSDT")), base,
        varied(base, "entry_delay", "1 bar later", 0.5), varied(base, "entry_delay", "5 bars later", -1.0),
        varied(base, "horizon_neighbours", "2 x horizon", 0.1), few,
    )  # fmt: skip
    assert values(found, "entry_delay") == pytest.approx({"1 bar later": 0.5, "5 bars later": -1.0})
    row = found.verdicts.row(0, named=True)
    assert row["check_entry_delay"] is True
    assert row["check_horizon_neighbours"] is False
    # One day of 20 trades is too few to be judged.
    assert row["check_parameter_neighbours"] is None
    assert row["failed_checks"] == "horizon_neighbours"
    notes = dict(found.details.select("variation", "note").iter_rows())
    assert notes["threshold 3 to 3.6"] == "fewer than 30 events"
    assert notes["5 bars later"] == "shown, not judged"


def test_costs_are_multiplied_and_funding_is_not() -> None:
    base = scores("E", "BTCUSDT", [3, 40, 70, 100, 130, 160], [2e-3] * 6).with_columns(
        pl.lit(20 * 0.5e-4).alias("sum_funding")
    )
    found = judged(frame(candidate("E", symbol="BTCUSDT", cost=2.5e-4)), base)
    # Shrunk 5 bps, funding .5, trading 2 bps.
    assert values(found, "costs") == pytest.approx({"1.5 x costs": 1.5e-4, "2 x costs": 0.5e-4})


def test_a_candidate_with_few_events_or_a_trade_that_cannot_be_repeated_is_not_assessed() -> None:
    base = pl.concat([scores("FEW", "BTCUSDT", [3], [2e-3]), scores("OTHER", "BTCUSDT", [3, 40], [2e-3, 2e-3])])
    chosen = frame(candidate("FEW", symbol="BTCUSDT"), candidate("OTHER", symbol="BTCUSDT"))
    unchanged = varied(base, "unchanged", "", 1.0).filter(pl.col("event_type") == "FEW")
    found = assessed(chosen, base, unchanged, FOLDS, SETTINGS, rng=np.random.default_rng(1)).verdicts
    assert found["verdict"].to_list() == ["not assessed", "not assessed"]
    assert found["reason"][0] == "fewer than 30 events in the discovery fold"
    assert found["reason"][1].startswith("its trade cannot be stated again")


def test_days_of_the_confirmation_fold_are_not_read() -> None:
    base = scores("E", "BTCUSDT", [3, 40, 70, 100, 130, 160], [2e-3] * 6)
    later = scores("E", "BTCUSDT", [200, 210], [-9e-3] * 2)
    chosen = frame(candidate("E", symbol="BTCUSDT"))
    first, both = judged(chosen, base), judged(chosen, pl.concat([base, later]))
    assert both.details.equals(first.details)
    assert both.verdicts.equals(first.verdicts)


def test_blocks_of_days_are_those_of_a_loop() -> None:
    n_days, length, draws = 17, 5, 40
    weights = day_block_weights(n_days, length, draws, np.random.default_rng(3))
    starts = np.random.default_rng(3).integers(0, n_days, size=(draws, 4))
    expected = np.zeros((draws, n_days))
    for draw in range(draws):
        for block, size in zip(starts[draw], (5, 5, 5, 2), strict=True):
            for offset in range(size):
                expected[draw, (block + offset) % n_days] += 1
    assert np.array_equal(weights, expected)
    assert (weights.sum(axis=1) == n_days).all()


def test_the_interval_of_a_mean_of_independent_days_is_the_normal_one() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(2e-4, 1e-3, 181)
    base = scores("E", "BTCUSDT", list(range(181)), y.tolist(), n=1, cost=0.0)
    row = judged(frame(candidate("E", symbol="BTCUSDT")), base).verdicts.row(0, named=True)
    error = y.std() / math.sqrt(181)
    assert row["bootstrap_low"] == pytest.approx(y.mean() - 1.645 * error, abs=0.4 * error)
    assert row["bootstrap_high"] == pytest.approx(y.mean() + 1.645 * error, abs=0.4 * error)


def test_noise_is_fragile_and_an_edge_is_robust() -> None:
    rng = np.random.default_rng(11)
    days = list(range(181))
    noise = scores("NOISE", "BTCUSDT", days, (rng.normal(1e-4, 2e-3, 181)).tolist(), n=1, cost=8e-4)
    edge = scores("EDGE", "BTCUSDT", days, (rng.normal(20e-4, 2e-3, 181)).tolist(), n=1, cost=8e-4)
    chosen = frame(
        candidate("EDGE", symbol="BTCUSDT", cost=8e-4, posterior_mean=19e-4),
        candidate("NOISE", symbol="BTCUSDT", cost=8e-4, posterior_mean=0.2e-4, gate_phase2_final=False),
    )
    changes = [varied(edge, "entry_delay", "1 bar later", 0.9), varied(noise, "entry_delay", "1 bar later", -0.5)]
    found = judged(chosen, pl.concat([noise, edge]), *changes)
    assert dict(found.verdicts.schema) == VERDICT_SCHEMA
    assert dict(found.details.schema) == DETAIL_SCHEMA
    verdicts = dict(found.verdicts.select("candidate_id", "verdict").iter_rows())
    assert verdicts == {"EDGE": "robust", "NOISE": "fragile"}
    failed = found.verdicts.filter(pl.col("candidate_id") == "NOISE")["failed_checks"].item().split(", ")
    assert {"costs", "bootstrap", "entry_delay"} <= set(failed) <= set(CHECKS)
    assert verdict_counts(found.verdicts) == (
        "Robustness: of 1 that passed every gate 1 robust; of 1 others 1 fragile."
    )
    assert verdict_table(found.verdicts).row_count == 2


def test_without_candidates_there_is_nothing_to_judge() -> None:
    found = judged(frame(), scores("E", "BTCUSDT", [3], [1e-3]))
    assert found.verdicts.is_empty()
    assert verdict_counts(found.verdicts) == "Robustness: no candidate to look at."


def test_all_that_passed_come_first_then_confirmation_candidates_then_the_nearest_misses() -> None:
    missed = {"gate_phase2_final": False, "gate_economic": False}
    rows = [
        candidate("NEAR", is_confirmation_candidate=False, after_cost_expectancy=1e-4, **missed),
        candidate("FAR", is_confirmation_candidate=False, gate_stability=False, **missed),
        candidate("TRIED", **missed),
        candidate("PASSED"),
        candidate("FEW", **{**missed, "gate_eligible": False}),
    ]
    assert questioned(frame(*rows), 3)["candidate_id"].to_list() == ["PASSED", "TRIED", "NEAR"]
    assert questioned(frame(*rows), 10)["candidate_id"].to_list() == ["PASSED", "TRIED", "NEAR", "FAR"]
    many = [candidate(f"P{number}") for number in range(5)]
    assert len(questioned(frame(*many), 1)) == 5
