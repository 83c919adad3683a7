"""Effect sizes from day scores: which atoms a hypothesis is made of, and that all of them agree."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.discovery.day_scores import SCORE_SCHEMA, in_series
from backtest.discovery.effect_sizes import EffectSizes, capacity_usd, effect_sizes, event_blocks
from backtest.discovery.event_days import event_days
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import event_trials, register
from backtest.spec.loader import load_spec
from backtest.spec.models import POOLED

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
FOLDS = Folds(dt.date(2023, 1, 1), dt.date(2023, 9, 13), dt.date(2023, 9, 14), dt.date(2024, 1, 1))
FIRST_DAY, DAYS = 19358, 365
VOLATILITY = tuple(SPEC.states["vol_regime"].values)
CARRY = tuple(SPEC.states["carry_state"].values)
SESSION = tuple(SPEC.states["session"].values)
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
REGISTER = register(SPEC, {"VOL_SHOCK": SYMBOLS})


def day_scores(effect_bps: float, seed: int, after: float = 0.0) -> pl.DataFrame:
    """Two events a day, symbol and trial in random states; the effect is only where volatility is in its first state."""
    rng = np.random.default_rng(seed)
    trades = []
    for trial in event_trials(SPEC, "VOL_SHOCK"):
        for symbol in SYMBOLS:
            size = 2 * DAYS
            where = {
                name: rng.choice(ids, size=size) for name, ids in (("v", VOLATILITY), ("c", CARRY), ("s", SESSION))
            }
            day = FIRST_DAY + np.arange(size) // 2
            y = rng.normal(0, 30, size) + effect_bps * (where["v"] == VOLATILITY[0]) + after * (day >= FIRST_DAY + 256)
            trades.append(
                pl.DataFrame({"day": day.astype(np.int32), "sum_y": y * 1e-4, **where}).with_columns(
                    pl.lit(trial.policy.policy_id).alias("policy"),
                    pl.lit(trial.horizon).alias("horizon"),
                    pl.lit(symbol).alias("symbol"),
                )
            )
    every = pl.concat(trades)
    labels = [pl.lit("all"), pl.col("v"), pl.col("c"), pl.col("s")]
    labels.append(pl.concat_str(pl.lit("atom:"), pl.concat_str("v", "c", separator="&")))
    rows = pl.concat([every.with_columns(label.alias("state_id")) for label in labels])
    key = ["policy", "horizon", "symbol", "state_id", "day"]
    summed = rows.group_by(key).agg(pl.len().cast(pl.Int32).alias("n"), pl.col("sum_y").sum()).sort(key)
    others = [pl.lit(0.0).alias(name) for name in SCORE_SCHEMA if name not in summed.columns]
    return summed.with_columns(pl.lit("VOL_SHOCK").alias("event_type"), *others)


def sizes_of(scores: pl.DataFrame) -> EffectSizes:
    cut = FOLDS.first_confirmation_day
    days = event_days({symbol: in_series(scores.filter(pl.col("symbol") == symbol), cut) for symbol in SYMBOLS})
    return effect_sizes([event_blocks(days, REGISTER, FOLDS, SPEC)], len(REGISTER))


def estimates(scores: pl.DataFrame) -> pl.DataFrame:
    sizes = sizes_of(scores)
    ones = np.ones(len(REGISTER))
    return REGISTER.with_columns(pl.Series(k, v) for k, v in sizes.figures(ones, ones * 4e-4).items())


def test_all_states_are_the_weighted_mean_of_each_states_values_and_pooled_of_the_symbols() -> None:
    scores = day_scores(20.0, seed=1)
    cut = (FOLDS.confirmation_start - dt.date(1970, 1, 1)).days
    counts = (
        scores.filter(pl.col("day") < cut).group_by("policy", "horizon", "symbol", "state_id").agg(pl.col("n").sum())
    )
    found = estimates(scores).join(counts, on=["policy", "horizon", "symbol", "state_id"], how="left")
    for (_, _), trial in found.group_by("policy", "horizon"):
        value = {(s, w): m for s, w, m in trial.select("symbol", "state_id", "posterior_mean").iter_rows()}
        n = {(s, w): m for s, w, m in trial.select("symbol", "state_id", "n").iter_rows()}
        for symbol in SYMBOLS:
            for states in (VOLATILITY, CARRY):
                parts = sum(value[symbol, state] * n[symbol, state] for state in states)
                assert value[symbol, "all"] == pytest.approx(parts / n[symbol, "all"], rel=1e-9, abs=1e-12)
        for state in ("all", *VOLATILITY, *CARRY, *SESSION):
            parts = sum(value[symbol, state] * n[symbol, state] for symbol in SYMBOLS)
            total = sum(n[symbol, state] for symbol in SYMBOLS)
            assert value[POOLED, state] == pytest.approx(parts / total, rel=1e-9, abs=1e-12)


def test_an_effect_in_one_state_is_found_there_and_not_in_the_others() -> None:
    found = estimates(day_scores(20.0, seed=2)).filter(pl.col("symbol") == POOLED)
    mean = found.group_by("state_id").agg(pl.col("posterior_mean").mean() * 1e4)
    by_state = dict(mean.iter_rows())
    assert by_state[VOLATILITY[0]] == pytest.approx(20.0, abs=3.0)
    assert abs(by_state[VOLATILITY[1]]) < 3.0
    assert by_state["all"] == pytest.approx(20.0 / 3, abs=2.0)
    assert by_state[SESSION[0]] == pytest.approx(20.0 / 3, abs=3.0)
    first = found.filter(pl.col("state_id") == VOLATILITY[0])
    assert (first["probability_above_cost"] > 0.95).all()
    assert (first["local_false_sign_rate"] < 0.01).all()


def test_without_effects_estimates_shrink_to_about_nothing() -> None:
    found = estimates(day_scores(0.0, seed=3))
    assert found["posterior_mean"].abs().max() * 1e4 < 2.0
    assert found["p_block_null"].median() > 0.5


def test_the_confirmation_fold_does_not_change_them() -> None:
    assert estimates(day_scores(5.0, seed=4)).equals(estimates(day_scores(5.0, seed=4, after=50.0)))


def test_the_other_side_of_a_trade_mirrors_its_posterior() -> None:
    sizes = sizes_of(day_scores(10.0, seed=5))
    ones, zero = np.ones(len(REGISTER)), np.zeros(len(REGISTER))
    up, down = sizes.figures(ones, zero), sizes.figures(-ones, zero)
    # The scores here have cells of volatility and carry only; a state without cells has no posterior on either side.
    assert down["posterior_mean"] == pytest.approx(-up["posterior_mean"], nan_ok=True)
    assert down["posterior_low"] == pytest.approx(-up["posterior_high"], abs=1e-9, nan_ok=True)
    assert np.isfinite(up["posterior_mean"][(REGISTER["state_id"] == "all").to_numpy()]).all()


def test_at_capacity_half_of_the_net_return_of_a_small_order_is_left() -> None:
    net, impact, order = np.array([8e-4]), np.array([2e-4]), 10_000.0
    capacity = capacity_usd(net, impact, order, np.array([1e12]))[0]
    unhindered = net[0] + impact[0]
    assert unhindered - impact[0] * np.sqrt(capacity / order) == pytest.approx(unhindered / 2)
    assert capacity_usd(net, impact, order, np.array([1e6]))[0] == pytest.approx(0.02 * 1e6)
    assert capacity_usd(np.array([-3e-4]), impact, order, np.array([1e6]))[0] == 0.0
    assert np.isnan(capacity_usd(np.array([np.nan]), impact, order, np.array([1e6]))[0])
