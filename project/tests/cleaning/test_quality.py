"""The table of quality counts, month by month, what a plain loop over the rows counts."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from backtest.cleaning.quality import QUALITY_SCHEMA, quality_table
from backtest.lake.schemas import RAW_SCHEMAS

FIRST = dt.datetime(2023, 8, 31, 23, 45, tzinfo=dt.UTC)


def bars(numbers: list[int], **values: list[float | None]) -> pl.DataFrame:
    """Bars at 5-minute `numbers` after FIRST."""
    count = len(numbers)
    columns: dict[str, Any] = {
        "timestamp": [FIRST + dt.timedelta(minutes=5 * number) for number in numbers],
        "open": [10.0] * count,
        "high": [11.0] * count,
        "low": [9.0] * count,
        "close": [10.0] * count,
        "volume": [5.0] * count,
    }
    schema = RAW_SCHEMAS["ohlcv_5m"]
    return pl.DataFrame({name: values.get(name, columns.get(name, [None] * count)) for name in schema}, schema=schema)


def counted(frame: pl.DataFrame, dataset: str = "ohlcv_5m") -> dict[str, tuple[int, ...]]:
    table = quality_table(frame, dataset)
    assert dict(table.schema) == QUALITY_SCHEMA
    return {row[0]: row[1:] for row in table.iter_rows()}


def test_a_whole_series_has_nothing_to_report() -> None:
    assert counted(bars([0, 1, 2, 3, 4])) == {"2023-08": (3, 3, 0, 0, 0, 0, 0), "2023-09": (2, 2, 0, 0, 0, 0, 0)}


def test_a_gap_over_the_end_of_a_month_is_counted_in_both() -> None:
    assert counted(bars([0, 1, 6])) == {"2023-08": (3, 2, 0, 0, 1, 1, 0), "2023-09": (4, 1, 0, 0, 3, 1, 0)}


def test_a_month_without_any_row_is_in_the_table() -> None:
    table = counted(bars([0, 3 + 30 * 288]))
    assert table["2023-09"] == (30 * 288, 0, 0, 0, 30 * 288, 1, 0)


def test_repetitions_are_told_apart_by_their_values() -> None:
    frame = bars([0, 0, 1, 1, 2], close=[10.0, 10.0, 10.0, 10.5, 10.0])
    assert counted(frame) == {"2023-08": (3, 5, 2, 1, 0, 0, 0)}
    assert counted(frame.reverse()) == counted(frame)


def test_impossible_values_are_counted_one_by_one_and_nulls_are_not() -> None:
    frame = bars(
        [0, 1, 2],
        high=[9.5, 11.0, 11.0],
        volume=[5.0, -1.0, 5.0],
        taker_buy_volume=[None, None, 6.0],
    )
    assert counted(frame) == {"2023-08": (3, 3, 0, 0, 0, 0, 3)}


def test_funding_gaps_follow_the_interval_of_the_row_or_the_usual_step() -> None:
    def funding(hours: list[int], intervals: list[float | None], rates: list[float] | None = None) -> pl.DataFrame:
        start = dt.datetime(2023, 8, 1, tzinfo=dt.UTC)
        return pl.DataFrame(
            {
                "timestamp": [start + dt.timedelta(hours=hour) for hour in hours],
                "funding_rate": rates or [0.0001] * len(hours),
                "funding_interval_hours": intervals,
            },
            schema=RAW_SCHEMAS["funding"],
        )

    assert counted(funding([0, 8, 12, 16], [8, 8, 4, 4]), "funding") == {"2023-08": (4, 4, 0, 0, 0, 0, 0)}
    assert counted(funding([0, 8, 16, 40], [None] * 4), "funding") == {"2023-08": (6, 4, 0, 0, 2, 1, 0)}
    assert counted(funding([0, 8], [8, 8], [0.2, 0.1]), "funding") == {"2023-08": (2, 2, 0, 0, 0, 0, 2)}


def test_no_rows_give_an_empty_table() -> None:
    assert quality_table(bars([]), "ohlcv_5m").is_empty()
