"""Fitness of events to be tested, on hand-made occurrences."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from backtest.events.quality import judge, symbol_quality
from backtest.spec.models import EventQuality

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
GATE = EventQuality(
    min_per_10000_bars=1, max_per_10000_bars=500, min_join_rate=0.99, clustering_bars=5, max_clustered_share=0.2
)


def stamp(bar: int) -> dt.datetime:
    return START + dt.timedelta(minutes=5 * bar)


def bars(count: int, unknown: range = range(0), missing: range = range(0)) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": [stamp(bar) for bar in range(count)],
            "expected_volatility": [None if bar in unknown or bar in missing else 0.001 for bar in range(count)],
            "is_gap": [bar in missing for bar in range(count)],
        },
        schema_overrides={"timestamp": pl.Datetime("ms", "UTC"), "expected_volatility": pl.Float64()},
    )


def events(*at: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"event_type": ["X"] * len(at), "timestamp": [stamp(bar) for bar in at]},
        schema_overrides={"timestamp": pl.Datetime("ms", "UTC")},
    )


def counted(occurrences: pl.DataFrame, volatility: pl.DataFrame, reach_bars: int = 20) -> pl.DataFrame:
    return symbol_quality(occurrences, volatility, {"X": []}, "A", clustering_bars=5, reach_bars=reach_bars)


def verdict(quality: pl.DataFrame) -> str:
    return str(judge(quality, GATE)["verdict"].item())


def test_events_before_the_volatility_is_first_known_do_not_count_against_the_join_rate() -> None:
    quality = counted(events(5, 60, 80), bars(100, unknown=range(50)))
    assert quality.select("n_events", "n_joinable", "n_joined").row(0) == (3, 2, 2)
    assert verdict(counted(events(*range(60, 100, 10)), bars(100, unknown=range(50)))) == "tested"


def test_types_are_counted_apart_and_one_does_not_cluster_with_another() -> None:
    found = pl.concat([events(60, 64, 90), events(92, 97, 103).with_columns(event_type=pl.lit("Y"))])
    volatility = bars(120, unknown=range(90, 93))
    quality = symbol_quality(found, volatility, {"Y": [], "Z": [], "X": []}, "A", clustering_bars=5, reach_bars=20)
    counts = quality.select("event_type", "n_events", "n_joinable", "n_joined", "n_clustered")
    assert counts.rows() == [("Y", 3, 3, 2, 1), ("Z", 0, 0, 0, 0), ("X", 3, 3, 2, 1)]


def test_events_in_the_warm_up_after_a_long_gap_do_not_count_against_it_either() -> None:
    # The gap ends before bar 60; the volatility looks back 20 bars, so it is unknown until bar 80.
    volatility = bars(200, unknown=range(60, 80), missing=range(30, 60))
    quality = counted(events(10, 65, 75, 120), volatility)
    assert quality.select("n_bars", "n_events", "n_joinable", "n_joined").row(0) == (170, 4, 2, 2)


def test_events_without_volatility_for_no_reason_count_against_it() -> None:
    quality = counted(events(10, 65, 120), bars(200, unknown=range(60, 80)))
    assert quality.select("n_joinable", "n_joined").row(0) == (3, 2)
    assert verdict(quality) == "join rate below 0.99"


@pytest.mark.parametrize(
    ("at", "count", "expected"),
    [
        ((), 1000, "no occurrence"),
        ((500,), 20_000, "too rare: fewer than 1 per 10,000 bars"),
        (tuple(range(10, 1000, 10)), 1000, "too frequent: more than 500 per 10,000 bars"),
        ((100, 103, 500, 900), 1000, "clustered: more than 0.2 within 5 bars of another"),
        ((100, 300, 500, 900), 1000, "tested"),
    ],
)
def test_the_bound_that_is_missed_is_named(at: tuple[int, ...], count: int, expected: str) -> None:
    assert verdict(counted(events(*at), bars(count))) == expected


def test_an_event_without_its_data_names_what_it_needs() -> None:
    quality = symbol_quality(events(), bars(10), {"X": ["funding"]}, "A", clustering_bars=5, reach_bars=20)
    assert verdict(quality) == "unavailable: needs funding"
    assert not judge(quality, GATE)["is_tested"].item()
