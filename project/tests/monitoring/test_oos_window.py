"""Which evaluation windows are free of a search."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import DataError
from backtest.monitoring.oos_window import SearchedWindow, first_free_day, judged_window, searched_window

DAY = dt.timedelta(days=1)
ORIGIN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def _manifest(**changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "run_id": "r1",
        "status": "finished",
        "discovery_start": "2024-01-01T00:00:00+00:00",
        "discovery_end": "2024-03-01T00:00:00+00:00",
        "folds": {
            "discovery_start": "2024-01-01",
            "discovery_end": "2024-02-01",
            "confirmation_start": "2024-02-03",
            "confirmation_end": "2024-03-01",
        },
    }
    return manifest | changes


def test_the_whole_window_counts_as_searched_and_the_embargo_is_that_of_the_folds() -> None:
    searched = searched_window(_manifest(), "r1")
    assert (searched.start, searched.end) == (ORIGIN, dt.datetime(2024, 3, 1, tzinfo=dt.UTC))
    assert searched.embargo == 2 * DAY
    assert first_free_day(searched) == dt.date(2024, 3, 3)


@given(first=st.integers(-20, 40), length=st.integers(1, 40), embargo=st.integers(0, 5))
def test_a_window_is_free_where_no_day_of_it_lies_in_the_searched_days_or_the_embargo_around_them(
    first: int, length: int, embargo: int
) -> None:
    searched = SearchedWindow("r1", ORIGIN, ORIGIN + 10 * DAY, embargo * DAY)
    taken = set(range(-embargo, 10 + embargo))
    verdict = judged_window(ORIGIN + first * DAY, ORIGIN + (first + length) * DAY, searched)
    assert verdict.is_free == taken.isdisjoint(range(first, first + length))
    if verdict.is_free:
        assert verdict.distance == min(abs(first - 10), abs(first + length)) * DAY


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": "failed"}, "status is 'failed'"),
        ({"status": "running"}, "status is 'running'"),
        ({"run_id": "r2"}, "manifest of run 'r2'"),
        ({"discovery_start": None}, "no discovery_start"),
        ({"discovery_end": "soon"}, "'soon', not a time"),
        ({"discovery_end": 20240301}, "'20240301', not a time"),
        ({"discovery_end": "2024-03-01T00:00:00"}, "not a time in UTC"),
        ({"discovery_end": "2024-03-01T00:00:00+02:00"}, "not a time in UTC"),
        ({"discovery_end": "2023-03-01T00:00:00+00:00"}, "does not lie before"),
        ({"discovery_end": "2024-02-15T00:00:00+00:00"}, "reach beyond its discovery window"),
        ({"folds": None}, "no folds"),
        ({"folds": {"discovery_start": "2024-01-01"}}, "folds.discovery_end"),
        ({"folds": _manifest()["folds"] | {"confirmation_start": "2024-01-31"}}, "not in order"),
    ],
)
def test_a_manifest_that_cannot_tell_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        searched_window(_manifest(**changes), "r1")
