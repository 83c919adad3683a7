"""Funding stamps joined to bars, at the time they became known."""

from __future__ import annotations

from typing import Final

import polars as pl

from backtest.cleaning.bars import one_per_stamp

FUNDING_COLUMNS: Final = ("funding_rate", "funding_stamp_rate", "funding_interval_hours")
INTERVALS_HOURS: Final = (1.0, 2.0, 4.0, 8.0)
STALE_AFTER_INTERVALS: Final = 2
LONGEST_INTERVAL_HOURS: Final = 8.0


def clean_funding(rows: pl.DataFrame) -> pl.DataFrame:
    """Funding stamps in order, one a stamp, with an interval for each.

    Parameters
    ----------
    rows : frame of ``timestamp``, ``funding_rate``, ``funding_interval_hours`` (null where not published).

    Returns
    -------
    The same columns. An interval that is not published is the time since the stamp before, where that is one the venue
    uses (1, 2, 4 or 8 hours); else it stays null. Looks back one stamp only.
    """
    stamps = one_per_stamp(rows.filter(pl.col("timestamp").is_not_null() & pl.col("funding_rate").is_finite()))
    observed = (pl.col("timestamp").diff().dt.total_minutes() / 60.0).round(1)
    return stamps.with_columns(
        pl.coalesce(pl.col("funding_interval_hours"), pl.when(observed.is_in(INTERVALS_HOURS)).then(observed)).alias(
            "funding_interval_hours"
        )
    )


def join_funding(bars: pl.DataFrame, stamps: pl.DataFrame) -> pl.DataFrame:
    """Bars with the funding known at their close.

    ``funding_rate`` and ``funding_interval_hours`` are those of the last stamp before the bar's close, null once that
    stamp is older than two intervals (a missing file is not a constant rate); ``funding_stamp_rate`` is the rate of a
    stamp inside the bar, null in all others.
    """
    placed = stamps.select(
        pl.col("timestamp").dt.truncate("5m"),
        pl.col("timestamp").alias("_stamp"),
        "funding_rate",
        "funding_interval_hours",
    ).sort("timestamp")
    known = bars.join_asof(placed, on="timestamp", strategy="backward")
    age_hours = (pl.col("timestamp") - pl.col("_stamp").dt.truncate("5m")).dt.total_minutes() / 60.0
    interval = pl.col("funding_interval_hours").fill_null(LONGEST_INTERVAL_HOURS)
    fresh = age_hours <= STALE_AFTER_INTERVALS * interval
    return known.with_columns(
        pl.when(fresh).then(pl.col("funding_rate")).alias("funding_rate"),
        pl.when(age_hours == 0).then(pl.col("funding_rate")).alias("funding_stamp_rate"),
        pl.when(fresh).then(pl.col("funding_interval_hours")).alias("funding_interval_hours"),
    ).select(*bars.columns, *FUNDING_COLUMNS)
