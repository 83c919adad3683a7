"""Cleaning by hand-made rows."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from backtest.cleaning.bars import clean_bars, sum_to_5m
from backtest.lake.schemas import RAW_SCHEMAS

SCHEMA = RAW_SCHEMAS["ohlcv_5m"]
START = dt.datetime(2024, 1, 31, 23, 45, tzinfo=dt.UTC)


def rows(*bars: tuple[float, ...], step: int = 5) -> pl.DataFrame:
    """Bars of (minutes after START, open, high, low, close, volume)."""
    return pl.DataFrame(
        [
            {
                "timestamp": START + dt.timedelta(minutes=minutes),
                "open": o,
                "high": h,
                "low": low,
                "close": c,
                "volume": v,
                "quote_volume": v * c,
                "trade_count": step,
                "taker_buy_volume": None,
                "taker_buy_quote_volume": None,
            }
            for minutes, o, h, low, c, v in bars
        ],
        schema=SCHEMA,
    )


def flat(minutes: float, price: float = 100.0, volume: float = 1.0) -> tuple[float, ...]:
    return (minutes, price, price, price, price, volume)


EMPTY = rows()


def test_the_grid_is_full_and_missing_bars_are_null_not_zero() -> None:
    bars = clean_bars(rows(flat(0), flat(15)), EMPTY).bars
    assert bars["timestamp"].to_list() == [START + dt.timedelta(minutes=m) for m in (0, 5, 10, 15)]
    assert bars["close"].to_list() == [100.0, None, None, 100.0]
    assert bars["volume"].to_list() == [1.0, None, None, 1.0]
    assert bars["is_gap"].to_list() == [False, True, True, False]


def test_of_rows_with_one_stamp_the_last_one_counts_and_the_others_are_counted() -> None:
    cleaned = clean_bars(rows(flat(5), flat(0), flat(5, price=101.0)), EMPTY)
    assert cleaned.bars["close"].to_list() == [100.0, 101.0]
    assert cleaned.quality["duplicates"].sum() == 1


def test_a_bar_whose_prices_contradict_each_other_becomes_a_gap() -> None:
    cleaned = clean_bars(rows(flat(0), (5, 100.0, 99.0, 98.0, 100.0, 1.0), flat(10)), EMPTY)
    assert cleaned.bars["is_gap"].to_list() == [False, True, False]
    assert cleaned.quality["inconsistent"].sum() == 1


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_prices_that_are_no_prices_become_gaps(price: float) -> None:
    assert clean_bars(rows(flat(0), flat(5, price=price), flat(10)), EMPTY).bars["is_gap"].to_list() == [
        False,
        True,
        False,
    ]


def test_zero_volume_and_leaps_are_flagged_and_kept() -> None:
    bars = clean_bars(rows(flat(0), flat(5, volume=0.0), flat(10, price=160.0)), EMPTY).bars
    assert bars["is_zero_volume"].to_list() == [False, True, False]
    assert bars["is_out_of_range"].to_list() == [False, False, True]
    assert bars["close"].to_list() == [100.0, 100.0, 160.0]


def test_stamps_off_the_grid_are_left_out_and_counted() -> None:
    cleaned = clean_bars(rows(flat(0), flat(2), flat(5)), EMPTY)
    assert len(cleaned.bars) == 2
    assert cleaned.quality["off_grid"].sum() == 1


def test_quality_is_counted_by_month() -> None:
    cleaned = clean_bars(rows(flat(0), flat(5), flat(35), flat(35)), EMPTY)
    assert cleaned.quality.select(
        "month", "expected_bars", "bars", "gap_bars", "longest_gap_bars", "duplicates"
    ).rows() == [
        ("2024-01", 3, 2, 1, 1, 0),
        ("2024-02", 5, 1, 4, 4, 1),
    ]


def test_five_minutes_sum_to_a_bar_and_four_do_not() -> None:
    minutes = rows(
        (0, 10.0, 12.0, 9.0, 11.0, 1.0),
        (1, 11.0, 15.0, 11.0, 14.0, 2.0),
        (2, 14.0, 14.0, 8.0, 9.0, 3.0),
        (3, 9.0, 9.0, 9.0, 9.0, 0.0),
        (4, 9.0, 10.0, 9.0, 10.0, 4.0),
        *[flat(5 + m) for m in (0, 1, 3, 4)],
        step=1,
    )
    summed = sum_to_5m(minutes)
    assert summed.select("open", "high", "low", "close", "volume", "trade_count").rows() == [
        (10.0, 15.0, 8.0, 10.0, 10.0, 5)
    ]
    assert summed["taker_buy_volume"].to_list() == [None]


def test_one_minute_bars_serve_where_there_is_no_five_minute_bar() -> None:
    cleaned = clean_bars(rows(flat(0, price=50.0)), rows(*[flat(m) for m in range(10)], step=1))
    assert cleaned.bars["close"].to_list() == [50.0, 100.0]
    assert cleaned.quality["from_1m"].sum() == 1


def test_nothing_usable_gives_no_bars() -> None:
    assert clean_bars(rows(flat(0, price=0.0)), EMPTY).bars.is_empty()


def test_cutting_off_the_future_changes_nothing_before_the_cut() -> None:
    some = rows(flat(0), flat(5, price=170.0), flat(20), (25, 1.0, 2.0, 3.0, 4.0, 5.0), flat(30, volume=0.0), flat(40))
    whole = clean_bars(some, EMPTY).bars
    for last in range(1, len(some)):
        cut = clean_bars(some.head(last), EMPTY).bars
        assert cut.equals(whole.head(len(cut)))
