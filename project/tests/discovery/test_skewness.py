"""Tests of the t statistic of skewed returns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from backtest.discovery.skewness import adjusted_t, pooled_skewness, skewness_of_mean


def t_of_samples(samples: np.ndarray) -> np.ndarray:
    return np.asarray(samples.mean(axis=1) / samples.std(axis=1, ddof=1) * np.sqrt(samples.shape[1]))


def test_t_of_exponential_returns_keeps_its_rate_only_when_adjusted() -> None:
    rng = np.random.default_rng(3)
    t = t_of_samples(rng.exponential(size=(200_000, 60)) - 1.0)
    adjusted = adjusted_t(t, np.full(len(t), 2.0 / np.sqrt(60)))
    for level, worst in ((0.05, 1.2), (0.001, 1.5)):
        limit = stats.t.isf(level / 2, 59)
        assert (np.abs(adjusted) >= limit).mean() <= worst * level
    assert (np.abs(t) >= stats.t.isf(0.0005, 59)).mean() > 5 * 0.001


def test_adjustment_is_halls_cubic_and_never_raises_a_t_or_turns_it() -> None:
    t, m = np.array([-4.0, 4.0, -4.0, 4.0, 0.02, np.nan]), np.array([0.2, 0.2, -0.2, -0.2, -0.3, 0.2])
    halls = ((1 + m * t / 3) ** 3 - 1) / m + m / 6
    found = adjusted_t(t, m)
    assert found[[0, 3]] == pytest.approx(halls[[0, 3]])
    assert found[[1, 2]] == pytest.approx(t[[1, 2]])
    assert np.abs(halls[1]) > 4.0
    assert found[4] == 0.0
    assert np.isnan(found[5])


def test_without_skewness_nothing_is_adjusted() -> None:
    t = np.linspace(-9, 9, 50)
    assert adjusted_t(t, np.zeros(50)) == pytest.approx(t)
    assert adjusted_t(t, np.full(50, np.nan)) == pytest.approx(t)


def test_skewness_is_pooled_over_the_used_hypotheses_of_a_group() -> None:
    policy, horizon = np.array(["a", "a", "b", "b", "a"]), np.array(["5m", "5m", "5m", "4h", "5m"])
    sample, freedom = np.array([0.2, 0.1, -0.3, np.nan, 9.0]), np.array([99.0, 24.0, 48.0, 30.0, 99.0])
    used = np.array([True, True, True, True, False])
    found = pooled_skewness(sample, freedom, (policy, horizon), used)
    mine = (100 * 0.2 * 10 + 25 * 0.1 * 5) / 125
    assert found == pytest.approx([mine, mine, -0.3 * 7, 0.0, mine])
    assert skewness_of_mean(found, freedom)[0] == pytest.approx(mine / 10)


def test_pooled_skewness_finds_that_of_the_returns() -> None:
    rng = np.random.default_rng(8)
    samples = rng.exponential(size=(4_000, 80)) - 1.0
    scores = samples - samples.mean(axis=1, keepdims=True)
    sample = (scores**3).sum(axis=1) / (scores**2).sum(axis=1) ** 1.5
    found = pooled_skewness(sample, np.full(4_000, 79.0), (np.zeros(4_000),), np.ones(4_000, bool))
    # Of samples of 80 it is about a tenth too small.
    assert found[0] == pytest.approx(2.0, rel=0.15)
    assert (found == found[0]).all()


def test_pooling_nothing_gives_nothing() -> None:
    assert len(pooled_skewness(np.zeros(0), np.zeros(0), (np.zeros(0),), np.zeros(0, bool))) == 0
