"""Raw bars to a full 5-minute UTC grid on which every missing or unusable bar is an explicit null."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import polars as pl

BAR: Final = "5m"
BAR_MINUTES: Final = 5
MAX_JUMP: Final = 0.5
"""A price further than this fraction from the last close before it is flagged as out of range."""
JUMP_LOOKBACK_BARS: Final = 2016
"""How old that close may be: a week."""
PRICES: Final = ("open", "high", "low", "close")
VOLUMES: Final = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")
FLAGS: Final = ("is_gap", "is_zero_volume", "is_out_of_range")
COUNTS: Final = (
    "expected_bars",
    "bars",
    "gap_bars",
    "longest_gap_bars",
    "duplicates",
    "off_grid",
    "inconsistent",
    "out_of_range",
    "zero_volume",
    "from_1m",
)


@dataclass(frozen=True)
class CleanedBars:
    """Bars on the full grid, and what was found per month (one row a month, the columns of `COUNTS`)."""

    bars: pl.DataFrame
    quality: pl.DataFrame


def clean_bars(
    bars_5m: pl.DataFrame,
    bars_1m: pl.DataFrame,
    *,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
) -> CleanedBars:
    """One row for every 5 minutes of [start, end), or from the first usable bar, or to the last one.

    Parameters
    ----------
    bars_5m, bars_1m : frames of the raw bar columns, in any order of rows; of rows with one stamp the last one counts.
        One-minute bars serve where there is no 5-minute bar.
    start, end : first bar and end (exclusive) of the grid,; the first and the last usable bar decide where None.

    Returns
    -------
    CleanedBars
        ``timestamp`` (bar open), prices and volumes (null in gaps and where the source has none), ``is_gap``,
        ``is_zero_volume`` (the venue printed the bar but nobody traded), ``is_out_of_range`` (a price more than half
        away from the last close of a week; kept, flagged). Each row uses nothing later than itself, except that the grid
        ends with the last bar.
    """
    on_grid, found = _sift(bars_5m)
    summed = sum_to_5m(bars_1m).join(on_grid.select("timestamp"), on="timestamp", how="anti")
    both = pl.concat([on_grid, summed], how="vertical").sort("timestamp") if len(summed) else on_grid
    usable, inconsistent = _consistent(both)
    found.append(_per_month(summed, "from_1m"))
    found.append(_per_month(inconsistent, "inconsistent"))
    step = dt.timedelta(minutes=BAR_MINUTES)
    wanted = usable if start is None else usable.filter(pl.col("timestamp") >= start)
    if wanted.is_empty() and (start is None or end is None):
        return CleanedBars(_flagged(usable.clear()), _quality(_flagged(usable.clear()), found))
    first = wanted["timestamp"][0] if start is None else start
    behind = wanted["timestamp"][-1] + step if end is None else end
    grid = pl.datetime_range(first, behind, BAR, closed="left", time_zone="UTC", time_unit="ms", eager=True)
    bars = _flagged(beside_bars(pl.DataFrame({"timestamp": grid}), usable))
    return CleanedBars(bars, _quality(bars, found))


def sum_to_5m(bars_1m: pl.DataFrame) -> pl.DataFrame:
    """Five one-minute bars to one of five minutes; a bar that lacks a minute is left out.

    A volume column is null where any of its minutes is.
    """
    if bars_1m.is_empty():
        return bars_1m
    minutes = one_per_stamp(bars_1m)
    minutes = minutes.filter(pl.col("timestamp").dt.truncate("1m") == pl.col("timestamp"))
    return (
        minutes.group_by(pl.col("timestamp").dt.truncate(BAR), maintain_order=True)
        .agg(
            pl.len().alias("_minutes"),
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            *(pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name) for name in VOLUMES),
        )
        .filter(pl.col("_minutes") == BAR_MINUTES)
        .select(bars_1m.columns)
    )


def _sift(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Rows on the 5-minute grid, one a stamp, and the counts of what was left out."""
    is_on_grid = rows["timestamp"].dt.truncate(BAR) == rows["timestamp"]
    on_grid, off_grid = _parted(rows, is_on_grid)
    kept = one_per_stamp(on_grid)
    repeated = on_grid.clear() if len(kept) == len(on_grid) else on_grid.filter(~pl.col("timestamp").is_last_distinct())
    return kept, [_per_month(repeated, "duplicates"), _per_month(off_grid, "off_grid")]


def one_per_stamp(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows by ``timestamp``, of those with one stamp the last."""
    stamps = rows["timestamp"]
    is_rising = stamps.null_count() == 0 and bool((stamps.diff().slice(1) > dt.timedelta(0)).all())
    return rows if is_rising else rows.unique("timestamp", keep="last", maintain_order=True).sort("timestamp")


def beside_bars(bars: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The bars with the columns of the rows of the same ``timestamp``, null where there is none; each stamp is there once."""
    if bars["timestamp"].equals(rows["timestamp"]):
        return bars.hstack(rows.drop("timestamp"))
    return bars.join(rows, on="timestamp", how="left", maintain_order="left")


def _consistent(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars with four positive finite prices of which high is the highest and low the lowest; stamps of the others."""
    prices = [pl.col(name) for name in PRICES]
    sound = (
        pl.all_horizontal(*(price.is_finite() & (price > 0) for price in prices))
        & (pl.col("high") == pl.max_horizontal(prices))
        & (pl.col("low") == pl.min_horizontal(prices))
    ).fill_null(value=False)
    volumes = [
        pl.when(pl.col(name).is_finite() & (pl.col(name) >= 0)).then(pl.col(name)).alias(name) for name in VOLUMES
    ]
    usable, others = _parted(bars, bars.select(sound).to_series())
    return usable.with_columns(volumes), others.select("timestamp")


def _parted(rows: pl.DataFrame, holds: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows where it holds and those where it does not; where it is null, neither."""
    if holds.null_count() == 0 and holds.all():
        return rows, rows.clear()
    return rows.filter(holds), rows.filter(~holds)


def _flagged(bars: pl.DataFrame) -> pl.DataFrame:
    last_close = pl.col("close").forward_fill(limit=JUMP_LOOKBACK_BARS - 1).shift(1)
    jump = pl.max_horizontal(*((pl.col(name) / last_close - 1.0).abs() for name in PRICES))
    return bars.with_columns(
        pl.col("close").is_null().alias("is_gap"),
        (pl.col("volume") == 0).fill_null(value=False).alias("is_zero_volume"),
        (jump > MAX_JUMP).fill_null(value=False).alias("is_out_of_range"),
    )


def _per_month(rows: pl.DataFrame, count: str) -> pl.DataFrame:
    if rows.is_empty():
        return pl.DataFrame(schema={"month": rows.schema["timestamp"], count: pl.Int64})
    return rows.group_by(pl.col("timestamp").dt.truncate("1mo").alias("month")).agg(
        pl.len().cast(pl.Int64).alias(count)
    )


def _quality(bars: pl.DataFrame, found: list[pl.DataFrame]) -> pl.DataFrame:
    run = (pl.col("is_gap") != pl.col("is_gap").shift(1)).fill_null(value=True).cum_sum()
    months = (
        bars.with_columns(pl.col("timestamp").dt.truncate("1mo").alias("month"))
        .with_columns(pl.len().over("month", run).alias("_run"))
        .group_by("month")
        .agg(
            pl.len().cast(pl.Int64).alias("expected_bars"),
            (~pl.col("is_gap")).sum().cast(pl.Int64).alias("bars"),
            pl.col("is_gap").sum().cast(pl.Int64).alias("gap_bars"),
            pl.col("_run").filter(pl.col("is_gap")).max().fill_null(0).cast(pl.Int64).alias("longest_gap_bars"),
            pl.col("is_out_of_range").sum().cast(pl.Int64).alias("out_of_range"),
            pl.col("is_zero_volume").sum().cast(pl.Int64).alias("zero_volume"),
        )
    )
    for counts in found:
        if counts.is_empty():
            months = months.with_columns(pl.lit(None, dtype=pl.Int64).alias(counts.columns[-1]))
        else:
            months = months.join(counts, on="month", how="full", coalesce=True)
    return months.select(pl.col("month").dt.strftime("%Y-%m"), *(pl.col(name).fill_null(0) for name in COUNTS)).sort(
        "month"
    )
