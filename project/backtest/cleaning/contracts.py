"""What a contract's dates and rules say about raw rows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from backtest.spec.models import Contract


def while_listed(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Rows whose ``timestamp`` lies on a day the contract exists on, from its listing to its delisting day."""
    if contract.listed is not None:
        rows = rows.filter(pl.col("timestamp") >= _midnight(contract.listed))
    if contract.delisted is not None:
        rows = rows.filter(pl.col("timestamp") < _midnight(contract.delisted + dt.timedelta(days=1)))
    return rows


def with_contract_interval(stamps: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Funding stamps whose interval is neither published nor observed take the contract's of their day."""
    interval = pl.lit(None, dtype=pl.Float64)
    for period in contract.periods:
        interval = (
            pl.when(pl.col("timestamp") >= _midnight(period.since))
            .then(pl.lit(period.funding_interval_hours, dtype=pl.Float64))
            .otherwise(interval)
        )
    return stamps.with_columns(pl.coalesce("funding_interval_hours", interval).alias("funding_interval_hours"))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
