"""A hash of values: the same in whatever bytes, another after any change."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from backtest.lake.files import parquet_metadata, write_parquet
from backtest.lake.months import write_months
from backtest.lake.values_hash import VALUES_HASH, values_hash, values_hash_of

STAMPS = pl.Series("timestamp", [dt.datetime(2024, 1, 31, 23, 55, tzinfo=dt.UTC)] * 3).cast(pl.Datetime("ms", "UTC"))
FRAME = pl.DataFrame(
    [
        STAMPS,
        pl.Series("close", [1.5, None, float("nan")]),
        pl.Series("is_gap", [True, False, None]),
        pl.Series("taint", [1, 2, 3], dtype=pl.UInt16),
    ]
)


def test_it_is_the_same_however_the_values_are_stored(tmp_path: Path) -> None:
    chunks = pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)
    assert values_hash(chunks) == values_hash(FRAME)
    write_parquet(tmp_path / "packed.parquet", FRAME)
    write_parquet(tmp_path / "derived.parquet", FRAME, is_derived=True)
    assert (tmp_path / "packed.parquet").read_bytes() != (tmp_path / "derived.parquet").read_bytes()
    assert (
        values_hash_of(tmp_path / "packed.parquet")
        == values_hash_of(tmp_path / "derived.parquet")
        == values_hash(FRAME)
    )


@pytest.mark.parametrize(
    "changed",
    [
        FRAME.with_columns(close=pl.Series([1.5, 0.0, float("nan")])),  # what a null is filled with
        FRAME.with_columns(close=pl.Series([1.5, None, None], dtype=pl.Float64)),
        FRAME.with_columns(is_gap=pl.Series([True, False, False])),
        FRAME.with_columns(taint=pl.Series([1, 2, 3], dtype=pl.UInt32)),
        FRAME.with_columns(timestamp=pl.col("timestamp") + dt.timedelta(milliseconds=1)),
        FRAME.rename({"close": "open"}),
        FRAME.select("timestamp", "is_gap", "close", "taint"),
        FRAME[::-1],
        FRAME[:2],
    ],
)
def test_it_is_another_after_any_change(changed: pl.DataFrame) -> None:
    assert values_hash(changed) != values_hash(FRAME)


def test_text_is_refused() -> None:
    with pytest.raises(TypeError, match="symbol holds String"):
        values_hash(FRAME.with_columns(symbol=pl.lit("BTCUSDT")))


def test_months_hold_it_in_their_metadata(tmp_path: Path) -> None:
    (path,) = write_months(tmp_path, FRAME, metadata={"other": "kept"}, is_hashed=True)
    assert parquet_metadata(path)[VALUES_HASH] == values_hash(FRAME)
    assert parquet_metadata(path)["other"] == "kept"
    (path,) = write_months(tmp_path, FRAME)
    assert VALUES_HASH not in parquet_metadata(path)
    assert values_hash_of(path) == values_hash(FRAME)
