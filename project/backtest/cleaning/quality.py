"""What there is and what is wrong in the rows of a raw data set, month by month."""

from __future__ import annotations

from typing import Final

import polars as pl

STEP_MINUTES: Final[dict[str, int]] = {
    "ohlcv_5m": 5,
    "ohlcv_1m": 1,
    **dict.fromkeys(("mark_5m", "index_5m", "premium_5m", "metrics", "liquidations", "book_ticker", "book_depth"), 5),
}
# A funding payment beyond this fraction of the notional is an error of the data: the venue caps it well below.
LARGEST_FUNDING_RATE: Final = 0.05
QUALITY_SCHEMA: Final[dict[str, pl.DataType]] = {
    "month": pl.String(),
    "expected_rows": pl.Int64(),
    "rows": pl.Int64(),
    "duplicate_rows": pl.Int64(),
    "conflicting_rows": pl.Int64(),
    "missing_rows": pl.Int64(),
    "gaps": pl.Int64(),
    "out_of_range_values": pl.Int64(),
}
# A premium index beyond this fraction of the price is an error of the data.
LARGEST_PREMIUM: Final = 0.5
_PRICES: Final = ("open", "high", "low", "close")
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "ohlcv_5m": (*_PRICES, "volume"),
    "ohlcv_1m": (*_PRICES, "volume"),
    "funding": ("funding_rate",),
    **dict.fromkeys(("mark_5m", "index_5m", "premium_5m"), _PRICES),
    "metrics": ("open_interest", "open_interest_usd", "global_account_ratio"),
    "liquidations": ("long_liquidation_usd", "short_liquidation_usd"),
    "book_ticker": ("mean_spread_bps", "best_bid_depth_usd", "best_ask_depth_usd"),
    "book_depth": ("bid_depth_1pct_usd", "ask_depth_1pct_usd"),
}


def quality_table(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """One row for each month of `frame`, in the columns of `QUALITY_SCHEMA`,
    and for bars one for each month between that has none.

    Parameters
    ----------
    frame : rows of ``RAW_SCHEMAS[dataset]`` in any order, duplicates left in.
    dataset : name of a raw data set; metrics are counted by the bar their stamp lies in.

    Returns
    -------
    frame
        ``month`` is ``YYYY-MM``. ``expected_rows``: bars of the month's grid, from the first to the last row of all;
        for funding the payments there plus those missing. ``duplicate_rows``: rows beyond the first of their stamp;
        ``conflicting_rows``: those of them whose stamp has different prices, volumes or rates. ``missing_rows`` lie
        in ``gaps`` runs, counted in each month a run touches; for funding a gap is a step longer than the interval
        of the row at its end (where that is null, than the month's most frequent step), counted in that row's month.
        ``out_of_range_values``: prices not above zero, a high or low that is not the extreme, negative volumes or
        counts, taker volume above volume; for funding a rate beyond ±5 %, for the premium index one beyond ±50 %, for the other
        data sets numbers below zero. No rows give an empty table.
    """
    if frame.is_empty():
        return pl.DataFrame(schema=QUALITY_SCHEMA)
    month = pl.col("timestamp").dt.strftime("%Y-%m").alias("month")
    rows = frame.with_columns(month, _out_of_range(dataset).alias("_wrong"), *_repetitions(dataset))
    counted = rows.group_by("month").agg(
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col("_is_repeated").sum().cast(pl.Int64).alias("duplicate_rows"),
        pl.col("_is_conflicting").sum().cast(pl.Int64).alias("conflicting_rows"),
        pl.col("_wrong").sum().cast(pl.Int64).alias("out_of_range_values"),
    )
    if dataset == "metrics":
        frame = frame.with_columns(pl.col("timestamp").dt.truncate("5m"))
    single = frame.unique("timestamp", keep="last").sort("timestamp")
    grid = _bar_grid(single, dataset) if dataset in STEP_MINUTES else _funding_grid(single.with_columns(month))
    table = grid.join(counted, on="month", how="left").with_columns(pl.col(*counted.columns).fill_null(0))
    return table.select(pl.col(name).cast(dtype) for name, dtype in QUALITY_SCHEMA.items()).sort("month")


def _repetitions(dataset: str) -> list[pl.Expr]:
    values = _VALUES[dataset]
    is_repeated = ~pl.col("timestamp").is_first_distinct()
    differs = pl.any_horizontal(pl.col(name).n_unique().over("timestamp") > 1 for name in values)
    return [is_repeated.alias("_is_repeated"), (is_repeated & differs).alias("_is_conflicting")]


def _out_of_range(dataset: str) -> pl.Expr:
    """Count of impossible values in each row."""
    extremes = [
        pl.col("high") < pl.max_horizontal("open", "low", "close"),
        pl.col("low") > pl.min_horizontal("open", "high", "close"),
    ]
    if dataset == "funding":
        faults = [pl.col("funding_rate").abs() > LARGEST_FUNDING_RATE]
    elif dataset == "premium_5m":
        faults = [*(pl.col(name).abs() > LARGEST_PREMIUM for name in _PRICES), *extremes]
    elif dataset in ("mark_5m", "index_5m"):
        faults = [*(pl.col(name) <= 0 for name in _PRICES), *extremes]
    elif dataset in ("ohlcv_5m", "ohlcv_1m"):
        others = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")
        faults = [
            *(pl.col(name) <= 0 for name in _PRICES),
            *extremes,
            *(pl.col(name) < 0 for name in others),
            pl.col("taker_buy_volume") > pl.col("volume") * (1 + 1e-9),
        ]
    else:
        faults = [pl.col(name) < 0 for name in _VALUES[dataset]]
    return pl.sum_horizontal(fault.fill_null(False).cast(pl.Int64) for fault in faults)


def _bar_grid(single: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Expected and missing bars and the number of gaps of each month."""
    first, last = single["timestamp"][0], single["timestamp"][-1]
    step = f"{STEP_MINUTES[dataset]}m"
    stamps = pl.datetime_range(first, last, step, time_unit="ms", eager=True).alias("timestamp")
    grid = stamps.to_frame().join(single.select("timestamp", there=pl.lit(True)), on="timestamp", how="left")
    is_missing = pl.col("there").is_null()
    begins = is_missing & (~is_missing.shift(1, fill_value=False) | (pl.col("month") != pl.col("month").shift(1)))
    return (
        grid.sort("timestamp")
        .with_columns(pl.col("timestamp").dt.strftime("%Y-%m").alias("month"))
        .with_columns(is_missing.alias("_missing"), begins.alias("_begins"))
        .group_by("month")
        .agg(
            pl.len().alias("expected_rows"),
            pl.col("_missing").sum().alias("missing_rows"),
            pl.col("_begins").sum().alias("gaps"),
        )
    )


def _funding_grid(single: pl.DataFrame) -> pl.DataFrame:
    """Expected and missing payments and the number of gaps of each month."""
    hours = pl.col("timestamp").diff().dt.total_minutes() / 60
    usual = pl.col("_hours").drop_nulls().mode().min().over("month")
    interval = pl.coalesce("funding_interval_hours", "_usual")
    missing = (pl.col("_hours") / interval).round(0) - 1
    steps = (
        single.with_columns(hours.alias("_hours"))
        .with_columns(usual.alias("_usual"))
        .with_columns(missing.clip(lower_bound=0).fill_null(0).alias("_missing"))
    )
    return steps.group_by("month").agg(
        (pl.len() + pl.col("_missing").sum()).alias("expected_rows"),
        pl.col("_missing").sum().alias("missing_rows"),
        (pl.col("_missing") > 0).sum().alias("gaps"),
    )
