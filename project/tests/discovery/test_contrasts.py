"""Filters as differences: by hand, against a regression, and under the null."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from backtest.discovery.contrasts import with_contrasts
from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.discovery.day_statistics import DayStatistics, day_statistics
from backtest.discovery.event_days import event_days
from backtest.discovery.folds import Folds
from backtest.discovery.sign_flips import Clusters, step_down

FOLDS = Folds(dt.date(2023, 1, 1), dt.date(2023, 9, 13), dt.date(2023, 9, 14), dt.date(2024, 1, 1))
FIRST_DAY = 19358
Groups = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def scores(groups: Groups, policy: str = "lag1") -> pl.DataFrame:
    """Day scores of (days, counts, sums) by state id."""
    frames = []
    for state_id, (days, counts, sums) in groups.items():
        given = {
            "policy": [policy] * len(days),
            "horizon": ["60m"] * len(days),
            "state_id": [state_id] * len(days),
            "day": days.astype(np.int32) + FIRST_DAY,
            "n": counts.astype(np.int32),
            "n_tainted": np.zeros(len(days), np.int32),
        }
        values = {name: sums for name in SCORE_SCHEMA if name.startswith("sum_")}
        values["sum_z2"] = np.abs(sums) ** 2 / counts
        frames.append(pl.DataFrame({**given, **values}, schema=SCORE_SCHEMA))
    return pl.concat(frames)


def statistics(frame: pl.DataFrame, least: float = 1.0, policies: tuple[str, ...] = ("lag1",)) -> DayStatistics:
    days = event_days({"BTCUSDT": frame})
    register = pl.DataFrame(
        {
            "event_type": ["E"] * len(policies),
            "policy": policies,
            "horizon": ["60m"] * len(policies),
            "state_id": ["only"] * len(policies),
            "symbol": ["BTCUSDT"] * len(policies),
        }
    )
    one = np.ones(len(policies), np.int64)
    plain = day_statistics(days, register, FOLDS, one, 4 * one)
    limits = (np.full(len(policies), least), np.full(len(policies), least), np.zeros(len(policies)))
    return with_contrasts(plain, days, register, one.astype(bool), FOLDS, one, 4 * one, limits)


def test_the_difference_is_that_of_both_means_and_counts_stay_those_of_the_filtered_trade() -> None:
    # Holds: 3 trades that sum to 6 on days 1 and 2; does not: 4 trades that sum to 2 on days 2 and 3.
    first = {
        "only": (np.array([1, 2]), np.array([1, 2]), np.array([1.0, 5.0])),
        "not:only": (np.array([2, 3]), np.array([1, 3]), np.array([2.0, 0.0])),
    }
    found = statistics(scores(first))
    assert found.z.mean[0] == pytest.approx(6 / 3 - 2 / 4)
    assert (found.z.n_events[0], found.n_days[0]) == (3, 2)
    assert found.y.mean[0] == pytest.approx(2.0)
    # Residuals of both groups by day, over n = 7, the weights N' by hand: day 1: 4/3, day 2: 8/3 + 3/4, day 3: 9/4.
    residuals = 7 * np.array([(1 - 2) / 3, (5 - 4) / 3 - (2 - 0.5) / 4, -(0 - 1.5) / 4])
    weights = np.array([4 / 3, 8 / 3 + 3 / 4, 9 / 4])
    assert weights.sum() == pytest.approx(7)
    error = np.sqrt(2 / 3 * ((residuals / (7 - weights)) ** 2).sum())
    assert found.z.standard_error[0] == pytest.approx(error)
    assert found.flip_count == pytest.approx(weights, rel=1e-6)


def draw(rng: np.random.Generator, days: int, mean: float, effect: float, share: float) -> Groups:
    """Trades of two groups with common day shocks; the filtered ones earn `effect` more."""
    counts = rng.poisson(3.0, days) + 1
    day = np.repeat(np.arange(days), counts)
    # Whether the filter holds persists for days, as regimes do; and busy days are of one kind more often.
    holds = rng.random(len(day)) < np.where(np.repeat(rng.random(days) < share, counts), 0.85, 0.15)
    z = mean + effect * holds + rng.standard_t(4, len(day)) + np.repeat(0.5 * rng.normal(size=days), counts)
    groups = {}
    for name, chosen in (("only", holds), ("not:only", ~holds)):
        n, s = np.bincount(day[chosen], minlength=days), np.bincount(day[chosen], z[chosen], minlength=days)
        groups[name] = (np.flatnonzero(n), n[n > 0], s[n > 0])
    return groups


@pytest.mark.slow
def test_a_filter_that_makes_no_difference_is_rejected_at_about_the_nominal_rate_whatever_the_base_trade_earns() -> (
    None
):
    rng = np.random.default_rng(5)
    names = tuple(f"p{number}" for number in range(3000))
    frame = pl.concat([scores(draw(rng, 250, 0.6, 0.0, 0.3), name) for name in names])
    found = statistics(frame, policies=names)
    p = found.z.two_sided_p()
    assert 0.035 <= (p <= 0.05).mean() <= 0.06
    assert 0.004 <= (p <= 0.01).mean() <= 0.015
    few = slice(0, 200)
    rows = slice(0, int(found.flip_pointer[200]))
    flips = step_down(
        Clusters(found.flip_pointer[:201], found.flip_day[rows], found.flip_sum[rows], found.flip_count[rows]),
        found.z.degrees_of_freedom[few],
        one_sided=np.zeros(200, bool),
        n_days=256,
        draws=499,
        rng=np.random.default_rng(0),
    )
    assert (flips.adjusted_p <= 0.05).sum() <= 3


def test_a_filter_that_makes_a_difference_is_found_and_one_with_a_thin_group_is_not_tested() -> None:
    rng = np.random.default_rng(7)
    frame = scores(draw(rng, 250, 0.1, 0.5, 0.4))
    assert statistics(frame).z.t[0] > 4
    assert np.isnan(statistics(frame, least=2000).z.t[0])
    assert np.isnan(statistics(frame.filter(pl.col("state_id") == "only")).z.t[0])
