"""Taint of events and trades against a loop, and its way into the day scores and the candidates."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import numpy as np
import polars as pl

from backtest.discovery.day_scores import Held, TradeScores, sum_by_day
from backtest.events.taint import any_tainted, counted_before, event_taint, total_lookback_bars, with_taint
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def test_any_tainted_equals_a_loop() -> None:
    rng = random.Random(5)
    tainted = np.array([rng.random() < 0.1 for _ in range(200)])
    spans = [(rng.randrange(-20, 190), rng.randrange(0, 10)) for _ in range(300)]
    first = np.array([begin for begin, _ in spans])
    last = np.array([max(begin, 0) + length for begin, length in spans])
    expected = [bool(tainted[max(a, 0) : b + 1].any()) for a, b in zip(first, last, strict=True)]
    assert any_tainted(counted_before(tainted), first, last).tolist() == expected


def test_an_event_is_tainted_by_a_bar_of_its_look_back_and_by_no_later_one() -> None:
    tainted = np.zeros(100, dtype=bool)
    tainted[50] = True
    assert event_taint(tainted, np.array([49, 50, 60, 61]), 10).tolist() == [False, True, True, False]


def test_the_total_look_back_adds_the_features_to_the_windows_of_the_event() -> None:
    event = SPEC.events["VOL_SHOCK"]
    reach = max(SPEC.features[name].total_lookback_bars for name in event.inputs if name in SPEC.features)
    assert total_lookback_bars(event, SPEC.features) == event.lookback_bars + reach


def test_events_look_at_the_data_sets_they_rest_on_alone() -> None:
    reach = total_lookback_bars(SPEC.events["VOL_SHOCK"], SPEC.features)
    n = reach + 50
    stamps = pl.datetime_range(START, START + dt.timedelta(minutes=5 * (n - 1)), "5m", time_unit="ms", eager=True)
    taint = np.zeros(n, dtype=np.uint16)
    taint[10], taint[20] = 1, 8
    frame = pl.DataFrame({"timestamp": stamps, "taint": taint})
    at = [10 + reach, 11 + reach, 20 + reach]
    events = pl.DataFrame({"event_type": ["VOL_SHOCK"] * 3, "timestamp": [stamps[bar] for bar in at]})
    found = with_taint(events, frame, SPEC.events, SPEC.features, {"VOL_SHOCK": 1})
    assert found["tainted"].to_list() == [True, False, False]
    found = with_taint(events, frame, SPEC.events, SPEC.features, {"VOL_SHOCK": 8})
    assert found["tainted"].to_list() == [True, True, True]
    assert with_taint(events.clear(), frame, SPEC.events, SPEC.features, {})["tainted"].dtype == pl.Boolean


def test_tainted_trades_are_counted_by_day_and_condition() -> None:
    members = np.array([[True, True], [True, False], [True, True]])
    trades = TradeScores(np.array([1, 1, 2]), *[np.ones(3)] * 8)
    summed = sum_by_day(trades, np.arange(3), Held.of(members), np.array([True, True, False]))
    rows = zip(summed.condition, summed.day, summed.n, summed.n_tainted, strict=True)
    assert list(rows) == [(0, 1, 2, 2), (0, 2, 1, 0), (1, 1, 1, 1), (1, 2, 1, 0)]
    nothing = TradeScores(np.array([], np.int64), *[np.zeros(0)] * 8)
    assert len(sum_by_day(nothing, np.arange(0), Held.of(np.zeros((0, 2), bool)), np.zeros(0, bool)).day) == 0
