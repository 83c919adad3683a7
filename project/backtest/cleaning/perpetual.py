"""Perpetual bars with every other data set beside them, as it is known at each bar's close."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import polars as pl

from backtest.cleaning.bars import beside_bars, one_per_stamp
from backtest.cleaning.contracts import with_contract_interval
from backtest.cleaning.funding import clean_funding, join_funding

if TYPE_CHECKING:
    from backtest.spec.models import Contract

METRICS_STALE_AFTER_BARS: Final = 3
MIN_BOOK_COVERAGE: Final = 0.5
"""Share of a bar that quotes have to cover for its spread and depth to stand for the bar."""
CLOSES: Final[dict[str, str]] = {"mark_5m": "mark_close", "index_5m": "index_close", "premium_5m": "premium_index"}
METRICS: Final = (
    "open_interest",
    "open_interest_usd",
    "top_trader_account_ratio",
    "top_trader_position_ratio",
    "global_account_ratio",
    "taker_volume_ratio",
)
LIQUIDATIONS: Final = ("long_liquidation_usd", "short_liquidation_usd")
BOOK: Final = ("mean_spread_bps", "max_spread_bps", "best_bid_depth_usd", "best_ask_depth_usd", "book_imbalance")
DEPTH: Final = ("bid_depth_1pct_usd", "ask_depth_1pct_usd", "bid_depth_5pct_usd", "ask_depth_5pct_usd")
DATASET_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "funding": ("funding_rate",),
    **{dataset: (column,) for dataset, column in CLOSES.items()},
    "metrics": METRICS,
    "liquidations": LIQUIDATIONS,
    "book_ticker": BOOK,
    "book_depth": DEPTH,
}
"""Columns of the cleaned bars that each data set fills."""


def join_datasets(
    bars: pl.DataFrame, raw: Mapping[str, pl.DataFrame], contract: Contract | None = None
) -> pl.DataFrame:
    """`bars` with funding and the columns of `DATASET_COLUMNS`, all Float64, null where unknown; ``gap``, ``zero_volume``.

    Parameters
    ----------
    bars : cleaned bars of one perpetual on the full grid, oldest first.
    raw : rows of each raw data set by its name, in any order, of rows with one stamp the last counts; a data set that is
        left out gives nulls.
    contract : its funding interval stands where one is neither published nor observed.

    Notes
    -----
    Every value is known at the close of its bar: closes of the same bar; metrics stamped within the bar, or within the
    three before it; liquidations, quotes and depth of the bar itself. Nothing is carried further, because a file that is
    missing is not a constant value.
    """
    funding = raw.get("funding")
    stamps = clean_funding(funding if funding is not None else _no_funding())
    joined = join_funding(bars, stamps if contract is None else with_contract_interval(stamps, contract))
    for dataset, column in CLOSES.items():
        close = pl.col("close")
        is_sound = close.is_finite() if dataset == "premium_5m" else close.is_finite() & (close > 0)
        joined = _beside(joined, raw.get(dataset), {column: pl.when(is_sound).then(close)})
    joined = _beside(joined, raw.get("metrics"), {name: _from_zero(name) for name in METRICS})
    joined = joined.with_columns(pl.col(METRICS).forward_fill(limit=METRICS_STALE_AFTER_BARS))
    joined = _beside(joined, raw.get("liquidations"), {name: _from_zero(name) for name in LIQUIDATIONS})
    is_covered = pl.col("book_coverage").fill_null(1.0) >= MIN_BOOK_COVERAGE
    quotes = {name: pl.when(is_covered & pl.col(name).is_finite()).then(pl.col(name)) for name in BOOK}
    joined = _beside(joined, raw.get("book_ticker"), quotes)
    joined = _beside(joined, raw.get("book_depth"), {name: _from_zero(name) for name in DEPTH})
    return joined.with_columns(
        pl.col("is_gap").cast(pl.Float64).alias("gap"), pl.col("is_zero_volume").cast(pl.Float64).alias("zero_volume")
    )


def _beside(bars: pl.DataFrame, rows: pl.DataFrame | None, columns: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """The values of the bar each row's stamp lies in; of several the last that is known, column by column."""
    if rows is None or rows.is_empty():
        return bars.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in columns)
    values = one_per_stamp(rows).select(
        pl.col("timestamp").dt.truncate("5m"), *(value.alias(name) for name, value in columns.items())
    )
    if (values["timestamp"].diff() == dt.timedelta(0)).any():
        last = [pl.col(name).drop_nulls().last() for name in columns]
        values = values.group_by("timestamp", maintain_order=True).agg(last)
    return beside_bars(bars, values)


def _from_zero(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_finite() & (pl.col(name) >= 0)).then(pl.col(name))


def _no_funding() -> pl.DataFrame:
    schema = {
        "timestamp": pl.Datetime("ms", "UTC"),
        "funding_rate": pl.Float64(),
        "funding_interval_hours": pl.Float64(),
    }
    return pl.DataFrame(schema=schema)
