"""Changed trades against prices read by hand, and which values neighbour a parameter."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import event_trials
from backtest.discovery.scoring import SymbolMarket, symbol_market
from backtest.evaluation.variations import VARIED_SCHEMA, by_event, neighbours, score_variations, variations
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
NAMES = [*SPEC.columns, *SPEC.features]
DAYS = 12
FOLDS = Folds(dt.date(2023, 1, 1), dt.date(2023, 1, 9), dt.date(2023, 1, 10), dt.date(2023, 1, 13))
START = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """A random walk; the volatility ratio of VOL_SHOCK swings between 0 and 6 four times a day."""
    n = DAYS * 288
    price = 100 * np.exp(np.cumsum(np.random.default_rng(2).normal(0, 1e-3, n)))
    inputs = {name for expression in SPEC.bar_expressions.values() for name in expression.inputs}
    stamps = pl.datetime_range(START, START + (n - 1) * dt.timedelta(minutes=5), "5m", time_unit="ms", eager=True)
    prices = {"open": price, "high": price * 1.002, "low": price * 0.998, "close": np.roll(price, -1)}
    frame = pl.DataFrame({"timestamp": stamps, **prices}).with_columns(
        pl.lit(False).alias("is_zero_volume"),
        pl.lit(None, dtype=pl.Float64).alias("funding_stamp_rate"),
        *(pl.lit(1e-3 if "vol" in name else 1e6).alias(name) for name in sorted(inputs - set(prices))),
    )
    swing = 3.0 + 3.0 * np.sin(np.arange(n) * 2 * np.pi / 72)
    return frame.with_columns(pl.Series("realized_vol_1h_ratio", swing), pl.lit(1.0).alias("return_1h"))


@pytest.fixture(scope="module")
def market(bars: pl.DataFrame) -> SymbolMarket:
    return symbol_market(bars, bars.select("timestamp"), "BTCUSDT", SPEC, FOLDS)


def candidates(verb: str, horizon: str, policy: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "candidate_id": ["c"], "event_type": ["VOL_SHOCK"], "template_verb": [verb], "mirror_verb": [None],
            "policy": [policy], "horizon": [horizon], "state_id": ["all"], "symbol": ["BTCUSDT"],
        }
    )  # fmt: skip


def by_hand(market: SymbolMarket, at: np.ndarray, delay: int, bars: int) -> float:
    """Mean return above the fold's drift of buying `delay` bars after the next open and holding `bars`."""
    opens = market.bars.open
    entry = at + 1 + delay
    entry = entry[entry + bars < len(opens)]
    kept = entry[market.fold[entry + bars] != 2]
    return float((opens[kept + bars] / opens[kept] - 1 - bars * market.mean_bar_return[at[0]]).mean())


def test_later_entries_and_other_horizons_are_what_the_prices_say(bars: pl.DataFrame, market: SymbolMarket) -> None:
    at = np.arange(300, 8 * 288, 60)
    events = pl.DataFrame({"timestamp": bars["timestamp"].gather(at), "direction": np.ones(len(at), np.int8)})
    found = score_variations(market, bars, events, candidates("continuation", "15m", "lag1"), SPEC)
    assert dict(found.schema) == VARIED_SCHEMA
    assert set(found["horizon"]) == {"15m"}
    sums = found.group_by("check", "variation").agg(pl.col("sum_y").sum() / pl.col("n").sum())
    means = {(check, label): mean for check, label, mean in sums.iter_rows()}
    assert means["unchanged", ""] == pytest.approx(by_hand(market, at, 0, 3))
    for delay in range(1, 6):
        label = f"{delay} bar{'s' if delay > 1 else ''} later"
        assert means["entry_delay", label] == pytest.approx(by_hand(market, at, delay, 3))
    assert means["horizon_neighbours", "0.5 x horizon"] == pytest.approx(by_hand(market, at, 0, 2))
    assert means["horizon_neighbours", "2 x horizon"] == pytest.approx(by_hand(market, at, 0, 6))


def test_a_changed_threshold_is_detected_again(bars: pl.DataFrame, market: SymbolMarket) -> None:
    none = pl.DataFrame(schema={"timestamp": bars["timestamp"].dtype, "direction": pl.Int8})
    found = score_variations(market, bars, none, candidates("continuation", "15m", "lag1"), SPEC)
    ratio = bars["realized_vol_1h_ratio"].to_numpy()
    for threshold in (2.4, 3.6):
        crossed = np.flatnonzero((ratio[1:] > threshold) & (ratio[:-1] <= threshold)) + 1
        crossed = crossed[(market.fold[crossed] == 1) & np.isfinite(market.turnover_usd[crossed])]
        own = found.filter(
            (pl.col("variation") == f"threshold 3 to {threshold:g}") & (pl.col("day") < FOLDS.discovery_end_day)
        )
        assert own["n"].sum() == len(crossed) > 20
        assert own["sum_y"].sum() / len(crossed) == pytest.approx(by_hand(market, crossed, 0, 3))


def test_a_trade_with_barriers_keeps_them_and_one_of_another_policy_is_not_repeated(
    bars: pl.DataFrame, market: SymbolMarket
) -> None:
    at = np.arange(300, 8 * 288, 60)
    events = pl.DataFrame({"timestamp": bars["timestamp"].gather(at), "direction": np.ones(len(at), np.int8)})
    policy = next(t.policy.policy_id for t in event_trials(SPEC, "VOL_SHOCK") if t.with_verb == "trend_continuation")
    kept = score_variations(market, bars, events, candidates("trend_continuation", "15m", policy), SPEC)
    assert set(kept["policy"]) == {policy}
    assert kept.filter(pl.col("check") == "unchanged")["n"].sum() > 0
    assert score_variations(market, bars, events, candidates("continuation", "15m", "lag7"), SPEC).is_empty()


def test_neighbours_of_a_number_are_a_share_away_and_those_of_a_quantile_move_its_tail() -> None:
    shock = SPEC.events["VOL_SHOCK"]
    assert neighbours(shock, "threshold", 0.2, NAMES) == [2.4, 3.6]
    quantile = SPEC.events["SLIPPAGE_SPIKE_EVENT"]
    assert quantile.model.parameters["quantile"] == 0.97
    assert neighbours(quantile, "quantile", 0.2, NAMES) == pytest.approx([0.964, 0.976])


def test_whole_numbers_stay_whole_and_every_event_has_variations() -> None:
    for name, event in SPEC.events.items():
        made = variations(event, SPEC.evaluation.robustness, NAMES)
        assert made[0].check == "unchanged"
        assert len({(variation.check, variation.label) for variation in made}) == len(made)
        changed = {variation.parameter for variation in made} - {None}
        assert changed == set(event.model.parameters), name
        for variation in made:
            if variation.parameter is not None and isinstance(event.model.parameters[variation.parameter], int):
                assert isinstance(variation.value, int)
                assert variation.value != event.model.parameters[variation.parameter]


def test_a_symbol_takes_part_in_its_own_candidates_and_in_pooled_ones() -> None:
    rows = pl.concat([candidates("continuation", "15m", "lag1")] * 3).with_columns(
        pl.Series("symbol", ["BTCUSDT", "POOLED", "ETHUSDT"]), pl.Series("candidate_id", ["a", "b", "c"])
    )
    groups = dict(by_event(rows, "BTCUSDT"))
    assert groups["VOL_SHOCK"]["candidate_id"].to_list() == ["a", "b"]
    assert list(by_event(rows, "SOLUSDT")) != []
