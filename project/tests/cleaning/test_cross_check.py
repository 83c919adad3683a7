"""Prices of one thing from several sources: spans in which they disagree, or agree too well."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.cleaning.cross_check import CROSS_CHECK_SCHEMA, cross_check, cross_check_lines

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def bars(n: int, **changed: dict[int, Any]) -> pl.DataFrame:
    """Prices a little apart from one another, with single values changed: column → bar → value."""
    columns: dict[str, list[Any]] = {
        "timestamp": [START + dt.timedelta(minutes=5 * bar) for bar in range(n)],
        "close": [100.0] * n,
        "volume": [7.0] * n,
        "spot_close": [100.01] * n,
        "spot_volume": [3.0] * n,
        "index_close": [100.02] * n,
        "mark_close": [99.99] * n,
    }
    for name, values in changed.items():
        for bar, value in values.items():
            columns[name][bar] = value
    numbers = {name: pl.Float64() for name in columns if name != "timestamp"}
    return pl.DataFrame(columns, schema={"timestamp": pl.Datetime("ms", "UTC"), **numbers})


def test_sources_that_agree_give_an_empty_table_of_the_schema() -> None:
    found = cross_check(bars(50), "AAAUSDT")
    assert dict(found.schema) == CROSS_CHECK_SCHEMA
    assert found.is_empty()


def test_bars_beyond_the_bound_make_spans_with_their_measure() -> None:
    found = cross_check(bars(60, index_close={3: 102.0, 5: 98.0, 40: 103.0}, mark_close={10: 98.5}), "AAAUSDT")
    assert cross_check_lines(found) == [
        "AAAUSDT: perpetual against index, 2024-01-01 00:15 to 2024-01-01 00:25 UTC, 2 bars, up to 202 bps (bound 100 bps)",
        "AAAUSDT: perpetual against mark, 2024-01-01 00:50 to 2024-01-01 00:50 UTC, 1 bar, up to 151 bps (bound 100 bps)",
        "AAAUSDT: perpetual against index, 2024-01-01 03:20 to 2024-01-01 03:20 UTC, 1 bar, up to 296 bps (bound 100 bps)",
    ]


def test_a_perpetual_file_whose_last_bars_are_spot_bars_is_found() -> None:
    last = range(20, 60)
    found = cross_check(
        bars(60, spot_close=dict.fromkeys(last, 100.0), spot_volume=dict.fromkeys(last, 7.0)), "AAAUSDT"
    )
    assert found.select("measure", "start", "bars").rows() == [
        ("close and volume equal to spot's", START + dt.timedelta(minutes=100), 40),
        ("close equal to spot's", START + dt.timedelta(minutes=100), 40),
    ]


def test_equal_closes_by_chance_and_halts_are_not_listed() -> None:
    some = {bar: 100.0 for bar in range(60) if bar != 30}
    still = dict.fromkeys(range(40, 50), 0.0)
    assert cross_check(bars(60, spot_close=some, volume=still, spot_volume=still), "AAAUSDT").is_empty()


@pytest.mark.parametrize("missing", ["spot_close", "index_close", "mark_close", "close"])
def test_what_is_missing_is_compared_with_nothing(missing: str) -> None:
    assert cross_check(bars(60, **{missing: dict.fromkeys(range(60))}), "AAAUSDT").is_empty()


def test_the_halt_of_spot_trading_in_march_2023_is_the_longest_real_disagreement(shared_data: Path) -> None:
    perp, spot = (
        pl.read_parquet(shared_data / f"import/BTCUSDT_{market}_5m.parquet").select(
            pl.col("open_time").alias("timestamp"), pl.col("close"), pl.col("volume")
        )
        for market in ("perp", "spot")
    )
    beside = spot.rename({"close": "spot_close", "volume": "spot_volume"})
    none = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("index_close", "mark_close")]
    frame = perp.sort("timestamp").join(beside, on="timestamp", how="left").with_columns(none)
    found = cross_check(frame, "BTCUSDT")
    longest = found.sort("bars").row(-1, named=True)
    assert longest["measure"] == "perpetual against spot"
    assert longest["start"] == dt.datetime(2023, 3, 24, 11, 45, tzinfo=dt.UTC)
    assert len(found) < 12
