"""Every event occurs at exactly the right bar with the right direction, and not in its nearest non-event."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from backtest.events.detect import detect_events
from backtest.spec.compiled import CompiledEvent
from backtest.spec.loader import load_spec
from tests.events import cases

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
BAR = dt.timedelta(minutes=5)
ALL_CASES = [
    pytest.param(name, case, id=f"{name}-{i}") for name, own in cases.CASES.items() for i, case in enumerate(own)
]


def occurrences(event: CompiledEvent, case: cases.Case, *changes: cases.Changes) -> dict[int, int]:
    """Bars relative to the anchor at which the event occurs, with its direction."""
    columns = cases.columns_of(event, case, *changes)
    n = len(next(iter(columns.values())))
    unread = event.inputs - columns.keys() - {"timestamp"}
    frame = pl.DataFrame(
        {"timestamp": [START + BAR * row for row in range(n)], **columns, **dict.fromkeys(unread)},
        schema_overrides=dict.fromkeys((*columns, *unread), pl.Float64),
    )
    events = detect_events(frame, [event], "BTCUSDT")
    anchor = START + BAR * (event.lookback_bars + cases.ANCHOR_BARS)
    return {round((row["timestamp"] - anchor) / BAR): row["direction"] for row in events.iter_rows(named=True)}


def test_every_event_has_a_case_and_every_case_an_event() -> None:
    assert set(cases.CASES) == set(SPEC.events)
    assert all(cases.CASES.values())
    assert len(SPEC.events) == 57
    assert len({event.model.family for event in SPEC.events.values()}) == 10


@pytest.mark.parametrize(("name", "case"), ALL_CASES)
def test_an_event_occurs_at_its_bar_and_nowhere_else(name: str, case: cases.Case) -> None:
    event = SPEC.events[name]
    read = event.when.inputs | event.direction.inputs
    assert read - {"timestamp"} == set(case.rest), "a case states the columns its rule reads"
    assert occurrences(event, case, case.fires) == {case.at: case.direction, **case.also}


@pytest.mark.parametrize(("name", "case"), ALL_CASES)
def test_the_nearest_non_event_is_none(name: str, case: cases.Case) -> None:
    found = occurrences(SPEC.events[name], case, case.fires, case.near)
    assert case.at not in found
    assert found == {}
