"""Which column names of venues and tools mean which column of the raw data sets."""

from __future__ import annotations

import re
from typing import Final

from backtest.lake.schemas import RAW_SCHEMAS

# A name that is left out of the result: read as present, but nothing in the raw data set holds it.
KLINE_COLUMNS: Final = (
    "timestamp",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trade_count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
FUNDING_COLUMNS: Final = ("timestamp", "funding_interval_hours", "funding_rate")

METRICS_COLUMNS: Final = (
    "timestamp",
    "symbol",
    "open_interest",
    "open_interest_usd",
    "top_trader_account_ratio",
    "top_trader_position_ratio",
    "global_account_ratio",
    "taker_volume_ratio",
)
LIQUIDATION_COLUMNS: Final = (
    "time",
    "symbol",
    "side",
    "order_type",
    "time_in_force",
    "original_quantity",
    "price",
    "average_price",
    "order_status",
    "last_fill_quantity",
    "accumulated_fill_quantity",
)
BOOK_TICKER_COLUMNS: Final = (
    "update_id",
    "best_bid_price",
    "best_bid_qty",
    "best_ask_price",
    "best_ask_qty",
    "transaction_time",
    "event_time",
)
BOOK_DEPTH_COLUMNS: Final = ("timestamp", "percentage", "depth", "notional")
# Columns of files without header row, by data set; all others are klines.
HEADERLESS: Final[dict[str, tuple[str, ...]]] = {
    "funding": FUNDING_COLUMNS,
    "metrics": METRICS_COLUMNS,
    "liquidations": LIQUIDATION_COLUMNS,
    "book_ticker": BOOK_TICKER_COLUMNS,
    "book_depth": BOOK_DEPTH_COLUMNS,
}

_PRICES: Final = {name: name for name in ("open", "high", "low", "close", "volume")}
BAR_NAMES: Final[dict[str, str]] = {
    **_PRICES,
    **dict.fromkeys(("timestamp", "open_time", "opentime", "unix", "date", "datetime", "time"), "timestamp"),
    **dict.fromkeys(("quote_volume", "quote_asset_volume", "quoteassetvolume"), "quote_volume"),
    **dict.fromkeys(("trade_count", "count", "number_of_trades", "tradecount", "trades"), "trade_count"),
    **dict.fromkeys(("taker_buy_volume", "taker_buy_base_asset_volume", "taker_buy_base_volume"), "taker_buy_volume"),
    **dict.fromkeys(("taker_buy_quote_volume", "taker_buy_quote_asset_volume"), "taker_buy_quote_volume"),
}
FUNDING_NAMES: Final[dict[str, str]] = {
    **dict.fromkeys(("timestamp", "funding_time", "fundingtime", "calc_time"), "timestamp"),
    **dict.fromkeys(("funding_rate", "last_funding_rate", "fundingrate"), "funding_rate"),
    **dict.fromkeys(("funding_interval_hours",), "funding_interval_hours"),
}
METRICS_NAMES: Final[dict[str, str]] = {
    **dict.fromkeys(("timestamp", "create_time"), "timestamp"),
    **dict.fromkeys(("open_interest", "sum_open_interest"), "open_interest"),
    **dict.fromkeys(("open_interest_usd", "sum_open_interest_value"), "open_interest_usd"),
    **dict.fromkeys(("top_trader_account_ratio", "count_toptrader_long_short_ratio"), "top_trader_account_ratio"),
    **dict.fromkeys(("top_trader_position_ratio", "sum_toptrader_long_short_ratio"), "top_trader_position_ratio"),
    **dict.fromkeys(("global_account_ratio", "count_long_short_ratio"), "global_account_ratio"),
    **dict.fromkeys(("taker_volume_ratio", "sum_taker_long_short_vol_ratio"), "taker_volume_ratio"),
}


def names_of(dataset: str) -> dict[str, str]:
    """Known column name → column of the raw data set; the raw names themselves where nothing else is known."""
    if dataset == "funding":
        return FUNDING_NAMES
    if dataset == "metrics":
        return METRICS_NAMES
    if dataset in ("liquidations", "book_ticker", "book_depth"):
        return {name: name for name in RAW_SCHEMAS[dataset]}
    return BAR_NAMES


def normal_name(name: str) -> str:
    """Lower case, words joined by ``_``."""
    return re.sub(r"[\s_]+", "_", name.strip().lower())


def mapping_of(names: list[str], dataset: str) -> dict[str, str]:
    """Column of the raw data set → name in the file; where several fit, the first of the table above wins."""
    known = names_of(dataset)
    given = {normal_name(name): name for name in reversed(names)}
    mapping: dict[str, str] = {}
    for alias, column in known.items():
        if alias in given and column in RAW_SCHEMAS[dataset]:
            mapping.setdefault(column, given[alias])
    return mapping
