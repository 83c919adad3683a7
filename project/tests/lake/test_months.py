"""Which files a data set has, by month: looked up each time, or once for many questions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from backtest.lake.months import (
    Listings,
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


def test_what_was_listed_is_believed_within_the_block_until_it_is_forgotten(dataset: Path, tmp_path: Path):
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
        listings.forget()
        assert month_files(dataset) == [*before, new]
        assert sorted(datasets_with_files(tmp_path, "*")) == [dataset, other]


def test_what_is_handed_out_can_be_changed_without_changing_what_is_kept(dataset: Path, tmp_path: Path):
    with listing_once(Listings()):
        month_files(dataset).clear()
        datasets_with_files(tmp_path, "*").clear()
        assert len(month_files(dataset)) == 4
        assert datasets_with_files(tmp_path, "*") == [dataset]
