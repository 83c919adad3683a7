"""Forced orders as Binance's archive publishes them, summed to 5-minute bars by the side that was closed."""

from __future__ import annotations

from typing import Final

import polars as pl

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS, UTC_MILLISECONDS
from backtest.sources.columns import LIQUIDATION_COLUMNS
from backtest.sources.rows import BAR_MS, Defect, Parsed, with_stamps, within, without
from backtest.sources.tables import named_rows

_REQUIRED: Final = ("timestamp", "side", "price", "average_price", "original_quantity", "accumulated_fill_quantity")
_ALIASES: Final = {"time": "timestamp"}
_NAMES: Final = tuple(_ALIASES.get(name, name) for name in LIQUIDATION_COLUMNS)
_NUMBERS: Final = ("price", "average_price", "original_quantity", "accumulated_fill_quantity")
# One order may be reported more than once while it is filled; these columns are then the same.
_ORDER: Final = ("stamp", "side", "price", "original_quantity")


def parse_liquidations(data: bytes, file: str, symbol: str, period_ms: tuple[int, int]) -> Parsed:
    """Liquidated notional of every bar of the period [first, last) ms, zero where nothing was liquidated.

    A sale closes longs, a purchase closes shorts. The notional of an order is its filled quantity at its average price
    (at its limit where no average is given), in USD. Of rows about one order (same time, side, price and quantity) the
    one with most filled counts. Rows of another symbol, with another side or with an unreadable number are left out and
    reported. A file with a header and nothing else is a period without liquidations, which is reported too.

    Raises DataError (text starting with ``it``) where the columns are others or no row of several is usable.
    """
    table, defects = named_rows(data, file, "liquidations", _NAMES, _REQUIRED, _ALIASES)
    n_rows = table.height
    table = within(with_stamps(table, file, defects), period_ms, file, defects)
    table = of_symbol(table, symbol, file, defects)
    table = _with_numbers(table, file, defects)
    if n_rows == 0:
        defects.append(Defect(file, None, "it has a header and no row", "taken as a time without liquidations"))
    elif table.is_empty():
        raise DataError("it has no usable row" + (f" ({defects[0].found})" if defects else ""))
    return Parsed(_bars(_orders(table, file, defects), period_ms), defects)


def of_symbol(table: pl.DataFrame, symbol: str, file: str, defects: list[Defect]) -> pl.DataFrame:
    """Rows of `symbol`; those of another are reported. All rows where the table does not say."""
    if "symbol" not in table.columns:
        return table
    is_own = pl.col("symbol").str.strip_chars() == symbol
    return without(table, ~is_own, "symbol", file, f"is not {symbol}", "row left out", defects)


def _with_numbers(table: pl.DataFrame, file: str, defects: list[Defect]) -> pl.DataFrame:
    table = table.with_columns(pl.col("side").str.strip_chars().str.to_uppercase())
    is_side = pl.col("side").is_in(["BUY", "SELL"])
    table = without(table, ~is_side, "side", file, "is neither BUY nor SELL", "row left out", defects)
    for name in _NUMBERS:
        number = pl.col(name).str.strip_chars().cast(pl.Float64, strict=False)
        is_sound = (number.is_finite() & (number >= 0)).fill_null(False)
        table = without(table, ~is_sound, name, file, "is not a number from zero up", "row left out", defects)
        table = table.with_columns(number.alias(name))
    return table


def _orders(table: pl.DataFrame, file: str, defects: list[Defect]) -> pl.DataFrame:
    """One row an order, the one with most filled."""
    ordered = table.sort(*_ORDER, "accumulated_fill_quantity", maintain_order=True)
    orders = ordered.unique(_ORDER, keep="last", maintain_order=True)
    n_more = table.height - orders.height
    if n_more:
        first = table.filter(~pl.struct(_ORDER).is_first_distinct())
        found = f"the order of another row again ({n_more:,} such rows)"
        defects.append(Defect(file, int(first["row"][0]), found, "the row with most filled counts", n_more))
    return orders


def _bars(orders: pl.DataFrame, period_ms: tuple[int, int]) -> pl.DataFrame:
    price = pl.when(pl.col("average_price") > 0).then(pl.col("average_price")).otherwise(pl.col("price"))
    notional = pl.col("accumulated_fill_quantity") * price
    is_sale = pl.col("side") == "SELL"
    summed = orders.group_by((pl.col("stamp") // BAR_MS * BAR_MS).alias("stamp")).agg(
        notional.filter(is_sale).sum().alias("long_liquidation_usd"),
        notional.filter(~is_sale).sum().alias("short_liquidation_usd"),
        pl.len().cast(pl.Int64).alias("liquidation_count"),
    )
    grid = pl.DataFrame({"stamp": pl.int_range(*period_ms, BAR_MS, dtype=pl.Int64, eager=True)})
    bars = grid.join(summed, on="stamp", how="left", maintain_order="left").fill_null(0)
    return raw_frame(bars, "liquidations")


def raw_frame(bars: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Columns of the raw data set from ``stamp`` (ms since 1970) and the values."""
    return bars.select(
        pl.col("stamp").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").cast(UTC_MILLISECONDS).alias("timestamp"),
        *(pl.col(name).cast(dtype) for name, dtype in RAW_SCHEMAS[dataset].items() if name != "timestamp"),
    )
