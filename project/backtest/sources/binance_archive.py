"""Binance's public archive: which file holds what, and how one is fetched, verified and read."""

from __future__ import annotations

import asyncio
import calendar
import datetime as dt
import hashlib
import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final, Literal

from backtest.errors import DataError, NetworkError
from backtest.sources.archives import MAX_UNPACKED_BYTES, opened_member, unzipped
from backtest.sources.book_depth import parse_book_depth
from backtest.sources.book_ticker import parse_book_ticker, pieces
from backtest.sources.download import NOT_FOUND, OK, Answer, Host
from backtest.sources.klines import parse_archive_csv
from backtest.sources.liquidations import parse_liquidations
from backtest.sources.rows import Defect, Parsed

Market = Literal["perp", "spot"]
Month = tuple[int, int]

MARKET_FOLDERS: Final[dict[str, str]] = {"perp": "futures/um", "spot": "spot"}
INTERVALS: Final[dict[str, str]] = {
    "ohlcv_5m": "5m",
    "ohlcv_1m": "1m",
    "mark_5m": "5m",
    "index_5m": "5m",
    "premium_5m": "5m",
}
_KLINE_FOLDERS: Final[dict[str, str]] = {
    "mark_5m": "markPriceKlines",
    "index_5m": "indexPriceKlines",
    "premium_5m": "premiumIndexKlines",
}
_FOLDERS: Final[dict[str, str]] = {
    "funding": "fundingRate",
    "metrics": "metrics",
    "liquidations": "liquidationSnapshot",
    "book_ticker": "bookTicker",
    "book_depth": "bookDepth",
}
DATASETS: Final[dict[str, tuple[str, ...]]] = {
    "perp": (
        "ohlcv_5m",
        "ohlcv_1m",
        "funding",
        "mark_5m",
        "index_5m",
        "premium_5m",
        "metrics",
        "liquidations",
        "book_ticker",
        "book_depth",
    ),
    "spot": ("ohlcv_5m", "ohlcv_1m"),
}
# Published by day only. Of book_ticker there are monthly files too, of tens of gigabytes: the daily ones are taken.
_DAILY_ONLY: Final = frozenset({"metrics", "liquidations", "book_ticker", "book_depth"})
_STREAMED: Final = frozenset({"book_ticker"})
# A day of quotes unpacked; more than any day published so far.
MAX_STREAMED_BYTES: Final = 32 << 30
_SHA256: Final = re.compile(rb"\b[0-9a-fA-F]{64}\b")


@dataclass(frozen=True)
class ArchiveFile:
    """One zip of the archive: the days it covers (last one included), its path below ``/data`` and its name here."""

    market: Market
    symbol: str
    dataset: str
    first_day: dt.date
    last_day: dt.date
    path: str
    is_monthly: bool

    @property
    def name(self) -> str:
        """``monthly`` or ``daily-YYYY-MM-DD``: the name in the lake's month folder."""
        return "monthly" if self.is_monthly else f"daily-{self.first_day}"

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def period_ms(self) -> tuple[int, int]:
        """First millisecond and the one after the last; metrics of a day run to the midnight at its end."""
        past_end = 1 if self.dataset == "metrics" else 0
        return start_ms(self.first_day), start_ms(self.last_day + dt.timedelta(days=1)) + past_end


@dataclass(frozen=True)
class Fetched:
    """What became of one archive file: ``parsed`` where usable, neither that nor absent where it was not."""

    file: ArchiveFile
    parsed: Parsed | None
    is_absent: bool
    defects: list[Defect]
    size: int = 0


def start_ms(day: dt.date) -> int:
    """Milliseconds since 1970 at the day's start, UTC."""
    return calendar.timegm(day.timetuple()) * 1000


def months_between(first: dt.date, last: dt.date) -> list[Month]:
    """All calendar months that touch [first, last]."""
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [(number // 12, number % 12 + 1) for number in numbers]


def days_between(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """All days of [first, last]."""
    return (first + dt.timedelta(days=number) for number in range((last - first).days + 1))


def last_day_of(month: Month) -> dt.date:
    return dt.date(*month, calendar.monthrange(*month)[1])


def has_daily_files(dataset: str) -> bool:
    """Funding is published by month only."""
    return dataset != "funding"


def has_monthly_files(dataset: str) -> bool:
    """Whether a month is asked for as one file before its days are."""
    return dataset not in _DAILY_ONLY


def monthly_file(market: Market, dataset: str, symbol: str, month: Month) -> ArchiveFile:
    stamp = f"{month[0]:04d}-{month[1]:02d}"
    path = _path(market, dataset, symbol, "monthly", stamp)
    return ArchiveFile(market, symbol, dataset, dt.date(*month, 1), last_day_of(month), path, True)


def daily_file(market: Market, dataset: str, symbol: str, day: dt.date) -> ArchiveFile:
    return ArchiveFile(market, symbol, dataset, day, day, _path(market, dataset, symbol, "daily", f"{day}"), False)


def plan_files(
    market: Market, dataset: str, symbol: str, start: dt.date, end: dt.date, today: dt.date
) -> list[ArchiveFile]:
    """Files asked for first: the monthly one of every month that is over, the daily ones of the running month."""
    planned = []
    for month in months_between(start, end):
        if last_day_of(month) < today and has_monthly_files(dataset):
            planned.append(monthly_file(market, dataset, symbol, month))
        elif has_daily_files(dataset):
            days = days_between(max(start, dt.date(*month, 1)), min(end, last_day_of(month)))
            planned += [daily_file(market, dataset, symbol, day) for day in days]
    return planned


def _path(market: str, dataset: str, symbol: str, span: str, stamp: str) -> str:
    folder = f"{MARKET_FOLDERS[market]}/{span}"
    if dataset in _FOLDERS:
        kind = _FOLDERS[dataset]
        return f"{folder}/{kind}/{symbol}/{symbol}-{kind}-{stamp}.zip"
    interval = INTERVALS[dataset]
    return f"{folder}/{_KLINE_FOLDERS.get(dataset, 'klines')}/{symbol}/{interval}/{symbol}-{interval}-{stamp}.zip"


async def fetch_file(host: Host, file: ArchiveFile, max_bytes: int = MAX_UNPACKED_BYTES) -> Fetched:
    """Download, verify and read one file. A file's own fault is reported in the result, never raised.

    A mismatch with the CHECKSUM is mended by fetching both again, once; after that the file is not used. A file of quotes
    is kept on disk (in the folder for temporary files) while it is read piece by piece. Raises NetworkError only where
    the host cannot be reached.
    """
    defects: list[Defect] = []
    try:
        with _store(file) as store:
            for is_last in (False, True):
                answer = await _downloaded(host, file, store)
                if answer.status == NOT_FOUND:
                    return Fetched(file, None, True, defects)
                _require_ok(answer)
                size, digest = await asyncio.to_thread(_size_and_digest, store)
                if await _matches(host, file, digest):
                    break
                found = "its SHA-256 is not the one in its CHECKSUM file"
                if is_last:
                    raise DataError(f"{found}, twice")
                defects.append(Defect(file.file, None, found, "fetched again"))
            parsed = await asyncio.to_thread(_read, store, file, max_bytes)
    except NetworkError:
        raise
    except DataError as fault:
        return Fetched(file, None, False, [*defects, Defect(file.file, None, str(fault), "not used")])
    except OSError as fault:
        found = f"it cannot be kept in the folder for temporary files ({fault.strerror or fault})"
        return Fetched(file, None, False, [*defects, Defect(file.file, None, found, "not used")])
    return Fetched(file, parsed, False, defects + parsed.defects, size)


def _store(file: ArchiveFile) -> IO[bytes]:
    return tempfile.TemporaryFile() if file.dataset in _STREAMED else io.BytesIO()


async def _downloaded(host: Host, file: ArchiveFile, store: IO[bytes]) -> Answer:
    """The answer for the file, its body in `store`."""
    if file.dataset in _STREAMED:
        return await host.save(file.path, store, MAX_STREAMED_BYTES)
    answer = await host.get(file.path)
    store.seek(0)
    store.truncate()
    store.write(answer.body)
    return answer


def _size_and_digest(store: IO[bytes]) -> tuple[int, str]:
    store.seek(0)
    digest = hashlib.file_digest(store, "sha256").hexdigest()  # type: ignore[arg-type]
    return store.tell(), digest


async def _matches(host: Host, file: ArchiveFile, digest: str) -> bool:
    answer = await host.get(f"{file.path}.CHECKSUM")
    if answer.status == NOT_FOUND:
        raise DataError("it has no CHECKSUM file beside it, so it cannot be verified")
    _require_ok(answer)
    expected = _SHA256.search(answer.body)
    return expected is not None and expected[0].decode().lower() == digest


def _require_ok(answer: Answer) -> None:
    if answer.status != OK:
        raise DataError(f"the host answers {answer.status}")


def _read(store: IO[bytes], file: ArchiveFile, max_bytes: int) -> Parsed:
    if file.dataset in _STREAMED:
        limit = MAX_STREAMED_BYTES if max_bytes == MAX_UNPACKED_BYTES else max_bytes
        with opened_member(store, limit) as stream:
            return parse_book_ticker(pieces(stream, limit), file.file, file.period_ms)
    store.seek(0)
    _, text = unzipped(store.read(), max_bytes)
    if file.dataset == "liquidations":
        return parse_liquidations(text, file.file, file.symbol, file.period_ms)
    if file.dataset == "book_depth":
        return parse_book_depth(text, file.file, file.period_ms)
    return parse_archive_csv(text, file.dataset, file.file, file.period_ms, file.symbol)
