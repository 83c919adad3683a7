"""Counts over worlds by hand, the plain procedures against loops, and a benchmark that can fail."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.discovery.day_rows import DayRows
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import REGISTER_SCHEMA
from backtest.evaluation.calibration import (
    PROCEDURES,
    Judged,
    WorldFigures,
    clopper_pearson,
    judged,
    limits,
    mean_interval,
    summary,
    world_figures,
)
from backtest.reports.calibration import calibration_text

FOLDS = Folds(dt.date(1970, 1, 1), dt.date(1970, 1, 8), dt.date(1970, 1, 9), dt.date(1970, 1, 12))


def test_interval_of_a_share_agrees_with_statsmodels() -> None:
    for successes, trials in ((0, 20), (3, 20), (20, 20), (7, 200)):
        expected = proportion_confint(successes, trials, method="beta")
        assert clopper_pearson(successes, trials) == pytest.approx(np.nan_to_num(expected, nan=successes / trials))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_interval_of_a_mean_agrees_with_scipy() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((0.4, expected.low, expected.high))


def small_search() -> tuple[pl.DataFrame, DayRows, pl.DataFrame]:
    """Two hypotheses of one event over ten days; the second only sells."""
    register = pl.DataFrame(
        [
            ("EVENT", "FAMILY", "lag1", "5m", "all", "BTCUSDT", "with", "against"),
            ("EVENT", "FAMILY", "lag1", "60m", "all", "BTCUSDT", None, "against"),
        ],
        schema=REGISTER_SCHEMA,
        orient="row",
    )
    owner, day = np.repeat([0, 1], 10), np.tile(np.arange(10), 2)
    y = np.random.default_rng(3).normal(0, 1e-3, (20, 4))
    n = np.full(20, 4)
    sums = {"sum_y": y.sum(axis=1), "sum_y2": (y**2).sum(axis=1), "sum_truth": np.repeat([4e-4, -8e-4], 10)}
    rows = DayRows(owner, day, n, sums)
    figures = {
        "gate_eligible": True,
        "p_value": [0.001, 0.04],
        "direction": [1, -1],
        "cost": 3e-4,
        "expectancy": [2e-4, 1e-4],
        "gate_tree_bh": [True, False],
        "gate_tier_a": False,
        "gate_confirmed": True,
        "gate_phase2_final": True,
    }
    # Candidates come in another order than the register.
    candidates = register.with_columns(
        **{name: pl.Series(values) if isinstance(values, list) else pl.lit(values) for name, values in figures.items()}
    )
    missing = [name for name in CANDIDATE_SCHEMA if name not in candidates.columns]
    candidates = candidates.with_columns(pl.lit(None).alias(name) for name in missing).select(list(CANDIDATE_SCHEMA))
    return register, rows, candidates.reverse()


def test_a_world_is_judged_on_its_discovery_fold() -> None:
    register, rows, candidates = small_search()
    world = judged(register, rows, candidates, FOLDS)
    assert world.truth == pytest.approx([1e-4, -2e-4])
    y = np.random.default_rng(3).normal(0, 1e-3, (20, 4))
    both = stats.ttest_1samp(y[:8].ravel(), 0.0)
    only_sells = stats.ttest_1samp(y[10:18].ravel(), 0.0, alternative="less")
    assert world.p_naive == pytest.approx([both.pvalue, only_sells.pvalue])
    assert world.p_cluster.tolist() == [0.001, 0.04]
    assert world.found["cluster_bh"].tolist() == multipletests([0.001, 0.04], 0.05, "fdr_bh")[0].tolist()
    assert world.found["bonferroni"].tolist() == [True, False]
    assert world.found["tree_bh"].tolist() == [True, False]
    assert world.found["final"].tolist() == [True, True]


def test_a_final_discovery_is_false_up_to_its_cost_and_others_up_to_zero() -> None:
    world = judged(*small_search(), FOLDS)
    everything = np.array([True, True])
    figures = world_figures(world, kind="planted", bps=2.0, planted="x", of_event=everything)
    # Truths 1 and 2 bps in the directions found, at a cost of 3 bps.
    assert (figures.discoveries["confirmed"], figures.false["confirmed"]) == (2, 0)
    assert (figures.discoveries["final"], figures.false["final"]) == (2, 2)
    assert figures.n_relevant == 2
    assert figures.relevant_found["tree_bh"] == 1
    assert figures.event_found["tree_bh"]
    assert not figures.event_found["tier_a"]
    assert figures.effect["confirmed"] == pytest.approx([2.0, 3.0, 3.0])
    turned = replace(world, sign={name: -sign for name, sign in world.sign.items()})
    assert world_figures(turned, kind="planted", bps=2.0, planted="x", of_event=everything).false["confirmed"] == 2


def test_in_a_null_world_every_discovery_is_false() -> None:
    world = replace(judged(*small_search(), FOLDS), truth=np.zeros(2))
    figures = world_figures(world, kind="null", bps=0.0, planted="", of_event=np.array([False, False]))
    assert figures.false == figures.discoveries
    assert figures.n_relevant == 0
    assert figures.rejected["cluster"] == {"5m": [1, 1, 1, 1], "60m": [1, 1, 0, 0]}


def null_worlds(rng: np.random.Generator, inflation: float, worlds: int = 20) -> list[WorldFigures]:
    """Worlds of 400 normal test statistics, whose spread is `inflation` times what the test assumes."""
    found = []
    for _ in range(worlds):
        p = 2 * stats.norm.sf(np.abs(rng.normal(0, inflation, 400)))
        discovered = dict.fromkeys(PROCEDURES, p <= 0.05 / 400)
        world = Judged(
            horizon=["5m", "60m"] * 200,
            eligible=np.ones(400, dtype=bool),
            p_cluster=p,
            p_naive=p,
            truth=np.zeros(400),
            cost=np.zeros(400),
            found=discovered,
            sign=dict.fromkeys(PROCEDURES, np.ones(400)),
            expectancy=np.zeros(400),
        )
        found.append(world_figures(world, kind="null", bps=0.0, planted="", of_event=np.zeros(400, dtype=bool)))
    return found


def test_the_benchmark_is_passed_by_a_right_test_and_failed_by_one_that_rejects_too_often() -> None:
    right, wrong = (summary(null_worlds(np.random.default_rng(5), inflation)) for inflation in (1.0, 1.4))
    assert all(limit.is_kept for limit in limits(right))
    broken = [limit.text for limit in limits(wrong) if not limit.is_kept]
    assert "null: rejected at 5 %" in broken
    assert any("worlds with any" in text for text in broken)
    assert "BROKEN  null: rejected at 5 %" in calibration_text(wrong, limits(wrong))


def test_rates_pool_hypotheses_and_their_intervals_count_worlds() -> None:
    worlds = null_worlds(np.random.default_rng(1), 1.0, worlds=4)
    report = summary(worlds)["null"]
    counts = np.array([np.sum(list(world.rejected["cluster"].values()), axis=0) for world in worlds])
    entry = report["rejection"]["cluster"]["all"]
    assert entry["hypotheses"] == 1600
    assert entry["0.05"][0] == pytest.approx(counts[:, 1].sum() / 1600)
    assert entry["0.05"][1:] == pytest.approx(mean_interval(list(counts[:, 1] / 400))[1:])
    assert list(report["rejection"]["cluster"]) == ["all", "5m", "60m"]
