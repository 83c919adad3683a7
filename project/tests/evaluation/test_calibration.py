"""Counts over worlds by hand, the plain procedures against loops, and a benchmark that can fail."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import REGISTER_SCHEMA
from backtest.evaluation.calibration import PROCEDURES, Judged, WorldFigures, judged, tails_of, world_figures
from backtest.evaluation.calibration_limits import limits
from backtest.evaluation.error_rates import clopper_pearson, mean_interval, ratio_interval, summary
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


def test_interval_of_a_ratio_is_that_of_the_mean_where_all_worlds_count_alike() -> None:
    counts = [3.0, 1.0, 4.0, 2.0]
    expected = mean_interval([count / 50 for count in counts])
    assert ratio_interval(counts, [50.0] * 4) == pytest.approx(expected)
    # Two worlds, 1 of 2 and 3 of 10: 4/12 = 1/3; residuals 1 - 2/3 and 3 - 10/3; error √(2 · 2/9)/12.
    value, low, high = ratio_interval([1, 3], [2, 10])
    half = stats.t.ppf(0.975, 1) * math.sqrt(2 * 2 / 9) / 12
    assert (value, low, high) == pytest.approx((1 / 3, 1 / 3 - half, 1 / 3 + half))
    assert all(math.isnan(each) for each in ratio_interval([0, 0], [0, 0]))


def test_tails_agree_with_their_definitions_and_leave_out_gaps() -> None:
    closes = np.exp(np.cumsum(np.random.default_rng(2).standard_t(4, 2_000)) * 1e-3)
    returns = np.diff(np.log(closes))
    size = np.abs(returns)
    expected = (
        stats.kurtosis(returns, fisher=False),
        np.corrcoef(size[:-1], size[1:])[0, 1],
        np.corrcoef(size[:-288], size[288:])[0, 1],
    )
    assert tails_of(closes) == pytest.approx(expected)
    assert np.isfinite(tails_of(np.where(np.arange(2_000) == 700, np.nan, closes))).all()


def day_scores(horizons: list[str], state_id: str, y: NDArray[np.float64], truth: list[float]) -> pl.DataFrame:
    """Ten days of trades for each horizon, a row of `y` a day; `truth` is a day's sum."""
    return pl.DataFrame(
        {
            "event_type": "EVENT",
            "policy": "lag1",
            "horizon": np.repeat(horizons, 10),
            "state_id": state_id,
            "symbol": "BTCUSDT",
            "day": np.tile(np.arange(10), len(horizons)).astype(np.int32),
            "n": np.full(10 * len(horizons), y.shape[1], np.int32),
            "sum_y": y.sum(axis=1),
            "sum_y2": (y**2).sum(axis=1),
            "sum_truth": np.repeat(truth, 10),
        }
    )


def small_search() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Two hypotheses of one event over ten days; the second only sells."""
    register = pl.DataFrame(
        [
            ("EVENT", "FAMILY", "lag1", "5m", "all", "BTCUSDT", "with", "against"),
            ("EVENT", "FAMILY", "lag1", "60m", "all", "BTCUSDT", None, "against"),
        ],
        schema=REGISTER_SCHEMA,
        orient="row",
    )
    y = np.random.default_rng(3).normal(0, 1e-3, (20, 4))
    scores = day_scores(register["horizon"].to_list(), "all", y, [4e-4, -8e-4])
    figures = {
        "gate_eligible": True,
        "p_value": [0.001, 0.04],
        "direction": [1, -1],
        "cost": 3e-4,
        "expectancy": [2e-4, 1e-4],
        "posterior_mean": [1.5e-4, 1e-4],
        "posterior_low": [0.0, 0.0],
        "posterior_high": [1.6e-4, 1.9e-4],
        "gate_tree_bh": [True, False],
        "gate_tier_a": False,
        "gate_significant": [True, False],
        "gate_economic": True,
        "gate_economic_conservative": [True, False],
        "gate_confirmed": True,
        "gate_phase2_final": True,
    }
    # Candidates come in another order than the register.
    candidates = register.with_columns(
        **{name: pl.Series(values) if isinstance(values, list) else pl.lit(values) for name, values in figures.items()}
    )
    missing = [name for name in CANDIDATE_SCHEMA if name not in candidates.columns]
    candidates = candidates.with_columns(pl.lit(None).alias(name) for name in missing).select(list(CANDIDATE_SCHEMA))
    return register, scores, candidates.reverse()


def test_a_world_is_judged_on_its_discovery_fold() -> None:
    register, scores, candidates = small_search()
    world = judged(register, scores, candidates, FOLDS)
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
    assert world.found["economic"].tolist() == [True, False]


def test_a_filter_is_judged_by_the_difference_that_it_is_tested_for() -> None:
    register, _, candidates = small_search()
    name = pl.lit("only_if").alias("state_id")
    holds, holds_not = (np.random.default_rng(seed).normal(0, 1e-3, (20, size)) for seed, size in ((4, 5), (5, 3)))
    horizons = register["horizon"].to_list()
    scores = pl.concat(
        [
            day_scores(horizons, "only_if", holds, [5e-4, 5e-4]),
            day_scores(horizons, "not:only_if", holds_not, [6e-4, -3e-4]),
            day_scores(horizons, "atom:x", holds, [1.0, 1.0]),
        ]
    )
    world = judged(register.with_columns(name), scores, candidates.with_columns(name), FOLDS)
    assert world.gain == pytest.approx([1e-4, 1e-4])
    assert world.truth == pytest.approx([1e-4 - 2e-4, 1e-4 + 1e-4])
    first, second = holds[:8].ravel(), holds_not[:8].ravel()
    welch = stats.ttest_ind(first, second, equal_var=False).statistic
    assert world.p_naive[0] == pytest.approx(2 * stats.t.sf(abs(welch), len(first) + len(second) - 2))
    # Its estimates are of the trades where it holds: no mean of a discovery to hold against them here.
    assert figures_of(world).found["confirmed"].means == 0
    assert figures_of(world).found["confirmed"].discoveries == 2


def figures_of(world: Judged, kind: str = "planted", bps: float = 2.0) -> WorldFigures:
    size = len(world.eligible)
    everything = np.full(size, bps > 0)
    return world_figures(world, kind=kind, bps=bps, planted_bps=bps, of_event=everything, of_trade=everything)


def test_a_final_discovery_is_false_up_to_its_cost_and_others_up_to_zero() -> None:
    world = judged(*small_search(), FOLDS)
    figures = figures_of(world)
    # Truths 1 and 2 bps in the directions found, at a cost of 3 bps.
    confirmed, final = figures.found["confirmed"], figures.found["final"]
    assert (confirmed.discoveries, confirmed.false) == (2, 0)
    assert (final.discoveries, final.false) == (2, 2)
    assert figures.n_relevant == 2
    assert figures.found["tree_bh"].relevant == 1
    assert figures.found["tree_bh"].has_event
    # Only the second has the truth of what was planted, and the tree does not find it.
    assert not figures.found["tree_bh"].has_trade
    assert confirmed.has_trade
    assert figures.has_tested_trade
    assert not figures_of(replace(world, truth=0.7 * world.truth)).has_tested_trade
    assert not figures_of(replace(world, eligible=np.array([True, False]))).has_tested_trade
    assert not figures.found["tier_a"].has_event
    assert (confirmed.raw, confirmed.shrunk, confirmed.truth) == pytest.approx((3.0, 2.5, 3.0))
    # 1 bps lies in [0, 1.6], 2 bps outside [0, 1.9].
    assert confirmed.covered == 1
    assert figures.squared_errors == pytest.approx((2, 1.0**2 + 1.0**2, 0.5**2 + 1.0**2))
    turned = replace(world, sign={name: -sign for name, sign in world.sign.items()})
    assert figures_of(turned).found["confirmed"].false == 2


def test_figures_survive_being_stored() -> None:
    figures = replace(figures_of(judged(*small_search(), FOLDS)), tails=(30.0, 0.2, 0.1), seconds=1.5)
    assert WorldFigures.from_json(json.loads(json.dumps(asdict(figures)))) == figures


def test_in_a_null_world_every_discovery_is_false() -> None:
    world = replace(judged(*small_search(), FOLDS), truth=np.zeros(2), gain=np.zeros(2))
    figures = figures_of(world, "null", 0.0)
    assert all(each.false == each.discoveries for each in figures.found.values())
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
            gain=np.zeros(400),
            cost=np.zeros(400),
            found=discovered,
            sign=dict.fromkeys(PROCEDURES, np.ones(400)),
            expectancy=np.zeros(400),
            posterior_mean=np.zeros(400),
            posterior_low=np.zeros(400),
            posterior_high=np.zeros(400),
        )
        found.append(figures_of(world, "null", 0.0))
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
