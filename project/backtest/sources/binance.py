"""Market data from Binance: the archive's monthly files, its daily ones where those are absent, REST for the tail.

Nothing here knows the lake: the caller says what is there already and takes each file as soon as it is verified.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeVar

import polars as pl

from backtest.errors import DataError, NetworkError
from backtest.sources.archives import MAX_UNPACKED_BYTES
from backtest.sources.binance_archive import (
    ArchiveFile,
    Market,
    Month,
    daily_file,
    days_between,
    fetch_file,
    has_daily_files,
    has_monthly_files,
    last_day_of,
    monthly_file,
    months_between,
)
from backtest.sources.binance_rest import fetch_rest, rest_reaches_back_days
from backtest.sources.download import Host, RetryPolicy, Sleep, new_client
from backtest.sources.rows import Defect

Result = TypeVar("Result")
Outcome = Literal["kept", "absent", "unusable"]

DEFAULT_ARCHIVE_URL: Final = "https://data.binance.vision/data"
DEFAULT_API_URL: Final = "https://fapi.binance.com"
DEFAULT_SPOT_API_URL: Final = "https://api.binance.com"
DEFAULT_CONCURRENCY: Final = 8
# Days after which the archive has surely published: daily files follow within days, funding (monthly) within weeks.
_PUBLISHED_AFTER_DAYS: Final[dict[bool, int]] = {True: 5, False: 40}
# Quotes are read piece by piece; more files at a time would multiply the memory of one piece.
_STREAMS_AT_A_TIME: Final = 2
# Beyond the first or last month that exists, the search by daily files ends after this many months without any.
_EMPTY_MONTHS_TO_STOP: Final = 2

WITHOUT_NETWORK: Final = (
    "Without network: make demo (simulated market), backtest import-raw (files you have), "
    "or set BINANCE_ARCHIVE_URL to an address that can be reached."
)


@dataclass(frozen=True)
class Request:
    """One data set of one symbol, the days [start, end]."""

    market: Market
    symbol: str
    dataset: str
    start: dt.date
    end: dt.date

    def __str__(self) -> str:
        return f"{self.symbol} {self.market} {self.dataset}"


@dataclass(frozen=True)
class Progress:
    """How far the download is; ``files_planned`` grows where daily files are needed, ``line`` may be empty."""

    files_done: int
    files_planned: int
    bytes_done: int
    line: str


@dataclass
class SeriesReport:
    """What became of one request.

    ``missing`` are days [first, last] asked for that could not be had, with the reason; ``listed_from`` is set where
    nothing exists before that day, which is no fault. ``defects`` are by month (``YYYY-MM``).
    """

    request: Request
    files: list[str] = field(default_factory=list)
    months_there: int = 0
    listed_from: dt.date | None = None
    missing: list[tuple[dt.date, dt.date, str]] = field(default_factory=list)
    defects: dict[str, list[Defect]] = field(default_factory=dict)
    fetched_months: set[str] = field(default_factory=set)
    size: int = 0
    n_rows: int = 0


@dataclass(frozen=True)
class FetchReport:
    """One report a request, in the order of the requests."""

    series: list[SeriesReport]

    @property
    def missing(self) -> list[str]:
        """One line for each span of days asked for that could not be had."""
        return self.missing_of(lambda _request: True)

    def missing_of(self, chosen: Callable[[Request], bool]) -> list[str]:
        """The same of some of the requests."""
        return [
            f"{series.request}: {first if first == last else f'{first} … {last}'}: {reason}"
            for series in self.series
            if chosen(series.request)
            for first, last, reason in series.missing
        ]

    @property
    def defects(self) -> list[Defect]:
        return [
            defect for series in self.series for month in sorted(series.defects) for defect in series.defects[month]
        ]


class Have(Protocol):
    """Whether the days [first, last] of one calendar month are there in full."""

    def __call__(self, request: Request, first: dt.date, last: dt.date) -> bool: ...


class Write(Protocol):
    """Keeps the rows of one file, all or nothing."""

    def __call__(self, market: Market, symbol: str, dataset: str, file_name: str, frame: pl.DataFrame) -> None: ...


def fetch(
    requests: Sequence[Request],
    *,
    archive_url: str,
    api_url: str,
    spot_api_url: str,
    now: dt.datetime,
    have: Have,
    write: Write,
    progress: Callable[[Progress], None],
    concurrency: int = DEFAULT_CONCURRENCY,
    policy: RetryPolicy | None = None,
    sleep: Sleep = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
    max_bytes: int = MAX_UNPACKED_BYTES,
    page_rows: int | None = None,
) -> FetchReport:
    """Fetch what is asked for and not there; each file is handed to `write` as soon as it is verified.

    One file's fault is reported and never stops the rest. Days without archive file come from REST where they are newer
    than the newest archive file or than five days (funding, published by month only: forty).

    Raises
    ------
    NetworkError
        The archive cannot be reached at all, or answers nothing but refusals; what was fetched before is kept.
    """

    async def run() -> FetchReport:
        async with new_client(concurrency) as client:

            def host(address: str) -> Host:
                return Host(
                    address,
                    client,
                    sleep=sleep,
                    jitter=jitter,
                    now=lambda: now,
                    policy=policy,
                    max_bytes=max_bytes,
                )

            rest = {"perp": host(api_url), "spot": host(spot_api_url)}
            limit = asyncio.Semaphore(concurrency)
            shared = _Shared(host(archive_url), rest, limit, now, have, write, progress, sleep, max_bytes, page_rows)
            series = await _all(_Series(shared, request).fetched() for request in requests)
            _require_some_answer(shared.archive)
            return FetchReport(series)

    try:
        return asyncio.run(run())
    except NetworkError as fault:
        raise NetworkError(f"{fault}. {WITHOUT_NETWORK}") from None


@dataclass
class _Shared:
    """What all series of one download have in common."""

    archive: Host
    rest: dict[str, Host]
    limit: asyncio.Semaphore
    now: dt.datetime
    have: Have
    write: Write
    progress: Callable[[Progress], None]
    sleep: Sleep
    max_bytes: int
    page_rows: int | None
    rest_locks: dict[str, asyncio.Lock] = field(
        default_factory=lambda: {"perp": asyncio.Lock(), "spot": asyncio.Lock()}
    )
    rest_faults: dict[str, str] = field(default_factory=dict)
    stream_limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STREAMS_AT_A_TIME))
    files_done: int = 0
    files_planned: int = 0
    bytes_done: int = 0

    def plan(self, n_files: int) -> None:
        self.files_planned += n_files

    def done(self, line: str, size: int) -> None:
        self.files_done += 1
        self.bytes_done += size
        self.progress(Progress(self.files_done, self.files_planned, self.bytes_done, line))


class _Series:
    """The download of one request."""

    def __init__(self, shared: _Shared, request: Request) -> None:
        self._shared = shared
        self._request = request
        self._report = SeriesReport(request)
        self._present: set[dt.date] = set()
        self._reasons: dict[dt.date, str] = {}
        self._today = shared.now.date()

    async def fetched(self) -> SeriesReport:
        months = months_between(self._request.start, self._request.end)
        settled = await self._monthly_files(months)
        await self._daily_files([month for month in months if month not in settled], settled)
        await self._tail()
        self._say_what_is_missing()
        self._report.files.sort()
        for defects in self._report.defects.values():
            defects.sort(key=lambda defect: defect.file)
        return self._report

    def _days(self, month: Month) -> list[dt.date]:
        first, last = dt.date(*month, 1), last_day_of(month)
        return list(days_between(max(first, self._request.start), min(last, self._request.end)))

    def _days_there(self, days: Sequence[dt.date]) -> bool:
        is_there = self._shared.have(self._request, days[0], days[-1])
        if is_there:
            self._present.update(days)
        return is_there

    async def _monthly_files(self, months: Sequence[Month]) -> set[Month]:
        """Months that are there or came as one file."""
        settled = {month for month in months if self._days_there(self._days(month))}
        self._report.months_there = len(settled)
        request = self._request
        if not has_monthly_files(request.dataset):
            return settled
        wanted = [month for month in months if month not in settled and last_day_of(month) < self._today]
        results = await self._fetch_all(
            monthly_file(request.market, request.dataset, request.symbol, month) for month in wanted
        )
        for month, (file, outcome) in zip(wanted, results, strict=True):
            if outcome == "kept":
                settled.add(month)
            elif outcome == "unusable":
                self._reasons.update(dict.fromkeys(self._days(month), f"{file.file} cannot be used"))
        return settled

    async def _daily_files(self, months: Sequence[Month], settled: set[Month]) -> None:
        """Daily files of `months`; outward from what exists the search ends after two months without any."""
        if not months or not has_daily_files(self._request.dataset):
            return
        broken = {month for month in months if any(day in self._reasons for day in self._days(month))}
        if not has_monthly_files(self._request.dataset):
            await _all(self._daily_files_where_any(month) for month in months)
            return
        known = settled | broken
        first, last = (min(known), max(known)) if known else ((9999, 1), (9999, 1))
        inner = [month for month in months if first <= month <= last]
        await _all(self._daily_files_of(month) for month in inner)
        await self._search([month for month in reversed(months) if month < first])
        await self._search([month for month in months if month > last])

    async def _search(self, months: Sequence[Month]) -> None:
        n_empty = 0
        for month in months:
            n_empty = 0 if await self._daily_files_of(month) else n_empty + 1
            if n_empty == _EMPTY_MONTHS_TO_STOP:
                return

    async def _daily_files_where_any(self, month: Month) -> None:
        """The days of a month of which the first, the middle or the last there is exists.

        No monthly file tells whether a month exists; asking for every day of years that do not would take too long.
        """
        days = [day for day in self._days(month) if day <= self._today and not self._days_there([day])]
        if not days:
            return
        probes = sorted({days[0], days[len(days) // 2], days[-1]})
        found = await self._days_fetched(probes)
        if found or len(days) < len(self._days(month)):
            await self._days_fetched([day for day in days if day not in probes])

    async def _days_fetched(self, days: Sequence[dt.date]) -> bool:
        """Fetch these days; whether any of them exists."""
        request = self._request
        results = await self._fetch_all(
            daily_file(request.market, request.dataset, request.symbol, day) for day in days
        )
        for file, outcome in results:
            if outcome == "unusable":
                self._reasons[file.first_day] = f"{file.file} cannot be used"
        return any(outcome != "absent" for _, outcome in results)

    async def _daily_files_of(self, month: Month) -> bool:
        """Fetch the days that are not there; whether any day of the month exists."""
        days = [day for day in self._days(month) if not self._days_there([day])]
        await self._days_fetched([day for day in days if day <= self._today])
        return any(day in self._present for day in self._days(month))

    async def _fetch_all(self, files: Iterable[ArchiveFile]) -> list[tuple[ArchiveFile, Outcome]]:
        planned = list(files)
        self._shared.plan(len(planned))
        outcomes = await _all(self._fetch(file) for file in planned)
        return list(zip(planned, outcomes, strict=True))

    async def _fetch(self, file: ArchiveFile) -> Outcome:
        limit = self._shared.stream_limit if file.dataset == "book_ticker" else self._shared.limit
        async with limit:
            result = await fetch_file(self._shared.archive, file, self._shared.max_bytes)
        self._note(file.first_day, result.defects)
        if result.parsed is None:
            self._shared.done("" if result.is_absent else f"{file.file}: not used", result.size)
            return "absent" if result.is_absent else "unusable"
        frame = result.parsed.frame
        self._keep(file.name, file.first_day, frame)
        self._present.update(days_between(file.first_day, file.last_day))
        self._report.size += result.size
        self._report.files.append(file.file)
        self._shared.done(f"{file.file}: {frame.height:,} rows", result.size)
        return "kept"

    def _keep(self, name: str, first_day: dt.date, frame: pl.DataFrame) -> None:
        request = self._request
        self._shared.write(request.market, request.symbol, request.dataset, name, frame)
        self._report.n_rows += frame.height
        self._report.fetched_months.add(f"{first_day:%Y-%m}")

    def _note(self, day: dt.date, defects: list[Defect]) -> None:
        if defects:
            self._report.defects.setdefault(f"{day:%Y-%m}", []).extend(defects)

    # -- the tail ---------------------------------------------------------------------------------------------

    def _absent(self) -> list[dt.date]:
        days = days_between(self._request.start, min(self._request.end, self._today))
        return [day for day in days if day not in self._present]

    async def _tail(self) -> None:
        """Days the archive does not hold yet, from REST, where it has the data set and goes that far back."""
        reach = rest_reaches_back_days(self._request.dataset)
        if reach == 0:
            return
        oldest = self._today - dt.timedelta(days=reach) if reach is not None else dt.date.min
        published_days = _PUBLISHED_AFTER_DAYS[has_daily_files(self._request.dataset)]
        published = self._today - dt.timedelta(days=published_days)
        newest = max(self._present, default=published)
        days = [day for day in self._absent() if (day > newest or day >= published) and day >= oldest]
        for first, last in _spans(day for day in days if not self._days_there([day])):
            await self._rest(first, last)

    async def _rest(self, first: dt.date, last: dt.date) -> None:
        request, shared = self._request, self._shared
        host = shared.rest[request.market]
        shared.plan(1)
        try:
            async with shared.rest_locks[request.market]:
                if request.market in shared.rest_faults:
                    raise NetworkError(shared.rest_faults[request.market])
                parsed = await fetch_rest(
                    host,
                    request.market,
                    request.dataset,
                    request.symbol,
                    first,
                    last,
                    now=shared.now,
                    sleep=shared.sleep,
                    page_rows=shared.page_rows,
                )
        except DataError as fault:
            if isinstance(fault, NetworkError):
                shared.rest_faults[request.market] = str(fault)
            reason = f"not in the archive, and REST: {fault}"
            self._reasons.update({day: reason for day in days_between(first, last) if day not in self._reasons})
            shared.done(f"REST {request} {first} … {last}: {fault}", 0)
            return
        self._note(first, parsed.defects)
        self._keep_rest(parsed.frame)
        shared.done(f"REST {request} {first} … {last}: {parsed.frame.height:,} rows", 0)

    def _keep_rest(self, frame: pl.DataFrame) -> None:
        """One file a day, so that each day is fetched again until it is whole."""
        if frame.is_empty():
            return
        dated = frame.with_columns(pl.col("timestamp").dt.date().alias("_day"))
        for (day,), rows in sorted(dated.partition_by("_day", as_dict=True, include_key=False).items()):
            self._keep(f"rest-{day}", day, rows)
            self._report.files.append(f"REST {day}")
            self._present.add(day)

    # -- what could not be had --------------------------------------------------------------------------------

    def _say_what_is_missing(self) -> None:
        """Days before the first that exists are before the listing, unless a file of theirs is there but unusable."""
        first = min(
            [*self._present, *(day for day in self._reasons if "cannot be used" in self._reasons[day])], default=None
        )
        for begin, end in _spans(self._absent()):
            if first is not None and end < first:
                self._report.listed_from = first
                continue
            for day, last, reason in _by_reason(begin, end, self._reasons):
                if day == last == self._today and not reason:
                    continue
                self._report.missing.append((day, last, reason or "not in the archive"))


def _by_reason(first: dt.date, last: dt.date, reasons: dict[dt.date, str]) -> list[tuple[dt.date, dt.date, str]]:
    """[first, last] cut where the reason changes."""
    spans: list[tuple[dt.date, dt.date, str]] = []
    for day in days_between(first, last):
        reason = reasons.get(day, "")
        if spans and spans[-1][2] == reason:
            spans[-1] = (spans[-1][0], day, reason)
        else:
            spans.append((day, day, reason))
    return spans


def _spans(days: Iterable[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Runs of consecutive days, first and last of each."""
    spans: list[tuple[dt.date, dt.date]] = []
    for day in sorted(days):
        if spans and day - spans[-1][1] == dt.timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


def _require_some_answer(archive: Host) -> None:
    if archive.last_reason and not archive.has_answered:
        raise NetworkError(f"{archive.address} gives nothing: {archive.last_reason}")


async def _all(tasks: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Results in order; the first fault cancels the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as faults:
        leaf: BaseException = faults
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise leaf from None
    return [task.result() for task in running]
