"""A symbol exists between its dates; its rules are those of the day."""

from __future__ import annotations

import datetime as dt

import polars as pl

from backtest.cleaning.contracts import while_listed, with_contract_interval
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.spec.models import Contract, ContractPeriod

CONTRACT = Contract(
    symbol="AAAUSDT",
    listed=dt.date(2024, 1, 2),
    delisted=dt.date(2024, 1, 3),
    periods=(
        ContractPeriod(since=dt.date(2024, 1, 2), funding_interval_hours=8),
        ContractPeriod(since=dt.date(2024, 1, 3), funding_interval_hours=4),
    ),
)
STAMPS = pl.DataFrame(
    [(dt.datetime(2024, 1, day, hour, tzinfo=dt.UTC), 0.1, None) for day in (1, 2, 3, 4) for hour in (0, 12)],
    schema=RAW_SCHEMAS["funding"],
    orient="row",
)


def test_rows_before_listing_and_after_delisting_are_left_out() -> None:
    assert while_listed(STAMPS, CONTRACT)["timestamp"].dt.day().to_list() == [2, 2, 3, 3]


def test_a_contract_without_dates_leaves_all_rows() -> None:
    assert while_listed(STAMPS, CONTRACT.model_copy(update={"listed": None, "delisted": None})).equals(STAMPS)


def test_an_unknown_interval_is_the_contracts_of_its_day_and_a_known_one_stays() -> None:
    known = STAMPS.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(1.0).otherwise(None).alias("funding_interval_hours")
    )
    assert with_contract_interval(known, CONTRACT)["funding_interval_hours"].to_list() == [
        None,
        None,
        8.0,
        1.0,
        4.0,
        4.0,
        4.0,
        4.0,
    ]
