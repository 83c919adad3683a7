"""Funding stamps at the time they became known."""

from __future__ import annotations

import datetime as dt

import polars as pl

from backtest.cleaning.funding import clean_funding, join_funding
from backtest.lake.schemas import RAW_SCHEMAS, UTC_MILLISECONDS

MIDNIGHT = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def stamps(*rows: tuple[float, float, float | None]) -> pl.DataFrame:
    """Rows of (hours after midnight, rate, interval)."""
    return pl.DataFrame(
        [(MIDNIGHT + dt.timedelta(hours=hours), rate, interval) for hours, rate, interval in rows],
        schema=RAW_SCHEMAS["funding"],
        orient="row",
    )


def bars(*hours: float) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": [MIDNIGHT + dt.timedelta(hours=hour) for hour in hours]}).cast(UTC_MILLISECONDS)


def test_an_unpublished_interval_is_the_time_since_the_stamp_before() -> None:
    cleaned = clean_funding(stamps((0, 0.1, None), (8, 0.2, None), (12, 0.3, None), (19, 0.4, None)))
    assert cleaned["funding_interval_hours"].to_list() == [None, 8.0, 4.0, None]


def test_a_published_interval_is_kept() -> None:
    assert clean_funding(stamps((0, 0.1, 4.0), (8, 0.2, 8.0)))["funding_interval_hours"].to_list() == [4.0, 8.0]


def test_a_rate_is_known_from_its_stamps_bar_on_and_stands_alone_in_that_bar() -> None:
    joined = join_funding(bars(7.9166666, 8, 8.0833333), clean_funding(stamps((0, 0.1, 8.0), (8.000003, 0.2, 8.0))))
    assert joined["funding_rate"].to_list() == [0.1, 0.2, 0.2]
    assert joined["funding_stamp_rate"].to_list() == [None, 0.2, None]


def test_a_rate_older_than_two_intervals_is_unknown_not_constant() -> None:
    joined = join_funding(bars(8, 16, 16.0833333), clean_funding(stamps((0, 0.1, 8.0))))
    assert joined["funding_rate"].to_list() == [0.1, 0.1, None]


def test_without_stamps_everything_is_null() -> None:
    joined = join_funding(bars(0, 1), clean_funding(stamps()))
    assert joined["funding_rate"].null_count() == 2
    assert joined.columns == ["timestamp", "funding_rate", "funding_stamp_rate", "funding_interval_hours"]
