"""Cutting off the future changes nothing before the cut: every feature, state, event and discovery expression."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.cleaning.bars import VOLUMES, clean_bars
from backtest.cleaning.funding import clean_funding, join_funding
from backtest.events.detect import detect_events
from backtest.features.bar_columns import with_all_columns
from backtest.features.build import build_features
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.spec.loader import load_spec
from backtest.states.evaluate import evaluate_states

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
N_BARS = 20_000
WARM_BARS = 17_500
Market = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def raw_market(seed: int) -> Market:
    """Perpetual bars with bursts of volatility, jumps at the open and two gaps; spot bars; funding; other columns."""
    rng = np.random.default_rng(seed)
    sigma = 8e-4 * np.exp(np.convolve(rng.normal(0, 0.25, N_BARS), np.exp(-np.arange(60) / 20), "same"))
    sigma *= np.where(rng.random(N_BARS) < 0.002, 8, 1)
    shocks = rng.standard_t(4, N_BARS)
    close = 20_000 * np.exp(np.cumsum(shocks * sigma))
    opens = np.concatenate([[20_000.0], close[:-1]])
    opens = np.where(rng.random(N_BARS) < 0.003, (opens + 4 * close) / 5, opens)
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
            "taker_buy_volume": volume * np.clip(0.5 + 0.05 * shocks + rng.normal(0, 0.15, N_BARS), 0, 1),
            "taker_buy_quote_volume": volume * close / 2,
        },
        schema=RAW_SCHEMAS["ohlcv_5m"],
    )
    desync = np.repeat(rng.random(N_BARS // 8) < 0.01, 8) * rng.choice([-1, 1], N_BARS // 8).repeat(8)
    basis = np.exp(rng.standard_t(3, N_BARS) * 2e-4 + desync * 2e-3)
    spot = perp.with_columns(pl.col(name) * pl.Series(basis) for name in ("open", "high", "low", "close"))
    spot = spot.with_columns(
        high=pl.max_horizontal("open", "high", "low", "close"), low=pl.min_horizontal("open", "high", "low", "close")
    )
    funding = pl.DataFrame(
        {
            "timestamp": stamps.gather_every(96),
            "funding_rate": persistent(rng.standard_t(3, -(-N_BARS // 96)), 3) * 1e-4,
            "funding_interval_hours": None,
        },
        schema=RAW_SCHEMAS["funding"],
    )
    kept = ~pl.Series(np.isin(np.arange(N_BARS), [*range(4000, 4003), *range(10_500, 10_520)]))
    return perp.filter(kept), spot, funding, other_columns(rng, stamps, close)


def persistent(shocks: np.ndarray, length: float) -> np.ndarray:
    """Shocks that fade over about `length` bars."""
    age = np.arange(int(10 * length))
    return np.convolve(shocks, np.exp(-age / length))[: len(shocks)] / np.sqrt(length)


def other_columns(rng: np.random.Generator, stamps: pl.Series, close: np.ndarray) -> pl.DataFrame:
    """What other data sets and other symbols add to the bars, as the pipeline joins it."""
    own = np.concatenate([[0.0], close[1:] / close[:-1] - 1])
    btc = 0.6 * own + rng.standard_t(4, N_BARS) * own.std() * 0.6
    interest = np.exp(np.cumsum(rng.standard_t(4, N_BARS) * 2e-3))
    spread = np.exp(rng.normal(0, 0.3, N_BARS) + persistent(rng.normal(0, 0.3, N_BARS), 400))
    depth = [1e7 * np.exp(rng.normal(0, 0.2, N_BARS)) for _ in range(4)]
    liquidated = [np.exp(rng.normal(8, 1.5, N_BARS)) * (rng.random(N_BARS) < 0.2) for _ in range(2)]
    ratios = [np.exp(persistent(rng.normal(0, 0.05, N_BARS), 200)) for _ in range(4)]
    return pl.DataFrame(
        {
            "timestamp": stamps,
            "mark_close": close * np.exp(rng.normal(0, 1e-4, N_BARS)),
            "index_close": close * np.exp(rng.standard_t(3, N_BARS) * 2e-4),
            "premium_index": rng.normal(0, 1e-4, N_BARS),
            "open_interest": 1e5 * interest,
            "open_interest_usd": 1e5 * interest * close,
            "top_trader_account_ratio": ratios[0],
            "top_trader_position_ratio": ratios[1],
            "global_account_ratio": ratios[2],
            "taker_volume_ratio": ratios[3],
            "long_liquidation_usd": liquidated[0],
            "short_liquidation_usd": liquidated[1],
            "mean_spread_bps": spread,
            "max_spread_bps": 3 * spread,
            "best_bid_depth_usd": depth[0] / 10,
            "best_ask_depth_usd": depth[1] / 10,
            "book_imbalance": (depth[0] - depth[1]) / (depth[0] + depth[1]),
            "bid_depth_1pct_usd": depth[0],
            "ask_depth_1pct_usd": depth[1],
            "bid_depth_5pct_usd": depth[0] + depth[2],
            "ask_depth_5pct_usd": depth[1] + depth[3],
            "spot_volume": np.exp(rng.normal(4, 0.5, N_BARS)),
            "market_return": (own + btc) / 2,
            "market_return_volume_weighted": 0.3 * own + 0.7 * btc,
            "btc_return": btc,
            "return_dispersion": np.abs(own - btc) / np.sqrt(2),
            "relative_return": (own - btc) / 2,
        }
    )


def evaluated(
    perp: pl.DataFrame, spot: pl.DataFrame, funding: pl.DataFrame, others: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Everything the research sees: bars, features, states, discovery expressions side by side; and the events."""
    bars = join_funding(clean_bars(perp, perp.clear()).bars, clean_funding(funding))
    spot_bars = clean_bars(spot, spot.clear()).bars.select(
        "timestamp", pl.col("open").alias("spot_open"), pl.col("close").alias("spot_close")
    )
    for joined in (spot_bars, others):
        bars = bars.join(joined, on="timestamp", how="left", maintain_order="left")
    bars = with_all_columns(bars, SPEC.columns, SPEC.calendars.values())
    features = build_features(bars, list(SPEC.features.values()))
    frame = pl.concat([bars, features.drop("timestamp")], how="horizontal")
    states = evaluate_states(frame, SPEC.states.values())
    settings = frame.select(value.polars().alias(f"setting.{name}") for name, value in SPEC.bar_expressions.items())
    triggers = frame.select(
        *(event.when.polars().alias(f"{name}.when") for name, event in SPEC.events.items()),
        *(event.direction.polars().cast(pl.Float64).alias(f"{name}.direction") for name, event in SPEC.events.items()),
        *(
            event.strength.polars().alias(f"{name}.strength")
            for name, event in SPEC.events.items()
            if event.strength is not None
        ),
    )
    everything = pl.concat([frame, states.drop("timestamp"), settings, triggers], how="horizontal")
    return everything, detect_events(frame, list(SPEC.events.values()), "BTCUSDT", SPEC.states)


@pytest.fixture(scope="module")
def market() -> Market:
    return raw_market(5)


@pytest.fixture(scope="module")
def whole(market: Market) -> tuple[pl.DataFrame, pl.DataFrame]:
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
    assert set(SPEC.columns) <= set(everything.columns)
    assert all(name in everything.columns for name in (*VOLUMES, *SPEC.features))


@pytest.mark.parametrize("seed", range(8))
def test_nothing_before_a_random_cut_changes(
    seed: int,
    market: Market,
    whole: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    everything, events = whole
    rng = np.random.default_rng(seed)
    # Half of the cuts fall right behind an event, where a peek ahead would show.
    if seed % 2:
        late = before(events, START + dt.timedelta(minutes=5 * (N_BARS - 10))).filter(
            pl.col("timestamp") > START + dt.timedelta(minutes=5 * WARM_BARS)
        )
        cut = late["timestamp"][int(rng.integers(len(late)))] + dt.timedelta(minutes=5)
    else:
        cut = START + dt.timedelta(minutes=5 * int(rng.integers(WARM_BARS, N_BARS)))
    partial, partial_events = evaluated(*(before(frame, cut) for frame in market))
    assert first_difference(partial, before(everything, cut).head(len(partial))) is None
    assert partial_events.equals(before(events, cut))


def test_another_future_changes_nothing_before_the_cut(
    market: Market, whole: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    everything, events = whole
    cut = START + dt.timedelta(minutes=5 * 18_000)
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
    full, cut = everything.select("timestamp", peeking), everything.head(18_000).select("timestamp", peeking)
    assert first_difference(cut, full.head(18_000)) is not None
