"""Files an operator has: each layout is recognised, read into the raw schema, or refused with the reason."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import polars as pl
import pytest

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.sources.files import read_file, recognise

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
FIRST = dt.datetime(2023, 8, 1, tzinfo=dt.UTC)


def five_bars(name: str, unit: str = "ms") -> pl.DataFrame:
    stamps = [FIRST + dt.timedelta(minutes=5 * number) for number in range(5)]
    prices = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 3.5}
    stamp = pl.Series(name, stamps, dtype=pl.Datetime(unit, "UTC"))  # type: ignore[arg-type]
    return pl.DataFrame([stamp]).with_columns(pl.lit(value).alias(column) for column, value in prices.items())


def assert_five_bars(path: Path, layout: str, symbol: str | None = None) -> pl.DataFrame:
    frame, recognised, defects = read_file(path, "perp", "ohlcv_5m", symbol)
    assert dict(frame.schema) == RAW_SCHEMAS["ohlcv_5m"]
    assert frame["timestamp"].to_list() == [FIRST + dt.timedelta(minutes=5 * number) for number in range(5)]
    assert frame.select("open", "high", "low", "close", "volume").unique().rows() == [(10.0, 11.0, 9.0, 10.5, 3.5)]
    assert recognised.layout == layout
    assert recognise(path, "perp", "ohlcv_5m", symbol) == recognised
    assert defects == []
    return frame


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("stamp", [2**62, -(2**62)])
def test_a_time_without_a_date_is_a_fault_of_its_row(tmp_path: Path, unit: str, stamp: int) -> None:
    path = tmp_path / "bars.parquet"
    bars = five_bars("timestamp", unit)
    far = pl.Series("timestamp", [*bars["timestamp"].to_physical()[:-1], stamp]).cast(bars.schema["timestamp"])
    bars.with_columns(far).write_parquet(path)
    frame, _, defects = read_file(path, "perp", "ohlcv_5m", None)
    assert len(frame) == 4
    assert [(defect.row, str(stamp) in defect.found) for defect in defects] == [(5, True)]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip"])
@pytest.mark.parametrize("has_header", [False, True])
def test_binance_files_are_taken_plain_and_packed(
    tmp_path: Path, make: SimpleNamespace, suffix: str, has_header: bool
) -> None:
    text = make.klines(make.millis(2023, 8, 1), 5)
    text = f"{HEADER}\n{text}" if has_header else text
    path = tmp_path / f"AAAUSDT-5m-2023-08{suffix}"
    packed = {".csv": text.encode(), ".csv.gz": gzip.compress(text.encode()), ".zip": make.zipped(text)}
    path.write_bytes(packed[suffix])
    layout = "Binance klines, 12 columns with header" if has_header else "Binance klines, 12 columns, no header"
    frame = assert_five_bars(path, layout, "AAAUSDT")
    assert frame["trade_count"].to_list() == [7] * 5


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("name", ["open_time", "timestamp"])
def test_parquet_with_named_columns_leaves_what_it_lacks_null(tmp_path: Path, name: str, unit: str) -> None:
    path = tmp_path / "bars.parquet"
    five_bars(name, unit).write_parquet(path)
    frame = assert_five_bars(path, "bars with named columns")
    assert frame.select("quote_volume", "trade_count", "taker_buy_volume").null_count().row(0) == (5, 5, 5)
    said = str(recognise(path, "perp", "ohlcv_5m"))
    assert "stay empty: quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume" in said


def test_freqtrade_feather_parquet_and_csv_are_taken(tmp_path: Path) -> None:
    bars = five_bars("date", "ns")
    bars.to_pandas().to_feather(tmp_path / "a.feather")
    bars.to_pandas().to_parquet(tmp_path / "a.parquet")
    bars.write_csv(tmp_path / "a.csv")
    bars.to_pandas().to_csv(tmp_path / "b.csv", index=False)
    for name in ("a.feather", "a.parquet", "a.csv", "b.csv"):
        assert_five_bars(tmp_path / name, "freqtrade")


def test_stamps_without_time_zone_are_utc(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    five_bars("date").with_columns(pl.col("date").dt.replace_time_zone(None)).write_parquet(path)
    assert_five_bars(path, "freqtrade")


@pytest.mark.parametrize("factor", [1, 1000])
def test_cryptodatadownload_with_its_first_line_newest_first_is_taken(
    tmp_path: Path, make: SimpleNamespace, factor: int
) -> None:
    seconds = make.millis(2023, 8, 1) // 1000
    lines = [
        f"{(seconds + 300 * number) * factor},2023-08-01 00:{5 * number:02d}:00,AAA/USDT,10,11,9,10.5,3.5,36.75,7"
        for number in reversed(range(5))
    ]
    path = tmp_path / "Binance_AAAUSDT_5m.csv"
    header = "Unix,Date,Symbol,Open,High,Low,Close,Volume AAA,Volume USDT,tradecount"
    path.write_text("\n".join(["https://www.CryptoDataDownload.com", header, *lines]) + "\n")
    frame = assert_five_bars(path, "CryptoDataDownload", "AAAUSDT")
    assert frame["quote_volume"].to_list() == [36.75] * 5
    assert frame["trade_count"].to_list() == [7] * 5
    with pytest.raises(DataError, match="it holds AAA/USDT, not BBBUSDT"):
        read_file(path, "perp", "ohlcv_5m", "BBBUSDT")


def test_the_row_of_a_defect_is_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    five = five_bars("date").write_csv().splitlines()
    five[3] = five[3].replace("9.0", "low")
    path.write_text("\n".join(["https://www.CryptoDataDownload.com", *five]))
    _, _, defects = read_file(path, "perp", "ohlcv_5m")
    assert [str(defect) for defect in defects] == ["a.csv row 5: low 'low' is not a number; row left out"]


def test_funding_is_taken_in_its_own_and_in_the_archives_columns(tmp_path: Path, make: SimpleNamespace) -> None:
    stamps = [FIRST + dt.timedelta(hours=8 * number) for number in range(3)]
    own = tmp_path / "own.parquet"
    pl.DataFrame({"funding_time": stamps, "funding_rate": [0.0001, -0.0001, 0.0]}).write_parquet(own)
    archive = tmp_path / "AAAUSDT-fundingRate-2023-08.csv"
    rows = [f"{make.millis(2023, 8, 1) + 28_800_000 * number},8,{rate}" for number, rate in enumerate((1e-4, -1e-4, 0))]
    archive.write_text("\n".join(["calc_time,funding_interval_hours,last_funding_rate", *rows]))
    first, second = (read_file(path, "perp", "funding", "AAAUSDT")[0] for path in (own, archive))
    assert first.select("timestamp", "funding_rate").equals(second.select("timestamp", "funding_rate"))
    assert first["funding_interval_hours"].to_list() == [None] * 3
    assert second["funding_interval_hours"].to_list() == [8.0] * 3


@pytest.mark.parametrize("name", ["BTCUSDT_perp_5m", "ETHUSDT_spot_5m", "BTCUSDT_funding"])
def test_real_files_keep_every_row(shared_data: Path, name: str) -> None:
    path = shared_data / f"import/{name}.parquet"
    dataset = "funding" if name.endswith("funding") else "ohlcv_5m"
    frame, _, defects = read_file(path, "spot" if "spot" in name else "perp", dataset, name[:7])
    given = pd.read_parquet(path)
    assert defects == []
    assert (frame.height, frame["timestamp"].is_sorted()) == (len(given), True)
    for column in ("funding_rate",) if dataset == "funding" else ("open", "high", "low", "close", "volume"):
        assert (frame[column].to_numpy() == given[column].to_numpy()).all()


# -- refusals ---------------------------------------------------------------------------------------------


def test_unknown_columns_are_named_with_the_accepted_layouts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("when,price\n1,2\n")
    with pytest.raises(DataError) as fault:
        read_file(path, "perp", "ohlcv_5m")
    text = str(fault.value)
    assert "it has no timestamp and no open" in text
    assert "it has when, price" in text
    for layout in ("Binance klines", "freqtrade", "CryptoDataDownload", "funding_time"):
        assert layout in text


def test_a_file_of_one_minute_bars_is_not_taken_for_five(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "a.csv"
    path.write_text(make.klines(make.millis(2023, 8, 1), 20, step=60_000))
    with pytest.raises(DataError, match=r"1 minute apart, ohlcv_5m needs 5 minutes \(it would fit ohlcv_1m\)"):
        read_file(path, "perp", "ohlcv_5m")
    assert read_file(path, "perp", "ohlcv_1m")[0].height == 20


def test_bars_are_not_taken_for_funding(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "a.csv"
    path.write_text(make.klines(make.millis(2023, 8, 1), 20))
    with pytest.raises(DataError, match="it has no funding_rate for funding"):
        read_file(path, "perp", "funding")


def test_an_archive_file_of_another_symbol_is_refused(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "AAAUSDT-5m-2023-08.csv"
    path.write_text(make.klines(make.millis(2023, 8, 1), 5))
    with pytest.raises(DataError, match=r"by its name it holds AAAUSDT, not BBBUSDT\. Use --symbol AAAUSDT"):
        read_file(path, "perp", "ohlcv_5m", "BBBUSDT")


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("a.parquet", b"no parquet", "not a readable Parquet file"),
        ("a.feather", b"no feather", "not a readable Feather file"),
        ("a.zip", b"PK\x03\x04", "not a whole zip file"),
        ("a.csv.gz", b"\x1f\x8b", "not a whole gzip file"),
        ("a.csv", b"", "it is empty"),
        ("a.csv", b"1,2,3,4\n", "it has no header row and 4 columns"),
        ("a.csv", b"open,open\n1,2\n", "names a column twice"),
        ("a.xlsx", b"PK", "its kind .xlsx is not taken; taken are .parquet"),
    ],
)
def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path, name: str, data: bytes, fault: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=fault) as raised:
        read_file(path, "perp", "ohlcv_5m")
    assert str(path) in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_file(tmp_path / "none.csv", "perp", "ohlcv_5m")
    with pytest.raises(DataError, match="is not a file"):
        read_file(tmp_path, "perp", "ohlcv_5m")


def test_spot_has_no_funding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("funding_time,funding_rate\n1690848000000,0.1\n")
    with pytest.raises(DataError, match="spot has no funding"):
        read_file(path, "spot", "funding")
