"""From events to candidates: every hypothesis of the spec on five years of two made-up symbols and both pooled.

Prices are random walks and events fall anywhere, from a few to a hundred in 10,000 bars: what is measured is the scoring
of trades, day by day, and the tests, not what they find. Symbols are scored one after the other; a run scores them on as
many cores as there are, so its wall time is the longest of them.
"""

from __future__ import annotations

import datetime as dt
import gc
import os
import tempfile
import time
from pathlib import Path

from backtest.pipeline.executors import SINGLE_THREADED

# As the workers of a run have it, before a library reads it.
os.environ.update(dict.fromkeys(SINGLE_THREADED, "1"))

import numpy as np
import polars as pl

from backtest.discovery.candidates import TESTED_COLUMNS, assess_search
from backtest.discovery.day_scores import DayScores
from backtest.discovery.folds import split
from backtest.discovery.forward_returns import Bars, TwoLegs
from backtest.discovery.hypotheses import longest_window_bars, register
from backtest.discovery.scoring import CONFIRMATION, DISCOVERY, SymbolMarket, event_scores
from backtest.discovery.second_legs import SecondLeg
from backtest.lake.files import read_parquet, write_parquet
from backtest.pipeline.worker import GARBAGE_THRESHOLDS
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec

NAME = "discovery, events to candidates, 5 years x 2 symbols"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
DAYS = 1826
BARS_PER_DAY = 288
FEWEST, MOST = 3.0, 100.0
"""Events in 10,000 bars of the rarest and of the commonest type."""


def run() -> dict[str, float]:
    """Seconds and counts of both halves."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    spec = load_spec(Path(__file__).resolve().parents[2] / "spec")
    rng = np.random.default_rng(0)
    markets = {symbol: _market(symbol, spec, rng) for symbol in SYMBOLS}
    markets = {symbol: _with_legs(market, markets, spec) for symbol, market in markets.items()}
    events = _events(spec, rng)
    folds = _folds(spec)
    hypotheses = register(spec, dict.fromkeys(spec.events, SYMBOLS))
    for symbol in SYMBOLS:  # compiles what is not compiled yet
        for event_type in spec.events:
            event_scores(markets[symbol], event_type, events[event_type][:2], spec, folds.first_confirmation_day)
    with tempfile.TemporaryDirectory() as folder:
        seconds, rows = {}, 0

        def file(event_type: str, symbol: str, part: str) -> Path:
            return Path(folder) / f"{event_type}.{symbol}.{part}.parquet"

        for symbol in SYMBOLS:
            begun = time.perf_counter()
            for event_type in spec.events:
                scores = event_scores(
                    markets[symbol], event_type, events[event_type], spec, folds.first_confirmation_day
                )
                for part, table in scores._asdict().items():
                    write_parquet(file(event_type, symbol, part), table, is_passing=True)
                rows += len(scores.days)
            seconds[symbol] = time.perf_counter() - begun

        def scores_of(event_type: str) -> dict[str, DayScores]:
            return {
                symbol: DayScores(
                    read_parquet(file(event_type, symbol, "series")),
                    read_parquet(file(event_type, symbol, "days"), columns=list(TESTED_COLUMNS)),
                )
                for symbol in SYMBOLS
            }

        begun = time.perf_counter()
        found = assess_search(hypotheses, scores_of, folds, spec)
        assessed = time.perf_counter() - begun
    return {
        "hypotheses": len(hypotheses),
        "tested": int(found["gate_eligible"].sum()),
        "events": len(SYMBOLS) * sum(map(len, events.values())),
        "day scores, rows": rows,
        "scores, longest symbol, s": max(seconds.values()),
        "candidates, s": assessed,
        "events to candidates, s": max(seconds.values()) + assessed,
    }


def _folds(spec: Spec):
    return split(
        START,
        START + dt.timedelta(days=DAYS),
        discovery_share=spec.discovery.discovery_share,
        longest_window_bars=longest_window_bars(spec),
    )


def _timestamps() -> pl.Series:
    end = START + dt.timedelta(days=DAYS)
    return pl.datetime_range(START, end, "5m", closed="left", time_unit="ms", eager=True)


def _market(symbol: str, spec: Spec, rng: np.random.Generator) -> SymbolMarket:
    count, folds = DAYS * BARS_PER_DAY, _folds(spec)
    day = np.repeat(np.arange(DAYS), BARS_PER_DAY) + (START.date() - dt.date(1970, 1, 1)).days
    fold = np.zeros(count, np.int8)
    epoch = dt.date(1970, 1, 1)
    for number, since, until in (
        (DISCOVERY, folds.discovery_start, folds.discovery_end),
        (CONFIRMATION, folds.confirmation_start, folds.confirmation_end),
    ):
        fold[(day >= (since - epoch).days) & (day < (until - epoch).days)] = number
    bars = _bars(rng, count)
    ids = {name for event_type in spec.events for name in spec.state_ids(event_type)} - {"all"}
    return SymbolMarket(
        symbol=symbol,
        timestamp=_timestamps(),
        day=day,
        fold=fold,
        mean_bar_return=np.zeros(count),
        bars=bars,
        volatility=np.full(count, 1.5e-3),
        average_true_range=bars.close * 2e-3,
        event_move=np.abs(bars.close - np.roll(bars.close, 12)),
        fallback_direction=np.ones(count),
        turnover_usd=np.full(count, 2e7),
        spot_gap=np.full(count, 1e-3),
        # A third of the time, for about a day.
        states={name: np.repeat(rng.random(DAYS) < 0.33, BARS_PER_DAY) for name in sorted(ids)},
        filters={verb: (held := np.repeat(rng.random(DAYS) < 0.5, BARS_PER_DAY), ~held) for verb in spec.filters},
        tainted_before=np.zeros(count + 1, np.int64),
        second_legs={},
    )


def _bars(rng: np.random.Generator, count: int) -> Bars:
    close = 1e4 * np.exp(np.cumsum(rng.normal(0, 1.5e-3, count)))
    open_ = np.concatenate([[1e4], close[:-1]])
    spread = 1.0 + np.abs(rng.normal(0, 5e-4, count))
    funding = np.where(np.arange(count) % 96 == 0, 1e-4, 0.0)
    high, low = np.maximum(open_, close) * spread, np.minimum(open_, close) / spread
    return Bars(open_, high, low, close, np.ones(count, bool), funding)


def _with_legs(market: SymbolMarket, markets: dict[str, SymbolMarket], spec: Spec) -> SymbolMarket:
    from dataclasses import replace

    other = markets[spec.discovery.pair(market.symbol) or ""]
    legs = {
        name: SecondLeg(
            symbol=other.symbol,
            is_spot=is_spot,
            both=TwoLegs(market.bars, second),
            mean_bar_return=other.mean_bar_return,
            volatility=other.volatility,
            difference_volatility=other.volatility,
            turnover_usd=other.turnover_usd,
            tainted_before=other.tainted_before,
            planted_drift=None,
        )
        for name, is_spot, second in (
            ("spot", True, _bars(np.random.default_rng(1), len(market.bars))),
            ("pair", False, other.bars),
        )
    }
    return replace(market, second_legs=legs)


def _events(spec: Spec, rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    stamps, count = _timestamps(), DAYS * BARS_PER_DAY
    rates = np.geomspace(FEWEST, MOST, len(spec.events)) / 10_000
    found = {}
    for event_type, rate in zip(spec.events, rng.permutation(rates), strict=True):
        at = np.flatnonzero(rng.random(count) < rate)
        found[event_type] = pl.DataFrame(
            {"timestamp": stamps.gather(at), "direction": rng.choice([-1, 1], len(at)).astype(np.int8)}
        )
    return found
