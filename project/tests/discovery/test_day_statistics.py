"""One pass over an event's day scores against the plain functions on its rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from backtest.discovery.day_rows import DayRows, collect_rows, horizon_cluster_days
from backtest.discovery.day_scores import SCORE_SCHEMA, in_series
from backtest.discovery.day_statistics import OVERFITTING_BLOCKS, DayStatistics, day_statistics, joined
from backtest.discovery.event_days import EventDays, event_days
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import REGISTER_SCHEMA
from backtest.discovery.inference import WIDE_BLOCK_RATIO, ClusterT, cluster_t, wide_block_days
from backtest.errors import DataError
from backtest.spec.models import POOLED

FOLDS = Folds(dt.date(2023, 3, 1), dt.date(2023, 9, 13), dt.date(2023, 9, 16), dt.date(2024, 1, 8))
FIRST, CUT = (int(np.datetime64(day, "D").astype(np.int64)) for day in ("2023-03-01", "2023-09-16"))
SYMBOLS = ("BTCUSDT", "ETHUSDT")
SERIES = (("lag1", "5m", "all"), ("lag1", "1d", "all"), ("lag3", "60m", "vol_regime_low"), ("lag3", "60m", "all"))


def days_of(scores: dict[str, pl.DataFrame]) -> EventDays:
    return event_days({symbol: in_series(frame, FOLDS.first_confirmation_day) for symbol, frame in scores.items()})


def some_scores(seed: int) -> dict[str, pl.DataFrame]:
    """Day scores with days that depend on each other, days without events, and a series that one symbol lacks."""
    rng = np.random.default_rng(seed)
    found = {}
    for symbol in SYMBOLS:
        frames = []
        for policy, horizon, state_id in SERIES[: 4 if symbol == "BTCUSDT" else 3]:
            days = np.arange(FIRST, CUT + 114)
            days = days[((days < CUT - 3) | (days >= CUT)) & (rng.random(len(days)) < 0.6)]
            n = rng.integers(1, 5, len(days))
            slow = np.repeat(rng.normal(size=len(days) // 5 + 1), 5)[: len(days)] * rng.choice([0.0, 1.5])
            frames.append(
                pl.DataFrame(
                    {
                        "policy": policy,
                        "horizon": horizon,
                        "state_id": state_id,
                        "day": days,
                        "n": n,
                        "n_tainted": rng.integers(0, 2, len(days)),
                        **{name: rng.normal(size=len(days)) + slow for name in SCORE_SCHEMA if name.startswith("sum_")},
                    }
                ).select(pl.col(name).cast(dtype) for name, dtype in SCORE_SCHEMA.items())
            )
        found[symbol] = pl.concat(frames).sample(fraction=1.0, shuffle=True, seed=seed)
    return found


def a_register() -> pl.DataFrame:
    rows = [
        ("E", "F", *series, symbol, "continuation", "mean_reversion")
        for series in SERIES
        for symbol in (*SYMBOLS, POOLED)
    ]
    return pl.DataFrame(rows, schema=REGISTER_SCHEMA, orient="row")


def statistics(seed: int, register: pl.DataFrame) -> DayStatistics:
    lengths = horizon_cluster_days(register)
    return day_statistics(days_of(some_scores(seed)), register, FOLDS, lengths, np.full(len(register), 4))


def rows_of(seed: int, register: pl.DataFrame) -> DayRows:
    scores = [
        frame.with_columns(pl.lit("E").alias("event_type"), pl.lit(symbol).alias("symbol"))
        for symbol, frame in some_scores(seed).items()
    ]
    return collect_rows(register, pl.concat(scores), FOLDS)


def same(one: ClusterT, other: ClusterT) -> None:
    for name in ("mean", "standard_error", "t", "degrees_of_freedom"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9, nan_ok=True), name
    assert one.n_events.tolist() == other.n_events.tolist()
    assert one.n_days.tolist() == other.n_days.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_one_pass_gives_what_the_plain_functions_give(seed: int) -> None:
    register = a_register()
    found, rows, size = statistics(seed, register), rows_of(seed, register), len(register)
    own = horizon_cluster_days(register)
    first, later = rows.where(rows.day < CUT), rows.where(rows.day >= CUT)
    narrow, wide = (
        cluster_t(part.sums["sum_z"], part.n, part.owner, size)
        for part in (first, first.merged(wide_block_days(own), CUT))
    )
    ratio = wide.standard_error / narrow.standard_error
    assert found.standard_error_ratio == pytest.approx(ratio, rel=1e-9, nan_ok=True)
    length = np.where(ratio > WIDE_BLOCK_RATIO, wide_block_days(own), own)
    assert found.cluster_days.tolist() == length.tolist()
    clusters, later_clusters = first.merged(length, CUT), later.merged(length, CUT)
    for part, names in ((clusters, ("z", "y")), (later_clusters, ("later", "later_y"))):
        for name, column in zip(names, ("sum_z", "sum_y"), strict=True):
            same(getattr(found, name), cluster_t(part.sums[column], part.n, part.owner, size))
    assert found.n_days.tolist() == np.bincount(first.owner, minlength=size).tolist()
    assert found.later_days.tolist() == np.bincount(later.owner, minlength=size).tolist()
    assert found.flip_pointer.tolist() == np.searchsorted(clusters.owner, np.arange(size + 1)).tolist()
    assert found.flip_day.tolist() == (clusters.day - FIRST).tolist()
    assert found.flip_sum == pytest.approx(clusters.sums["sum_z"], rel=1e-6)
    for h in range(size):
        own_rows, mine = first.where(first.owner == h), clusters.where(clusters.owner == h)
        if not len(own_rows.owner):
            continue
        assert found.busiest_share[h] == pytest.approx(own_rows.n.max() / own_rows.n.sum())
        z = own_rows.sums["sum_z"]
        assert found.largest_share[h] == pytest.approx(np.abs(z).max() / abs(z.sum()))
        u = mine.sums["sum_z"] - found.z.mean[h] * mine.n
        assert found.cusum[h] == pytest.approx(np.abs(np.cumsum(u)).max() / np.sqrt((u**2).sum()))
        scores = u / (mine.n.sum() - mine.n)
        assert found.skewness[h] == pytest.approx((scores**3).sum() / (scores**2).sum() ** 1.5)
        assert found.moments[h] == pytest.approx([(mine.sums["sum_y"] ** k).sum() for k in (1, 2, 3, 4)])
        for column in ("sum_cost", "sum_z2", "n_tainted"):
            assert found.totals[column][h] == pytest.approx(
                [rows.sums[column][(rows.owner == h) & where].sum() for where in (rows.day < CUT, rows.day >= CUT)]
            )


def test_sums_of_years_spans_and_blocks_are_those_of_their_days() -> None:
    register = a_register().filter(pl.col("horizon") != "1d")
    found, rows = statistics(3, register), rows_of(3, register)
    first = rows.where(rows.day < CUT)
    length = (FOLDS.discovery_end - FOLDS.discovery_start).days
    assert found.years == (2023, 2024)
    assert np.isnan(found.by_year[:, 1]).all()
    for h in range(len(register)):
        mine = first.where(first.owner == h)
        assert np.nan_to_num(found.by_year[h, 0]) == pytest.approx(mine.sums["sum_y"].sum())
        for by, parts in ((found.by_span[h], 4), (found.by_block[h, :, 0], OVERFITTING_BLOCKS)):
            part = np.minimum((mine.day - FIRST) * parts // length, parts - 1)
            assert by == pytest.approx([mine.sums["sum_z"][part == each].sum() for each in range(parts)])


@pytest.mark.parametrize("seed", range(4))
def test_a_filter_is_tested_by_the_difference_of_means_with_the_error_of_leaving_out_each_day(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange(FIRST, FIRST + 150), rng.integers(0, 6, 150))
    holds, z = rng.random(len(days)) < 0.3, rng.normal(size=len(days)) + rng.normal(size=200)[days - FIRST]
    z += np.where(holds, 0.7, 0.5)
    trades = pl.DataFrame({"day": days, "z": z, "state_id": np.where(holds, "only_if_x", "not:only_if_x")})
    summed = trades.group_by("state_id", "day").agg(pl.len().alias("n"), pl.col("z").sum())
    others = [pl.col("z").alias(name) for name in SCORE_SCHEMA if name.startswith("sum_")]
    scores = summed.with_columns(pl.lit("lag1").alias("policy"), pl.lit("5m").alias("horizon"), *others, n_tainted=0)
    scores = scores.select(pl.col(name).cast(dtype) for name, dtype in SCORE_SCHEMA.items())
    rows = [("E", "F", "lag1", "5m", "only_if_x", symbol, "only_if_x", None) for symbol in ("BTCUSDT", POOLED)]
    register = pl.DataFrame(rows, schema=REGISTER_SCHEMA, orient="row")
    found = day_statistics(days_of({"BTCUSDT": scores}), register, FOLDS, np.ones(2, int), np.full(2, 4), ["only_if_x"])

    def difference(kept: NDArray[np.bool_]) -> float:
        return float(z[kept & holds].mean() - z[kept & ~holds].mean())

    every = np.unique(days)
    without = np.array([difference(days != day) for day in every])
    error = np.sqrt((len(every) - 1) / len(every) * ((without - difference(days >= 0)) ** 2).sum())
    assert found.is_difference.all()
    assert found.z.mean == pytest.approx([difference(days >= 0)] * 2)
    assert found.z.n_events.tolist() == [min(holds.sum(), (~holds).sum())] * 2
    assert found.n_days.tolist() == [min(len(np.unique(days[holds])), len(np.unique(days[~holds])))] * 2
    assert found.totals["n"][:, 0].tolist() == [holds.sum()] * 2
    if found.cluster_days[0] == 1:
        assert found.z.standard_error[0] == pytest.approx(error, rel=0.05)


def test_differences_without_an_effect_reject_as_often_as_they_should() -> None:
    rng = np.random.default_rng(12)
    worlds, found = 1500, []
    for world in range(worlds):
        days = np.repeat(np.arange(FIRST, FIRST + 190), rng.integers(0, 5, 190))
        holds = rng.random(len(days)) < 0.35
        z = rng.standard_t(5, len(days)) + rng.normal(0, 0.5, 200)[days - FIRST] + 0.4
        trades = pl.DataFrame({"day": days, "z": z, "state_id": np.where(holds, "only_if_x", "not:only_if_x")})
        summed = trades.group_by("state_id", "day").agg(pl.len().alias("n"), pl.col("z").sum())
        others = [pl.col("z").alias(name) for name in SCORE_SCHEMA if name.startswith("sum_")]
        found.append(
            summed.with_columns(
                pl.lit(f"p{world:04d}").alias("policy"), pl.lit("5m").alias("horizon"), *others, n_tainted=0
            )
        )
    scores = pl.concat(found).select(pl.col(name).cast(dtype) for name, dtype in SCORE_SCHEMA.items())
    rows = [("E", "F", f"p{world:04d}", "5m", "only_if_x", "BTCUSDT", "only_if_x", None) for world in range(worlds)]
    register = pl.DataFrame(rows, schema=REGISTER_SCHEMA, orient="row")
    ones = np.ones(worlds, int)
    test = day_statistics(days_of({"BTCUSDT": scores}), register, FOLDS, ones, 4 * ones, ["only_if_x"]).z
    assert 0.035 <= (test.two_sided_p() <= 0.05).mean() <= 0.065


def test_a_filter_that_always_holds_has_nothing_to_be_compared_with() -> None:
    scores = {"BTCUSDT": some_scores(1)["BTCUSDT"].filter(pl.col("state_id") == "vol_regime_low")}
    register = a_register().filter((pl.col("state_id") == "vol_regime_low") & (pl.col("symbol") == "BTCUSDT"))
    one = np.ones(1, int)
    found = day_statistics(days_of(scores), register, FOLDS, one, 4 * one, ["vol_regime_low"])
    assert np.isnan(found.z.mean[0])
    assert found.z.n_events[0] == found.n_days[0] == 0


def test_events_one_after_the_other_are_as_each_alone() -> None:
    register = a_register()
    one, other = statistics(1, register), statistics(2, register)
    both = joined([one, other])
    size = len(register)
    assert both.z.mean[size:].tolist() == pytest.approx(other.z.mean.tolist(), nan_ok=True)
    assert both.totals["sum_cost"][size:].tolist() == other.totals["sum_cost"].tolist()
    for h in range(size):
        own = slice(both.flip_pointer[size + h], both.flip_pointer[size + h + 1])
        assert both.flip_day[own].tolist() == other.flip_day[other.flip_pointer[h] : other.flip_pointer[h + 1]].tolist()


def test_day_scores_outside_the_folds_are_refused() -> None:
    late = {name: frame.with_columns(pl.col("day") + 400) for name, frame in some_scores(0).items()}
    register = a_register()
    with pytest.raises(DataError, match="day scores of E outside the run's folds"):
        day_statistics(days_of(late), register, FOLDS, horizon_cluster_days(register), np.full(len(register), 4))
