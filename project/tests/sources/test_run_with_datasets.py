"""`backtest ingest` and `backtest run` with every data set: what is required, what is optional, what reaches the bars."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.cleaning.perpetual import DATASET_COLUMNS
from backtest.cli import main
from backtest.lake.months import read_months
from backtest.lake.paths import DataRoot
from backtest.lake.raw import read_raw, read_raw_quality

Run = Callable[..., tuple[int, str, str]]
DAYS = [dt.date(2023, 8, day) for day in (1, 2, 3)]
SPAN = ("--symbols", "AAAUSDT", "--start", "2023-08-01", "--end", "2023-08-03")
KLINES = (("perp", "ohlcv_5m"), ("spot", "ohlcv_5m"), ("perp", "mark_5m"), ("perp", "index_5m"), ("perp", "premium_5m"))
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)
LIQUIDATIONS = (
    "time,symbol,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
    "last_fill_quantity,accumulated_fill_quantity\n"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: Any) -> DataRoot:
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("BINANCE_ARCHIVE_URL", f"{venue.address}/data")
    monkeypatch.setenv("BINANCE_API_URL", venue.address)
    monkeypatch.setenv("BINANCE_SPOT_API_URL", venue.address)
    return DataRoot(tmp_path / "root")


@pytest.fixture
def run(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> Run:  # noqa: ARG001
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def put_required(venue: Any, make: Any, datasets: tuple[tuple[str, str], ...] = KLINES[:2]) -> None:
    for date in DAYS:
        lines = make.klines(make.millis(date.year, date.month, date.day), 288)
        for market, dataset in datasets:
            venue.put(make.daily("AAAUSDT", f"{date}", dataset, market), make.zipped(lines))
    stamps = [make.millis(2023, 8, day, hour) for day in range(1, 32) for hour in (0, 8, 16)]
    rows = "".join(f"{stamp},8,0.0001\n" for stamp in stamps)
    venue.put(make.monthly("AAAUSDT", "2023-08", "funding"), make.zipped(rows))


def put_daily(venue: Any, make: Any) -> None:
    for date in DAYS:
        first = make.millis(date.year, date.month, date.day)
        stamps = [dt.datetime.fromtimestamp(first / 1000 + 300 * bar, dt.UTC) for bar in range(288)]
        texts = {
            "metrics": METRICS
            + "".join(f"{stamp:%Y-%m-%d %H:%M:%S},AAAUSDT,5,50,1.1,1.2,1.3,1.4\n" for stamp in stamps),
            "liquidations": LIQUIDATIONS + f"{first},AAAUSDT,SELL,LIMIT,IOC,2,9,10,FILLED,2,2\n",
            "book_ticker": "".join(f"{n},99,1,101,3,{first + n * 50_000},{first}\n" for n in range(1728)),
            "book_depth": "".join(
                f"{stamp:%Y-%m-%d %H:%M:%S},{band},1,{abs(band)}\n" for stamp in stamps for band in (-5, -1, 1, 5)
            ),
        }
        for dataset, text in texts.items():
            venue.put(make.daily("AAAUSDT", f"{date}", dataset), make.zipped(text))


def test_optional_data_sets_that_are_not_there_are_said_and_are_no_error(venue: Any, make: Any, run: Run) -> None:
    put_required(venue, make)
    code, out, err = run("ingest", *SPAN)
    assert code == 0
    for dataset in ("mark_5m", "index_5m", "premium_5m", "metrics"):
        assert f"goes on without AAAUSDT perp {dataset}: 2023-08-01 … 2023-08-03: not in the archive" in err
    assert out.count("rows") == 3
    assert not [path for path in venue.asked if "bookTicker" in path or "liquidation" in path]


def test_a_data_set_that_was_named_and_is_not_there_ends_in_exit_1_unless_allowed(
    venue: Any, make: Any, run: Run
) -> None:
    put_required(venue, make)
    named = ("--dataset", "metrics", "--dataset", "ohlcv_5m", "--market", "perp")
    code, _, err = run("ingest", *SPAN, *named)
    assert code == 1
    assert "AAAUSDT perp metrics: 2023-08-01 … 2023-08-03: not in the archive" in err
    assert "--allow-missing" in err
    assert run("ingest", *SPAN, *named, "--allow-missing")[0] == 0


def test_a_broken_file_of_an_optional_data_set_is_reported_by_name(venue: Any, make: Any, run: Run) -> None:
    put_required(venue, make)
    venue.put(make.daily("AAAUSDT", "2023-08-02", "metrics"), b"<html>")
    code, _, err = run("ingest", *SPAN)
    assert code == 0
    assert "AAAUSDT-metrics-2023-08-02.zip: it is not a whole zip file" in err
    assert "goes on without AAAUSDT perp metrics: 2023-08-02: AAAUSDT-metrics-2023-08-02.zip cannot be used" in err


@pytest.mark.parametrize("text", ["metric", "ohlcv_5m,,nonsense"])
def test_an_unknown_name_in_datasets_is_refused_before_anything_is_fetched(venue: Any, run: Run, text: str) -> None:
    code, _, err = run("run", *SPAN, "--datasets", text)
    assert code == 2
    assert "known are ohlcv_5m" in err
    assert venue.asked == []


def test_a_run_brings_every_data_set_to_the_cleaned_bars(venue: Any, make: Any, run: Run, root: DataRoot) -> None:
    put_required(venue, make, KLINES)
    put_daily(venue, make)
    named = ("--datasets", "metrics,liquidations,book_ticker,book_depth")
    code, out, err = run("run", *SPAN, *named, "--run-id", "a", "--workers", "1")
    assert code == 0, err
    assert "Quality of the cleaned bars" in out
    # The made-up spot file is the perpetual's: it is found out.
    assert "close and volume equal to spot's" in out
    bars = read_months(root.cleaned_bars("perp", "AAAUSDT"))
    assert bars.height == 3 * 288
    for names in DATASET_COLUMNS.values():
        assert bars.select(names).null_count().row(0) == (0,) * len(names)
    assert bars["long_liquidation_usd"].sum() == 3 * 20.0
    assert bars["mean_spread_bps"].unique().to_list() == [200.0]
    assert bars["is_tainted"].sum() == 0
    quality = read_raw_quality(root, "binance").filter(pl.col("market") == "perp")
    assert set(quality["dataset"]) == {"ohlcv_5m", *DATASET_COLUMNS}
    assert quality.filter(pl.col("dataset") != "funding")["rows"].to_list() == [864] * 8
    venue.asked.clear()
    assert run("run", *SPAN, *named, "--run-id", "b", "--workers", "1")[0] == 0
    assert venue.asked == []


def test_a_run_that_lacks_a_named_data_set_ends_in_exit_1_and_says_how_to_go_on(
    venue: Any, make: Any, run: Run, root: DataRoot
) -> None:
    put_required(venue, make)
    code, _, err = run("run", *SPAN, "--datasets", "liquidations", "--run-id", "a", "--workers", "1")
    assert code == 1
    assert "AAAUSDT perp liquidations: 2023-08-01 … 2023-08-03: not in the archive" in err
    assert "ALLOW_MISSING=1" in err
    assert read_raw(root, "binance", "perp", "AAAUSDT", "ohlcv_5m").height == 864
    code, _, err = run("run", *SPAN, "--datasets", "liquidations", "--allow-missing", "--run-id", "b", "--workers", "1")
    assert code == 0, err


@pytest.mark.parametrize("dataset", ["mark_5m", "index_5m", "premium_5m"])
def test_broken_rows_of_reference_klines_are_reported_by_file_and_row(
    venue: Any, make: Any, download: Any, dataset: str
) -> None:
    first = make.millis(2023, 8, 1)
    lines = make.klines(first, 20).splitlines()
    lines[3] = lines[3].replace(",9.0,", ",oops,")
    lines[5] = make.kline((first + 5 * 300_000) * 1000)
    lines[8], lines[9] = lines[9], lines[8]
    lines.append(make.kline(first + 2 * 300_000, 77.0))
    lines.append(make.kline(first + 90_000))
    header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    venue.put(make.daily("AAAUSDT", "2023-08-01", dataset), make.zipped("\n".join([header, *lines])))
    report = download("2023-08-01", "2023-08-01", dataset=dataset)
    name = "AAAUSDT-5m-2023-08-01.zip"
    assert [str(defect) for defect in report.defects["2023-08"]] == [
        f"{name} row 7: stamps are in microseconds and milliseconds; each read in its own unit",
        f"{name} row 5: low 'oops' is not a number; row left out",
        f"{name} row 23: timestamp '{first + 90_000}' is not the start of a bar of 5 minutes; row left out",
        f"{name} row 11: its stamp is earlier than that of the row before (2 such rows); rows put in order of time",
        f"{name} row 22: timestamp '{first + 600_000}' is there already with other values; the last of them kept",
    ]
    stored = read_raw(download.root, "binance", "perp", "AAAUSDT", dataset)
    assert stored.height == 19
    assert stored["open"][2] == 77.0
