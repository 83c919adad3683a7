"""Returns across symbols against a plain loop over bars, and what they may not depend on."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
import statistics

import polars as pl
import pytest

from backtest.features.cross_section import LOOKBACK_BARS, MARKET_SCHEMA, market_bars, with_market

BAR = dt.timedelta(minutes=5)
START = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)
N_BARS = 40
END = START + N_BARS * BAR


def bars(seed: int, first: int = -LOOKBACK_BARS, last: int = N_BARS) -> pl.DataFrame:
    """Bars from `first` to `last` relative to START, some missing, quote volume missing in a part."""
    chance = random.Random(seed)
    n = last - first
    close = [100.0 * math.exp(chance.gauss(0, 0.01)) if chance.random() > 0.03 else None for _ in range(n)]
    return pl.DataFrame(
        {
            "timestamp": [START + (first + row) * BAR for row in range(n)],
            "close": close,
            "volume": [None if price is None else chance.uniform(1, 9) for price in close],
            "quote_volume": [None if price is None or row % 3 == 0 else 500.0 for row, price in enumerate(close)],
        },
        schema={
            "timestamp": pl.Datetime("ms", "UTC"),
            "close": pl.Float64,
            "volume": pl.Float64,
            "quote_volume": pl.Float64,
        },
    )


UNIVERSE = {
    "ETHUSDT": bars(1),
    "BTCUSDT": bars(2),
    "XRPUSDT": bars(3, first=-30, last=25),
    "SOLUSDT": bars(4, first=10),
    "OLDUSDT": bars(5, last=-10),
}


def market(universe: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return market_bars(list(universe), universe.__getitem__, START, END)


def slow(universe: dict[str, pl.DataFrame]) -> list[dict[str, float | None]]:
    """The same, bar by bar."""
    rows = []
    by_stamp = {symbol: {row["timestamp"]: row for row in frame.rows(named=True)} for symbol, frame in universe.items()}
    for bar in range(N_BARS):
        now = START + bar * BAR
        returns, weights = {}, {}
        for symbol, stamps in by_stamp.items():
            here, before = stamps.get(now), stamps.get(now - BAR)
            if here is None or before is None or here["close"] is None or before["close"] is None:
                continue
            returns[symbol] = here["close"] / before["close"] - 1
            day = [stamps.get(now - age * BAR) for age in range(1, 289)]
            turnover = [
                row["quote_volume"] if row["quote_volume"] is not None else row["volume"] * row["close"]
                for row in day
                if row is not None and row["close"] is not None
            ]
            if len(turnover) >= 260:
                weights[symbol] = sum(turnover)
        total = sum(weights.values())
        rows.append(
            {
                "market_return": statistics.fmean(returns.values()) if returns else None,
                "market_return_volume_weighted": sum(weights[s] * returns[s] for s in weights) / total
                if weights
                else None,
                "btc_return": returns.get("BTCUSDT"),
                "return_dispersion": statistics.stdev(returns.values()) if len(returns) > 1 else None,
            }
        )
    return rows


def test_each_bar_is_what_a_loop_over_its_symbols_gives() -> None:
    found, expected = market(UNIVERSE), slow(UNIVERSE)
    assert found["timestamp"].to_list() == [START + bar * BAR for bar in range(N_BARS)]
    for bar, row in enumerate(expected):
        for name, want in row.items():
            got = found[name][bar]
            assert (got is None) == (want is None), f"{name} at bar {bar}"
            assert got is None or got == pytest.approx(want, rel=1e-12, abs=1e-15), f"{name} at bar {bar}"


def test_the_order_of_symbols_changes_no_bit() -> None:
    whole = market(UNIVERSE)
    for names in itertools.islice(itertools.permutations(UNIVERSE), 0, 120, 7):
        assert market({name: UNIVERSE[name] for name in names}).equals(whole, null_equal=True)


def test_cutting_off_the_future_changes_no_bit_before_the_cut() -> None:
    whole = market(UNIVERSE)
    for cut in (1, 12, 24, 25, 39):
        stamp = START + cut * BAR
        known = {symbol: frame.filter(pl.col("timestamp") < stamp) for symbol, frame in UNIVERSE.items()}
        assert market(known).equals(whole.head(cut), null_equal=True)


def test_a_symbol_missing_at_a_bar_is_left_out_of_that_bar_only() -> None:
    two = {"A": bars(7), "B": bars(8)}
    stamp = START + 5 * BAR
    gap = two["B"].with_columns(pl.when(pl.col("timestamp") != stamp).then(pl.col("close")).alias("close"))
    found, before = market({**two, "B": gap}), market(two)
    alone = market({"A": two["A"]})
    assert found["market_return"][5] == alone["market_return"][5]
    assert found["return_dispersion"][5] is None
    for bar in (4, 7):
        assert found["market_return"][bar] == before["market_return"][bar]


def test_without_bitcoin_or_any_symbol_there_is_null_and_no_row() -> None:
    assert market({"ETHUSDT": UNIVERSE["ETHUSDT"]})["btc_return"].null_count() == N_BARS
    nothing = market({"OLDUSDT": UNIVERSE["OLDUSDT"]})
    assert (nothing.height, dict(nothing.schema)) == (0, MARKET_SCHEMA)


def test_bars_are_asked_for_one_symbol_at_a_time_in_the_order_of_names() -> None:
    asked: list[str] = []

    def bars_of(symbol: str) -> pl.DataFrame:
        asked.append(symbol)
        return UNIVERSE[symbol]

    market_bars(UNIVERSE.keys(), bars_of, START, END)
    assert asked == sorted(UNIVERSE)


def test_the_relative_return_is_the_own_less_the_markets() -> None:
    own = UNIVERSE["ETHUSDT"].filter(pl.col("timestamp") >= START)
    joined = with_market(own, market(UNIVERSE))
    for bar in range(1, N_BARS):
        now, before = own["close"][bar], own["close"][bar - 1]
        if now is None or before is None:
            assert joined["relative_return"][bar] is None
        else:
            assert joined["relative_return"][bar] == now / before - 1 - joined["market_return"][bar]
