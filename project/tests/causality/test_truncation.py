"""Cutting off the future changes nothing before the cut: every feature, state, event and discovery expression."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.cleaning.bars import VOLUMES
from backtest.cleaning.taint import clean_symbol
from backtest.events.detect import detect_events
from backtest.features.build import build_features
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.spec.loader import load_spec
from backtest.states.evaluate import evaluate_states

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
N_BARS = 12_000
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


OTHERS = ("mark_5m", "index_5m", "premium_5m", "metrics", "liquidations", "book_ticker", "book_depth")


def raw_market(seed: int) -> tuple[pl.DataFrame, ...]:
    """Perpetual bars with bursts of volatility and two gaps, spot bars, funding stamps, and the data sets of `OTHERS`."""
    rng = np.random.default_rng(seed)
    sigma = 8e-4 * np.exp(np.convolve(rng.normal(0, 0.25, N_BARS), np.exp(-np.arange(60) / 20), "same"))
    sigma *= np.where(rng.random(N_BARS) < 0.002, 8, 1)
    close = 20_000 * np.exp(np.cumsum(rng.standard_t(4, N_BARS) * sigma))
    opens = np.concatenate([[20_000.0], close[:-1]])
    reach = np.abs(rng.normal(0, 1, (2, N_BARS))) * sigma * close
    volume = np.exp(rng.normal(4, 0.5, N_BARS)) * (sigma / sigma.mean())
    stamps = pl.datetime_range(START, START + dt.timedelta(minutes=5 * (N_BARS - 1)), "5m", time_unit="ms", eager=True)
    perp = pl.DataFrame(
        {
            "timestamp": stamps,
            "open": opens,
            "high": np.maximum(opens, close) + reach[0],
            "low": np.minimum(opens, close) - reach[1],
            "close": close,
            "volume": volume,
            "quote_volume": volume * close,
            "trade_count": rng.integers(10, 1000, N_BARS),
            "taker_buy_volume": volume * rng.uniform(0.2, 0.8, N_BARS),
            "taker_buy_quote_volume": volume * close / 2,
        },
        schema=RAW_SCHEMAS["ohlcv_5m"],
    )
    basis = np.exp(rng.standard_t(3, N_BARS) * 2e-4)
    spot = perp.with_columns(pl.col(name) * pl.Series(basis) for name in ("open", "high", "low", "close"))
    spot = spot.with_columns(
        high=pl.max_horizontal("open", "high", "low", "close"), low=pl.min_horizontal("open", "high", "low", "close")
    )
    funding = pl.DataFrame(
        {
            "timestamp": stamps.gather_every(96),
            "funding_rate": rng.standard_t(3, N_BARS // 96) * 1e-4,
            "funding_interval_hours": None,
        },
        schema=RAW_SCHEMAS["funding"],
    )
    kept = ~pl.Series(np.isin(np.arange(N_BARS), [*range(4000, 4003), *range(10_500, 10_520)]))
    others = []
    for dataset in OTHERS:
        values = {name: rng.uniform(0.5, 1.5, N_BARS) for name in RAW_SCHEMAS[dataset] if name != "timestamp"}
        rows = pl.DataFrame({"timestamp": stamps, **values}).cast(dict(RAW_SCHEMAS[dataset]))
        others.append(rows.filter(pl.Series(rng.random(N_BARS) < 0.98)))
    return perp.filter(kept), spot, funding, *others


def evaluated(
    perp: pl.DataFrame, spot: pl.DataFrame, funding: pl.DataFrame, *others: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Everything the research sees: bars, features, states, discovery expressions side by side; and the events."""
    raw = {("perp", "ohlcv_5m"): perp, ("spot", "ohlcv_5m"): spot, ("perp", "funding"): funding}
    beside = {("perp", name): rows for name, rows in zip(OTHERS, others, strict=True)}
    bars = clean_symbol({**raw, **beside}, "BTCUSDT", SPEC.known_defects)
    features = build_features(bars, list(SPEC.features.values()))
    frame = pl.concat([bars, features.drop("timestamp")], how="horizontal")
    states = evaluate_states(frame, SPEC.states.values())
    settings = frame.select(value.polars().alias(f"setting.{name}") for name, value in SPEC.bar_expressions.items())
    triggers = frame.select(
        *(event.when.polars().alias(f"{name}.when") for name, event in SPEC.events.items()),
        *(event.direction.polars().cast(pl.Float64).alias(f"{name}.direction") for name, event in SPEC.events.items()),
    )
    everything = pl.concat([frame, states.drop("timestamp"), settings, triggers], how="horizontal")
    return everything, detect_events(frame, list(SPEC.events.values()), "BTCUSDT")


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, ...]:
    return raw_market(5)


@pytest.fixture(scope="module")
def whole(market: tuple[pl.DataFrame, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    return evaluated(*market)


def before(frame: pl.DataFrame, cut: dt.datetime) -> pl.DataFrame:
    return frame.filter(pl.col("timestamp") < cut)


def first_difference(cut: pl.DataFrame, full: pl.DataFrame) -> str | None:
    """Name and row of the first value that differs bit for bit; None where all are equal."""
    for name in full.columns:
        if not cut[name].equals(full[name], null_equal=True):
            row = (cut[name].ne_missing(full[name])).arg_max()
            return f"{name} at row {row}: {cut[name][row]!r} with the data cut, {full[name][row]!r} with all of it"
    return None


def test_the_market_exercises_every_definition(whole: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    everything, events = whole
    assert {name for name in everything.columns if everything[name].null_count() == N_BARS} == set()
    assert set(SPEC.events) - set(events["event_type"]) == set()
    assert all(name in everything.columns for name in (*VOLUMES, *SPEC.features))


@pytest.mark.parametrize("seed", range(8))
def test_nothing_before_a_random_cut_changes(
    seed: int,
    market: tuple[pl.DataFrame, ...],
    whole: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    everything, events = whole
    rng = np.random.default_rng(seed)
    # Half of the cuts fall right behind an event, where a peek ahead would show.
    if seed % 2:
        late = before(events, START + dt.timedelta(minutes=5 * (N_BARS - 10))).filter(pl.col("timestamp").dt.day() > 5)
        cut = late["timestamp"][int(rng.integers(len(late)))] + dt.timedelta(minutes=5)
    else:
        cut = START + dt.timedelta(minutes=5 * int(rng.integers(9000, N_BARS)))
    partial, partial_events = evaluated(*(before(frame, cut) for frame in market))
    assert first_difference(partial, before(everything, cut).head(len(partial))) is None
    assert partial_events.equals(before(events, cut))


def test_another_future_changes_nothing_before_the_cut(
    market: tuple[pl.DataFrame, ...], whole: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    everything, events = whole
    cut = START + dt.timedelta(minutes=5 * 11_000)
    other = raw_market(6)
    spliced = [
        pl.concat([before(own, cut), strange.filter(pl.col("timestamp") >= cut)])
        for own, strange in zip(market, other, strict=True)
    ]
    mixed, mixed_events = evaluated(*spliced)
    assert first_difference(before(mixed, cut), before(everything, cut)) is None
    assert before(mixed_events, cut).equals(before(events, cut))


def test_the_comparison_itself_finds_a_centred_window(whole: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    everything, _ = whole
    peeking = pl.col("close").rolling_mean(24, center=True).alias("peek")
    full, cut = everything.select("timestamp", peeking), everything.head(11_000).select("timestamp", peeking)
    assert first_difference(cut, full.head(11_000)) is not None
