"""The day-cluster jackknife against two slow implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from backtest.discovery.inference import (
    WIDE_BLOCK_RATIO,
    block_days,
    cluster_t,
    effective_events,
    merged_days,
    wide_block_days,
)


def leave_one_day_out(values: list[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Mean, CR3 standard error and degrees of freedom by really leaving out one day at a time."""
    everything = np.concatenate(values)
    mean, n, groups = everything.mean(), len(everything), len(values)
    without = [np.concatenate(values[:g] + values[g + 1 :]).mean() for g in range(groups)]
    variance = (groups - 1) / groups * sum((left - mean) ** 2 for left in without)
    freedom = max(1.0, min(groups, n**2 / sum(len(day) ** 2 for day in values)) - 1)
    return float(mean), float(np.sqrt(variance)), freedom


def days(rng: np.random.Generator, groups: int) -> list[NDArray[np.float64]]:
    return [rng.normal(rng.normal(), 1.0, rng.integers(1, 6)) for _ in range(groups)]


@given(seed=st.integers(0, 2**32), groups=st.lists(st.integers(2, 30), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_cluster_t_equals_leaving_out_one_day_at_a_time(seed: int, groups: list[int]) -> None:
    rng = np.random.default_rng(seed)
    hypotheses = [days(rng, size) for size in groups]
    found = cluster_t(
        np.array([day.sum() for values in hypotheses for day in values]),
        np.array([len(day) for values in hypotheses for day in values]),
        np.repeat(np.arange(len(groups)), groups),
        len(groups),
    )
    p = found.two_sided_p()
    for index, values in enumerate(hypotheses):
        mean, error, freedom = leave_one_day_out(values)
        assert found.mean[index] == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert found.standard_error[index] == pytest.approx(error, rel=1e-7)
        assert found.degrees_of_freedom[index] == pytest.approx(freedom)
        assert p[index] == pytest.approx(2 * stats.t.sf(abs(mean / error), freedom), rel=1e-6)
        assert found.n_days[index] == len(values)
        assert found.n_events[index] == sum(map(len, values))


def test_cluster_t_is_close_to_statsmodels_cluster_robust_errors_with_many_days() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    values = days(rng, 400)
    everything = np.concatenate(values)
    groups = np.repeat(np.arange(len(values)), [len(day) for day in values])
    reference = sm.OLS(everything, np.ones(len(everything))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = cluster_t(
        np.array([day.sum() for day in values]), np.array([len(day) for day in values]), np.zeros(400, int), 1
    )
    assert found.mean[0] == pytest.approx(reference.params[0])
    assert found.standard_error[0] == pytest.approx(reference.bse[0], rel=0.02)


def test_one_sided_p_is_small_only_on_the_side_asked_for() -> None:
    found = cluster_t(np.array([1.0, 2.0, 3.0, 2.5]), np.ones(4, int), np.zeros(4, int), 1)
    assert found.one_sided_p(np.array([1.0]))[0] < 0.05 < 0.95 < found.one_sided_p(np.array([-1.0]))[0]
    assert found.one_sided_p(np.array([1.0]))[0] == pytest.approx(found.two_sided_p()[0] / 2)


def test_no_variation_between_days_gives_no_t_rather_than_an_infinite_one() -> None:
    found = cluster_t(np.array([0.1, 0.2, 0.1]), np.array([1, 2, 1]), np.zeros(3, int), 1)
    assert np.isnan(found.t[0])
    assert found.n_days[0] == 3


def test_a_single_day_and_no_day_give_no_t() -> None:
    found = cluster_t(np.array([0.3]), np.array([4]), np.array([0]), 2)
    assert np.isnan(found.t).all()
    assert found.n_events.tolist() == [4, 0]


def test_clusters_are_days_up_to_half_a_day_and_longer_beyond() -> None:
    assert [block_days(horizon, 288) for horizon in (1, 12, 144, 145, 288, 432)] == [1, 1, 1, 2, 2, 3]


def test_days_merge_into_clusters_counted_from_the_origin_and_never_across_owners() -> None:
    owner, day = np.array([0, 0, 0, 0, 1, 1]), np.array([8, 9, 10, 14, 9, 11])
    start, first = merged_days(owner, day, np.array([5, 2]), 10)
    assert start.tolist() == [0, 2, 4, 5]
    assert first.tolist() == [5, 10, 8, 10]


def test_wide_blocks_are_whole_clusters_of_at_least_five_days() -> None:
    assert wide_block_days(np.array([1, 2, 3, 4, 5, 6, 14])).tolist() == [5, 6, 6, 8, 5, 6, 14]


def autoregressive(rng: np.random.Generator, days: int, persistence: float) -> NDArray[np.float64]:
    values = rng.normal(size=days)
    for index in range(1, days):
        values[index] += persistence * values[index - 1]
    return values


@pytest.mark.parametrize(
    ("persistence", "plain", "used"), [(0.0, (0.04, 0.06), (0.035, 0.06)), (0.6, (0.2, 1), (0, 0.15))]
)
def test_the_larger_error_rejects_less_where_days_depend_on_each_other_and_as_often_where_they_do_not(
    persistence: float, plain: tuple[float, float], used: tuple[float, float]
) -> None:
    rng, worlds, days = np.random.default_rng(5), 3000, 250
    sums = np.concatenate([autoregressive(rng, days, persistence) for _ in range(worlds)])
    owner, day = np.repeat(np.arange(worlds), days), np.tile(np.arange(days), worlds)
    ones = np.ones(len(sums), np.int64)
    start, _ = merged_days(owner, day, np.full(worlds, 5), 0)
    narrow = cluster_t(sums, ones, owner, worlds)
    wide = cluster_t(np.add.reduceat(sums, start), np.add.reduceat(ones, start), owner[start], worlds)
    ratio = wide.standard_error / narrow.standard_error
    larger = np.where(ratio > WIDE_BLOCK_RATIO, wide.two_sided_p(), narrow.two_sided_p())
    assert plain[0] <= (narrow.two_sided_p() <= 0.05).mean() <= plain[1]
    assert used[0] <= (larger <= 0.05).mean() <= used[1]


def test_the_effective_number_of_events_is_theirs_where_they_are_independent_and_that_of_days_where_a_day_is_one_event() -> (
    None
):
    rng = np.random.default_rng(8)
    values, per_day = rng.normal(size=(500, 4)), np.full(500, 4)
    owner, same = np.zeros(500, np.int64), np.repeat(rng.normal(size=(500, 1)), 4, axis=1)
    found, copied = (cluster_t(each.sum(axis=1), per_day, owner, 1) for each in (values, same))
    assert effective_events(found, np.array([(values**2).sum()]))[0] == pytest.approx(2000, rel=0.15)
    assert effective_events(copied, np.array([(same**2).sum()]))[0] == pytest.approx(500, rel=0.02)
