"""Deflated Sharpe ratio, backtest overfitting and drift of the mean against references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from backtest.discovery.overfitting import (
    cusum_p,
    deflated_sharpe,
    expected_largest,
    overfitting_probability,
    sharpe_moments,
)

Floats = NDArray[np.float64]


def reference(returns: Floats, n_trials: float, spread: float) -> float:
    """Bailey & López de Prado's formulas (2) and (6) on a series of returns, by scipy's moments."""
    t = len(returns)
    sharpe = returns.mean() / returns.std(ddof=1)
    euler = -float(integrate.quad(lambda x: np.exp(-x) * np.log(x), 0, np.inf)[0])
    largest = (1 - euler) * stats.norm.ppf(1 - 1 / n_trials) + euler * stats.norm.ppf(1 - 1 / (n_trials * np.e))
    skewness, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    scale = np.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    return float(stats.norm.cdf((sharpe - spread / np.sqrt(t) * largest) * np.sqrt(t - 1) / scale))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_deflated_sharpe_equals_the_papers_formula_on_the_series_itself(seed: int, side: float) -> None:
    rng = np.random.default_rng(seed)
    returns = (rng.standard_t(5, 400) + 0.2 * rng.exponential(1, 400)) * 1e-3 * (rng.random(400) < 0.5)
    traded = returns[returns != 0]
    moments = np.array([[(traded**k).sum() for k in (1, 2, 3, 4)]])
    periods = np.array([float(len(returns))])
    sharpe, skewness, kurtosis = sharpe_moments(moments, periods, np.array([side]))
    assert sharpe[0] == pytest.approx(side * returns.mean() / returns.std(ddof=1))
    for n_trials, spread in ((20.0, 1.0), (5000.0, 1.3)):
        found = deflated_sharpe(sharpe, skewness, kurtosis, periods, n_trials=n_trials, spread=spread)
        assert found[0] == pytest.approx(reference(side * returns, n_trials, spread), abs=1e-12)


@pytest.mark.parametrize("n_trials", [10, 1000])
def test_the_expected_largest_is_that_of_independent_normals(n_trials: int) -> None:
    drawn = np.random.default_rng(2).normal(size=(4000, n_trials)).max(axis=1).mean()
    assert expected_largest(n_trials) == pytest.approx(drawn, rel=0.03)
    assert expected_largest(1.0) == expected_largest(float("nan")) == 0.0


def test_more_trials_deflate_more_and_without_variation_there_is_no_figure() -> None:
    one = (np.array([0.1]), np.array([0.0]), np.array([3.0]), np.array([1000.0]))
    found = [deflated_sharpe(*one, n_trials=n, spread=1.0)[0] for n in (1.0, 100.0, 10_000.0)]
    assert found[0] > found[1] > found[2]
    moments = np.array([[0.0, 0.0, 0.0, 0.0], [10.0, 10.0, 10.0, 10.0]])
    assert np.isnan(sharpe_moments(moments, np.array([10.0, 10.0]), np.ones(2))[0]).all()


def slow_overfitting(by_block: Floats, trades: list[tuple[int, float]]) -> float:
    """Each way to halve the blocks, each trade's t in either half, by loops."""
    blocks = range(by_block.shape[1])
    losses, ways = 0, 0
    for inside in itertools.combinations(blocks, len(blocks) // 2):
        rest = [b for b in blocks if b not in inside]

        def t(trade: tuple[int, float], half: tuple[int, ...] | list[int]) -> float:
            rows = by_block[trade[0], list(half)]
            return float(trade[1] * rows[:, 0].sum() / np.sqrt(rows[:, 1].sum()))

        best = max(trades, key=lambda trade: t(trade, inside))
        losses += t(best, rest) <= 0
        ways += 1
    return losses / ways


def test_overfitting_equals_plain_loops_over_trades_that_could_be_picked() -> None:
    rng = np.random.default_rng(4)
    by_block = np.stack([rng.normal(0.1, 1, (5, 6)), rng.uniform(1, 2, (5, 6))], axis=2)
    can_with, can_against = np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 1, 1, 0], bool)
    trades = [(h, side) for h in range(5) for side, can in ((1.0, can_with[h]), (-1.0, can_against[h])) if can]
    assert overfitting_probability(by_block, can_with, can_against) == pytest.approx(slow_overfitting(by_block, trades))


def test_overfitting_is_near_a_half_without_an_edge_and_near_nothing_with_one() -> None:
    rng = np.random.default_rng(6)
    both, found = np.ones(40, bool), []
    for edge in (0.0, 2.0):
        worlds = [np.stack([rng.normal(0, 1, (40, 12)), np.ones((40, 12))], axis=2) for _ in range(30)]
        for world in worlds:
            world[0, :, 0] += edge
        found.append(np.mean([overfitting_probability(world, both, both) for world in worlds]))
    assert 0.35 < found[0] < 0.65
    assert found[1] < 0.01
    assert np.isnan(overfitting_probability(np.zeros((0, 12, 2)), both[:0], both[:0]))


def test_the_drift_of_a_steady_mean_is_as_unlikely_as_its_p_says_and_that_of_a_lost_edge_is_found() -> None:
    rng = np.random.default_rng(9)

    def p(lost: float) -> Floats:
        days = rng.standard_t(5, size=(2000, 300))
        days[:, :150] += lost
        deviation = days - days.mean(axis=1, keepdims=True)
        reach = np.abs(np.cumsum(deviation, axis=1)).max(axis=1)
        return cusum_p(reach / np.sqrt((deviation**2).sum(axis=1)))

    steady, lost = p(0.0), p(0.6)
    assert (steady <= 0.05).mean() < 0.06
    assert (lost <= 0.05).mean() > 0.8
