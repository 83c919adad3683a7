"""A halt of the real market: nothing is filled in it, and what was to be sold there is carried behind it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from backtest.cleaning.taint import clean_symbol
from backtest.engine.account import Account, FixedNotional
from backtest.engine.ledger import Outcome, trade_frame
from backtest.engine.market import Market
from backtest.engine.simulation import simulate
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.pipeline.worlds import inputs_of, with_features, with_returns_across
from backtest.spec.compiled import Spec
from backtest.strategies.portfolio import portfolio_market
from backtest.strategies.signals import SymbolRows, market_rows
from tests.engine.foreign import real_data
from tests.engine.markets import one_signal

pytestmark = pytest.mark.slow
SYMBOL = "BTCUSDT"
FROM, UNTIL = (dt.datetime(2024, month, day, tzinfo=dt.UTC) for month, day in ((9, 20), (10, 31)))
HALT = dt.datetime(2024, 10, 28, 20, tzinfo=dt.UTC)
"""Nobody traded from here to 21:05, both included: 14 bars that the venue printed at one price."""
BEHIND = dt.datetime(2024, 10, 28, 21, 10, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    folder = real_data()
    if folder is None:
        pytest.skip("no real market data beside the checkout, and BACKTEST_SHARED_DATA names none")
    raw = pl.read_parquet(folder / f"import/{SYMBOL}_perp_5m.parquet").rename({"open_time": "timestamp"})
    raw = raw.with_columns(pl.col("timestamp").dt.cast_time_unit("ms"))
    raw = raw.filter(pl.col("timestamp").is_between(FROM, UNTIL, closed="left"))
    schema = RAW_SCHEMAS["ohlcv_5m"]
    columns = [pl.col(name) if name in raw.columns else pl.lit(None).alias(name) for name in schema]
    cleaned = clean_symbol({("perp", "ohlcv_5m"): raw.select(columns).cast(dict(schema))}, SYMBOL)
    return with_returns_across({SYMBOL: cleaned})[SYMBOL]


@pytest.fixture(scope="module")
def market(spec: Spec, bars: pl.DataFrame) -> Market:
    frame = with_features(bars, spec, inputs_of(spec, []))
    rows = market_rows(SymbolRows(SYMBOL, frame), spec.bar_expressions)
    return portfolio_market({SYMBOL: rows}, {SYMBOL: spec.contract(SYMBOL)}, spec.costs, spec.backtest.spot_margin)


def at(market: Market, moment: dt.datetime) -> int:
    return int(np.searchsorted(market.timestamp, np.datetime64(moment.replace(tzinfo=None))))


def test_the_halt_is_what_the_venue_printed(bars: pl.DataFrame, market: Market) -> None:
    inside = bars.filter(pl.col("timestamp").is_between(HALT, BEHIND, closed="left"))
    assert inside["is_zero_volume"].to_list() == [True] * 14
    assert not market.tradable[0, at(market, HALT) : at(market, BEHIND)].any()
    assert market.tradable[0, at(market, HALT) - 1]
    assert market.tradable[0, at(market, BEHIND)]


def test_a_position_is_carried_through_it_and_sold_at_the_first_open_behind_it(market: Market) -> None:
    decided = at(market, HALT) - 7
    signal = one_signal(decision_bar=decided, horizon_bars=12)
    made = simulate(market, signal, Account(100_000.0, FixedNotional(1_000.0)))
    (trade,) = trade_frame(made, market, signal).to_dicts()
    assert (trade["entry_time"], trade["exit_time"]) == (HALT - dt.timedelta(minutes=30), BEHIND)
    assert trade["bars_carried"] == 8, "planned for 20:30"
    assert trade["tainted"], "held through bars in which nobody traded"
    behind = market.open[0, at(market, BEHIND)]
    assert 0 < behind - trade["exit_price"] < 2e-4 * behind, "less half the spread and the impact"


def test_a_signal_whose_entry_falls_into_it_becomes_no_trade(market: Market) -> None:
    made = simulate(market, one_signal(decision_bar=at(market, HALT)), Account(100_000.0, FixedNotional(1_000.0)))
    assert len(made.ledger) == 0
    assert made.outcomes.tolist() == [Outcome.NOT_FILLABLE]
