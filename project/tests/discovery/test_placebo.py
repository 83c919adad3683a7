"""Placebo times resemble the events in hour and volatility, and the comparison finds what the event adds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from backtest.discovery import day_statistics
from backtest.discovery.candidates import assess
from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import event_trials, register
from backtest.discovery.placebo import PER_EVENT, PLACEBO_SCHEMA, placebo_comparison, placebo_occurrences
from backtest.discovery.scoring import SymbolMarket, symbol_market
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
FOLDS = Folds(dt.date(2023, 1, 1), dt.date(2023, 4, 1), dt.date(2023, 4, 3), dt.date(2023, 5, 1))
START = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
N_BARS = 120 * 288
GUARD = 24


@pytest.fixture(scope="module")
def market() -> SymbolMarket:
    """Volatility that differs between days and hours; prices do not matter here."""
    inputs = {name for expression in SPEC.bar_expressions.values() for name in expression.inputs}
    stamps = pl.datetime_range(START, START + (N_BARS - 1) * dt.timedelta(minutes=5), "5m", time_unit="ms", eager=True)
    slow = np.repeat(np.random.default_rng(1).uniform(0.5, 2.0, 120), 288) * (
        1.5 + np.sin(np.arange(N_BARS) / 288 * 2 * np.pi)
    )
    frame = pl.DataFrame({"timestamp": stamps}).with_columns(
        pl.lit(False).alias("is_zero_volume"),
        pl.lit(None, dtype=pl.Float64).alias("funding_stamp_rate"),
        *(pl.lit(100.0).alias(name) for name in sorted((inputs | {"open", "high", "low", "close"}) - {"ex_ante_vol"})),
        pl.Series("ex_ante_vol", slow * 1e-3),
    )
    return symbol_market(frame, frame.select("timestamp"), "BTCUSDT", SPEC, FOLDS)


def events(market: SymbolMarket, seed: int = 2) -> tuple[np.ndarray, pl.DataFrame]:
    """Events in the morning of days, most where volatility is high."""
    rng = np.random.default_rng(seed)
    hour = market.timestamp.dt.hour().to_numpy()
    at = np.flatnonzero(
        (hour >= 6) & (hour < 9) & (rng.random(N_BARS) < 0.02 * market.volatility / market.volatility.max())
    )
    return at, pl.DataFrame({"timestamp": market.timestamp[at.tolist()], "direction": rng.choice([-1, 1], len(at))})


def drawn(market: SymbolMarket, seed: int = 3) -> tuple[np.ndarray, pl.DataFrame]:
    at, occurrences = events(market)
    return at, placebo_occurrences(market, occurrences, guard_bars=GUARD, rng=np.random.default_rng(seed))


def test_placebo_times_have_the_hours_and_the_volatility_of_the_events(market: SymbolMarket) -> None:
    at, placebo = drawn(market)
    where = np.searchsorted(market.timestamp.to_numpy(), placebo["timestamp"].to_numpy())
    inside = at[market.timestamp[at.tolist()].to_numpy() < np.datetime64("2023-04-01")]
    hours = [
        np.bincount(market.timestamp[index.tolist()].dt.hour().to_numpy(), minlength=24) for index in (inside, where)
    ]
    assert set(np.flatnonzero(hours[1])) == {6, 7, 8}
    assert hours[1] / hours[1].sum() == pytest.approx(hours[0] / hours[0].sum(), abs=0.06)
    assert np.median(market.volatility[where]) == pytest.approx(np.median(market.volatility[inside]), rel=0.1)
    in_hours = market.volatility[
        (market.timestamp.dt.hour() >= 6).to_numpy() & (market.timestamp.dt.hour() < 9).to_numpy()
    ]
    assert np.median(market.volatility[where]) > 1.05 * np.median(in_hours)


def test_no_placebo_time_is_near_an_event_twice_or_outside_the_discovery_fold(market: SymbolMarket) -> None:
    at, placebo = drawn(market)
    where = np.searchsorted(market.timestamp.to_numpy(), placebo["timestamp"].to_numpy())
    assert np.abs(where[:, None] - at[None, :]).min() > GUARD
    assert (np.diff(where) > 0).all()
    assert placebo["timestamp"].max() < dt.datetime(2023, 4, 1, tzinfo=dt.UTC)
    assert 0.5 * PER_EVENT * len(at) * 0.75 < len(placebo) <= PER_EVENT * len(at)
    assert set(placebo["direction"]) == {-1, 1}


def test_the_same_seed_draws_the_same_times_and_no_event_draws_none(market: SymbolMarket) -> None:
    assert drawn(market, 5)[1].equals(drawn(market, 5)[1])
    assert not drawn(market, 5)[1].equals(drawn(market, 6)[1])
    nothing = events(market)[1].clear()
    assert placebo_occurrences(market, nothing, guard_bars=GUARD, rng=np.random.default_rng(1)).is_empty()


def day_scores(mean_bps: float, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    days = np.arange(19358, 19358 + 120)
    days = days[(days < 19358 + 90) | (days >= 19358 + 92)]
    frames = []
    for trial in event_trials(SPEC, "VOL_SHOCK"):
        y = rng.normal(mean_bps, 20.0, len(days)) * 1e-4
        columns = {name: np.zeros(len(days)) for name in SCORE_SCHEMA if name.startswith("sum_")}
        columns |= {"sum_y": y, "sum_z": y / 20e-4, "sum_z2": (y / 20e-4) ** 2, "sum_y2": y**2}
        columns |= {"sum_cost": np.full(len(days), 4e-4)}
        columns |= {"policy": trial.policy.policy_id, "horizon": trial.horizon, "state_id": "all", "day": days}
        frame = pl.DataFrame({**columns, "n": np.ones(len(days)), "n_tainted": np.zeros(len(days))})
        frames.append(frame.select(pl.col(name).cast(dtype) for name, dtype in SCORE_SCHEMA.items()))
    every = pl.concat(frames).unique(["policy", "horizon", "state_id", "day"], maintain_order=True)
    return pl.concat([every, every.with_columns(pl.lit("atom:").alias("state_id"))])


@pytest.mark.parametrize(("event_bps", "placebo_bps", "is_better"), [(10.0, 0.0, True), (10.0, 10.0, False)])
def test_the_comparison_is_welchs_test_in_the_candidates_direction(
    event_bps: float, placebo_bps: float, is_better: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_statistics, "WIDE_BLOCK_RATIO", 100.0)  # days as clusters, as the reference has them
    hypotheses = register(SPEC, {"VOL_SHOCK": ["BTCUSDT"]})
    scores, placebo = ({"BTCUSDT": day_scores(bps, seed)} for bps, seed in ((event_bps, 1), (placebo_bps, 2)))
    long = scores["BTCUSDT"].with_columns(pl.lit("VOL_SHOCK").alias("event_type"), pl.lit("BTCUSDT").alias("symbol"))
    found = assess(hypotheses, long, FOLDS, SPEC)
    plain = found.filter((pl.col("state_id") == "all") & (pl.col("policy") == "lag1") & (pl.col("horizon") == "60m"))
    compared = placebo_comparison(plain, hypotheses, scores, placebo, FOLDS, SPEC)
    assert dict(compared.schema) == PLACEBO_SCHEMA
    row, own = compared.row(0, named=True), plain.row(0, named=True)
    cut = (FOLDS.confirmation_start - dt.date(1970, 1, 1)).days
    series = [
        each["BTCUSDT"]
        .filter((pl.col("state_id") == "all") & (pl.col("policy") == "lag1") & (pl.col("horizon") == "60m"))
        .filter(pl.col("day") < cut)["sum_y"]
        .to_numpy()
        * own["direction"]
        for each in (scores, placebo)
    ]
    assert row["placebo_mean"] == pytest.approx(series[1].mean())
    assert row["placebo_difference"] == pytest.approx(series[0].mean() - series[1].mean())
    reference = stats.ttest_ind(*series, equal_var=False, alternative="greater")
    if row["placebo_p"] > 1e-6:
        assert row["placebo_p"] == pytest.approx(reference.pvalue, rel=0.05)
    assert (row["placebo_p"] < 0.01) is is_better
    low, high = stats.t.interval(0.9, len(series[1]) - 1, series[1].mean(), stats.sem(series[1]))
    assert (row["placebo_low"], row["placebo_high"]) == pytest.approx((low, high), rel=0.05)
