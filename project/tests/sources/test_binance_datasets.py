"""Mark, index and premium klines, metrics, liquidations and the book from a server with the archive's layout."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backtest.lake.raw import read_raw

DAY_BARS = 288
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)
TICKER = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
LIQUIDATIONS = (
    "time,symbol,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
    "last_fill_quantity,accumulated_fill_quantity\n"
)
DEPTH = "timestamp,percentage,depth,notional\n"


def stored(download: Any, dataset: str) -> Any:
    return read_raw(download.root, "binance", "perp", "AAAUSDT", dataset)


def all_defects(report: Any) -> list[str]:
    return [str(defect) for month in sorted(report.defects) for defect in report.defects[month]]


def metrics_line(stamp: dt.datetime, interest: object = 100.0, symbol: str = "AAAUSDT") -> str:
    return f"{stamp:%Y-%m-%d %H:%M:%S},{symbol},{interest},1000.0,1.5,1.4,1.3,1.2\n"


def metrics(date: dt.date) -> str:
    """A day's file as published: from five minutes past midnight to the midnight at its end."""
    start = dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC)
    return METRICS + "".join(metrics_line(start + dt.timedelta(minutes=5 * bar)) for bar in range(1, DAY_BARS + 1))


def day_of(dataset: str, make: Any, date: dt.date) -> str:
    first = make.millis(date.year, date.month, date.day)
    if dataset == "metrics":
        return metrics(date)
    if dataset == "liquidations":
        return LIQUIDATIONS + f"{first},AAAUSDT,SELL,LIMIT,IOC,2,9,10,FILLED,2,2\n"
    if dataset == "book_ticker":
        return TICKER + "".join(f"{n},99,1,101,3,{first + n * 30_000},{first}\n" for n in range(2880))
    return DEPTH + "".join(
        f"{date} {n // 12:02d}:{n % 12 * 5:02d}:06,{band},1,{abs(band)}\n"
        for n in range(DAY_BARS)
        for band in (-5, -1, 1, 5)
    )


@pytest.mark.parametrize("dataset", ["mark_5m", "index_5m", "premium_5m"])
def test_reference_klines_come_by_month_then_by_day_then_from_rest(
    venue: Any, download: Any, make: Any, dataset: str
) -> None:
    venue.put(
        make.monthly(stamp="2023-12", dataset=dataset), make.zipped(make.klines(make.millis(2023, 12, 1), 31 * 288))
    )
    for day in range(1, 19):
        path = make.daily("AAAUSDT", f"2024-01-{day:02d}", dataset)
        venue.put(path, make.zipped(make.klines(make.millis(2024, 1, day), DAY_BARS)))
    kind = {"mark_5m": "markPriceKlines", "index_5m": "indexPriceKlines", "premium_5m": "premiumIndexKlines"}[dataset]
    asked: list[dict[str, str]] = []

    def rest(parameters: dict[str, str]) -> list[list[str]]:
        asked.append(parameters)
        first, last = int(parameters["startTime"]), int(parameters["endTime"])
        return [
            [int(cell) if n == 0 else cell for n, cell in enumerate(line.split(","))]  # type: ignore[misc]
            for line in make.klines(first, (last - first) // 300_000 + 1).splitlines()
        ]

    venue.rest[f"/fapi/v1/{kind}"] = rest
    report = download("2023-12-01", "2024-01-20", dataset=dataset)
    assert report.missing == []
    frame = stored(download, dataset)
    assert frame.columns == ["timestamp", "open", "high", "low", "close"]
    assert frame.height == 31 * 288 + 19 * 288 + 144
    assert asked[0]["pair" if dataset == "index_5m" else "symbol"] == "AAAUSDT"
    n_asked = len(venue.archive_requests())
    download("2023-12-01", "2024-01-18", dataset=dataset)
    assert len(venue.archive_requests()) == n_asked


def test_a_premium_below_zero_is_a_value_like_any_other(venue: Any, download: Any, make: Any) -> None:
    first = make.millis(2023, 8, 1)
    lines = "".join(f"{first + n * 300_000},-0.0004,-0.0003,-0.0006,-0.0005,0,{first},0,12,0,0,0\n" for n in range(288))
    venue.put(make.daily("AAAUSDT", "2023-08-01", "premium_5m"), make.zipped(lines))
    report = download("2023-08-01", "2023-08-01", dataset="premium_5m")
    assert (all_defects(report), stored(download, "premium_5m")["close"].unique().to_list()) == ([], [-0.0005])


@pytest.mark.parametrize("dataset", ["metrics", "liquidations", "book_ticker", "book_depth"])
def test_daily_data_sets_are_fetched_by_day_once_and_resumed(
    venue: Any, download: Any, make: Any, dataset: str
) -> None:
    days = [dt.date(2023, 8, day) for day in range(29, 32)] + [dt.date(2023, 9, day) for day in range(1, 4)]
    for date in days[:-1]:
        venue.put(make.daily("AAAUSDT", f"{date}", dataset), make.zipped(day_of(dataset, make, date)))
    report = download("2023-08-29", "2023-09-03", dataset=dataset)
    assert not [path for path in venue.asked if "monthly" in path]
    assert report.missing == [(days[-1], days[-1], "not in the archive")]
    assert all_defects(report) == []
    assert stored(download, dataset)["timestamp"].n_unique() == 5 * DAY_BARS
    venue.asked.clear()
    venue.put(make.daily("AAAUSDT", "2023-09-03", dataset), make.zipped(day_of(dataset, make, days[-1])))
    report = download("2023-08-29", "2023-09-03", dataset=dataset)
    assert report.missing == []
    assert {path.removesuffix(".CHECKSUM") for path in venue.asked} == {
        f"/data/{make.daily('AAAUSDT', '2023-09-03', dataset)}"
    }


def test_months_without_any_day_cost_three_requests_and_what_lies_between_is_found(
    venue: Any, download: Any, make: Any
) -> None:
    date = dt.date(2023, 8, 31)
    venue.put(make.daily("AAAUSDT", f"{date}", "metrics"), make.zipped(metrics(date)))
    report = download("2023-05-01", "2023-12-31", dataset="metrics")
    assert report.files == ["AAAUSDT-metrics-2023-08-31.zip"]
    assert len([path for path in venue.archive_requests() if ".CHECKSUM" not in path]) == 7 * 3 + 31
    assert report.listed_from == date


@pytest.mark.parametrize("dataset", ["metrics", "liquidations", "book_ticker", "book_depth"])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("checksum", "its SHA-256 is not the one in its CHECKSUM file, twice"),
        ("no checksum", "it has no CHECKSUM file beside it"),
        ("truncated", "it is not a whole zip file"),
        ("path", "names a path, which could lead outside the folder"),
        ("two", "it should hold one table, it holds 2 members"),
        ("large", "bytes unpacked, allowed are"),
        ("columns", "its header lacks"),
        ("narrow", "columns without header"),
        ("empty", "it is empty"),
        ("text", "it has no usable row"),
        ("page", "it is not a whole zip file"),
    ],
)
def test_a_broken_day_is_reported_and_the_others_are_kept(
    venue: Any, download: Any, make: Any, dataset: str, damage: str, found: str
) -> None:
    for day in (1, 3):
        date = dt.date(2023, 8, day)
        venue.put(make.daily("AAAUSDT", f"{date}", dataset), make.zipped(day_of(dataset, make, date)))
    good = make.zipped(day_of(dataset, make, dt.date(2023, 8, 2)))
    header = day_of(dataset, make, dt.date(2023, 8, 2)).splitlines()[0]
    body = {
        "checksum": good,
        "no checksum": good,
        "truncated": good[:-60],
        "path": make.zipped("a", "../a.csv"),
        "two": two_members(),
        "large": make.zipped("0" * 3_000_000),
        "columns": make.zipped("a,b,c\n1,2,3\n"),
        "narrow": make.zipped("1,2,3\n"),
        "empty": make.zipped(""),
        "text": make.zipped(header + "\n" + ",".join(["soon"] * len(header.split(","))) + "\n"),
        "page": b"<html>please log in</html>",
    }[damage]
    checksum = {"checksum": "0" * 64, "no checksum": None}.get(damage, "right")
    venue.put(make.daily("AAAUSDT", "2023-08-02", dataset), body, checksum)
    report = download("2023-08-01", "2023-08-03", dataset=dataset, max_bytes=2_000_000)
    assert len(report.files) == 2
    assert found in all_defects(report)[-1]
    assert all_defects(report)[-1].endswith("; not used")
    name = make.daily("AAAUSDT", "2023-08-02", dataset).rpartition("/")[2]
    assert report.missing == [(dt.date(2023, 8, 2), dt.date(2023, 8, 2), f"{name} cannot be used")]


def two_members() -> bytes:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "2")
    return packed.getvalue()


def test_a_broken_connection_in_a_large_file_starts_it_again(venue: Any, download: Any, make: Any) -> None:
    date = dt.date(2023, 8, 1)
    path = make.daily("AAAUSDT", f"{date}", "book_ticker")
    body = make.zipped(day_of("book_ticker", make, date))
    venue.put(path, body)
    venue.scripts[path] = [make.Scripted(body=body[: len(body) // 2], breaks_off=True), make.Scripted(503)]
    report = download("2023-08-01", "2023-08-01", dataset="book_ticker")
    assert (report.missing, all_defects(report)) == ([], [])
    assert stored(download, "book_ticker")["mean_spread_bps"].unique().to_list() == [200.0]
    assert len(download.delays) == 2


def test_blanks_repetitions_and_other_symbols_in_metrics_are_reported(venue: Any, download: Any, make: Any) -> None:
    date = dt.date(2023, 8, 1)
    lines = metrics(date).splitlines(keepends=True)
    stamp = dt.datetime(2023, 8, 1, 0, 15, tzinfo=dt.UTC)
    lines[2] = lines[2].replace("100.0", "", 1)
    lines[3] = metrics_line(stamp, 101.0) + metrics_line(stamp, 102.0)
    lines[4] = metrics_line(dt.datetime(2023, 8, 1, 0, 20, tzinfo=dt.UTC), symbol="BBBUSDT")
    venue.put(make.daily("AAAUSDT", f"{date}", "metrics"), make.zipped("".join(lines)))
    report = download("2023-08-01", "2023-08-01", dataset="metrics")
    name = "AAAUSDT-metrics-2023-08-01.zip"
    assert all_defects(report) == [
        f"{name} row 6: symbol 'BBBUSDT' is not AAAUSDT; row left out",
        f"{name} row 3: open_interest (empty) is not a number; open_interest left empty there",
        f"{name} row 5: timestamp '2023-08-01 00:15:00' is there already with other values; the last of them kept",
    ]
    frame = stored(download, "metrics")
    assert frame["open_interest"].head(4).to_list() == [100.0, None, 102.0, 100.0]
    assert frame["timestamp"][-1] == dt.datetime(2023, 8, 2, tzinfo=dt.UTC)


def test_the_newest_metrics_come_from_five_rest_paths_and_no_older_than_the_venue_keeps(
    venue: Any, download: Any, make: Any
) -> None:
    asked: list[tuple[str, int, int]] = []

    def answer(path: str, **fields: str) -> Any:
        def rest(parameters: dict[str, str]) -> list[dict[str, Any]]:
            first, last = int(parameters["startTime"]), int(parameters["endTime"])
            asked.append((path, first, last))
            assert (last - first) // 300_000 < int(parameters["limit"])
            now = int(make.now.timestamp() * 1000)
            return [{"timestamp": stamp, **fields} for stamp in range(first, min(last, now), 300_000)]

        venue.rest[f"/futures/data/{path}"] = rest
        return rest

    answer("openInterestHist", sumOpenInterest="5", sumOpenInterestValue="50")
    for path in ("topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio"):
        answer(path, longShortRatio="1.5")
    answer("takerlongshortRatio", buySellRatio="0.9")
    report = download("2023-12-01", "2024-01-20", dataset="metrics")
    frame = stored(download, "metrics")
    assert frame["timestamp"][0] == dt.datetime(2024, 1, 15, tzinfo=dt.UTC)
    assert frame.row(0)[1:] == (5.0, 50.0, 1.5, 1.5, 1.5, 0.9)
    assert report.listed_from == dt.date(2024, 1, 15)
    assert len({path for path, _, _ in asked}) == 5


@pytest.mark.parametrize("dataset", ["liquidations", "book_ticker", "book_depth"])
def test_rest_is_not_asked_for_what_it_has_no_history_of(venue: Any, download: Any, dataset: str) -> None:
    report = download("2024-01-18", "2024-01-19", dataset=dataset)
    assert report.missing == [(dt.date(2024, 1, 18), dt.date(2024, 1, 19), "not in the archive")]
    assert venue.archive_requests() == venue.asked
