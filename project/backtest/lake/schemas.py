"""Columns and types of every raw data set in the lake.

Times are UTC. ``timestamp`` is a bar's open time, or the stamp of an observation that is not a bar. Prices are in quote
currency, volumes in base currency unless named ``quote``; a column a source lacks is null, never zero.
"""

from __future__ import annotations

from typing import Final

import polars as pl

UTC_MILLISECONDS: Final = pl.Datetime("ms", "UTC")

_BARS: Final[dict[str, pl.DataType]] = {
    "timestamp": UTC_MILLISECONDS,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "quote_volume": pl.Float64(),
    "trade_count": pl.Int64(),
    "taker_buy_volume": pl.Float64(),
    "taker_buy_quote_volume": pl.Float64(),
}

_PRICES: Final[dict[str, pl.DataType]] = {
    "timestamp": UTC_MILLISECONDS,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
}

RAW_SCHEMAS: Final[dict[str, dict[str, pl.DataType]]] = {
    "ohlcv_5m": _BARS,
    "ohlcv_1m": _BARS,
    # Mark price, index price (both in quote currency) and premium index (a fraction, which may be negative).
    "mark_5m": _PRICES,
    "index_5m": _PRICES,
    "premium_5m": _PRICES,
    # Paid by longs to shorts at the stamp, as a fraction of notional; the interval in hours is null where not told.
    "funding": {
        "timestamp": UTC_MILLISECONDS,
        "funding_rate": pl.Float64(),
        "funding_interval_hours": pl.Float64(),
    },
    # Open interest in base currency and in USD at the stamp; ratios are long over short, taker volume buys over sells.
    "metrics": {
        "timestamp": UTC_MILLISECONDS,
        "open_interest": pl.Float64(),
        "open_interest_usd": pl.Float64(),
        "top_trader_account_ratio": pl.Float64(),
        "top_trader_position_ratio": pl.Float64(),
        "global_account_ratio": pl.Float64(),
        "taker_volume_ratio": pl.Float64(),
    },
    # Notional in USD of positions liquidated within the bar: longs (forced sales) and shorts (forced purchases). Every
    # bar of a day that was published is there, with zeros where nothing was liquidated.
    "liquidations": {
        "timestamp": UTC_MILLISECONDS,
        "long_liquidation_usd": pl.Float64(),
        "short_liquidation_usd": pl.Float64(),
        "liquidation_count": pl.Int64(),
    },
    # Best bid and ask summed to the bar: quoted spread in bps of mid, depth at best in USD, share of the bar covered.
    "book_ticker": {
        "timestamp": UTC_MILLISECONDS,
        "mean_spread_bps": pl.Float64(),
        "max_spread_bps": pl.Float64(),
        "best_bid_depth_usd": pl.Float64(),
        "best_ask_depth_usd": pl.Float64(),
        "book_imbalance": pl.Float64(),
        "book_coverage": pl.Float64(),
    },
    # Depth of the book within 1 % and 5 % of mid: mean over the bar's snapshots in USD; share of its half-minutes that
    # have a snapshot.
    "book_depth": {
        "timestamp": UTC_MILLISECONDS,
        "bid_depth_1pct_usd": pl.Float64(),
        "ask_depth_1pct_usd": pl.Float64(),
        "bid_depth_5pct_usd": pl.Float64(),
        "ask_depth_5pct_usd": pl.Float64(),
        "depth_coverage": pl.Float64(),
    },
    # Simulated markets only: log return added inside each bar of the full grid, the truth a search must find.
    "planted_drift": {
        "timestamp": UTC_MILLISECONDS,
        "planted_drift": pl.Float64(),
    },
}
