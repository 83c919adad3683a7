"""Downloads from a real server: what is fetched, verified, mended, reported, and never fetched twice."""

from __future__ import annotations

import datetime as dt
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backtest.errors import NetworkError
from backtest.lake.raw import read_raw
from backtest.sources import binance

MONTH_BARS = 31 * 288
DAY_BARS = 288
FUNDING = "calc_time,funding_interval_hours,last_funding_rate\n"


def stored(download: Any, symbol: str = "AAAUSDT", dataset: str = "ohlcv_5m", market: Any = "perp") -> Any:
    return read_raw(download.root, "binance", market, symbol, dataset)


def put_month(venue: Any, make: SimpleNamespace, month: int, count: int = MONTH_BARS) -> str:
    path = make.monthly(stamp=f"2023-{month:02d}")
    venue.put(path, make.zipped(make.klines(make.millis(2023, month, 1), count)))
    return str(path)


def put_day(venue: Any, make: SimpleNamespace, *date: int, count: int = DAY_BARS) -> str:
    path = make.daily("AAAUSDT", f"{dt.date(*date)}")
    venue.put(path, make.zipped(make.klines(make.millis(*date), count)))
    return str(path)


def all_defects(report: binance.SeriesReport) -> list[str]:
    return [str(defect) for month in sorted(report.defects) for defect in report.defects[month]]


def test_a_month_is_fetched_verified_and_kept_and_not_fetched_again(venue: Any, download: Any, make: Any) -> None:
    path = put_month(venue, make, 8)
    report = download("2023-08-03", "2023-08-20")
    assert report.files == ["AAAUSDT-5m-2023-08.zip"]
    assert (report.n_rows, report.missing, all_defects(report)) == (MONTH_BARS, [], [])
    assert stored(download).height == MONTH_BARS
    assert venue.asked == [f"/data/{path}", f"/data/{path}.CHECKSUM"]
    again = download("2023-08-01", "2023-08-31")
    assert len(venue.asked) == 2
    assert (again.files, again.months_there, again.missing) == ([], 1, [])


def test_the_mirror_gives_the_published_rows_and_nothing_the_second_time(
    venue: Any, download: Any, shared_data: Path
) -> None:
    venue.folder = shared_data / "mirror/data"
    report = download("2023-08-01", "2023-11-30", "FILUSDT")
    assert report.missing == []
    frame = stored(download, "FILUSDT")
    assert frame.height == (31 + 30 + 31 + 30) * 288
    assert frame["timestamp"].is_sorted()
    assert frame.row(0)[1:] == (4.255, 4.257, 4.251, 4.256, 50318.0, 214061.6171, 564, 25230.4, 107346.9774)
    n_asked = len(venue.asked)
    assert n_asked == 8
    download("2023-08-01", "2023-11-30", "FILUSDT")
    assert len(venue.asked) == n_asked


def test_a_mismatch_with_the_checksum_is_mended_by_one_more_fetch(venue: Any, download: Any, make: Any) -> None:
    path = put_month(venue, make, 8)
    flipped = bytearray(venue.files[path])
    flipped[60] ^= 0x01
    venue.scripts[path] = [make.Scripted(body=bytes(flipped))]
    report = download("2023-08-01", "2023-08-31")
    assert report.missing == []
    assert all_defects(report) == [
        "AAAUSDT-5m-2023-08.zip: its SHA-256 is not the one in its CHECKSUM file; fetched again"
    ]
    assert stored(download).height == MONTH_BARS


def test_a_second_mismatch_leaves_the_file_unused_and_its_days_come_from_daily_files(
    venue: Any, download: Any, make: Any
) -> None:
    path = put_month(venue, make, 8)
    venue.files[f"{path}.CHECKSUM"] = b"0" * 64
    put_day(venue, make, 2023, 8, 2)
    report = download("2023-08-01", "2023-08-03")
    assert [line.partition(": ")[2] for line in all_defects(report)] == [
        "its SHA-256 is not the one in its CHECKSUM file; fetched again",
        "its SHA-256 is not the one in its CHECKSUM file, twice; not used",
    ]
    assert stored(download)["timestamp"].dt.day().unique().to_list() == [2]
    reason = "AAAUSDT-5m-2023-08.zip cannot be used"
    assert report.missing == [
        (dt.date(2023, 8, 1), dt.date(2023, 8, 1), reason),
        (dt.date(2023, 8, 3), dt.date(2023, 8, 3), reason),
    ]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("no checksum", "it has no CHECKSUM file beside it, so it cannot be verified"),
        ("truncated", "it is not a whole zip file"),
        ("path", "names a path, which could lead outside the folder"),
        ("two", "it should hold one table"),
        ("large", "bytes unpacked, allowed are"),
        ("columns", "it has 3 columns without header"),
        ("page", "it is not a whole zip file"),
    ],
)
def test_a_broken_file_is_reported_and_the_rest_goes_on(
    venue: Any, download: Any, make: Any, damage: str, found: str
) -> None:
    put_month(venue, make, 7)
    path = make.monthly(stamp="2023-08")
    good = make.zipped(make.klines(make.millis(2023, 8, 1), 20))
    body = {
        "no checksum": good,
        "truncated": good[:-40],
        "path": make.zipped("a", "../../a.csv"),
        "two": two_members(),
        "large": make.zipped("0" * 3_000_000),
        "columns": make.zipped("1,2,3\n"),
        "page": b"<html>please log in</html>",
    }[damage]
    venue.put(path, body, None if damage == "no checksum" else "right")
    report = download("2023-07-01", "2023-08-31", max_bytes=2_000_000)
    assert report.files == ["AAAUSDT-5m-2023-07.zip"]
    assert len(all_defects(report)) == 1
    assert found in all_defects(report)[0]
    assert all_defects(report)[0].endswith("; not used")
    assert report.missing == [(dt.date(2023, 8, 1), dt.date(2023, 8, 31), "AAAUSDT-5m-2023-08.zip cannot be used")]


def two_members() -> bytes:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "2")
    return packed.getvalue()


def test_bad_rows_of_a_file_are_reported_and_the_others_kept(venue: Any, download: Any, make: Any) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 10).splitlines()
    lines[4] = lines[4].replace("3.5", "many", 1)
    venue.put(make.monthly(), make.zipped("\n".join(lines)))
    report = download("2023-08-01", "2023-08-31")
    assert all_defects(report) == ["AAAUSDT-5m-2023-08.zip row 5: volume 'many' is not a number; row left out"]
    assert report.missing == []
    assert stored(download).height == 9


def test_an_absent_monthly_file_falls_back_to_daily_ones(venue: Any, download: Any, make: Any) -> None:
    put_month(venue, make, 7)
    put_month(venue, make, 9, 30 * 288)
    for day in (1, 2, 4):
        put_day(venue, make, 2023, 8, day)
    report = download("2023-07-01", "2023-09-30")
    assert stored(download).height == MONTH_BARS + 3 * DAY_BARS + 30 * 288
    assert report.missing == [
        (dt.date(2023, 8, 3), dt.date(2023, 8, 3), "not in the archive"),
        (dt.date(2023, 8, 5), dt.date(2023, 8, 31), "not in the archive"),
    ]
    venue.asked.clear()
    put_day(venue, make, 2023, 8, 3)
    download("2023-07-01", "2023-09-30")
    assert not [path for path in venue.asked if "daily" in path and path.endswith(("01.zip", "02.zip", "04.zip"))]
    assert stored(download).height == MONTH_BARS + 4 * DAY_BARS + 30 * 288


def test_daily_files_alone_are_enough(venue: Any, download: Any, make: Any) -> None:
    for day in (29, 30, 31):
        put_day(venue, make, 2023, 8, day)
    report = download("2023-08-29", "2023-08-31")
    assert report.missing == []
    assert report.files == [f"AAAUSDT-5m-2023-08-{day}.zip" for day in (29, 30, 31)]


def test_time_before_the_first_file_is_before_the_listing_and_no_fault(venue: Any, download: Any, make: Any) -> None:
    put_month(venue, make, 8)
    report = download("2021-01-01", "2023-08-31")
    assert report.missing == []
    assert report.listed_from == dt.date(2023, 8, 1)
    n_daily = sum("daily" in path for path in venue.asked)
    assert n_daily == 30 + 31, "the search by daily files ends after two months without any"


def test_a_symbol_that_does_not_exist_is_missing_as_a_whole(download: Any) -> None:
    report = download("2023-08-01", "2023-09-30")
    assert report.missing == [(dt.date(2023, 8, 1), dt.date(2023, 9, 30), "not in the archive")]
    assert not (download.root.lake / "raw").exists()


def test_funding_is_fetched_by_month_and_never_by_day(venue: Any, download: Any, make: Any) -> None:
    rows = "".join(f"{make.millis(2023, 8, 1) + number * 14_400_000},4,0.0001\n" for number in range(6 * 31))
    venue.put(make.monthly(dataset="funding"), make.zipped(FUNDING + rows))
    venue.rest["/fapi/v1/fundingRate"] = lambda _: []
    report = download("2023-07-01", "2023-08-31", dataset="funding")
    assert report.missing == []
    assert not any("daily" in path for path in venue.asked)
    assert stored(download, dataset="funding")["funding_interval_hours"].unique().to_list() == [4.0]


# -- a host that misbehaves -------------------------------------------------------------------------------


def test_a_busy_host_is_asked_again_with_growing_delays(venue: Any, download: Any, make: Any) -> None:
    path = put_month(venue, make, 8)
    venue.scripts[path] = [make.Scripted(503), make.Scripted(500), make.Scripted(429)]
    report = download("2023-08-01", "2023-08-31")
    assert report.missing == []
    assert download.delays == [0.25, 0.5, 1.0]


def test_retry_after_is_honoured(venue: Any, download: Any, make: Any) -> None:
    path = put_month(venue, make, 8)
    later = "Sat, 20 Jan 2024 12:03:30 GMT"
    venue.scripts[path] = [
        make.Scripted(429, headers={"Retry-After": "7"}),
        make.Scripted(503, headers={"Retry-After": later}),
    ]
    download("2023-08-01", "2023-08-31")
    assert download.delays == [7.0, 90.0]


def test_a_host_that_asks_to_wait_for_hours_is_not_waited_for(venue: Any, download: Any, make: Any) -> None:
    put_month(venue, make, 7)
    path = put_month(venue, make, 8)
    venue.scripts[path] = [make.Scripted(429, headers={"Retry-After": "7200"})]
    report = download("2023-07-01", "2023-08-31")
    assert all_defects(report) == ["AAAUSDT-5m-2023-08.zip: the host answers 429 and asks to wait 7200 s; not used"]
    assert download.delays == []


def test_a_connection_that_breaks_off_in_the_body_is_made_again(venue: Any, download: Any, make: Any) -> None:
    path = put_month(venue, make, 8)
    venue.scripts[path] = [make.Scripted(body=venue.files[path][:1000], breaks_off=True)]
    report = download("2023-08-01", "2023-08-31")
    assert (report.missing, all_defects(report)) == ([], [])
    assert stored(download).height == MONTH_BARS


def test_a_file_that_fails_every_time_does_not_stop_the_others(venue: Any, download: Any, make: Any) -> None:
    path = put_month(venue, make, 8)
    put_month(venue, make, 9, 30 * 288)
    venue.scripts[path] = [make.Scripted(503)] * 9
    report = download("2023-08-01", "2023-09-30", concurrency=1)
    assert all_defects(report) == ["AAAUSDT-5m-2023-08.zip: the host answers 503, 5 times in a row; not used"]
    assert report.files == ["AAAUSDT-5m-2023-09.zip"]


def test_a_host_that_refuses_the_connection_ends_the_download_with_one_line(download: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/data"
    with pytest.raises(NetworkError) as fault:
        download("2023-08-01", "2023-12-31", archive_url=address)
    text = str(fault.value)
    assert text.startswith(f"cannot reach {address} (connection refused). ")
    assert "\n" not in text
    for alternative in ("make demo", "backtest import-raw", "BINANCE_ARCHIVE_URL"):
        assert alternative in text
    assert len(download.delays) <= 2 * 8
    assert not (download.root.lake / "raw").exists()


def test_a_host_that_answers_nothing_but_refusals_is_not_taken_for_an_empty_archive(
    venue: Any, download: Any, make: Any
) -> None:
    for month in (8, 9):
        venue.scripts[make.monthly(stamp=f"2023-{month:02d}")] = [make.Scripted(403, b"not in your country")]
    for day in range(1, 31):
        venue.scripts[make.daily("AAAUSDT", f"2023-08-{day:02d}")] = [make.Scripted(403)]
    with pytest.raises(NetworkError, match="gives nothing: it answers 403"):
        download("2023-08-01", "2023-08-02")


def test_a_host_that_stops_answering_ends_the_download_and_what_came_is_kept(
    venue: Any, download: Any, make: Any
) -> None:
    put_month(venue, make, 1)
    for month in range(2, 13):
        venue.scripts[make.monthly(stamp=f"2023-{month:02d}")] = [make.Scripted(502)] * 9
    with pytest.raises(NetworkError, match=r"no longer answers \(the host answers 502\)"):
        download("2023-01-01", "2023-12-31", concurrency=1)
    assert stored(download).height == MONTH_BARS


# -- the tail ---------------------------------------------------------------------------------------------


def rest_klines(make: Any, available_until: int) -> Any:
    """A venue that has a bar every five minutes until now, the forming one included."""

    def answer(query: dict[str, str]) -> list[list[Any]]:
        start, end, limit = int(query["startTime"]), int(query["endTime"]), int(query["limit"])
        first = -(-start // 300_000) * 300_000
        stamps = range(first, min(end, available_until) + 1, 300_000)[:limit]
        return [[stamp, *make.kline(stamp).split(",")[1:]] for stamp in stamps]

    return answer


def test_days_newer_than_the_archive_come_from_rest_without_the_forming_bar(
    venue: Any, download: Any, make: Any
) -> None:
    for day in (16, 17, 18):
        put_day(venue, make, 2024, 1, day)
    venue.rest["/fapi/v1/klines"] = rest_klines(make, make.millis(2024, 1, 20, 12, 2))
    report = download("2024-01-16", "2024-01-20", page_rows=100)
    frame = stored(download).sort("timestamp")
    assert report.missing == []
    assert frame["timestamp"].is_unique().all()
    assert frame.height == 4 * DAY_BARS + 12 * 12, "the bar of 12:00 is still forming at 12:02"
    assert frame["trade_count"].unique().to_list() == [7]
    pages = [path for path in venue.asked if "/fapi/v1/klines" in path]
    assert len(pages) == 5
    assert download.delays == [0.25] * 4, "pages are spaced"


def test_a_second_run_asks_rest_only_for_days_that_were_not_over(venue: Any, download: Any, make: Any) -> None:
    put_day(venue, make, 2024, 1, 18)
    venue.rest["/fapi/v1/klines"] = rest_klines(make, make.millis(2024, 1, 20, 12, 2))
    download("2024-01-18", "2024-01-20")
    venue.asked.clear()
    later = make.now + dt.timedelta(hours=1)
    venue.rest["/fapi/v1/klines"] = rest_klines(make, make.millis(2024, 1, 20, 13, 2))
    download("2024-01-18", "2024-01-20", now=later)
    rest = [path for path in venue.asked if "/fapi/" in path]
    assert len(rest) == 1
    assert f"startTime={make.millis(2024, 1, 20)}" in rest[0]
    assert stored(download).height == 2 * DAY_BARS + 13 * 12


def test_spot_tail_is_asked_from_the_spot_address(venue: Any, download: Any, make: Any) -> None:
    venue.rest["/api/v3/klines"] = rest_klines(make, make.millis(2024, 1, 20, 12, 2))
    download("2024-01-19", "2024-01-19", market="spot")
    assert stored(download, market="spot").height == DAY_BARS


def test_funding_of_the_running_month_comes_from_rest_with_unknown_interval(
    venue: Any, download: Any, make: Any
) -> None:
    first = make.millis(2024, 1, 1)

    def answer(query: dict[str, str]) -> list[dict[str, Any]]:
        stamps = range(max(first, int(query["startTime"])), int(query["endTime"]) + 1)
        paid = [stamp for stamp in range(first, stamps.stop, 28_800_000) if stamp >= stamps.start]
        return [
            {"symbol": "AAAUSDT", "fundingTime": stamp + 3, "fundingRate": "0.00010000", "markPrice": "1"}
            for stamp in paid[: int(query["limit"])]
        ]

    venue.rest["/fapi/v1/fundingRate"] = answer
    report = download("2024-01-01", "2024-01-20", dataset="funding", page_rows=10)
    frame = stored(download, dataset="funding")
    assert report.missing == []
    assert frame.height == 19 * 3 + 2
    assert frame["timestamp"].dt.epoch("ms").to_list() == [first + 28_800_000 * number for number in range(59)]
    assert frame["funding_interval_hours"].null_count() == 59


def test_old_days_the_archive_lacks_are_not_asked_from_rest(venue: Any, download: Any, make: Any) -> None:
    put_month(venue, make, 7)
    put_month(venue, make, 9, 30 * 288)
    report = download("2023-07-01", "2023-09-30")
    assert report.missing == [(dt.date(2023, 8, 1), dt.date(2023, 8, 31), "not in the archive")]
    assert len(venue.archive_requests()) == len(venue.asked)


def test_rest_out_of_reach_leaves_a_missing_tail_and_everything_else(venue: Any, download: Any, make: Any) -> None:
    put_day(venue, make, 2024, 1, 18)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    report = download("2024-01-18", "2024-01-20", api_url=address)
    assert stored(download).height == DAY_BARS
    assert report.missing == [
        (
            dt.date(2024, 1, 19),
            dt.date(2024, 1, 20),
            f"not in the archive, and REST: cannot reach {address} (connection refused)",
        )
    ]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', "answers 400 Invalid symbol."),
        (451, b"<html></html>", "answers 451"),
        (200, b"<html></html>", "answers something that is not klines"),
        (200, b"[[" + b"9" * 25 + b', "1", "1", "1", "1", "1", 1, "1", 1, "1", "1", "0"]]', "that is not klines"),
    ],
)
def test_what_rest_says_is_the_reason_of_the_missing_tail(
    venue: Any, download: Any, make: Any, status: int, body: bytes, said: str
) -> None:
    put_day(venue, make, 2024, 1, 18)
    venue.rest["/fapi/v1/klines"] = lambda _: make.Scripted(status, body)
    report = download("2024-01-18", "2024-01-19")
    assert len(report.missing) == 1
    assert report.missing[0][2].endswith(said)


def test_one_series_without_data_does_not_hinder_another(venue: Any, download: Any, make: Any) -> None:
    put_month(venue, make, 8)
    days = dt.date(2023, 8, 1), dt.date(2023, 8, 31)
    report = download.all([binance.Request("perp", name, "ohlcv_5m", *days) for name in ("ZZZUSDT", "AAAUSDT")])
    assert report.missing == ["ZZZUSDT perp ohlcv_5m: 2023-08-01 … 2023-08-31: not in the archive"]
    assert report.series[1].n_rows == MONTH_BARS
