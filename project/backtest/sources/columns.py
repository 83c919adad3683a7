"""Which column names of venues and tools mean which column of the raw data sets."""

from __future__ import annotations

import re
from typing import Final

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


def normal_name(name: str) -> str:
    """Lower case, words joined by ``_``."""
    return re.sub(r"[\s_]+", "_", name.strip().lower())


def mapping_of(names: list[str], dataset: str) -> dict[str, str]:
    """Column of the raw data set → name in the file; where several fit, the first of the table above wins."""
    known = FUNDING_NAMES if dataset == "funding" else BAR_NAMES
    given = {normal_name(name): name for name in reversed(names)}
    mapping: dict[str, str] = {}
    for alias, column in known.items():
        if alias in given:
            mapping.setdefault(column, given[alias])
    return mapping
