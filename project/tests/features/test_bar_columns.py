"""Columns made of calendars and flags: exact bars, daylight saving, what is not covered."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from backtest.features.bar_columns import calendar_columns, with_all_columns
from backtest.spec.loader import load_spec
from backtest.spec.models import Calendar

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
CALENDARS = list(SPEC.calendars.values())
BAR = dt.timedelta(minutes=5)


def bars_of(day: str, days: int = 1) -> pl.Series:
    start = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return pl.Series("timestamp", [start + BAR * i for i in range(288 * days)], dtype=pl.Datetime("ms", "UTC"))


def marked(day: str, column: str, days: int = 1) -> list[str]:
    stamps = bars_of(day, days)
    values = calendar_columns(stamps, CALENDARS)[column]
    return [f"{stamp:%H:%M}" for stamp in stamps.filter(values == 1.0)]


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        # Winter: London is UTC, New York UTC-5, Tokyo UTC+9 and closes at 15:00 until 2024-11-05.
        ("2024-01-15", ["00:00", "08:00", "14:30"], ["05:55", "16:25", "20:55"]),
        # New York changes its clocks on 2024-03-10, London on 2024-03-31.
        ("2024-03-11", ["00:00", "08:00", "13:30"], ["05:55", "16:25", "19:55"]),
        ("2024-04-01", ["00:00", "07:00", "13:30"], ["05:55", "15:25", "19:55"]),
        # Back: London on 2024-10-27, New York on 2024-11-03; Tokyo closes half an hour later from 2024-11-05 on.
        ("2024-10-28", ["00:00", "08:00", "13:30"], ["05:55", "16:25", "19:55"]),
        ("2024-11-05", ["00:00", "08:00", "14:30"], ["06:25", "16:25", "20:55"]),
        ("2024-01-13", [], []),
    ],
)
def test_sessions_follow_local_time(day: str, opens: list[str], closes: list[str]) -> None:
    assert marked(day, "session_open") == opens
    assert marked(day, "session_close") == closes


def test_a_release_marks_the_bar_it_falls_into() -> None:
    # Consumer prices at 8:30 and the Federal Open Market Committee at 14:00 New York time, on one summer day.
    assert marked("2024-06-12", "scheduled_news") == ["12:30", "18:00"]
    assert marked("2024-12-11", "scheduled_news") == ["13:30"]
    assert marked("2024-06-13", "scheduled_news") == []


def test_minutes_count_from_the_close_of_the_bar() -> None:
    stamps = bars_of("2024-06-12")
    columns = calendar_columns(stamps, CALENDARS)
    at = {f"{stamp:%H:%M}": row for row, stamp in enumerate(stamps)}
    ahead, since = columns["minutes_to_scheduled_news"], columns["minutes_since_scheduled_news"]
    assert ahead[at["12:00"]] == 25.0
    assert ahead[at["12:25"]] == 0.0
    assert since[at["12:30"]] == 5.0
    assert ahead[at["12:30"]] == 325.0


def test_days_that_a_kind_of_release_does_not_cover_are_unknown_not_quiet() -> None:
    columns = calendar_columns(bars_of("2026-06-17"), CALENDARS)
    assert columns["scheduled_news"].null_count() == 288
    assert columns["minutes_to_scheduled_news"].null_count() == 288
    assert calendar_columns(bars_of("2025-01-29"), CALENDARS)["fee_change"].null_count() == 288


def test_a_date_with_a_time_of_its_own_and_a_time_inside_a_bar() -> None:
    calendar = Calendar.model_validate(
        {
            "name": "talks",
            "description": "Speeches.",
            "releases": [
                {
                    "name": "speech",
                    "timezone": "Europe/Zurich",
                    "time": "10:00",
                    "covers_from": "2024-01-01",
                    "covers_until": "2025-01-01",
                    "source": "made up",
                    "dates": ["2024-02-01"],
                    "also": {"2024-02-02": "10:07"},
                }
            ],
        }
    )
    stamps = bars_of("2024-02-01", 2)
    values = calendar_columns(stamps, [calendar])["talks"]
    assert [f"{stamp:%d %H:%M}" for stamp in stamps.filter(values == 1.0)] == ["01 09:00", "02 09:05"]


def test_every_column_of_the_spec_is_there_and_absent_data_sets_are_null() -> None:
    stamps = bars_of("2024-06-12")
    bars = pl.DataFrame({"timestamp": stamps, "close": 1.0, "is_gap": False, "is_zero_volume": True})
    whole = with_all_columns(bars, SPEC.columns, CALENDARS)
    assert set(SPEC.columns) <= set(whole.columns)
    assert whole["close"].to_list() == [1.0] * 288
    assert whole["gap"].sum() == 0
    assert whole["zero_volume"].sum() == 288
    assert whole["open_interest"].null_count() == 288
    assert whole["open_interest"].dtype == pl.Float64


def test_no_bars_give_no_rows() -> None:
    assert with_all_columns(bars_of("2024-06-12").head(0).to_frame(), SPEC.columns, CALENDARS).height == 0


def test_every_calendar_states_where_its_dates_come_from() -> None:
    for calendar in CALENDARS:
        assert calendar.description
        assert all(release.source for release in calendar.releases)
