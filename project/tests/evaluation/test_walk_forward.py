"""Folds that never touch, drift that is put in afterwards as if it had been there, and test windows counted by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.discovery.folds import Folds
from backtest.discovery.scoring import _mean_bar_return, score_event, symbol_market
from backtest.errors import DataError
from backtest.evaluation.drift_free import DRIFT_FREE_SCHEMA, drift_free_scores, market_bar_returns, whole_window
from backtest.evaluation.walk_forward import (
    FOLD_SCHEMA,
    RESULT_SCHEMA,
    TEST_SCHEMA,
    Fold,
    book,
    daily_bar_returns,
    day_number,
    fold_rows,
    found_in,
    mean_bar_returns,
    results,
    training_scores,
    walk_forward_folds,
)
from backtest.evaluation.walk_forward import test_days as days_of_tests
from backtest.spec.evaluation import WalkForward
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
START = dt.date(2023, 1, 1)
FIRST = day_number(START)


def settings(folds: int = 4, train_share: float = 0.5) -> WalkForward:
    return WalkForward(folds=folds, train_share=train_share, overfitting_blocks=12)


@pytest.mark.parametrize("bars", [1, 288, 289, 900])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("days", "folds"), [(80, 2), (81, 7), (365, 5), (901, 8)])
def test_no_trade_of_a_training_window_reaches_its_test_window_and_tests_tile_the_rest(
    days: int, folds: int, share: float, bars: int
) -> None:
    end = START + dt.timedelta(days=days)
    made = walk_forward_folds(START, end, settings(folds, share), discovery_share=0.7, longest_window_bars=bars)
    assert [fold.number for fold in made] == list(range(1, folds + 1))
    assert made[0].train.discovery_start == START
    assert made[-1].test_end == end
    lengths = {fold.train_days[1] - fold.train_days[0] for fold in made}
    assert lengths == {math.floor(days * share)}
    for fold in made:
        assert (fold.test_start - fold.train.confirmation_end).days * 288 >= bars
        assert (fold.train.confirmation_start - fold.train.discovery_end).days * 288 >= bars
    for before, after in itertools.pairwise(made):
        assert before.test_end == after.test_start


def test_a_window_that_is_too_short_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match="Give an earlier START"):
        walk_forward_folds(
            START, START + dt.timedelta(days=24), settings(12), discovery_share=0.7, longest_window_bars=288
        )


def test_mean_bar_returns_of_any_days_are_those_of_the_scores() -> None:
    rng = np.random.default_rng(4)
    day = np.repeat(np.arange(FIRST, FIRST + 9), 288)
    opens = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, len(day))))
    opens[rng.integers(0, len(opens), 40)] = np.nan
    opens[288 * 4] = np.nan
    daily = daily_bar_returns(opens, day, "BTCUSDT")
    for first, end in ((0, 9), (0, 4), (3, 4), (4, 7), (8, 9)):
        fold = ((day >= FIRST + first) & (day < FIRST + end)).astype(np.int8)
        expected = _mean_bar_return(opens, fold)[fold == 1][0]
        found = mean_bar_returns(daily, FIRST + first, FIRST + end)
        assert found.row(0) == ("BTCUSDT", "", pytest.approx(expected, rel=1e-9, abs=1e-15))


def test_training_scores_are_those_of_a_search_over_the_training_window_alone() -> None:
    n = 40 * 288
    rng = np.random.default_rng(6)
    price = 100 * np.exp(np.cumsum(rng.normal(2e-5, 1e-3, n)))
    names = {name for expression in SPEC.bar_expressions.values() for name in expression.inputs}
    start = dt.datetime.combine(START, dt.time(), dt.UTC)
    stamps = pl.datetime_range(start, start + (n - 1) * dt.timedelta(minutes=5), "5m", time_unit="ms", eager=True)
    prices = {"open": price, "high": price * 1.001, "low": price * 0.999, "close": np.roll(price, -1)}
    frame = pl.DataFrame({"timestamp": stamps, **prices}).with_columns(
        pl.lit(False).alias("is_zero_volume"),
        pl.lit(None, dtype=pl.Float64).alias("funding_stamp_rate"),
        *(pl.lit(1e-3 if "vol" in name else 1e6).alias(name) for name in sorted(names - set(prices))),
    )
    no_states = frame.select("timestamp").with_columns(
        pl.lit(False).alias(state_id) for state in SPEC.states.values() for state_id in state.values
    )
    at = np.unique(rng.integers(300, n - 300, 400))
    events = pl.DataFrame({"timestamp": stamps.gather(at), "direction": rng.choice([-1, 1], len(at)).astype(np.int8)})
    every = Folds(START, START + dt.timedelta(days=30), START + dt.timedelta(days=31), START + dt.timedelta(days=40))
    train = Folds(*(START + dt.timedelta(days=day) for day in (5, 15, 16, 25)))
    fold = Fold(1, train, START + dt.timedelta(days=26), START + dt.timedelta(days=40))

    market = whole_window(symbol_market(frame, no_states, "BTCUSDT", SPEC, every), every)
    event = SPEC.events["VOL_SHOCK"]
    trades = tuple(verb for verb in event.model.templates if verb in SPEC.templates)
    without_filters = dataclasses.replace(event, model=event.model.model_copy(update={"templates": trades}))
    narrow = dataclasses.replace(SPEC, events={"VOL_SHOCK": without_filters})
    free = drift_free_scores(market, "VOL_SHOCK", events, narrow)
    assert dict(free.schema) == DRIFT_FREE_SCHEMA
    found = training_scores(free, market_bar_returns(market), fold)
    alone = score_event(symbol_market(frame, no_states, "BTCUSDT", SPEC, train), "VOL_SHOCK", events, narrow)
    # A trade of the last day of a fold may be left out where its exit lies in the other fold; the embargo forbids that here.
    key = ["policy", "horizon", "state_id", "day"]
    both = found.join(alone, on=key, suffix="_alone", how="full", coalesce=True).sort(key)
    assert len(both) == len(found) == len(alone) > 500
    assert both["n"].equals(both["n_alone"], check_names=False)
    for name in ("sum_y", "sum_z", "sum_cost", "sum_funding"):
        assert np.allclose(both[name], both[f"{name}_alone"], rtol=1e-9, atol=1e-12)
    assert found["sum_y"].sum() != pytest.approx(free.filter(pl.col("day") < FIRST + 25)["sum_y"].sum())


def find(name: str, *, symbol: str = "POOLED", direction: int = 1, p: float = 0.01, state_id: str = "all") -> dict:
    empty: dict[str, object] = dict.fromkeys(CANDIDATE_SCHEMA)
    return {
        **empty, "candidate_id": f"{name}.{state_id}.{symbol}", "event_type": name, "template_verb": "continuation",
        "policy": "lag1", "horizon": "15m", "state_id": state_id, "symbol": symbol, "direction": direction, "p_value": p,
        "after_cost_expectancy": 5e-4, "gate_phase2_final": True,
    }  # fmt: skip


def test_a_day_of_a_test_window_sums_direction_times_gross_less_cost_and_funding_over_symbols() -> None:
    name = "E"
    train = Folds(*(START + dt.timedelta(days=day) for day in (0, 7, 8, 12)))
    fold = Fold(3, train, START + dt.timedelta(days=13), START + dt.timedelta(days=20))
    zeros = {key: 0.0 for key in DRIFT_FREE_SCHEMA if key.startswith(("sum_", "exposure"))}

    def row(symbol: str, day: int, y: float, state_id: str = "all") -> dict:
        return {
            **zeros, "policy": "lag1", "horizon": "15m", "state_id": state_id, "day": FIRST + day, "n": 2, "n_tainted": 0,
            "sum_y": y, "sum_cost": 1e-4, "sum_funding": 3e-5, "event_type": name, "symbol": symbol, "leg": "",
        }  # fmt: skip

    rows = [row("BTCUSDT", 13, 1e-3), row("ETHUSDT", 13, 2e-3), row("BTCUSDT", 19, -1e-3), row("BTCUSDT", 12, 9.0),
            row("BTCUSDT", 20, 9.0), row("BTCUSDT", 14, 9.0, "weekend_yes")]  # fmt: skip
    scores = pl.DataFrame(rows, schema=DRIFT_FREE_SCHEMA)
    finds = [find(name, direction=-1), find(name, symbol="BTCUSDT"), find(name, symbol="SOLUSDT")]
    tests = days_of_tests(pl.DataFrame(finds, schema=CANDIDATE_SCHEMA), scores, fold)
    assert dict(tests.schema) == TEST_SCHEMA
    by_find = {key: group for (key,), group in tests.group_by("symbol")}
    pooled = by_find["POOLED"]
    assert pooled["day"].to_list() == [FIRST + 13, FIRST + 19]
    assert pooled["n"].to_list() == [4, 2]
    assert pooled["gross"].to_list() == pytest.approx([-3e-3, 1e-3])
    assert pooled["net"].to_list() == pytest.approx([-3e-3 - 2e-4 + 6e-5, 1e-3 - 1e-4 + 3e-5])
    assert by_find["BTCUSDT"]["net"].to_list() == pytest.approx([1e-3 - 1e-4 - 3e-5, -1e-3 - 1e-4 - 3e-5])
    assert by_find["SOLUSDT"].select("day", "n").rows() == [(None, 0)]
    told = results(tests, 5)
    assert dict(told.schema) == RESULT_SCHEMA
    assert told.filter(pl.col("candidate_id") == "E.all.BTCUSDT").select("n_found", "n_trades", "n_days").row(0) == (
        1,
        4,
        2,
    )
    assert told.filter(pl.col("candidate_id") == "E.all.SOLUSDT").select("n_trades", "net", "net_p").row(0) == (
        0,
        None,
        None,
    )


def earned(*rows: tuple[str, int, float, int, float]) -> pl.DataFrame:
    """Rows of finds: state, fold, p, day, net; two trades each."""
    return pl.DataFrame(
        [
            (
                "E." + state,
                "E",
                "continuation",
                "lag1",
                "15m",
                state,
                "POOLED",
                1,
                fold,
                p,
                5e-4,
                FIRST + day,
                2,
                net,
                net,
            )
            for state, fold, p, day, net in rows
        ],
        schema=TEST_SCHEMA,
        orient="row",
    )


def test_the_book_holds_one_of_the_finds_that_overlap() -> None:
    tests = earned(("all", 1, 0.01, 50, 1e-3), ("weekend", 1, 0.02, 50, 9e-3), ("weekend", 2, 0.02, 70, 3e-3))
    assert book(tests).select("candidate_id", "fold").rows() == [("E.all", 1), ("E.weekend", 2)]
    train = Folds(*(START + dt.timedelta(days=day) for day in (0, 20, 21, 40)))
    folds = [
        Fold(number, train, START + dt.timedelta(days=30 + 20 * number), START + dt.timedelta(days=50 + 20 * number))
        for number in (1, 2, 3)
    ]
    told = fold_rows(folds, [10, 11, 12], tests)
    assert dict(told.schema) == FOLD_SCHEMA
    assert told["n_found"].to_list() == [2, 1, 0]
    assert told["n_book"].to_list() == [1, 1, 0]
    assert told["net"].to_list() == [pytest.approx(5e-4), pytest.approx(1.5e-3), None]
    assert told["expected_net"].to_list() == [pytest.approx(5e-4), pytest.approx(5e-4), None]


def test_the_net_of_a_find_over_its_test_windows_is_the_mean_per_trade_with_a_day_cluster_error() -> None:
    rng = np.random.default_rng(8)
    net = rng.normal(1e-3, 1e-3, 40)
    tests = earned(*(("all", 1 + day // 20, 0.01, 50 + day, value) for day, value in enumerate(net)))
    row = results(tests, 5).row(0, named=True)
    assert row["n_found"] == 2
    assert row["net"] == pytest.approx(net.sum() / 80)
    assert row["net_standard_error"] == pytest.approx(net.std(ddof=1) / 2 / math.sqrt(40), rel=1e-6)
    assert row["net_p"] < 1e-4


def test_filters_are_no_finds() -> None:
    rows = [find("E"), {**find("F"), "template_verb": "only_if_trend"}, {**find("G"), "gate_phase2_final": False}]
    assert found_in(pl.DataFrame(rows, schema=CANDIDATE_SCHEMA), ["continuation"])["event_type"].to_list() == ["E"]
