"""Raw data into the lake, from Binance or from an operator's files, and the table of its quality."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from backtest.cleaning.quality import QUALITY_SCHEMA, quality_table
from backtest.errors import DataError, MisuseError, did_you_mean, listed
from backtest.lake.files import blake2b_hash, read_parquet
from backtest.lake.paths import DataRoot, Market, checked_symbol
from backtest.lake.raw import have_days, import_name, read_raw, write_raw, write_raw_quality
from backtest.sources import binance, files
from backtest.sources.binance_archive import DATASETS
from backtest.sources.rows import Defect

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec

VENUE: Final = "binance"
Series = tuple[Market, str]

REQUIRED_SERIES: Final[tuple[Series, ...]] = (("perp", "ohlcv_5m"), ("spot", "ohlcv_5m"), ("perp", "funding"))
"""Fetched by default; days of them that could not be had are an error."""
OPTIONAL_SERIES: Final[tuple[Series, ...]] = (
    ("perp", "mark_5m"),
    ("perp", "index_5m"),
    ("perp", "premium_5m"),
    ("perp", "metrics"),
)
"""Fetched by default; days of them that could not be had are said, and are an error only where they were named."""
DEFAULT_SERIES: Final = (*REQUIRED_SERIES, *OPTIONAL_SERIES)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_KEY: Final = ["market", "symbol", "dataset"]


@dataclass(frozen=True)
class Addresses:
    """Base addresses of the venue; the archive's has everything up to and including ``/data``."""

    archive: str = binance.DEFAULT_ARCHIVE_URL
    api: str = binance.DEFAULT_API_URL
    spot_api: str = binance.DEFAULT_SPOT_API_URL

    @classmethod
    def from_environment(cls) -> Addresses:
        """``BINANCE_ARCHIVE_URL``, ``BINANCE_API_URL`` and ``BINANCE_SPOT_API_URL``, or Binance's own."""
        return cls(
            _address("BINANCE_ARCHIVE_URL", cls.archive),
            _address("BINANCE_API_URL", cls.api),
            _address("BINANCE_SPOT_API_URL", cls.spot_api),
        )


@dataclass(frozen=True)
class Ingested:
    """What an ingestion brought.

    ``quality`` is `backtest.cleaning.quality.QUALITY_SCHEMA` with market, symbol, dataset before and defects (faults
    reported by the venue's files) after; ``missing`` has one line for each span of days that could not be had,
    ``missing_optional`` the same of data sets fetched by default that a symbol may lack.
    """

    quality: pl.DataFrame
    missing: list[str] = field(default_factory=list)
    missing_optional: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    files_fetched: int = 0
    months_there: int = 0
    bytes_fetched: int = 0
    rows_written: int = 0

    def summary(self) -> dict[str, int | list[str]]:
        """The numbers and lines for a manifest."""
        return {
            "files_fetched": self.files_fetched,
            "months_there": self.months_there,
            "bytes_fetched": self.bytes_fetched,
            "rows_written": self.rows_written,
            "missing": self.missing,
            "missing_optional": self.missing_optional,
            "notes": self.notes,
            "defects": [str(defect) for defect in self.defects],
        }


# -- what is asked for ------------------------------------------------------------------------------------


def parsed_symbols(text: str) -> list[str]:
    """Symbols of a comma-separated list, each once, in its order; MisuseError where one has not the venue's form."""
    symbols = [checked_symbol(part.strip()) for part in text.split(",") if part.strip()]
    if not symbols:
        raise MisuseError("no symbol given. Example: SYMBOLS=BTCUSDT,ETHUSDT")
    return list(dict.fromkeys(symbols))


def parsed_days(start: str, end: str, today: dt.date) -> tuple[dt.date, dt.date]:
    """First and last day asked for, the last one included; MisuseError where one is no date, late or out of order."""
    first, last = _day("START", start), _day("END", end)
    if last < first:
        raise MisuseError(f"END {last} is before START {first}. Both days are included: START=END asks for one day.")
    if last > today:
        name, day = ("START", first) if first > today else ("END", last)
        raise MisuseError(f"{name} {day} is in the future; today is {today} (UTC). The latest END is {name}={today}.")
    return first, last


def chosen_series(markets: Sequence[str], datasets: Sequence[str]) -> list[Series]:
    """Markets and data sets asked for; without any choice those of `DEFAULT_SERIES`.

    Raises MisuseError for an unknown name, and where nothing is left.
    """
    known = list(dict.fromkeys(name for names in DATASETS.values() for name in names))
    for name in markets:
        if name not in DATASETS:
            raise MisuseError(f"market {name!r} is not known; known are perp, spot.{did_you_mean(name, DATASETS)}")
    for name in datasets:
        if name not in known:
            raise MisuseError(
                f"dataset {name!r} is not known; known are {', '.join(known)}.{did_you_mean(name, known)}"
            )
    if not datasets:
        return [pair for pair in DEFAULT_SERIES if not markets or pair[0] in markets]
    chosen: list[Series] = []
    for market in _markets():
        if not markets or market in markets:
            chosen += [(market, name) for name in dict.fromkeys(datasets) if name in DATASETS[market]]
    if not chosen:
        raise MisuseError(
            f"{' and '.join(markets)} has no {' or '.join(datasets)}; spot has {' and '.join(DATASETS['spot'])} only."
        )
    return chosen


def optional_series(datasets: Sequence[str]) -> frozenset[Series]:
    """Series whose absence is no error: the optional ones, unless data sets were named."""
    return frozenset() if datasets else frozenset(OPTIONAL_SERIES)


def parsed_datasets(text: str | None) -> list[str]:
    """Data sets of a comma-separated list, each once; empty where none is named."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def events_that_need(spec: Spec, missing_series: Collection[Series]) -> dict[Series, list[str]]:
    """Event types that rest on each of the data sets, sorted; data sets no event rests on are left out."""
    found: dict[Series, list[str]] = {}
    for market, dataset in sorted(missing_series):
        label = dataset if market == "perp" else f"{market} {dataset}"
        columns = {name for name, column in spec.columns.items() if column.dataset == label}
        events = sorted(name for name, event in spec.events.items() if event.columns & columns)
        if events:
            found[market, dataset] = events
    return found


def optional_text(missing: Sequence[str], needing: Mapping[Series, Sequence[str]]) -> list[str]:
    """What a run goes on without, and which events that leaves unavailable on those days."""
    lines = [f"goes on without {line}" for line in missing]
    for (market, dataset), events in needing.items():
        if any(f" {market} {dataset}:" in line for line in missing):
            lines.append(f"without {market} {dataset} these events cannot be detected: {', '.join(events)}")
    return lines


def _markets() -> tuple[Market, Market]:
    return ("perp", "spot")


def _day(name: str, text: str) -> dt.date:
    try:
        if _DATE.fullmatch(text.strip()):
            return dt.date.fromisoformat(text.strip())
    except ValueError as fault:
        raise MisuseError(
            f"{name}={text!r} is not a day of the calendar ({fault}). Example: {name}=2023-01-31"
        ) from None
    raise MisuseError(f"{name}={text!r} is not a date of the form YYYY-MM-DD. Example: {name}=2023-01-31")


def _address(variable: str, default: str) -> str:
    address = (os.environ.get(variable) or default).strip().rstrip("/")
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", address):
        raise MisuseError(f"{variable}={address!r} is not an address of the form http(s)://host/…. Default: {default}")
    return address


# -- from Binance -----------------------------------------------------------------------------------------


def ingest_binance(
    root: DataRoot,
    symbols: Sequence[str],
    start: dt.date,
    end: dt.date,
    series: Sequence[Series] = DEFAULT_SERIES,
    *,
    addresses: Addresses,
    now: dt.datetime,
    progress: Callable[[binance.Progress], None],
    concurrency: int = binance.DEFAULT_CONCURRENCY,
    optional: frozenset[Series] = frozenset(),
) -> Ingested:
    """Fetch what the lake lacks of the days [start, end] and keep each file as soon as it is verified.

    What could not be had is in the result, that of `optional` series apart, for the caller to decide on. Raises
    NetworkError where the archive cannot be reached although something has to be fetched; what was kept stays.
    """
    requests = [
        binance.Request(market, checked_symbol(symbol), dataset, start, end)
        for symbol in symbols
        for market, dataset in series
    ]

    def have(request: binance.Request, first: dt.date, last: dt.date) -> bool:
        return have_days(root, VENUE, request.market, request.symbol, request.dataset, first, last)

    def write(market: Market, symbol: str, dataset: str, file_name: str, frame: pl.DataFrame) -> None:
        root.create()
        write_raw(root, VENUE, market, symbol, dataset, frame, file_name)

    report = binance.fetch(
        requests,
        archive_url=addresses.archive,
        api_url=addresses.api,
        spot_api_url=addresses.spot_api,
        now=now,
        have=have,
        write=write,
        progress=progress,
        concurrency=concurrency,
    )
    quality = _refreshed_quality(
        root,
        {(one.request.market, one.request.symbol, one.request.dataset): _defect_counts(one) for one in report.series},
        {(one.request.market, one.request.symbol, one.request.dataset): one.fetched_months for one in report.series},
    )
    asked = pl.col("month").is_between(pl.lit(f"{start:%Y-%m}"), pl.lit(f"{end:%Y-%m}"))
    return Ingested(
        quality.filter(asked),
        missing=report.missing_of(lambda request: (request.market, request.dataset) not in optional),
        missing_optional=report.missing_of(lambda request: (request.market, request.dataset) in optional),
        notes=[f"{one.request}: listed from {one.listed_from:%Y-%m} on" for one in report.series if one.listed_from],
        defects=report.defects,
        files_fetched=sum(len(one.files) for one in report.series),
        months_there=sum(one.months_there for one in report.series),
        bytes_fetched=sum(one.size for one in report.series),
        rows_written=sum(one.n_rows for one in report.series),
    )


def _defect_counts(report: binance.SeriesReport) -> dict[str, int]:
    return {month: len(defects) for month, defects in report.defects.items()}


def plain_progress(say: Callable[[str], None]) -> Callable[[binance.Progress], None]:
    """What takes each step of a download and says one line a file."""

    def step(progress: binance.Progress) -> None:
        if progress.line:
            megabytes = progress.bytes_done / 1e6
            say(f"[{progress.files_done}/{progress.files_planned} files, {megabytes:.1f} MB] {progress.line}")

    return step


def missing_text(missing: list[str], way_on: str) -> str:
    """What could not be had, and how to go on."""
    return (
        f"{len(missing)} span(s) of days could not be had:\n{listed(missing)}\nWhat was fetched is kept. "
        f"To go on without them: {way_on}; to bring them from files: backtest import-raw."
    )


# -- from files -------------------------------------------------------------------------------------------


def import_files(
    root: DataRoot,
    market: Market,
    dataset: str,
    symbol: str,
    paths: Sequence[Path],
    *,
    narrate: Callable[[str], None],
) -> Ingested:
    """Bring an operator's files into the lake as raw data of the venue; each file is kept whole or not at all.

    `narrate` gets one line for each file and each of its defects. Raises DataError after the last file where some could
    not be used; the others are in the lake then.
    """
    chosen_series([market], [dataset])
    checked_symbol(symbol)
    faults: list[str] = []
    all_defects: list[Defect] = []
    n_rows = 0
    for path in paths:
        try:
            frame, recognised, defects = files.read_file(path, market, dataset, symbol)
        except DataError as fault:
            faults.append(str(fault))
            narrate(f"{path.name}: not imported")
            continue
        root.create()
        name = import_name(root, VENUE, market, symbol, dataset, blake2b_hash(path))
        write_raw(root, VENUE, market, symbol, dataset, frame, name)
        narrate(f"{path.name}: {recognised}")
        first, last = frame["timestamp"][0], frame["timestamp"][-1]
        narrate(f"{path.name}: {frame.height:,} rows, {first:%Y-%m-%d %H:%M} … {last:%Y-%m-%d %H:%M} UTC, as {name}")
        for defect in defects:
            narrate(str(defect))
        all_defects += defects
        n_rows += frame.height
    quality = _refreshed_quality(root, {(market, symbol, dataset): {}}, {(market, symbol, dataset): set()})
    if faults:
        raise DataError(
            f"{len(faults)} of {len(paths)} files could not be imported, the others are in the lake:\n{listed(faults)}"
        )
    return Ingested(quality, defects=all_defects, files_fetched=len(paths), rows_written=n_rows)


# -- quality ----------------------------------------------------------------------------------------------


def _refreshed_quality(
    root: DataRoot,
    defects: Mapping[tuple[Market, str, str], Mapping[str, int]],
    fetched_months: Mapping[tuple[Market, str, str], set[str]],
) -> pl.DataFrame:
    """Count the given series anew and keep them in the venue's table; months not fetched now keep their defects."""
    earlier = _earlier_defects(root)
    tables = []
    for (market, symbol, dataset), by_month in defects.items():
        fetched = fetched_months[market, symbol, dataset] | set(by_month)
        counts = {month: count for (*key, month), count in earlier.items() if key == [market, symbol, dataset]}
        counts = {month: count for month, count in counts.items() if month not in fetched} | dict(by_month)
        table = quality_table(read_raw(root, VENUE, market, symbol, dataset), dataset)
        months = pl.DataFrame(
            {"month": list(counts), "defects": list(counts.values())}, schema={"month": pl.String, "defects": pl.Int64}
        )
        joined = table.join(months, on="month", how="full", coalesce=True).with_columns(
            pl.col(name).fill_null(0) for name in (*QUALITY_SCHEMA, "defects") if name != "month"
        )
        key = [pl.lit(value).alias(name) for name, value in zip(_KEY, (market, symbol, dataset), strict=True)]
        tables.append(joined.select(*key, *QUALITY_SCHEMA, "defects"))
    quality = pl.concat(tables).sort(*_KEY, "month")
    if not quality.is_empty():
        root.create()
        write_raw_quality(root, VENUE, quality)
    return quality


def _earlier_defects(root: DataRoot) -> dict[tuple[str, str, str, str], int]:
    path = root.raw_quality(VENUE)
    if not path.is_file():
        return {}
    table = read_parquet(path, columns=[*_KEY, "month", "defects"])
    return {(market, symbol, dataset, month): count for market, symbol, dataset, month, count in table.iter_rows()}


def quality_lines(quality: pl.DataFrame) -> list[str]:
    """One line for each series, then one for each of its months that has something to say."""
    lines: list[str] = []
    for (market, symbol, dataset), rows in quality.partition_by(
        _KEY, as_dict=True, include_key=False, maintain_order=True
    ).items():
        lines.append(f"{symbol} {market} {dataset}: {_totals(rows)}")
        for month in rows.iter_rows(named=True):
            said = _month_text(month)
            if said:
                lines.append(f"  {month['month']}: {said}")
    return lines


def _totals(rows: pl.DataFrame) -> str:
    total = rows.select(pl.col("rows", "duplicate_rows", "expected_rows").sum()).row(0, named=True)
    distinct = total["rows"] - total["duplicate_rows"]
    return f"{rows['month'][0]} … {rows['month'][-1]}, {distinct:,} of {total['expected_rows']:,} rows"


def _month_text(month: Mapping[str, int]) -> str:
    missing = _counted(month["missing_rows"], "row missing", "rows missing")
    said = (
        missing and f"{missing} in {_counted(month['gaps'], 'gap', 'gaps')}",
        _counted(month["conflicting_rows"], "row with differing repetitions", "rows with differing repetitions"),
        _counted(month["out_of_range_values"], "value out of range", "values out of range"),
        _counted(month["defects"], "defect in the venue's files", "defects in the venue's files"),
    )
    return ", ".join(text for text in said if text)


def _counted(count: int, one: str, many: str) -> str:
    """``3 gaps``; an empty string for none."""
    return f"{count:,} {one if count == 1 else many}" if count else ""
