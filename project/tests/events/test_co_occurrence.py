"""Co-occurrence by hand and against a plain loop."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from backtest.events.co_occurrence import co_occurrence

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def events(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(name, symbol, START + bar * dt.timedelta(minutes=5)) for name, symbol, bar in rows],
        schema={"event_type": pl.String(), "symbol": pl.String(), "timestamp": pl.Datetime("ms", "UTC")},
        orient="row",
    )


def test_an_event_meets_another_on_its_symbol_within_reach_on_either_side() -> None:
    found = co_occurrence(
        events(("A", "X", 0), ("A", "X", 10), ("A", "Y", 0), ("B", "X", 2), ("B", "X", 13), ("C", "Y", 50)),
        ["A", "B", "C", "NEVER"],
        2,
    )
    np.testing.assert_allclose(found[0], [1, 1 / 3, 0, 0])
    np.testing.assert_allclose(found[1], [1 / 2, 1, 0, 0])
    np.testing.assert_allclose(found[2], [0, 0, 1, 0])
    assert np.isnan(found[3]).all()


def test_it_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    rows = [(str(rng.choice(list("ABCD"))), str(rng.choice(["X", "Y"])), int(bar)) for bar in rng.integers(0, 400, 120)]
    names, within = ["A", "B", "C", "D"], 6
    expected = np.array(
        [
            [
                np.mean(
                    [
                        any(o == other and s == t and abs(b - c) <= within for o, t, c in rows)
                        for n, s, b in rows
                        if n == name
                    ]
                )
                for other in names
            ]
            for name in names
        ]
    )
    np.testing.assert_allclose(co_occurrence(events(*rows), names, within), expected)
