"""Which files a data set has, by month: looked up each time, or once for many questions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from backtest.lake.months import (
    Listings,
    between,
    datasets_with_files,
    first_and_last_file,
    listing_once,
    month_files,
    month_folder,
    month_span,
)


def _touch(dataset: Path, year: int, month: int, name: str = "part.parquet") -> Path:
    path = month_folder(dataset, year, month) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def _day(year: int, month: int, day: int = 1, hour: int = 0) -> dt.datetime:
    return dt.datetime(year, month, day, hour, tzinfo=dt.UTC)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Files of November 2023 (two), December 2023 and February 2024; January is an empty folder."""
    dataset = tmp_path / "bars_5m"
    for year, month in ((2024, 2), (2023, 12), (2023, 11)):
        _touch(dataset, year, month)
    _touch(dataset, 2023, 11, "early.parquet")
    _touch(dataset, 2023, 12, ".writing-part.parquet")
    month_folder(dataset, 2024, 1).mkdir()
    month_folder(dataset, 2024, 13).mkdir()
    return dataset


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        (None, None, [11, 11, 12, 2]),
        (_day(2023, 12, 31), None, [12, 2]),
        (_day(2024, 1), _day(2024, 2), []),
        (_day(2024, 1), _day(2024, 2, hour=1), [2]),
        (None, _day(2023, 12), [11, 11]),
        (_day(2024, 3), None, []),
    ],
)
def test_the_files_of_a_span_are_those_of_its_months_in_order(
    dataset: Path, start: dt.datetime | None, end: dt.datetime | None, months: list[int]
):
    found = month_files(dataset, start, end)
    assert [int(path.parent.name.removeprefix("month=")) for path in found] == months
    assert found == sorted(found)
    with listing_once(Listings()):
        assert month_files(dataset, start, end) == found


def test_first_and_last_are_the_same_looked_up_or_kept(dataset: Path, tmp_path: Path):
    ends = (month_folder(dataset, 2023, 11) / "early.parquet", month_folder(dataset, 2024, 2) / "part.parquet")
    for _ in range(2):
        assert first_and_last_file(dataset) == ends
        assert month_span(dataset) == (_day(2023, 11), _day(2024, 2))
        with listing_once(Listings()):
            assert first_and_last_file(dataset) == ends
            assert month_span(dataset) == (_day(2023, 11), _day(2024, 2))
            assert month_span(tmp_path / "absent") is first_and_last_file(tmp_path / "absent") is None
    assert month_span(tmp_path / "absent") is first_and_last_file(tmp_path / "absent") is None


def test_what_was_listed_is_believed_within_the_block(dataset: Path, tmp_path: Path):
    listings = Listings()
    with listing_once(listings):
        before = month_files(dataset)
        assert datasets_with_files(tmp_path, "*") == [dataset]
    new = _touch(dataset, 2024, 3)
    other = _touch(tmp_path / "other", 2024, 3).parents[2]
    assert month_files(dataset) == [*before, new]
    assert sorted(datasets_with_files(tmp_path, "*")) == [dataset, other]
    with listing_once(listings):
        assert month_files(dataset) == before
        assert datasets_with_files(tmp_path, "*") == [dataset]
    with listing_once(Listings()):
        assert month_files(dataset) == [*before, new]
        assert sorted(datasets_with_files(tmp_path, "*")) == [dataset, other]


def test_what_is_handed_out_can_be_changed_without_changing_what_is_kept(dataset: Path, tmp_path: Path):
    with listing_once(Listings()):
        month_files(dataset).clear()
        datasets_with_files(tmp_path, "*").clear()
        assert len(month_files(dataset)) == 4
        assert datasets_with_files(tmp_path, "*") == [dataset]


@pytest.mark.parametrize("is_sorted", [True, False])
def test_rows_between_two_times_begin_with_the_first_and_end_before_the_last(is_sorted: bool):
    stamps = pl.Series("timestamp", [-1, 0, 1, 5, 5, 9], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
    frame = stamps.to_frame() if is_sorted else stamps.reverse().to_frame()
    epoch, ms = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(milliseconds=1)
    for start, end, expected in [
        (None, None, [-1, 0, 1, 5, 5, 9]),
        (epoch, epoch + 5 * ms, [0, 1]),
        (epoch + ms, epoch + 6 * ms, [1, 5, 5]),
        (None, epoch, [-1]),
        (epoch - ms, None, [-1, 0, 1, 5, 5, 9]),
        (epoch + 9 * ms, epoch, []),
    ]:
        found = between(frame, start, end)["timestamp"].dt.epoch("ms").to_list()
        assert sorted(found) == expected
