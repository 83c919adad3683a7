"""Multiplicity control against reference implementations and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from backtest.discovery.multiplicity import (
    benjamini_hochberg,
    benjamini_hochberg_q,
    normal_scale,
    sign_flip_step_down,
    simes_p,
    tree_bh,
)

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=40).map(np.array)


@given(p=p_values, level=st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=100, deadline=None)
def test_benjamini_hochberg_equals_statsmodels(p: NDArray[np.float64], level: float) -> None:
    rejected, adjusted, _, _ = multipletests(p, alpha=level, method="fdr_bh")
    assert benjamini_hochberg_q(p) == pytest.approx(adjusted)
    assert benjamini_hochberg(p, level).tolist() == rejected.tolist()


@given(p=p_values)
def test_q_is_at_least_p_and_monotone(p: NDArray[np.float64]) -> None:
    q = benjamini_hochberg_q(p)
    assert (q >= p).all()
    assert (np.diff(q[np.argsort(p)]) >= -1e-15).all()


def test_nothing_tested_rejects_nothing() -> None:
    assert benjamini_hochberg(np.zeros(0), 0.1).shape == (0,)
    assert benjamini_hochberg_q(np.zeros(0)).shape == (0,)
    assert tree_bh(np.zeros(0), [], [], 0.1).shape == (0,)


def test_simes_by_hand() -> None:
    assert simes_p(np.array([0.04, 0.01, 0.5])) == pytest.approx(0.03)
    assert simes_p(np.array([0.9, 1.0])) == pytest.approx(1.0)


def test_tree_selects_leaves_only_inside_selected_events_of_selected_families() -> None:
    p = np.array([0.001, 0.002, 0.8, 0.03, 0.9, 0.03])
    families = ["A", "A", "A", "A", "B", "B"]
    events = ["A1", "A1", "A2", "A2", "B1", "B1"]
    # Events by Simes: A1 .002, A2 .06, B1 .06; families: A min(.004, .06) = .004, B .06. BH at .05: family A alone.
    # Inside A at .05 * 1/2 = .025: A1 (.002 <= .0125); its leaves at .025 * 1/2 = .0125: both.
    assert tree_bh(p, families, events, 0.05).tolist() == [True, True, False, False, False, False]


def test_tree_selects_nothing_where_no_family_is_significant() -> None:
    assert not tree_bh(np.full(8, 0.5), ["A"] * 4 + ["B"] * 4, ["a", "a", "b", "b", "c", "c", "d", "d"], 0.1).any()


def test_wallace_scale_is_close_to_the_normal_quantile_of_the_t_probability() -> None:
    from scipy import stats

    t = np.array([0.5, 2.0, 4.0, -3.0])
    freedom = np.array([8.0, 30.0, 100.0, 20.0])
    exact = stats.norm.isf(stats.t.sf(t, freedom))
    assert normal_scale(t, freedom) == pytest.approx(exact, abs=0.01)


def slow_step_down(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    freedom: NDArray[np.float64],
    one_sided: NDArray[np.bool_],
    draws: int,
    rng: np.random.Generator,
) -> list[float]:
    """Romano–Wolf by loops: each draw flips the day sums themselves and recomputes every statistic."""
    signs = rng.integers(0, 2, size=(draws, len(sums))) * 2.0 - 1.0

    def statistic(flipped: NDArray[np.float64], column: int) -> float:
        n = counts[:, column].sum()
        active = counts[:, column] > 0
        mean = flipped[:, column].sum() / n
        u = flipped[active, column] - mean * counts[active, column]
        variance = (u**2).sum() * active.sum() / (active.sum() - 1) / n**2
        value = float(normal_scale(np.array(mean / np.sqrt(variance)), freedom[column]))
        return value if one_sided[column] else abs(value)

    columns = range(sums.shape[1])
    observed = [statistic(sums, column) for column in columns]
    drawn = [[statistic(sums * sign[:, None], column) for column in columns] for sign in signs]
    order = sorted(columns, key=lambda column: -observed[column])
    adjusted, largest = [0.0] * len(order), 0.0
    for rank, column in enumerate(order):
        exceed = sum(max(draw[other] for other in order[rank:]) >= observed[column] for draw in drawn)
        largest = max(largest, (1 + exceed) / (draws + 1))
        adjusted[column] = largest
    return adjusted


@pytest.mark.parametrize("seed", range(5))
def test_step_down_equals_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, size=(25, 6)).astype(float)
    counts[:3] = 1.0
    sums = rng.normal(0, 1, size=(25, 6)) * (counts > 0)
    sums[:, 0] += counts[:, 0]
    freedom = np.full(6, 12.0)
    one_sided = np.array([False, True, False, False, True, False])
    found = sign_flip_step_down(
        sums, counts, freedom, one_sided=one_sided, draws=99, rng=np.random.default_rng(seed + 100)
    )
    expected = slow_step_down(sums, counts, freedom, one_sided, 99, np.random.default_rng(seed + 100))
    assert found == pytest.approx(expected)


def test_step_down_is_the_same_whatever_the_order_of_hypotheses() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 4, size=(40, 7)).astype(float)
    sums = rng.normal(0.3, 1, size=(40, 7))
    freedom, one_sided = np.full(7, 20.0), np.zeros(7, dtype=bool)
    shuffled = rng.permutation(7)
    found = sign_flip_step_down(sums, counts, freedom, one_sided=one_sided, draws=199, rng=np.random.default_rng(5))
    again = sign_flip_step_down(
        sums[:, shuffled], counts[:, shuffled], freedom, one_sided=one_sided, draws=199, rng=np.random.default_rng(5)
    )
    assert again == pytest.approx(found[shuffled])


def test_step_down_keeps_the_family_wise_rate_under_the_null() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(120):
        common = rng.normal(size=(60, 1))
        sums = common + rng.normal(size=(60, 10))
        p = sign_flip_step_down(
            sums, np.ones((60, 10)), np.full(10, 59.0), one_sided=np.zeros(10, bool), draws=99, rng=rng
        )
        hits += bool((p <= 0.05).any())
    # 120 worlds at 5 %: six expected; fourteen or more has a probability of 0.3 %.
    assert hits < 14
