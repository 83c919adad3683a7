"""What the stages read from the lake, put together: venues, extents, and one symbol's bars with its features."""

from __future__ import annotations

import datetime as dt
import functools
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from backtest.errors import DataError
from backtest.lake.files import parquet_metadata
from backtest.lake.months import datasets_with_files, first_and_last_file, month_files, read_months
from backtest.lake.paths import DataRoot, Market, checked_symbol
from backtest.pipeline.quarters import quarter_bounds

if TYPE_CHECKING:
    import polars as pl

    from backtest.pipeline.stage import Plan
    from backtest.spec.compiled import Spec

BAR: Final = dt.timedelta(minutes=5)
BAR_DATASETS: Final = ("ohlcv_5m", "ohlcv_1m")
FEATURES_HASH: Final = "backtest.features"
"""Key in the footer of a feature file: hash of the definitions it was built from."""
MARKET_HASH: Final = "backtest.market"
"""Key in the footer of a feature file: hash of the returns across symbols of its quarter, as they were when it was built."""


def symbols_in_lake(root: DataRoot) -> list[str]:
    """Perpetuals that have raw bars of any venue, sorted."""
    return sorted({folder.parent.name for folder in datasets_with_files(root.lake, "raw/*/perp/*/ohlcv_*m")})


def venue_of(plan: Plan, market: Market, symbol: str) -> str | None:
    """The venue whose raw bars a run reads for a symbol; None where there are none, DataError where two have some."""
    asked = plan.parameters.get("venue")
    patterns = [f"raw/*/{market}/{checked_symbol(symbol)}/{dataset}" for dataset in BAR_DATASETS]
    found = {folder.parents[2].name for pattern in patterns for folder in datasets_with_files(plan.root.lake, pattern)}
    venues = sorted(venue for venue in found if asked in (None, venue))
    if len(venues) > 1:
        raise DataError(
            f"{symbol} ({market}) has raw bars of {' and of '.join(venues)} in {plan.root.path}. Name the one to use: "
            f"VENUE={venues[0]}, or keep them in separate data roots."
        )
    return venues[0] if venues else None


def missing_bars(plan: Plan, symbol: str) -> DataError:
    """The error for a symbol with no raw perpetual bars, naming the commands that get them."""
    have = symbols_in_lake(plan.root)
    return DataError(
        f"{plan.root.lake} holds no raw perpetual bars of {symbol}"
        + (f" (there are: {', '.join(have)})" if have else "")
        + f". Get them: make run SYMBOLS={symbol} START=… END=…, or backtest import-raw --market perp "
        f"--dataset ohlcv_5m --symbol {symbol} FILE…"
    )


def cleaned_extent(root: DataRoot, symbol: str) -> tuple[dt.datetime, dt.datetime] | None:
    """First bar and end (exclusive) of a symbol's cleaned perpetual bars; None where there are none."""
    return _extent(root.cleaned_bars("perp", symbol))


def cleaned_symbols(root: DataRoot) -> list[str]:
    """Perpetuals that have cleaned bars, sorted."""
    return sorted(folder.parent.name for folder in datasets_with_files(root.lake, "cleaned/perp/*/bars_5m"))


def feature_extent(root: DataRoot, symbol: str) -> tuple[dt.datetime, dt.datetime] | None:
    """First bar and end (exclusive) of a symbol's features; None where there are none."""
    return _extent(root.features(symbol))


def _extent(dataset: Path) -> tuple[dt.datetime, dt.datetime] | None:
    files = first_and_last_file(dataset)
    if files is None:
        return None
    (first, _), (_, last) = (_stamps_of(path, os.stat(path).st_mtime_ns) for path in files)  # noqa: PTH116
    return first, last + BAR


@functools.lru_cache(maxsize=4096)
def _stamps_of(path: Path, _changed_ns: int) -> tuple[dt.datetime, dt.datetime]:
    """First and last timestamp of a file as it was when it last changed; asked for at every part of a stage."""
    from backtest.lake.files import read_parquet

    stamps = read_parquet(path, columns=["timestamp"])["timestamp"]
    return cast("dt.datetime", stamps.min()), cast("dt.datetime", stamps.max())


def clipped(
    extent: tuple[dt.datetime, dt.datetime], start: dt.datetime | None, end: dt.datetime | None
) -> tuple[dt.datetime, dt.datetime] | None:
    """The part of an extent inside [start, end); None where they do not meet."""
    first = max(extent[0], start) if start is not None else extent[0]
    last = min(extent[1], end) if end is not None else extent[1]
    return (first, last) if first < last else None


def perpetual_bars(root: DataRoot, symbol: str, start: dt.datetime, end: dt.datetime) -> pl.DataFrame:
    """`bars_with_spot` with the market beside them."""
    from backtest.features.cross_section import with_market

    bars = bars_with_spot(root, symbol, start, end)
    return with_market(bars, market_of(root, bars["timestamp"], start, end))


def bars_with_spot(root: DataRoot, symbol: str, start: dt.datetime, end: dt.datetime) -> pl.DataFrame:
    """Cleaned perpetual bars of [start, end) with the spot bars (null where there are none) beside them.

    Raises DataError where the bars were cleaned before a data set was added.
    """
    import polars as pl

    from backtest.cleaning.taint import beside_spot

    bars = read_months(root.cleaned_bars("perp", symbol), start, end)
    if "taint" not in bars.columns and not bars.is_empty():
        raise DataError(
            f"{root.cleaned_bars('perp', symbol)} was cleaned by an earlier version. Clean it again: "
            "make discover-edges-from-raw (it fetches nothing)."
        )
    schema = {
        "timestamp": pl.Datetime("ms", "UTC"),
        "open": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "is_tainted": pl.Boolean(),
    }
    spot = read_months(root.cleaned_bars("spot", symbol), start, end, schema=schema)
    return beside_spot(bars, spot)


def market_of(root: DataRoot, stamps: pl.Series, start: dt.datetime, end: dt.datetime) -> pl.DataFrame:
    """What all symbols do at each of the bars `stamps` of [start, end); DataError where the lake lacks some of it."""
    import polars as pl

    from backtest.features.cross_section import MARKET_SCHEMA

    market = read_months(root.market_features(), start, end, schema=MARKET_SCHEMA)
    if stamps.equals(market["timestamp"]):
        return market
    n_missing = len(pl.DataFrame([stamps]).join(market, on="timestamp", how="anti"))
    if n_missing:
        raise DataError(
            f"the returns across symbols in {root.market_features()} lack {n_missing:,} of the {len(stamps):,} bars from "
            f"{start} to {end}. Build them: make discover-edges-from-raw."
        )
    return market


def perpetual_frame(
    plan: Plan, spec: Spec, symbol: str, start: dt.datetime, end: dt.datetime, names: Collection[str]
) -> pl.DataFrame:
    """Bars of [start, end) with the named features beside them.

    Raises DataError where features are missing, or were built from other definitions than the spec's.
    """
    import polars as pl

    from backtest.features.bar_columns import with_all_columns

    dataset = plan.root.features(symbol)
    expected = features_hash(spec)
    built_from = {path: parquet_metadata(path) for path in month_files(dataset, start, end)}
    _check_market(plan.root, spec, symbol, built_from)
    for path, metadata in built_from.items():
        if metadata.get(FEATURES_HASH) != expected:
            raise DataError(
                f"{path} was built from other feature definitions than the spec's. Build it again: "
                "make discover-edges-from-raw (or backtest features)."
            )
    features = read_months(dataset, start, end, columns=["timestamp", *sorted(set(names) & spec.features.keys())])
    bars = perpetual_bars(plan.root, symbol, start, end)
    if not bars["timestamp"].equals(features["timestamp"]):
        raise DataError(
            f"features of {symbol} cover {len(features):,} of the {len(bars):,} cleaned bars from {start} to {end}. "
            "Build them again: make discover-edges-from-raw (or backtest features)."
        )
    bars = with_all_columns(bars, spec.columns, spec.calendars.values())
    return pl.concat([bars, features.drop("timestamp")], how="horizontal")


def market_hash(root: DataRoot, quarter: str) -> str:
    """Hash of the returns across symbols in the lake for a quarter such as ``2024Q1``."""
    from backtest.lake.files import blake2b_hash

    return ",".join(blake2b_hash(path) for path in month_files(root.market_features(), *quarter_bounds(quarter)))


def _check_market(root: DataRoot, spec: Spec, symbol: str, built_from: Mapping[Path, Mapping[str, str]]) -> None:
    """DataError where features that read the returns across symbols were built before those changed.

    `built_from` has what the footer of each feature file says.
    """
    from backtest.features.cross_section import DERIVED_COLUMNS

    if not any(DERIVED_COLUMNS & feature.columns for feature in spec.features.values()):
        return
    now: dict[str, str] = {}
    for path, metadata in built_from.items():
        year, month = (int(folder.name.rpartition("=")[2]) for folder in (path.parents[1], path.parents[0]))
        quarter = f"{year}Q{(month + 2) // 3}"
        if quarter not in now:
            now[quarter] = market_hash(root, quarter)
        if metadata.get(MARKET_HASH) != now[quarter]:
            raise DataError(
                f"{path} was built before the returns across symbols of {quarter} changed (other symbols, or more of them, are "
                f"in the lake now). Build it again: make discover-edges-from-raw SYMBOLS={symbol}"
            )


def features_hash(spec: Spec) -> str:
    """Hash of all that decides a feature's values besides the bars."""
    return spec.part_hash("columns", "calendars", "features")


def inputs_of(spec: Spec) -> set[str]:
    """Columns and features that states, events, filters and the discovery settings name."""
    named = {name for event in spec.events.values() for name in event.inputs}
    named |= {name for state in spec.states.values() for value in state.values.values() for name in value.inputs}
    named |= {name for one in spec.filters.values() for name in one.condition.inputs}
    return named | {name for expression in spec.bar_expressions.values() for name in expression.inputs}
