"""Overfitting against a brute force over all halves, block by block, and on noise and on an edge."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from backtest.evaluation.cross_validation import block_sums, blocks_of, overfitting


def brute_force(returns: np.ndarray, block: np.ndarray, used: np.ndarray, n_blocks: int) -> tuple[float, list[float]]:
    """Bailey et al. (2017) as they state it: days of J, days of its complement, rank of the best."""
    logits = []
    for chosen in itertools.combinations(range(n_blocks), n_blocks // 2):
        inside = used & np.isin(block, chosen)
        outside = used & ~np.isin(block, chosen)
        sharpe_in = returns[inside].mean(axis=0) / returns[inside].std(axis=0)
        sharpe_out = returns[outside].mean(axis=0) / returns[outside].std(axis=0)
        best = int(np.argmax(sharpe_in))
        rank = int((sharpe_out < sharpe_out[best]).sum()) + 1
        share = rank / (returns.shape[1] + 1)
        logits.append(math.log(share / (1 - share)))
    return float(np.mean(np.array(logits) <= 0)), logits


def long_form(returns: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    day, trial = np.nonzero(np.ones_like(returns))
    return returns[day, trial], day + first, trial


@pytest.mark.parametrize("purge", [0, 1, 3])
def test_overfitting_is_that_of_a_brute_force(purge: int) -> None:
    returns = np.random.default_rng(purge).standard_t(4, (103, 9)) * 1e-3 + np.linspace(0, 3e-4, 9)
    first, n_blocks = 19_358, 6
    block, used = blocks_of(np.arange(first, first + 103), first, first + 103, n_blocks, purge)
    expected, logits = brute_force(returns, block, used, n_blocks)
    sums = block_sums(
        *long_form(returns, first), n_trials=9, first=first, end=first + 103, n_blocks=n_blocks, purge=purge
    )
    found = overfitting(*sums)
    assert found.probability == expected
    assert found.logits == pytest.approx(logits)
    assert found.n_halvings == math.comb(6, 3)


def test_the_days_purged_are_the_first_ones_of_every_block_but_the_first() -> None:
    block, used = blocks_of(np.arange(100, 110), 100, 110, 2, 2)
    assert block.tolist() == [0] * 5 + [1] * 5
    assert used.tolist() == [True] * 5 + [False] * 2 + [True] * 3
    uneven, every = blocks_of(np.arange(0, 10), 0, 10, 4, 1)
    assert uneven.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert every.tolist() == [True, True, True, False, True, False, True, True, False, True]


def test_days_outside_the_window_are_left_out_and_absent_days_are_zero() -> None:
    sums, squares, days = block_sums(
        np.array([9.0, 1.0, 2.0, 9.0]), np.array([4, 5, 8, 9]), np.zeros(4, int),
        n_trials=1, first=5, end=9, n_blocks=2, purge=0,
    )  # fmt: skip
    assert sums.tolist() == [[1.0], [2.0]]
    assert squares.tolist() == [[1.0], [4.0]]
    assert days.tolist() == [2.0, 2.0]


def test_noise_is_overfitted_about_every_second_time_and_one_real_edge_is_not() -> None:
    probabilities = []
    for seed in range(20):
        returns = np.random.default_rng(seed).normal(0, 1e-3, (600, 40))
        sums = block_sums(*long_form(returns, 0), n_trials=40, first=0, end=600, n_blocks=8, purge=1)
        probabilities.append(overfitting(*sums).probability)
    assert 0.35 < np.mean(probabilities) < 0.65
    returns[:, 7] += 5e-4
    edge = overfitting(*block_sums(*long_form(returns, 0), n_trials=40, first=0, end=600, n_blocks=8, purge=1))
    assert edge.probability == 0.0
    assert edge.loss_probability == 0.0


def test_a_single_trial_or_trials_without_returns_have_no_probability() -> None:
    one = overfitting(np.ones((4, 1)), np.ones((4, 1)) * 2, np.full(4, 5.0))
    assert one.probability is None
    still = overfitting(np.zeros((4, 3)), np.zeros((4, 3)), np.full(4, 5.0))
    assert still.probability is None
    assert still.n_trials == 3
