"""Depth of the order book as Binance's archive publishes it (a snapshot about every 30 s), averaged over 5-minute bars."""

from __future__ import annotations

from typing import Final

import polars as pl

from backtest.errors import DataError
from backtest.sources.columns import BOOK_DEPTH_COLUMNS
from backtest.sources.liquidations import raw_frame
from backtest.sources.rows import BAR_MS, Defect, Parsed, with_stamps, within, without
from backtest.sources.tables import named_rows

_REQUIRED: Final = ("timestamp", "percentage", "notional")
_SNAPSHOT_MS: Final = 30_000
# Distance from mid in percent (negative: bids) → column.
_BANDS: Final = {
    -1.0: "bid_depth_1pct_usd",
    1.0: "ask_depth_1pct_usd",
    -5.0: "bid_depth_5pct_usd",
    5.0: "ask_depth_5pct_usd",
}


def parse_book_depth(data: bytes, file: str, period_ms: tuple[int, int]) -> Parsed:
    """Mean notional (USD) within 1 % and 5 % of mid over the snapshots of each bar of the period [first, last) ms.

    A bar without snapshot has no row; a band no snapshot of the bar has is null. ``depth_coverage`` is the share of the
    bar's half-minutes that have a snapshot. Of rows with one stamp and percentage the last counts; each fault is
    reported. Raises DataError (text starting with ``it``) where the columns are others or no row is usable.
    """
    table, defects = named_rows(data, file, "book_depth", BOOK_DEPTH_COLUMNS, _REQUIRED, {})
    table = within(with_stamps(table, file, defects), period_ms, file, defects)
    for name, is_sound in (("percentage", pl.col("_number") != 0), ("notional", pl.col("_number") >= 0)):
        read = table.with_columns(pl.col(name).str.strip_chars().cast(pl.Float64, strict=False).alias("_number"))
        is_usable = (pl.col("_number").is_finite() & is_sound).fill_null(False)
        read = without(read, ~is_usable, name, file, "cannot be used", "row left out", defects)
        table = read.with_columns(pl.col("_number").alias(name)).drop("_number")
    if table.is_empty():
        raise DataError("it has no usable row" + (f" ({defects[0].found})" if defects else ""))
    return Parsed(_bars(_once_each(table, file, defects)), defects)


def _once_each(table: pl.DataFrame, file: str, defects: list[Defect]) -> pl.DataFrame:
    key = ("stamp", "percentage")
    repeated = table.filter(~pl.struct(key).is_first_distinct())
    if repeated.height:
        found = f"its stamp and percentage are there already ({repeated.height:,} such rows)"
        defects.append(Defect(file, int(repeated["row"][0]), found, "the last of them kept", repeated.height))
    return table.unique(key, keep="last", maintain_order=True)


def _bars(rows: pl.DataFrame) -> pl.DataFrame:
    bars = rows.group_by((pl.col("stamp") // BAR_MS * BAR_MS).alias("_bar")).agg(
        *(pl.col("notional").filter(pl.col("percentage") == band).mean().alias(name) for band, name in _BANDS.items()),
        ((pl.col("stamp") // _SNAPSHOT_MS).n_unique() / (BAR_MS / _SNAPSHOT_MS)).alias("depth_coverage"),
    )
    return raw_frame(bars.rename({"_bar": "stamp"}).sort("stamp"), "book_depth")
