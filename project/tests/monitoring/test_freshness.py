"""How many bars that could be complete are not there."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.monitoring.freshness import Newest, freshness, judged, last_complete_stamp

BAR = dt.timedelta(minutes=5)
NOON = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)


def _bars(stamp: dt.datetime | None, *, layer: str = "cleaned", dataset: str = "perp bars_5m") -> Newest:
    return Newest("BTCUSDT", layer, dataset, BAR, stamp, latest_stamp=stamp)


def _missing_bars_counted_one_by_one(stamp: dt.datetime, now: dt.datetime) -> int:
    count, bar = 0, stamp + BAR
    while bar + BAR <= now:
        count, bar = count + 1, bar + BAR
    return count


@given(behind=st.integers(0, 40), seconds=st.integers(0, 299))
def test_staleness_is_the_number_of_complete_bars_that_are_not_there(behind: int, seconds: int) -> None:
    stamp = NOON - BAR
    now = NOON + behind * BAR + dt.timedelta(seconds=seconds)
    assert freshness(_bars(stamp), now, 3).staleness_bars == _missing_bars_counted_one_by_one(stamp, now) == behind


@pytest.mark.parametrize(("behind", "status"), [(3, "fresh"), (4, "stale")])
def test_the_limit_itself_is_fresh(behind: int, status: str) -> None:
    assert freshness(_bars(NOON - BAR - behind * BAR), NOON, 3).status == status


def test_a_bar_counts_only_once_it_is_complete() -> None:
    assert last_complete_stamp(NOON - dt.timedelta(seconds=1), BAR) == NOON - 2 * BAR
    assert last_complete_stamp(NOON, BAR) == NOON - BAR
    assert last_complete_stamp(NOON, BAR, is_bar=False) == NOON


def test_no_row_a_row_of_the_future_and_an_unreadable_file_are_never_fresh() -> None:
    assert freshness(_bars(None), NOON, 10**6).status == "missing"
    future = Newest("BTCUSDT", "cleaned", "perp bars_5m", BAR, NOON - BAR, latest_stamp=NOON + dt.timedelta(seconds=1))
    assert freshness(future, NOON, 10**6).status == "future"
    broken = Newest("BTCUSDT", "cleaned", "perp bars_5m", BAR, NOON - BAR, fault="unreadable: x")
    assert freshness(broken, NOON, 10**6).status == "unreadable"


def test_only_the_cleaned_perpetual_bars_decide() -> None:
    old = NOON - dt.timedelta(days=9)
    rows = [_bars(old, layer="raw/binance"), _bars(old, dataset="spot bars_5m"), _bars(old)]
    verdicts = judged(rows, NOON, 3)
    assert [verdict.is_finding for verdict in verdicts] == [True, False, False]
    assert {verdict.status for verdict in verdicts} == {"stale"}
