"""Raw rows in the lake: split by month, read back lowest priority first, and known to be complete or not."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from backtest.errors import DataError
from backtest.lake.paths import DataRoot
from backtest.lake.raw import (
    have_days,
    have_month,
    import_name,
    read_raw,
    read_raw_quality,
    write_raw,
    write_raw_quality,
)
from backtest.lake.schemas import RAW_SCHEMAS

SERIES = ("binance", "perp", "AAAUSDT", "ohlcv_5m")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


def bars(first: dt.datetime, count: int, price: float = 10.0) -> pl.DataFrame:
    stamps = [first + dt.timedelta(minutes=5 * number) for number in range(count)]
    frame = pl.DataFrame({"timestamp": stamps, "open": [price] * count})
    schema = RAW_SCHEMAS["ohlcv_5m"]
    missing = [pl.lit(None).alias(name) for name in schema if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in schema.items())


def day(*date: int) -> dt.datetime:
    return dt.datetime(*date, tzinfo=dt.UTC)


def test_rows_are_split_by_month_and_read_back_between_bounds(root: DataRoot) -> None:
    paths = write_raw(root, *SERIES, bars(day(2023, 8, 31), 2 * 288), "import-0001-aa")
    assert [path.relative_to(root.path).as_posix() for path in paths] == [
        "lake/raw/binance/perp/AAAUSDT/ohlcv_5m/year=2023/month=08/import-0001-aa.parquet",
        "lake/raw/binance/perp/AAAUSDT/ohlcv_5m/year=2023/month=09/import-0001-aa.parquet",
    ]
    assert read_raw(root, *SERIES).height == 576
    assert read_raw(root, *SERIES, columns=("close",)).equals(read_raw(root, *SERIES).select("timestamp", "close"))
    part = read_raw(root, *SERIES, day(2023, 8, 31, 12), day(2023, 9, 1, 12))
    assert (part["timestamp"].min(), part.height) == (day(2023, 8, 31, 12), 288)


def test_of_one_stamp_the_last_row_read_is_of_the_highest_priority(root: DataRoot) -> None:
    names = ["monthly", "daily-2023-08-01", "rest-2023-08-01", "import-0002-bb", "import-0001-aa", "part"]
    for price, name in enumerate(names):
        write_raw(root, *SERIES, bars(day(2023, 8, 1), 1, float(price)), name)
    assert read_raw(root, *SERIES)["open"].to_list() == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_frames_of_other_columns_and_names_that_lead_elsewhere_are_refused(root: DataRoot) -> None:
    with pytest.raises(DataError, match="the lake takes"):
        write_raw(root, *SERIES, pl.DataFrame({"timestamp": [day(2023, 8, 1)]}), "monthly")
    with pytest.raises(DataError, match="cannot be the name"):
        write_raw(root, *SERIES, bars(day(2023, 8, 1), 1), "../monthly")


def test_days_are_there_with_the_monthly_file_all_daily_ones_or_every_row(root: DataRoot) -> None:
    def have(first: int, last: int) -> bool:
        return have_days(root, *SERIES, dt.date(2023, 8, first), dt.date(2023, 8, last))

    assert not have(1, 1)
    write_raw(root, *SERIES, bars(day(2023, 8, 1), 2 * 288 - 1), "import-0001-aa")
    assert (have(1, 1), have(2, 2), have(1, 2)) == (True, False, False)
    write_raw(root, *SERIES, bars(day(2023, 8, 2), 5), "daily-2023-08-02")
    assert (have(1, 2), have(1, 3)) == (True, False)
    write_raw(root, *SERIES, bars(day(2023, 8, 9), 1), "monthly")
    assert have_month(root, *SERIES, 2023, 8)
    assert not have_month(root, *SERIES, 2023, 9)


def test_funding_is_there_where_no_eight_hours_lack_a_payment(root: DataRoot) -> None:
    series = ("binance", "perp", "AAAUSDT", "funding")
    stamps = [day(2023, 8, 1) + dt.timedelta(hours=8 * number) for number in range(93)]
    frame = pl.DataFrame({"timestamp": stamps}).select(
        pl.col("timestamp").cast(RAW_SCHEMAS["funding"]["timestamp"]),
        pl.lit(0.0001).alias("funding_rate"),
        pl.lit(None, dtype=pl.Float64).alias("funding_interval_hours"),
    )
    write_raw(root, *series, frame, "import-0001-aa")
    assert have_month(root, *series, 2023, 8)
    write_raw(root, *series, frame.filter(pl.int_range(pl.len()) != 40), "import-0001-aa")
    assert not have_month(root, *series, 2023, 8)


def test_an_import_has_one_name_for_one_content_and_later_ones_stand_higher(root: DataRoot) -> None:
    first = import_name(root, *SERIES, "ab" * 16)
    write_raw(root, *SERIES, bars(day(2023, 8, 1), 1), first)
    second = import_name(root, *SERIES, "01" * 16)
    assert (first, second) == ("import-0001-abababababab", "import-0002-010101010101")
    write_raw(root, *SERIES, bars(day(2023, 8, 1), 1), second)
    assert import_name(root, *SERIES, "ab" * 16) == first


def test_the_table_of_quality_replaces_only_the_series_given(root: DataRoot) -> None:
    def table(symbol: str, month: str, rows: int) -> pl.DataFrame:
        return pl.DataFrame(
            {"market": ["perp"], "symbol": [symbol], "dataset": ["ohlcv_5m"], "month": [month], "rows": [rows]}
        )

    write_raw_quality(root, "binance", table("AAAUSDT", "2023-08", 1))
    write_raw_quality(root, "binance", table("BBBUSDT", "2023-08", 2))
    write_raw_quality(root, "binance", table("AAAUSDT", "2023-09", 3))
    assert read_raw_quality(root, "binance")["rows"].to_list() == [3, 2]
