"""The hash of the bars a search was made on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from backtest.lake.files import write_parquet
from backtest.lake.months import write_months
from backtest.lake.paths import DataRoot
from backtest.pipeline.cleaned_data import cleaned_data_hash

BARS = pl.DataFrame(
    {
        "timestamp": pl.datetime_range(
            dt.date(2024, 1, 31),
            dt.date(2024, 2, 2),
            "5m",
            closed="left",
            time_unit="ms",
            time_zone="UTC",
            eager=True,
        )
    }
).with_columns(close=pl.int_range(pl.len()).cast(pl.Float64))


def test_it_is_of_the_values_and_not_of_the_files_bytes(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data")
    days = dt.date(2024, 1, 31), dt.date(2024, 2, 2)
    write_months(root.cleaned_bars("perp", "BTCUSDT"), BARS, is_derived=True, is_hashed=True)
    first = cleaned_data_hash(root, ["BTCUSDT"], *days)
    # As an earlier version may have written them: otherwise packed, without the hash.
    for path in root.cleaned_bars("perp", "BTCUSDT").rglob("*.parquet"):
        write_parquet(path, pl.read_parquet(path))
    assert cleaned_data_hash(root, ["BTCUSDT"], *days) == first
    write_months(root.cleaned_bars("perp", "BTCUSDT"), BARS.with_columns(close=pl.col("close") + 1e-9), is_hashed=True)
    assert cleaned_data_hash(root, ["BTCUSDT"], *days) != first
    assert cleaned_data_hash(root, ["BTCUSDT"], days[0], dt.date(2024, 2, 1)) != first
