"""What stands beside a perpetual's bars: known at the bar's close, never carried on, null where unknown."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import polars as pl
import pytest

from backtest.cleaning.bars import clean_bars
from backtest.cleaning.perpetual import DATASET_COLUMNS, METRICS, METRICS_STALE_AFTER_BARS, join_datasets
from backtest.cleaning.taint import clean_symbol
from backtest.lake.schemas import RAW_SCHEMAS

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def at(bars: float) -> dt.datetime:
    return START + dt.timedelta(minutes=5 * bars)


def raw(dataset: str, *rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(RAW_SCHEMAS[dataset])
    return pl.DataFrame([{**empty, **row} for row in rows], schema=RAW_SCHEMAS[dataset])


def perpetual(n: int, without: tuple[int, ...] = ()) -> pl.DataFrame:
    price = {"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0}
    return raw(
        "ohlcv_5m",
        *({"timestamp": at(bar), **price, "volume": float(bar % 5 != 4)} for bar in range(n) if bar not in without),
    )


def joined(n: int, without: tuple[int, ...] = (), **datasets: pl.DataFrame) -> pl.DataFrame:
    bars = perpetual(n, without)
    return join_datasets(clean_bars(bars, bars.clear()).bars, datasets)


def test_a_data_set_that_is_not_there_gives_nulls_of_numbers() -> None:
    frame = joined(3)
    for names in DATASET_COLUMNS.values():
        for name in names:
            assert frame[name].dtype == pl.Float64
            assert frame[name].null_count() == 3


def test_flags_are_numbers() -> None:
    frame = joined(6, without=(2,))
    assert frame["gap"].to_list() == [0, 0, 1, 0, 0, 0]
    assert frame["zero_volume"].to_list() == [0, 0, 0, 0, 1, 0]


def test_closes_belong_to_their_own_bar_and_what_is_no_price_is_null() -> None:
    mark = [{"timestamp": at(bar), "close": close} for bar, close in ((0, 101.0), (2, 0.0), (3, 103.0))]
    premium = [{"timestamp": at(bar), "close": close} for bar, close in ((0, -1e-4), (1, 0.0), (3, float("nan")))]
    frame = joined(4, mark_5m=raw("mark_5m", *mark), premium_5m=raw("premium_5m", *premium))
    assert frame["mark_close"].to_list() == [101.0, None, None, 103.0]
    assert frame["premium_index"].to_list() == [-1e-4, 0.0, None, None]


def test_metrics_are_known_in_the_bar_of_their_stamp_and_stale_after_three_bars() -> None:
    rows = [
        {"timestamp": at(0), "open_interest": 5.0, "global_account_ratio": 2.0},
        {"timestamp": at(1) + dt.timedelta(seconds=40), "open_interest": 6.0},
    ]
    frame = joined(7, metrics=raw("metrics", *rows))
    assert frame["open_interest"].to_list() == [5.0, 6.0, 6.0, 6.0, 6.0, None, None]
    assert frame["global_account_ratio"].to_list() == [2.0, 2.0, 2.0, 2.0, None, None, None]


def test_metrics_equal_a_loop_over_stamps() -> None:
    rng, n = random.Random(3), 300
    rows = []
    for _ in range(150):
        value = rng.choice([None, float(rng.randint(0, 9))])
        rows.append({"timestamp": at(rng.randrange(n) + rng.choice([0.0, 0.2, 0.5])), "open_interest": value})
    frame = joined(n, metrics=raw("metrics", *rows))
    by_stamp = {row["timestamp"]: row["open_interest"] for row in rows}
    for bar, found in enumerate(frame["open_interest"].to_list()):
        oldest, close = at(bar - METRICS_STALE_AFTER_BARS), at(bar + 1)
        known = [value for stamp, value in sorted(by_stamp.items()) if oldest <= stamp < close and value is not None]
        assert found == (known[-1] if known else None)


def test_liquidations_are_those_of_the_bar_and_unknown_where_no_day_was_published() -> None:
    rows = [{"timestamp": at(bar), "long_liquidation_usd": 0.0, "short_liquidation_usd": 7.0} for bar in (0, 1)]
    frame = joined(3, liquidations=raw("liquidations", *rows))
    assert frame["long_liquidation_usd"].to_list() == [0.0, 0.0, None]
    assert frame["short_liquidation_usd"].to_list() == [7.0, 7.0, None]


def test_quotes_that_cover_less_than_half_of_a_bar_do_not_stand_for_it() -> None:
    values = {"mean_spread_bps": 1.0, "max_spread_bps": 2.0, "book_imbalance": -0.5}
    rows = [
        {"timestamp": at(bar), **values, "book_coverage": share} for bar, share in enumerate((1.0, 0.5, 0.49, None))
    ]
    frame = joined(5, book_ticker=raw("book_ticker", *rows))
    assert frame["mean_spread_bps"].to_list() == [1.0, 1.0, None, 1.0, None]
    assert frame["book_imbalance"].to_list() == [-0.5, -0.5, None, -0.5, None]


def test_of_repeated_rows_the_last_counts() -> None:
    rows = [{"timestamp": at(0), "bid_depth_1pct_usd": value} for value in (1.0, 2.0)]
    assert joined(1, book_depth=raw("book_depth", *rows))["bid_depth_1pct_usd"].to_list() == [2.0]


@pytest.mark.parametrize("cut", [1, 5, 17, 39])
def test_nothing_looks_ahead(cut: int) -> None:
    rng, n = random.Random(4), 60
    datasets: dict[tuple[str, str], pl.DataFrame] = {("perp", "ohlcv_5m"): perpetual(n, without=(7, 8))}
    datasets["spot", "ohlcv_5m"] = perpetual(n, without=(3, 20))
    for dataset in DATASET_COLUMNS:
        names = [name for name in RAW_SCHEMAS[dataset] if name != "timestamp"]
        rows = [
            {"timestamp": at(bar), **{name: rng.randint(1, 9) for name in names}}
            for bar in range(n)
            if rng.random() < 0.6
        ]
        datasets["perp", dataset] = raw(dataset, *rows)
    whole = clean_symbol(datasets, "AAAUSDT")
    end = at(cut + 1)
    part = clean_symbol({key: rows.filter(pl.col("timestamp") < end) for key, rows in datasets.items()}, "AAAUSDT")
    assert part.equals(whole.head(cut + 1).head(len(part)))
    assert set(METRICS) < set(whole.columns)
