"""Bytes of a Binance file → rows of the raw data set; what cannot be used is reported by row."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.sources.klines import parse_archive_csv

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
FUNDING = "calc_time,funding_interval_hours,last_funding_rate\n"
FIVE_MINUTES = 300_000


def obvious_rows(text: str) -> list[tuple[object, ...]]:
    """The csv module's reading of a clean kline file, row by row."""
    rows = []
    for fields in csv.reader(io.StringIO(text)):
        if fields[0] == "open_time":
            continue
        stamp = int(fields[0]) // (1000 if len(fields[0]) == 16 else 1)
        when = dt.datetime.fromtimestamp(stamp / 1000, dt.UTC)
        numbers = [float(fields[column]) for column in (1, 2, 3, 4, 5, 7)]
        rows.append((when, *numbers, int(fields[8]), float(fields[9]), float(fields[10])))
    return rows


def parse(
    text: str, dataset: str = "ohlcv_5m", period: tuple[int, int] | None = None
) -> tuple[pl.DataFrame, list[str]]:
    parsed = parse_archive_csv(text.encode(), dataset, "file.csv", period)
    assert dict(parsed.frame.schema) == RAW_SCHEMAS[dataset]
    return parsed.frame, [str(defect) for defect in parsed.defects]


def test_rows_are_those_the_csv_module_reads_with_and_without_header(make: SimpleNamespace) -> None:
    text = make.klines(make.millis(2023, 8, 1), 5)
    for given in (text, f"{HEADER}\n{text}", text.replace("\n", "\r\n"), text.rstrip("\n")):
        frame, defects = parse(given)
        assert frame.rows() == obvious_rows(text)
        assert defects == []


@pytest.mark.parametrize("name", ["FILUSDT/5m/FILUSDT-5m-2023-08", "NEARUSDT/5m/NEARUSDT-5m-2023-09"])
def test_published_files_equal_the_csv_modules_reading(shared_data: Path, name: str) -> None:
    path = shared_data / f"mirror/data/futures/um/monthly/klines/{name}.zip"
    with zipfile.ZipFile(path) as archive:
        data = archive.read(archive.namelist()[0])
    parsed = parse_archive_csv(data, "ohlcv_5m", path.name)
    assert parsed.frame.rows() == obvious_rows(data.decode())
    assert parsed.defects == []


def test_stamps_in_microseconds_are_read_as_such(shared_data: Path) -> None:
    path = shared_data / "mirror/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-03.zip"
    with zipfile.ZipFile(path) as archive:
        data = archive.read(archive.namelist()[0])
    parsed = parse_archive_csv(data, "ohlcv_1m", path.name)
    assert parsed.frame.rows() == obvious_rows(data.decode())


def test_a_file_that_mixes_milliseconds_and_microseconds_reads_each_row_in_its_unit(make: SimpleNamespace) -> None:
    first = make.millis(2024, 12, 31, 23, 55)
    frame, defects = parse(make.kline(first) + "\n" + make.kline((first + FIVE_MINUTES) * 1000) + "\n")
    assert [when.isoformat() for when in frame["timestamp"]] == [
        "2024-12-31T23:55:00+00:00",
        "2025-01-01T00:00:00+00:00",
    ]
    assert defects == ["file.csv row 2: stamps are in microseconds and milliseconds; each read in its own unit"]


def test_text_in_a_price_drops_the_row_and_text_in_an_optional_column_only_the_value(make: SimpleNamespace) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 4).splitlines()
    lines[1] = lines[1].replace(",10.5,", ",n/a,")
    lines[2] = lines[2].replace(",36.75,", ",none,")
    frame, defects = parse("\n".join([HEADER, *lines]))
    assert frame["timestamp"].dt.minute().to_list() == [0, 10, 15]
    assert frame["quote_volume"].to_list() == [36.75, None, 36.75]
    assert defects == [
        "file.csv row 3: close 'n/a' is not a number; row left out",
        "file.csv row 4: quote_volume 'none' is not a number; quote_volume left empty there",
    ]


def test_a_count_that_no_whole_number_holds_is_left_empty(make: SimpleNamespace) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 3).splitlines()
    fields = lines[1].split(",")
    fields[8] = "1e53"
    lines[1] = ",".join(fields)
    frame, defects = parse("\n".join(lines))
    assert frame["trade_count"].is_null().to_list() == [False, True, False]
    assert defects == ["file.csv row 2: trade_count '1e53' is not a number; trade_count left empty there"]


@pytest.mark.parametrize("value", ["nan", "inf", "", "1e999"])
def test_what_is_no_finite_number_is_not_taken(make: SimpleNamespace, value: str) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 3).splitlines()
    lines[1] = lines[1].replace(",9.0,", f",{value},")
    frame, defects = parse("\n".join(lines))
    assert frame.height == 2
    assert len(defects) == 1
    assert "row 2" in defects[0]


def test_stamps_that_are_no_time_are_dropped(make: SimpleNamespace) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 6).splitlines()
    for number, stamp in ((1, ""), (2, "soon"), (3, "-5"), (4, "99999999999999999999")):
        lines[number] = stamp + lines[number][13:]
    frame, defects = parse("\n".join(lines))
    assert frame["timestamp"].dt.minute().to_list() == [0, 25]
    assert defects == [
        "file.csv row 2: timestamp (empty) is not a time; row left out",
        "file.csv row 3: timestamp 'soon' is not a time; row left out",
        "file.csv row 4: timestamp '-5' is not a time; row left out",
        "file.csv row 5: and 1 more rows from here on whose timestamp is not a time; row left out",
    ]


def test_rows_out_of_order_are_sorted_and_reported(make: SimpleNamespace) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 4).splitlines()
    frame, defects = parse("\n".join([lines[0], lines[2], lines[1], lines[3]]))
    assert frame["timestamp"].dt.minute().to_list() == [0, 5, 10, 15]
    assert defects == [
        "file.csv row 3: its stamp is earlier than that of the row before (1 such rows); rows put in order of time"
    ]


def test_of_repeated_stamps_the_last_row_stays_and_both_kinds_are_told_apart(make: SimpleNamespace) -> None:
    first = make.millis(2023, 8, 1)
    lines = [
        make.kline(first, 10.0),
        make.kline(first, 10.0),
        make.kline(first + FIVE_MINUTES, 10.0),
        make.kline(first + FIVE_MINUTES, 20.0),
        make.kline(first + 2 * FIVE_MINUTES, 10.0),
    ]
    frame, defects = parse("\n".join(lines))
    assert frame["open"].to_list() == [10.0, 20.0, 10.0]
    assert len(defects) == 2
    assert "row 2" in defects[0]
    assert "with the same values; repetition left out" in defects[0]
    assert "row 4" in defects[1]
    assert "with other values; the last of them kept" in defects[1]


def test_lines_of_another_width_are_dropped_and_reported(make: SimpleNamespace) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 4).splitlines()
    lines[1] += ",5"
    lines[2] = lines[2][:30]
    frame, defects = parse("\n".join([*lines, "", ""]))
    assert frame.height == 2
    assert defects == [
        "file.csv row 2: it has 13 of 12 columns; row left out",
        "file.csv row 3: it has 5 of 12 columns; row left out",
    ]


def test_bytes_that_are_no_text_cost_only_their_row(make: SimpleNamespace) -> None:
    data = make.klines(make.millis(2023, 8, 1), 3).encode().replace(b",10.0,", b",\xff\xfe,", 1)
    parsed = parse_archive_csv(data, "ohlcv_5m", "file.csv")
    assert parsed.frame.height == 2
    assert [defect.row for defect in parsed.defects] == [1]


def test_rows_outside_the_month_of_the_file_are_dropped(make: SimpleNamespace) -> None:
    first = make.millis(2023, 9, 1) - FIVE_MINUTES
    frame, defects = parse(make.klines(first, 2), period=(make.millis(2023, 8, 1), make.millis(2023, 9, 1)))
    assert frame.height == 1
    assert defects == [
        f"file.csv row 2: timestamp '{first + FIVE_MINUTES}' is outside the time the file is named after; row left out"
    ]


def test_a_stamp_off_the_grid_is_dropped(make: SimpleNamespace) -> None:
    first = make.millis(2023, 8, 1)
    text = make.klines(first, 3) + make.kline(first + 3 * FIVE_MINUTES + 1000) + "\n"
    frame, defects = parse(text)
    assert frame.height == 3
    assert "row 4" in defects[0]
    assert "is not the start of a bar of 5 minutes" in defects[0]


def test_a_file_of_another_interval_is_refused(make: SimpleNamespace) -> None:
    with pytest.raises(DataError, match=r"1 minute apart, ohlcv_5m needs 5 minutes \(it would fit ohlcv_1m\)"):
        parse(make.klines(make.millis(2023, 8, 1), 9, step=60_000))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("1,2,3\n", "it has 3 columns without header, ohlcv_5m has 12"),
        ("time,price\n1,2\n", "its header lacks open, high, low, close, volume; it has time, price"),
        (HEADER + "\n", "it has no usable row"),
    ],
)
def test_a_table_of_other_columns_is_refused(text: str, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        parse(text)


def test_funding_keeps_the_interval_of_each_payment_and_loses_the_venues_milliseconds(make: SimpleNamespace) -> None:
    first = make.millis(2023, 8, 1)
    text = f"{FUNDING}{first + 7},8,0.0001\n{first + 4 * 3_600_000},4,-0.0002\n{first + 5 * 3_600_000},1,0\n"
    frame, defects = parse(text, "funding")
    assert frame["timestamp"].dt.epoch("ms").to_list() == [first, first + 4 * 3_600_000, first + 5 * 3_600_000]
    assert frame["funding_interval_hours"].to_list() == [8.0, 4.0, 1.0]
    assert frame["funding_rate"].to_list() == [0.0001, -0.0002, 0.0]
    assert defects == []
