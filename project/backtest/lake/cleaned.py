"""What was found when bars were cleaned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backtest.errors import DataError
from backtest.lake.files import read_parquet_files

if TYPE_CHECKING:
    import polars as pl

    from backtest.lake.paths import DataRoot, Market


def read_cleaned_quality(
    root: DataRoot, market: Market, symbol: str, schema: Mapping[str, pl.DataType] | None = None
) -> pl.DataFrame:
    """One row a month, oldest first: symbol, market, month and the counts of `backtest.cleaning.bars`.

    DataError where there is none, or a file is damaged or lacks a column of `schema`.
    """
    folder = root.cleaned_quality(market, symbol, "").parent
    files = sorted(folder.glob("[0-9]*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no quality of cleaned bars.")
    return read_parquet_files(files, schema=schema)
