"""The trades of a backtest as columns of numbers for the page's script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from backtest.reports.html.figures import BAR_MINUTES
from backtest.reports.html.pages.columns import packed

if TYPE_CHECKING:
    import polars as pl

MOST_TRADES: Final = 20_000
"""The latest ones, where there are more."""
CODED: Final = ("strategy", "instrument", "reason", "span")
COLUMNS: Final = (
    ("entry", "time", "Entry (UTC)", "Open of the bar it was entered in."),
    ("strategy", "text", "Strategy", "The rule that asked for the trade."),
    ("instrument", "text", "Market", "What was traded; spot legs are named so."),
    (
        "side",
        "text",
        "Side",
        "Long earns when the price rises, short when it falls. A hedge is the second leg of a trade.",
    ),
    ("held", "count", "Held (min)", "Minutes from entry to exit."),
    ("notional", "count", "Size (USD)", "Value of the position at entry."),
    ("net", "bps", "Net (bps)", "What was left after all costs, in bps of its size."),
    ("net_usd", "decimal", "Net (USD)", "What was left after all costs, in US dollars."),
    (
        "gross",
        "bps",
        "Gross (bps)",
        "Price change in the trade's favour, in bps of its size, at prices without slippage.",
    ),
    ("fees", "bps", "Fees (bps)", "Fees of both fills, in bps of its size."),
    ("slippage", "bps", "Slippage (bps)", "Spread and market impact of both fills, in bps of its size."),
    ("funding", "bps", "Funding (bps)", "Funding paid while it was held, in bps of its size; negative where received."),
    ("mfe", "bps", "MFE (bps)", "Maximum favourable excursion: the largest gain while it was held."),
    ("mae", "bps", "MAE (bps)", "Maximum adverse excursion: the largest loss while it was held."),
    ("reason", "text", "Left by", "Why it was left: horizon, target, stop, …"),
    (
        "span",
        "text",
        "Span",
        "In sample: days the search chose on. Confirmation: days it let pass. After: days after the search.",
    ),
)
"""(key, kind, name, explanation)."""


def trade_data(trades: pl.DataFrame, run_id: str) -> dict[str, Any]:
    """Columns by name, `columns.packed`: texts, times in minutes after ``start``, money in USD, the rest in bps.

    `trades` as docs/backtest.md describes them; at most `MOST_TRADES`, the latest, in the order of their entries.
    A blueprint of run `run_id` is named without it.
    """
    import polars as pl

    entered = trades.filter(pl.col("entry_time").is_not_null())
    own = entered.sort("entry_time", "event_id", "leg").tail(MOST_TRADES)
    start = own["entry_time"].min()
    size = pl.col("notional")
    figures = own.select(
        *(pl.col(name).fill_null("").str.strip_prefix(f"{run_id}." if name == "strategy" else "") for name in CODED),
        ((pl.col("entry_time") - pl.col("entry_time").min()).dt.total_minutes()).alias("entry"),
        (pl.col("side") + 10 * (pl.col("leg") > 0).cast(pl.Int32)).alias("side"),
        (pl.col("bars_held") * BAR_MINUTES).alias("held"),
        size.round(0).cast(pl.Int64).alias("notional"),
        *((pl.col(name) / size * 1e4).round(1).alias(name) for name in ("gross", "fees", "slippage", "funding", "net")),
        pl.col("net").round(1).alias("net_usd"),
        *((pl.col(name) * 1e4).round(1).alias(name) for name in ("mfe", "mae")),
    ).with_columns(pl.selectors.float().fill_nan(None))
    return {
        "n": len(own),
        "all": len(entered),
        "start": None if start is None else start.timestamp(),  # type: ignore[union-attr]
        "texts": list(CODED),
        "columns": {column.name: packed(column) for column in figures},
    }
