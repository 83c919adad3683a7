"""The newest rows of every data set of a symbol, read from its newest month files only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import polars as pl

from backtest.errors import DataError
from backtest.lake.files import read_parquet
from backtest.lake.months import month_files
from backtest.lake.paths import DataRoot, Market

MARKETS: Final[tuple[Market, ...]] = ("perp", "spot")
_BAR: Final = dt.timedelta(minutes=5)
_STEPS: Final = {"ohlcv_1m": dt.timedelta(minutes=1), "funding": dt.timedelta(hours=8)}
# Observations at an instant; every other data set is one row a bar.
_INSTANTS: Final = ("funding", "metrics")


@dataclass(frozen=True)
class NewestRows:
    """One data set of one symbol: its newest complete stamp and its newest stamp of all, None where there is none.

    ``fault`` says why it could not be read.
    """

    layer: str
    dataset: str
    step: dt.timedelta
    is_bar: bool
    stamp: dt.datetime | None
    latest_stamp: dt.datetime | None
    fault: str | None = None


def known_symbols(root: DataRoot) -> list[str]:
    """Perpetuals with raw or cleaned bars, sorted."""
    folders = [*root.lake.glob("raw/*/perp/*/ohlcv_*m"), *root.lake.glob("cleaned/perp/*/bars_5m")]
    return sorted({folder.parent.name for folder in folders if month_files(folder)})


def venues_of(root: DataRoot, symbol: str) -> list[str]:
    """Venues with raw perpetual bars of a symbol, sorted."""
    return sorted({f.parents[2].name for f in root.lake.glob(f"raw/*/perp/{symbol}/ohlcv_*m") if month_files(f)})


def newest_rows(root: DataRoot, symbol: str, now: dt.datetime) -> list[NewestRows]:
    """The newest rows at `now` of all data sets of a symbol; the cleaned perpetual bars are always among them."""
    found = [_newest("cleaned", "perp bars_5m", root.cleaned_bars("perp", symbol), now, value="close")]
    if month_files(root.cleaned_bars("spot", symbol)):
        found.append(_newest("cleaned", "spot bars_5m", root.cleaned_bars("spot", symbol), now, value="close"))
    if month_files(root.features(symbol)):
        found.append(_newest("features", "perp features_v1", root.features(symbol), now))
    for venue in sorted(path.name for path in root.lake.glob("raw/*") if path.is_dir()):
        for market in MARKETS:
            for folder in sorted(root.raw(venue, market, symbol, "*").parent.glob("*")):
                if month_files(folder):
                    found.append(_newest(f"raw/{venue}", f"{market} {folder.name}", folder, now))
    return found


def _newest(layer: str, dataset: str, folder: Path, now: dt.datetime, value: str | None = None) -> NewestRows:
    """`value` names the column that is null in rows that only hold a place, as gaps of the full grid do."""
    step, is_bar = _STEPS.get(folder.name, _BAR), folder.name not in _INSTANTS
    complete_until = now - step if is_bar else now
    latest: dt.datetime | None = None
    try:
        for paths in _months_backwards(folder):
            rows = _rows(paths, value)
            newest = rows["timestamp"].max()
            latest = latest or (newest if isinstance(newest, dt.datetime) else None)
            stamp = rows.filter(pl.col("timestamp") <= complete_until)["timestamp"].max()
            if isinstance(stamp, dt.datetime):
                return NewestRows(layer, dataset, step, is_bar, stamp, latest)
    except (OSError, pl.exceptions.PolarsError, DataError) as fault:
        return NewestRows(layer, dataset, step, is_bar, None, None, f"unreadable: {str(fault).splitlines()[0]}")
    return NewestRows(layer, dataset, step, is_bar, None, latest)


def _months_backwards(folder: Path) -> Iterator[list[Path]]:
    for _, paths in groupby(reversed(month_files(folder)), key=lambda path: path.parent):
        yield list(paths)


def _rows(paths: list[Path], value: str | None) -> pl.DataFrame:
    """Stamps of the rows of some files that hold a value; DataError where they are no UTC stamps."""
    frames = []
    for path in paths:
        columns = ["timestamp"] if value is None else ["timestamp", value]
        frame = read_parquet(path, columns=columns)
        kind = frame.schema["timestamp"]
        if not (isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"):
            raise DataError(f"{path}: timestamp has the type {kind}, not UTC time")
        frames.append(frame if value is None else frame.filter(pl.col(value).is_not_null()))
    return pl.concat([frame.select(pl.col("timestamp").dt.cast_time_unit("ms")) for frame in frames])
