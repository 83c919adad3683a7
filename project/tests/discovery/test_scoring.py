"""What the scores need at each bar, put together from frames that do not begin together."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from backtest.discovery.folds import Folds
from backtest.discovery.scoring import symbol_market
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
FOLDS = Folds(dt.date(2023, 1, 2), dt.date(2023, 1, 3), dt.date(2023, 1, 4), dt.date(2023, 1, 5))
START = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)


def test_states_that_begin_later_than_the_bars_hold_at_their_own_bars() -> None:
    n = 4 * 288
    inputs = {name for expression in SPEC.bar_expressions.values() for name in expression.inputs}
    stamps = pl.datetime_range(START, START + (n - 1) * dt.timedelta(minutes=5), "5m", time_unit="ms", eager=True)
    frame = pl.DataFrame({"timestamp": stamps}).with_columns(
        pl.lit(False).alias("is_zero_volume"),
        pl.lit(None, dtype=pl.Float64).alias("funding_stamp_rate"),
        *(pl.lit(100.0).alias(name) for name in sorted(inputs | {"open", "high", "low", "close"})),
    )
    states = frame.select("timestamp", (pl.col("timestamp").dt.hour() == 7).alias("seven"))[288:]
    market = symbol_market(frame, states, "BTCUSDT", SPEC, FOLDS)
    held = market.timestamp.filter(pl.Series(market.states["seven"]))
    assert set(held.dt.hour()) == {7}
    assert held.dt.day().unique().to_list() == [2, 3, 4]
