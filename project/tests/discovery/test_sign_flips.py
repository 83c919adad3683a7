"""Joint sign-flips against plain loops, and the number of tests they amount to."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from backtest.discovery import sign_flips
from backtest.discovery.sign_flips import DRAWS_AT_ONCE, Clusters, StepDown, effective_tests, step_down


def normal_scale(t: NDArray[np.float64], nu: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wallace's transform of a t value to the normal scale."""
    return np.asarray(np.sign(t) * np.sqrt(nu * np.log1p(t**2 / nu)) * (8 * nu + 1) / (8 * nu + 3))


def flipped(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    freedom: NDArray[np.float64],
    *,
    one_sided: NDArray[np.bool_],
    draws: int,
    rng: np.random.Generator,
    skewness: NDArray[np.float64] | None = None,
    side: NDArray[np.float64] | None = None,
) -> StepDown:
    """`step_down` of (days, hypotheses) arrays that hold zeros where there is no event."""
    column, day = np.nonzero(counts.T)
    pointer = np.concatenate([[0], np.cumsum((counts > 0).sum(axis=0))])
    singles = (values[day, column].astype(np.float32) for values in (sums, counts))
    turned = np.ones(len(freedom)) if side is None else side
    return step_down(
        Clusters(pointer[:-1], pointer[1:], turned.astype(np.float32), day.astype(np.int32), *singles),
        freedom,
        np.zeros(len(freedom)) if skewness is None else skewness,
        one_sided=one_sided,
        n_days=len(sums),
        draws=draws,
        rng=rng,
    )


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
    found = flipped(sums, counts, freedom, one_sided=one_sided, draws=99, rng=np.random.default_rng(seed + 100))
    expected = slow_step_down(sums, counts, freedom, one_sided, 99, np.random.default_rng(seed + 100))
    assert found.adjusted_p == pytest.approx(expected)


def uneven(seed: int, days: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts of hypotheses with few or many events on a day, sums that go with the counts or do not."""
    rng = np.random.default_rng(seed)
    counts = np.floor(rng.exponential(np.linspace(0.5, 20.0, size), size=(days, size)))
    counts[:3] = rng.integers(1, 4, size=(3, 1))
    sums = rng.standard_t(3, size=(days, size)) * np.sqrt(counts) + np.where(np.arange(size) % 3, 0.0, 0.3 * counts)
    return np.where(counts > 0, sums, 0.0), counts


@pytest.mark.parametrize("seed", range(5))
def test_crosses_are_left_out_only_where_they_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 300
    sums, counts = uneven(seed, 50, size)
    freedom, one_sided = np.full(size, 20.0), np.arange(size) % 2 == 0
    arguments = {"one_sided": one_sided, "draws": 399}
    found = flipped(sums, counts, freedom, rng=np.random.default_rng(seed), **arguments)
    monkeypatch.setattr(sign_flips, "_bounds", lambda clusters: np.full((3, len(clusters.start)), -np.inf))
    every = flipped(sums, counts, freedom, rng=np.random.default_rng(seed), **arguments)
    assert found.adjusted_p.tolist() == every.adjusted_p.tolist()
    assert found.largest.tolist() == every.largest.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_no_flip_has_less_variance_than_the_bound_and_equal_counts_have_hardly_more(seed: int) -> None:
    size, days = 40, 30
    sums, counts = uneven(seed, days, size)
    counts[:, 0], sums[:, 0] = 2.0, np.random.default_rng(seed).normal(size=days)
    signs = np.random.default_rng(seed + 100).integers(0, 2, size=(500, days)) * 2.0 - 1.0
    start = np.arange(size) * days
    singles = (values.T.ravel().astype(np.float32) for values in (sums, counts))
    clusters = Clusters(start, start + days, np.ones(size, np.float32), np.zeros(size * days, np.int32), *singles)
    p, q, r = sign_flips._bounds(clusters)
    theta = signs @ sums / counts.sum(axis=0)
    variance = (sums**2).sum(axis=0) - 2 * theta * (signs @ (sums * counts)) + theta**2 * (counts**2).sum(axis=0)
    bound = p - np.abs(theta) * (q + np.abs(theta) * r)
    assert (bound < variance).all()
    assert bound[:, 0] == pytest.approx(variance[:, 0], rel=1e-3)


def test_a_hypothesis_is_turned_as_its_sums_would_be_and_days_before_the_first_take_its_sign() -> None:
    sums, counts = uneven(7, 30, 12)
    side = np.where(np.arange(12) % 3 == 0, -1.0, 1.0)
    arguments = {"one_sided": np.arange(12) % 2 == 0, "draws": 199}
    freedom = np.full(12, 15.0)
    turned = flipped(sums, counts, freedom, side=side, rng=np.random.default_rng(1), **arguments)
    expected = flipped(sums * side, counts, freedom, rng=np.random.default_rng(1), **arguments)
    assert turned.adjusted_p.tolist() == expected.adjusted_p.tolist()
    assert turned.largest.tolist() == expected.largest.tolist()

    def of_first_day(day: int) -> StepDown:
        rows = (np.array([day, 1, 2, 3], np.int32), np.array([1, -2, 3, 1], np.float32), np.ones(4, np.float32))
        clusters = Clusters(np.array([0]), np.array([4]), np.ones(1, np.float32), *rows)
        two_sided = np.zeros(1, bool)
        rng = np.random.default_rng(2)
        return step_down(clusters, np.full(1, 3.0), np.zeros(1), one_sided=two_sided, n_days=4, draws=99, rng=rng)

    assert of_first_day(-3).largest.tolist() == of_first_day(0).largest.tolist()


def test_step_down_is_not_fooled_by_trades_with_many_small_losses_and_few_large_gains() -> None:
    rng = np.random.default_rng(4)
    hits = dict.fromkeys((False, True), 0)
    for _ in range(60):
        sums = rng.exponential(size=(40, 30)) - 1.0
        for adjusted in hits:
            found = flipped(
                sums,
                np.ones((40, 30)),
                np.full(30, 39.0),
                one_sided=np.zeros(30, bool),
                draws=99,
                rng=np.random.default_rng(1),
                skewness=np.full(30, adjusted * 2.0 / np.sqrt(40)),
            )
            hits[adjusted] += bool((found.adjusted_p <= 0.05).any())
    # 60 worlds at 5 %: three expected; eight or more has a probability of 1 %.
    assert hits[True] < 8 < 12 < hits[False]


def test_step_down_is_the_same_whatever_the_order_of_hypotheses() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 4, size=(40, 7)).astype(float)
    sums = rng.normal(0.3, 1, size=(40, 7))
    freedom, one_sided = np.full(7, 20.0), np.zeros(7, dtype=bool)
    shuffled = rng.permutation(7)
    found = flipped(sums, counts, freedom, one_sided=one_sided, draws=199, rng=np.random.default_rng(5))
    again = flipped(
        sums[:, shuffled], counts[:, shuffled], freedom, one_sided=one_sided, draws=199, rng=np.random.default_rng(5)
    )
    assert again.adjusted_p == pytest.approx(found.adjusted_p[shuffled])


def test_step_down_keeps_the_family_wise_rate_under_the_null() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(120):
        common = rng.normal(size=(60, 1))
        sums = common + rng.normal(size=(60, 10))
        p = flipped(sums, np.ones((60, 10)), np.full(10, 59.0), one_sided=np.zeros(10, bool), draws=99, rng=rng)
        hits += bool((p.adjusted_p <= 0.05).any())
    # 120 worlds at 5 %: six expected; fourteen or more has a probability of 0.3 %.
    assert hits < 14


@pytest.mark.parametrize("n_tests", [1, 10, 400])
def test_independent_tests_count_as_many_as_they_are_and_copies_of_one_as_one(n_tests: int) -> None:
    rng = np.random.default_rng(n_tests)
    days = 120
    sums, ones = rng.normal(size=(days, n_tests)), np.ones((days, n_tests))
    same = np.repeat(rng.normal(size=(days, 1)), n_tests, axis=1)
    arguments = {"one_sided": np.zeros(n_tests, bool), "draws": 1999}
    freedom = np.full(n_tests, days - 1.0)
    apart = flipped(sums, ones, freedom, rng=np.random.default_rng(1), **arguments)
    copied = flipped(same, ones, freedom, rng=np.random.default_rng(1), **arguments)
    assert len(apart.largest) == 1999 > DRAWS_AT_ONCE
    assert effective_tests(apart.largest) == pytest.approx(n_tests, rel=0.4)
    assert effective_tests(copied.largest) == pytest.approx(1.0, rel=0.4)


def test_without_hypotheses_nothing_is_flipped() -> None:
    nothing = flipped(
        np.zeros((5, 0)),
        np.zeros((5, 0)),
        np.zeros(0),
        one_sided=np.zeros(0, bool),
        draws=99,
        rng=np.random.default_rng(1),
    )
    assert len(nothing.adjusted_p) == len(nothing.largest) == 0
    assert np.isnan(effective_tests(nothing.largest))
