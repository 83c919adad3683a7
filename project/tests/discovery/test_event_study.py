"""Trades and paths of an event study against the scores, a plain loop and hand-computed cases."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backtest.discovery.event_study import clustered_means, clusters, event_study, study_offsets, trades_of
from backtest.discovery.forward_returns import opens_around
from backtest.discovery.hypotheses import event_trials
from backtest.discovery.inference import cluster_t
from backtest.discovery.scoring import SymbolMarket, score_event
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec(REPOSITORY / "spec")


@pytest.fixture(scope="module")
def made_run() -> Any:
    path = REPOSITORY / "project" / "benchmarks" / "made_run.py"
    described = importlib.util.spec_from_file_location("made_run", path)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def market(spec: Spec, made_run: Any) -> SymbolMarket:
    from backtest.discovery.folds import Folds

    start = made_run.START
    folds = Folds(start, *(start + dt.timedelta(days=days) for days in (40, 41, 60)))
    made: SymbolMarket = made_run._bars("BTCUSDT", folds, 60, spec, np.random.default_rng(3)).market
    return made


@pytest.fixture(scope="module")
def occurrences(market: SymbolMarket) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    at = np.sort(rng.choice(np.arange(300, len(market.timestamp)), 700, replace=False))
    return pl.DataFrame(
        {"timestamp": market.timestamp.gather(at), "direction": rng.choice([-1, 0, 1], 700).astype(np.int8)}
    )


def test_opens_around_are_relative_to_the_open_there_and_nan_where_there_is_none() -> None:
    opens = np.array([100.0, 110.0, np.nan, 121.0])
    found = opens_around(opens, np.array([1, 3]), np.array([-2, -1, 0, 1, 2]))
    expected = [[np.nan, 100 / 110 - 1, 0.0, np.nan, 0.1], [0.0 - 1 + 110 / 121, np.nan, 0.0, np.nan, np.nan]]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("event_type", ["VOL_SHOCK", "RANGE_BREAKOUT", "BASIS_DISLOC"])
def test_the_trades_are_those_that_the_day_scores_sum_up(
    spec: Spec, market: SymbolMarket, occurrences: pl.DataFrame, event_type: str
) -> None:
    scores = score_event(market, event_type, occurrences, spec).filter(pl.col("state_id") == "all")
    trials = [one for one in event_trials(spec, event_type) if one.policy.second_leg != "pair"]
    assert event_type != "BASIS_DISLOC" or any(one.policy.second_leg == "spot" for one in trials)
    for trial in trials:
        own = scores.filter((pl.col("policy") == trial.policy.policy_id) & (pl.col("horizon") == trial.horizon))
        trades = trades_of(market, trial, occurrences, spec)
        by_day = trades.group_by("day").agg(
            pl.len().alias("n"),
            pl.col("abnormal").sum().alias("sum_y"),
            pl.sum_horizontal("fees", "spread", "impact").sum().alias("sum_cost"),
            pl.col("impact").sum().alias("sum_impact"),
            pl.col("funding").sum().alias("sum_funding"),
            pl.col("favourable").sum().alias("sum_favourable"),
            pl.col("adverse").sum().alias("sum_adverse"),
        )
        assert (trades["spread"] > 0).all()
        both = own.with_columns(pl.col("day").cast(pl.Int64)).join(by_day, on="day", suffix="_made")
        assert len(both) == len(own) == len(by_day) > 20
        for name in ("n", "sum_y", "sum_cost", "sum_impact", "sum_funding", "sum_favourable", "sum_adverse"):
            np.testing.assert_allclose(both[f"{name}_made"], both[name], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("horizon", [1, 3, 12, 48, 288, 2016])
def test_the_offsets_hold_the_entry_and_the_exit_and_are_not_too_many(horizon: int) -> None:
    offsets = study_offsets(horizon).tolist()
    assert {0, horizon} <= set(offsets)
    assert len(offsets) <= 80
    assert offsets == sorted(offsets)
    assert len(set(np.diff(offsets).tolist())) == 1


def study(market: SymbolMarket, trades: pl.DataFrame, sign: int, **options: Any) -> Any:
    return event_study({"BTCUSDT": market}, {"BTCUSDT": trades}, sign, np.array([-3, 0, 2, 5]), **options)


def test_the_mean_path_is_the_mean_of_single_paths_less_drift_with_the_day_cluster_error(
    spec: Spec, market: SymbolMarket, occurrences: pl.DataFrame
) -> None:
    trial = event_trials(spec, "VOL_SHOCK")[0]
    trades = trades_of(market, trial, occurrences, spec)
    found = study(market, trades, -1)
    opens = market.bars.open
    for place, offset in enumerate((-3, 0, 2, 5)):
        values, days = [], []
        for row in trades.filter(pl.col("fold") == 1).iter_rows(named=True):
            entry = row["entry_bar"]
            moved = opens[entry + offset] / opens[entry] - 1 - offset * market.mean_bar_return[entry]
            if np.isfinite(moved):
                values.append(-row["event_direction"] * moved)
                days.append(row["day"])
        assert found.path.mean[place] == pytest.approx(np.mean(values), abs=1e-15)
        if offset:
            unique, day = np.unique(days, return_inverse=True)
            sums, counts = np.bincount(day, values), np.bincount(day)
            t = cluster_t(sums, counts, np.zeros(len(unique), np.int64), 1)
            half = (found.path.high[place] - found.path.low[place]) / 2
            assert 1.96 < half / t.standard_error[0] < 2.2


def test_the_path_of_two_legs_is_the_first_ones_return_less_the_second_ones(
    spec: Spec, market: SymbolMarket, occurrences: pl.DataFrame
) -> None:
    trial = next(one for one in event_trials(spec, "BASIS_DISLOC") if one.policy.second_leg == "spot")
    trades = trades_of(market, trial, occurrences, spec)
    leg = market.second_legs["spot"]
    found = study(market, trades, 1, legs={"BTCUSDT": leg})
    first, second = market.bars.open, leg.both.second.open
    values = []
    for row in trades.filter(pl.col("fold") == 1).iter_rows(named=True):
        entry = row["entry_bar"]
        drift = market.mean_bar_return[entry] - leg.mean_bar_return[entry]
        moved = first[entry + 5] / first[entry] - second[entry + 5] / second[entry] - 5 * drift
        values.append(row["event_direction"] * moved)
    assert found.path.mean[3] == pytest.approx(np.nanmean(values), abs=1e-15)
    import dataclasses

    alone = dataclasses.replace(market, second_legs={})
    assert trades_of(alone, trial, occurrences, spec).is_empty()


def test_clusters_of_five_days_are_those_of_the_assessment() -> None:
    rng = np.random.default_rng(4)
    day = np.repeat(np.arange(100, 160), 3)
    values = rng.normal(0, 1, len(day)) + np.repeat(rng.normal(0, 1, 12), 15)
    assert clusters(np.array([98, 99, 100, 104, 105]), 5, 100).tolist() == [95, 95, 100, 100, 105]
    found = clustered_means(values, day, np.zeros(len(day), np.int64), 1, cluster_days=5, origin=200)
    block = (day - 100) // 5
    t = cluster_t(np.bincount(block, values), np.bincount(block), np.zeros(12, np.int64), 1)
    assert found.n_days[0] == 12
    assert found.mean[0] == pytest.approx(t.mean[0])
    single = clustered_means(values, day, np.zeros(len(day), np.int64), 1)
    assert found.high[0] - found.mean[0] > 1.3 * (single.high[0] - single.mean[0])


def test_where_nothing_happens_the_path_stays_in_the_placebo_band_and_a_planted_move_leaves_it(
    spec: Spec, market: SymbolMarket, occurrences: pl.DataFrame
) -> None:
    trades = trades_of(market, event_trials(spec, "VOL_SHOCK")[0], occurrences, spec)
    quiet = study(market, trades, 1, rng=np.random.default_rng(1))
    assert quiet.placebo_draws >= 20
    assert quiet.placebo_low[3] < quiet.path.mean[3] < quiet.placebo_high[3]
    moved = market.bars.open.copy()
    for row in trades.filter(pl.col("fold") == 1).iter_rows(named=True):
        moved[row["entry_bar"] + 5] *= 1 + 0.004 * row["event_direction"]
    import dataclasses

    planted = dataclasses.replace(market, bars=dataclasses.replace(market.bars, open=moved))
    loud = study(planted, trades, 1, rng=np.random.default_rng(1))
    assert loud.path.mean[3] > loud.placebo_high[3] + 0.002


def test_clustered_means_leave_out_nan_and_have_no_interval_from_one_day() -> None:
    found = clustered_means(
        np.array([1.0, 3.0, 5.0, np.nan, 7.0]), np.array([1, 1, 2, 2, 3]), np.array([0, 0, 0, 0, 1]), 3
    )
    np.testing.assert_allclose(found.mean, [3.0, 7.0, np.nan])
    assert np.isfinite(found.low[0])
    assert np.isnan(found.low[1:]).all()
    assert found.n_events.tolist() == [3, 1, 0]
    assert found.n_days.tolist() == [2, 1, 0]
