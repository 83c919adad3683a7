"""The simulated market looks like a market, and nothing in its past says anything about the mean of later returns."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import stats

from backtest.errors import MisuseError
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.sources.simulated import (
    SimulatedMarket,
    SimulationSettings,
    VolatilityComponent,
    VolatilityRegime,
    plant_drift,
    simulate_market,
)
from backtest.sources.simulated.calendar import halted_bars
from backtest.sources.simulated.prices import _jump_returns, log_prices
from backtest.sources.simulated.volatility import Jumps

START = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
Floats = NDArray[np.float64]


def settings(**changes: object) -> SimulationSettings:
    return SimulationSettings(**{"start": START, "days": 20, "seed": 7, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def two_years() -> SimulatedMarket:
    return simulate_market(settings(days=730, seed=11))


@pytest.fixture(scope="module")
def rough() -> SimulatedMarket:
    """A short market full of halts and gaps."""
    return simulate_market(settings(days=15, halts_per_year=400, gaps_per_year=400, symbols=("BTCUSDT", "SOLUSDT")))


def log_returns(market: SimulatedMarket, symbol: str) -> Floats:
    bars = market.datasets["perp", symbol, "ohlcv_5m"]
    return (bars["close"] / bars["open"]).log().to_numpy()


def autocorrelation(values: Floats, lag: int) -> float:
    centred = values - values.mean()
    return float(np.mean(centred[:-lag] * centred[lag:]) / np.mean(centred**2))


def on_grid(market: SimulatedMarket, symbol: str) -> pl.DataFrame:
    """Perpetual bars with funding and open interest known at each bar's close, gaps filled with flat bars."""
    bars = market.datasets["perp", symbol, "ohlcv_5m"]
    bars = bars.upsample("timestamp", every="5m").with_columns(
        pl.col("close").forward_fill(), pl.col("volume", "taker_buy_volume").fill_null(0.0)
    )
    for dataset in ("funding", "metrics", "liquidations", "book_ticker", "book_depth"):
        bars = bars.join_asof(market.datasets["perp", symbol, dataset], on="timestamp")
    for name in ("mark", "index", "premium"):
        closes = market.datasets["perp", symbol, f"{name}_5m"].select("timestamp", pl.col("close").alias(name))
        bars = bars.join_asof(closes, on="timestamp")
    spot = market.datasets["spot", symbol, "ohlcv_5m"].select("timestamp", pl.col("close").alias("spot_close"))
    return bars.join_asof(spot, on="timestamp")


# ---------------------------------------------------------------- it looks like a market


@pytest.mark.parametrize("seed", [1, 2])
def test_returns_have_fat_tails_and_clustered_volatility_in_every_year(seed: int) -> None:
    market = simulate_market(settings(days=365, seed=seed))
    for symbol in market.settings.symbols:
        returns = log_returns(market, symbol)
        assert stats.kurtosis(returns, fisher=False) > 20
        assert autocorrelation(np.abs(returns), 1) > 0.15
        assert autocorrelation(np.abs(returns), 288) > 0.05
        assert 0.35 < returns.std() * np.sqrt(365 * 288) < 0.85


def test_symbols_are_correlated_as_asked(two_years: SimulatedMarket) -> None:
    both = two_years.datasets["perp", "BTCUSDT", "ohlcv_5m"].join(
        two_years.datasets["perp", "ETHUSDT", "ohlcv_5m"], on="timestamp"
    )
    first, second = (both["close"] / both["open"]).log(), (both["close_right"] / both["open_right"]).log()
    assert 0.7 < np.corrcoef(first, second)[0, 1] < 0.88


def test_symbols_without_correlation_have_none() -> None:
    market = simulate_market(settings(days=365, correlation=0.0, halts_per_year=0, gaps_per_year=0))
    assert abs(np.corrcoef(log_returns(market, "BTCUSDT"), log_returns(market, "ETHUSDT"))[0, 1]) < 0.03


def test_ranges_agree_with_volatility(two_years: SimulatedMarket) -> None:
    bars = two_years.datasets["perp", "BTCUSDT", "ohlcv_5m"]
    parkinson = np.sqrt(((bars["high"] / bars["low"]).log() ** 2).mean() / (4 * np.log(2)))  # type: ignore[operator]
    assert parkinson / log_returns(two_years, "BTCUSDT").std() == pytest.approx(1.0, abs=0.06)


def test_volatility_rises_after_falls_and_at_the_american_open(two_years: SimulatedMarket) -> None:
    returns = log_returns(two_years, "BTCUSDT")
    assert np.corrcoef(returns[:-1], np.abs(returns[1:]))[0, 1] < -0.01
    size = two_years.datasets["perp", "BTCUSDT", "ohlcv_5m"].select(
        pl.col("timestamp").dt.hour().alias("hour"), (pl.col("close") / pl.col("open")).log().abs().alias("size")
    )
    by_hour = dict(size.group_by("hour").agg(pl.col("size").mean()).iter_rows())
    assert by_hour[14] > 1.5 * by_hour[5]


def test_volume_goes_with_volatility_and_taker_flow_with_the_return_of_its_bar(two_years: SimulatedMarket) -> None:
    bars = two_years.datasets["perp", "BTCUSDT", "ohlcv_5m"].filter(pl.col("volume") > 0)
    returns = (bars["close"] / bars["open"]).log().to_numpy()
    imbalance = (2 * bars["taker_buy_volume"] / bars["volume"] - 1).to_numpy()
    assert 0.4 < np.corrcoef(bars["volume"], np.abs(returns))[0, 1] < 0.8
    assert np.corrcoef(imbalance, returns)[0, 1] > 0.4
    assert abs(np.corrcoef(imbalance[:-1], returns[1:])[0, 1]) < 0.02


def test_funding_is_one_bp_at_the_median_sometimes_negative_and_bursts() -> None:
    markets = [simulate_market(settings(days=365, seed=seed, symbols=("BTCUSDT",))) for seed in range(2)]
    bps = 1e4 * np.concatenate([each.datasets["perp", "BTCUSDT", "funding"]["funding_rate"] for each in markets])
    assert np.median(bps) == pytest.approx(1.0)
    assert 0.03 < np.mean(bps < 0) < 0.35
    assert 0.005 < np.mean(np.abs(bps) > 5) < 0.10
    assert autocorrelation(bps, 1) > 0.6


def test_large_moves_bring_liquidations_of_the_losing_side_and_less_open_interest(two_years: SimulatedMarket) -> None:
    bars = two_years.datasets["perp", "BTCUSDT", "ohlcv_5m"].join(
        two_years.datasets["perp", "BTCUSDT", "liquidations"], on="timestamp"
    )
    bars = bars.join(two_years.datasets["perp", "BTCUSDT", "metrics"], on="timestamp").with_columns(
        move=(pl.col("close") / pl.col("open")).log(), change=pl.col("open_interest").log().diff().shift(-1)
    )
    crashes = bars.filter(pl.col("move") < -0.015)
    assert crashes.height > 10
    assert crashes["long_liquidation_usd"].median() > 100 * bars["long_liquidation_usd"].median()  # type: ignore[operator]
    assert crashes["long_liquidation_usd"].median() > 20 * crashes["short_liquidation_usd"].median()  # type: ignore[operator]
    assert crashes["change"].median() < -0.002  # type: ignore[operator]


def test_spread_widens_with_volatility(two_years: SimulatedMarket) -> None:
    bars = two_years.datasets["perp", "ETHUSDT", "ohlcv_5m"].join(
        two_years.datasets["perp", "ETHUSDT", "book_ticker"], on="timestamp"
    )
    size = (bars["close"] / bars["open"]).log().abs()
    assert np.corrcoef(bars["mean_spread_bps"].log(), size)[0, 1] > 0.3
    assert (bars["max_spread_bps"] > bars["mean_spread_bps"]).all()


@pytest.mark.parametrize("dataset", ["perp", "spot"])
def test_simulated_bars_are_near_the_real_ones(dataset: str, two_years: SimulatedMarket, shared_data: object) -> None:
    real = pl.read_parquet(f"{shared_data}/import/BTCUSDT_{dataset}_5m.parquet")
    simulated = two_years.datasets[dataset, "BTCUSDT", "ohlcv_5m"]
    measured = []
    for bars in (real, simulated):
        returns = (bars["close"] / bars["open"]).log().to_numpy()
        sizes = np.abs(returns)
        correlations = [autocorrelation(sizes, lag) for lag in (1, 12, 288)]
        measured.append([returns.std() * 1e2, *correlations])
    assert np.abs(np.subtract(*measured)).max() < 0.08


# ---------------------------------------------------------------- the rows


@pytest.mark.parametrize("name", ["rough", "two_years"])
def test_every_data_set_has_its_raw_schema_and_neither_null_nor_nan(name: str, request: pytest.FixtureRequest) -> None:
    market: SimulatedMarket = request.getfixturevalue(name)
    market = plant_drift(market, {})
    expected = {("spot", "ohlcv_5m")} | {
        ("perp", each)
        for each in (
            *("ohlcv_5m", "mark_5m", "index_5m", "premium_5m", "funding", "metrics", "liquidations"),
            *("book_ticker", "book_depth", "planted_drift"),
        )
    }
    for symbol in market.settings.symbols:
        assert {(place, dataset) for place, of, dataset in market.datasets if of == symbol} == expected
    for (_, _, dataset), frame in market.datasets.items():
        assert dict(frame.schema) == RAW_SCHEMAS[dataset]
        assert frame["timestamp"].is_sorted()
        assert frame["timestamp"].n_unique() == frame.height > 0
        assert sum(frame.null_count().row(0)) == 0
        numbers = frame.drop("timestamp").cast(pl.Float64).to_numpy()
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("name", ["rough", "two_years"])
def test_bars_are_valid(name: str, request: pytest.FixtureRequest) -> None:
    market: SimulatedMarket = request.getfixturevalue(name)
    drift = {symbol: np.linspace(-2e-3, 1e-3, market.settings.n_bars) for symbol in market.settings.symbols}
    if name == "two_years":
        drift = {symbol: values / 100 for symbol, values in drift.items()}
    for each, (place, symbol) in itertools.product(
        (market, plant_drift(market, drift)), itertools.product(("perp", "spot"), market.settings.symbols)
    ):
        assert_valid(each.datasets[place, symbol, "ohlcv_5m"])


def assert_valid(bars: pl.DataFrame) -> None:
    low, high, traded = pl.col("low"), pl.col("high"), pl.col("volume") > 0
    inside = [pl.col(name).is_between(low, high) for name in ("open", "close")]
    price = pl.col("quote_volume") / pl.col("volume")
    checks = {
        "prices": pl.all_horizontal(low > 0, *inside),
        "mean price": ~traded | price.is_between(low * (1 - 1e-9), high * (1 + 1e-9)),
        "takers": pl.col("taker_buy_volume").is_between(0, pl.col("volume")),
        "trades": (pl.col("trade_count") > 0) == traded,
        "halts": traded | ((low == high) & (pl.col("quote_volume") == 0) & (pl.col("taker_buy_volume") == 0)),
        "adjoining": (pl.col("timestamp").diff() > pl.duration(minutes=5))
        | (pl.col("open") == pl.col("close").shift(1)).fill_null(True)
        | ((pl.col("open") / pl.col("close").shift(1)).log().abs() > 2e-4),
    }
    # Planted amounts move the price within a bar by half a tick of rounding at most.
    found = bars.select(**{name: check.fill_null(True).mean() for name, check in checks.items()}).row(0, named=True)
    assert found == dict.fromkeys(checks, 1.0)


def test_halts_stop_all_symbols_and_gaps_each_market_for_itself(rough: SimulatedMarket) -> None:
    halted = halted_bars(rough.settings)
    stamps = pl.Series([START + dt.timedelta(minutes=5 * int(bar)) for bar in np.flatnonzero(halted)])
    assert len(stamps) >= 12
    missing = set()
    for place, symbol in itertools.product(("perp", "spot"), rough.settings.symbols):
        bars = rough.datasets[place, symbol, "ohlcv_5m"]
        still = bars.filter(pl.col("volume") == 0)["timestamp"]
        assert set(still) <= set(stamps)
        present = set(bars["timestamp"])
        assert set(still) == set(stamps) & present
        missing.add(frozenset(START + dt.timedelta(minutes=5 * bar) for bar in range(15 * 288)) - present)
        computed = ("mark_5m", "index_5m", "premium_5m")
        for dataset in (*computed, "liquidations", "book_ticker", "book_depth") if place == "perp" else ():
            assert not set(rough.datasets["perp", symbol, dataset]["timestamp"]) & set(stamps)
    assert len(missing) == 4
    assert all(missing)


def test_a_year_has_one_halt_and_one_gap_by_default() -> None:
    market = simulate_market(settings(days=365))
    assert int(halted_bars(market.settings).sum()) == 6
    assert {market.datasets[key].height for key in market.datasets if key[2] == "ohlcv_5m"} == {365 * 288 - 4}


def test_funding_follows_its_interval() -> None:
    market = simulate_market(settings(days=3, funding_interval_hours={"ETHUSDT": 4}))
    for symbol, hours, rows in (("BTCUSDT", 8.0, 9), ("ETHUSDT", 4.0, 18)):
        funding = market.datasets["perp", symbol, "funding"]
        assert funding["funding_interval_hours"].unique().to_list() == [hours]
        assert funding.height == rows
        assert (funding["timestamp"].dt.hour() % int(hours) == 0).all()
        assert funding["timestamp"][0] == START


def test_funding_equals_the_venue_formula_on_the_premium_before_the_stamp() -> None:
    market = simulate_market(settings(days=10, gaps_per_year=0, halts_per_year=0))
    premium = market.datasets["perp", "BTCUSDT", "premium_5m"].select("timestamp", bps=1e4 * pl.col("close"))
    rates = market.datasets["perp", "BTCUSDT", "funding"].select("timestamp", "funding_rate").rows()[1:]
    assert len(rates) == 29
    for stamp, rate in rates:
        before = premium.filter(pl.col("timestamp").is_between(stamp - dt.timedelta(hours=8), stamp, closed="left"))
        assert before.height == 96
        mean = before["bps"].mean()
        assert isinstance(mean, float)
        assert rate * 1e4 == pytest.approx(mean + min(max(1.0 - mean, -5.0), 5.0), abs=1e-3)


def test_funding_persists_as_on_the_venue() -> None:
    measured = []
    for seed in range(6):
        market = simulate_market(settings(days=730, seed=seed, symbols=("BTCUSDT",)))
        bps = 1e4 * market.datasets["perp", "BTCUSDT", "funding"]["funding_rate"].to_numpy()
        measured.append([*(autocorrelation(bps, lag) for lag in (1, 9, 30)), np.mean(bps < 0)])
    # BTCUSDT 2023-01 … 2025-02: .81, .65, .42 and 9 %.
    found = dict(zip(("lag 1", "lag 9", "lag 30", "negative"), np.mean(measured, axis=0), strict=True))
    assert found == pytest.approx({"lag 1": 0.81, "lag 9": 0.62, "lag 30": 0.42, "negative": 0.09}, abs=0.2)


def test_premium_is_perpetual_over_index_and_mark_the_median_of_the_three_prices() -> None:
    market = simulate_market(settings(days=10, gaps_per_year=0, halts_per_year=0))
    grid = on_grid(market, "ETHUSDT").join(
        market.datasets["perp", "ETHUSDT", "premium_5m"].select("timestamp", pl.col("open").alias("premium_open")),
        on="timestamp",
    )
    assert (grid["close"] / grid["index"] - 1 - grid["premium"]).abs().max() < 6e-6  # half a tick of the perpetual
    assert grid["premium_open"][1:].equals(grid["premium"][:-1].alias("premium_open"))
    premium, index, mark = (grid[name].to_numpy() for name in ("premium", "index", "mark"))
    rates = market.datasets["perp", "ETHUSDT", "funding"]["funding_rate"].to_numpy()
    for bar in (100, 1000, 1535, 2000, 2500):
        boundary = bar + 1
        to_funding = rates[boundary // 96] * (1 - boundary % 96 / 96)
        candidates = [premium[bar], premium[bar - 5 : bar + 1].mean(), to_funding]
        assert mark[bar] == pytest.approx(index[bar] * (1 + float(np.median(candidates))), rel=2e-6)


def test_a_few_bars_a_month_open_away_from_the_last_close_and_the_jump_between_foretells_nothing() -> None:
    market = simulate_market(settings(days=730, jumps_per_day=8.0, gap_jump_share=1.0, jump_down_to_up=3.0))
    usual = simulate_market(settings(days=365))
    for of, least, most in ((usual, 24, 90), (market, 2000, 9000)):
        bars = of.datasets["perp", "BTCUSDT", "ohlcv_5m"]
        gaps = (bars["open"] / bars["close"].shift(1) - 1).fill_null(0.0).to_numpy()
        assert least < np.count_nonzero(np.abs(gaps) > 2e-4) < most
    assert abs(gaps.sum()) < 4 * np.sqrt((gaps**2).sum())


def test_spot_and_index_leave_the_perpetual_for_several_bars_at_different_times(two_years: SimulatedMarket) -> None:
    grid = on_grid(two_years, "BTCUSDT")
    spot, index = (1e4 * (grid["close"] / grid[other]).log() for other in ("spot_close", "index"))
    apart = (spot - index).to_numpy()
    for sign in (1, -1):
        outside = (sign * apart > 5).astype(int)
        starts = np.flatnonzero(np.diff(outside) == 1)
        assert len(starts) > 60
        assert np.mean([outside[at + 1 : at + 4].all() for at in starts]) > 0.5


def test_a_symbol_decouples_from_the_market_at_times(two_years: SimulatedMarket) -> None:
    both = two_years.datasets["perp", "BTCUSDT", "ohlcv_5m"].join(
        two_years.datasets["perp", "ETHUSDT", "ohlcv_5m"], on="timestamp"
    )
    first, second = (both["close"] / both["open"]).log(), (both["close_right"] / both["open_right"]).log()
    rolling = pl.DataFrame({"a": first, "b": second}).select(pl.rolling_corr("a", "b", window_size=48)).to_series()
    assert rolling.median() > 0.75  # type: ignore[operator]
    assert 0.01 < (rolling < 0.3).mean() < 0.10  # type: ignore[operator]


def test_heavy_flow_is_absorbed_at_times(two_years: SimulatedMarket) -> None:
    bars = two_years.datasets["perp", "ETHUSDT", "ohlcv_5m"].filter(pl.col("volume") > 0)
    size = (bars["close"] / bars["open"]).log().abs()
    imbalance = (2 * bars["taker_buy_volume"] / bars["volume"] - 1).abs()
    quiet = size <= size.rolling_quantile(0.35, window_size=288)
    heavy = (imbalance >= 0.35) & (bars["quote_volume"] > 2 * bars["quote_volume"].rolling_median(288))
    assert (quiet & heavy).sum() > 60


def test_makers_leave_at_times(two_years: SimulatedMarket) -> None:
    bars = two_years.datasets["perp", "BTCUSDT", "book_ticker"].join(
        two_years.datasets["perp", "BTCUSDT", "book_depth"], on="timestamp"
    )
    wide = bars["mean_spread_bps"] > 3 * bars["mean_spread_bps"].rolling_median(288)
    thin = bars["bid_depth_1pct_usd"] < 0.6 * bars["bid_depth_1pct_usd"].rolling_median(288)
    assert 100 < (wide & thin).sum() < 0.02 * bars.height
    for side in ("bid", "ask"):
        assert (bars[f"{side}_depth_5pct_usd"] > bars[f"{side}_depth_1pct_usd"]).all()


# ---------------------------------------------------------------- the same bytes


def test_equal_settings_give_equal_markets() -> None:
    first, second = (simulate_market(settings()) for _ in range(2))
    assert first.datasets.keys() == second.datasets.keys()
    assert all(first.datasets[key].equals(second.datasets[key]) for key in first.datasets)


def test_another_seed_gives_another_market() -> None:
    first, second = (simulate_market(settings(seed=seed)) for seed in (7, 8))
    assert not any(first.datasets[key].equals(second.datasets[key]) for key in first.datasets)


def test_other_symbols_and_their_order_change_nothing_for_a_symbol() -> None:
    first = simulate_market(settings(symbols=("BTCUSDT", "ETHUSDT")))
    second = simulate_market(settings(symbols=("SOLUSDT", "ETHUSDT", "BTCUSDT")))
    assert all(second.datasets[key].equals(first.datasets[key]) for key in first.datasets)


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    short, long = (simulate_market(settings(days=days, halts_per_year=60, gaps_per_year=60)) for days in (10, 23))
    end = START + dt.timedelta(days=10)
    for key, frame in short.datasets.items():
        assert long.datasets[key].filter(pl.col("timestamp") < end).equals(frame), key


# ---------------------------------------------------------------- no information about later returns


def conditions(grid: pl.DataFrame) -> dict[str, Floats]:
    """Signals of mean about zero or flags, each known at the close of its bar."""
    returns = grid["close"].log().diff().fill_null(0.0)
    day = returns.rolling_std(288, min_samples=1).fill_null(0.0)
    imbalance = (2 * grid["taker_buy_volume"] / grid["volume"].clip(1e-9) - 1).fill_nan(0.0)
    gap = (grid["open"] / grid["close"].shift(1)).log().fill_null(0.0)
    sign = returns.sign()
    scale = (returns**2).ewm_mean(span=288).sqrt().fill_null(0.0)
    minute = grid["timestamp"].dt.hour().cast(pl.Int32) * 60 + grid["timestamp"].dt.minute()
    flags = {
        "always": returns == returns,
        "high volatility": day > day.rolling_median(288 * 20, min_samples=1),
        "american hours": minute.is_between(13 * 60, 17 * 60),
        "weekend": grid["timestamp"].dt.weekday() > 5,
        "just after funding": minute % 480 == 0,
        "negative funding": grid["funding_rate"] < 0,
        "large funding": grid["funding_rate"] > 3e-4,
        "wide spread": grid["mean_spread_bps"] > 2 * grid["mean_spread_bps"].rolling_median(288, min_samples=1),
        "perp below spot": grid["close"] < 0.9995 * grid["spot_close"],
        "thin book": grid["bid_depth_1pct_usd"] < 0.7 * grid["bid_depth_1pct_usd"].rolling_median(288, min_samples=1),
    }
    signed = {
        "last return": sign,
        "last hour": (grid["close"] / grid["close"].shift(12)).log().sign().fill_null(0.0),
        "large last return": sign * (returns.abs() > 3 * scale),
        "taker imbalance": imbalance.sign() * (imbalance.abs() > 0.25),
        "liquidations": (grid["short_liquidation_usd"] - grid["long_liquidation_usd"]).sign()
        * (grid["long_liquidation_usd"] + grid["short_liquidation_usd"] > 1e6),
        "open interest": grid["open_interest"].log().diff().sign().fill_null(0.0),
        "book imbalance": grid["book_imbalance"].sign().fill_null(0.0),
        "spot apart from index": (grid["spot_close"] / grid["index"]).log().sign()
        * ((grid["spot_close"] / grid["index"]).log().abs() > 5e-4),
        "perp against mark": (grid["close"] / grid["mark"]).log().sign()
        * ((grid["close"] / grid["mark"]).log().abs() > 2e-4),
        "gap": gap.sign() * (gap.abs() > 2e-4),
        "depth imbalance": (grid["bid_depth_1pct_usd"] - grid["ask_depth_1pct_usd"]).sign().fill_null(0.0),
        "basis change": (grid["close"] / grid["spot_close"]).log().diff().sign().fill_null(0.0),
    }
    return {name: values.cast(pl.Float64).fill_null(0.0).to_numpy() for name, values in (flags | signed).items()}


def day_scores(market: SimulatedMarket, horizon_bars: int) -> tuple[list[str], Floats]:
    """Σ over a day's bars of all symbols of signal × scaled simple return after it: (days, conditions)."""
    total: Floats | None = None
    names: list[str] = []
    for symbol in market.settings.symbols:
        grid = on_grid(market, symbol)
        close = grid["close"].to_numpy()
        signals = conditions(grid)
        names = list(signals)
        forward = np.zeros(len(close))
        forward[:-horizon_bars] = close[horizon_bars:] / close[:-horizon_bars] - 1
        past = np.concatenate(([0.0], np.diff(np.log(close))))
        scale = np.sqrt(pl.Series(past**2).ewm_mean(span=288).to_numpy() + 1e-8)
        day = np.arange(len(close)) // 288
        scores = np.stack([np.bincount(day, signal * forward / scale) for signal in signals.values()], axis=1)
        total = scores if total is None else total + scores
    assert total is not None
    return names, total


def joint_p_value(scores: Floats) -> float:
    """Of a Wald test that all condition means are zero, days being the independent observations."""
    summed = scores.sum(axis=0)
    wald = summed @ np.linalg.solve(scores.T @ scores, summed)
    return float(stats.chi2.sf(wald, df=len(summed)))


@pytest.mark.parametrize("horizon_bars", [1, 12])
def test_no_condition_foretells_the_mean_return(two_years: SimulatedMarket, horizon_bars: int) -> None:
    names, scores = day_scores(two_years, horizon_bars)
    t = scores.sum(axis=0) / np.sqrt((scores**2).sum(axis=0))
    # 22 conditions at two horizons: one in 400 of true null worlds would exceed 4.
    assert {name: value for name, value in zip(names, t, strict=True) if abs(value) > 4} == {}
    assert joint_p_value(scores) > 0.005


def test_the_same_check_sees_a_planted_edge_of_half_a_basis_point(two_years: SimulatedMarket) -> None:
    drift = {}
    for symbol in two_years.settings.symbols:
        signal = conditions(on_grid(two_years, symbol))["last return"]
        drift[symbol] = 0.5e-4 * np.concatenate(([0.0], signal[:-1]))
    _, scores = day_scores(plant_drift(two_years, drift), 1)
    assert joint_p_value(scores) < 1e-6


def test_jumps_have_an_expected_price_ratio_of_exactly_one() -> None:
    sides = (np.arange(200_000) + 0.5) / 200_000
    for tilt, sigma, size in itertools.product((0.5, 1.25, 3.0), (1e-4, 5e-3), (3.0, 25.0)):
        none = np.zeros(len(sides), dtype=np.int64)
        jumps = Jumps(none, np.full(len(sides), size), sides, none, none > 0)
        ratios = np.exp(_jump_returns(settings(jump_down_to_up=tilt), np.full(len(sides), sigma), jumps))
        assert ratios.mean() == pytest.approx(1.0, abs=np.ptp(ratios) / len(sides))
        assert (1 - ratios.min()) > (ratios.max() - 1) or tilt < 1.2


def test_the_expected_price_ratio_of_a_bar_is_one_at_any_volatility() -> None:
    # At σ = 0.5 a bar an uncompensated log return would give exp(σ²/2) = 1.13.
    n_bars = 100 * 288
    shocks = np.random.default_rng(5).standard_normal((n_bars, 5))
    none = np.zeros(0, dtype=np.int64)
    no_jumps, never = Jumps(none, np.zeros(0), np.zeros(0), none, none > 0), np.zeros(n_bars, dtype=np.bool_)
    prices = log_prices(settings(days=100), "BTCUSDT", shocks, np.full(n_bars, 0.5), no_jumps, never)
    ratios = np.exp(prices.returns)
    assert ratios.mean() == pytest.approx(1.0, abs=4 * ratios.std() / np.sqrt(n_bars))
    assert 4 * ratios.std() / np.sqrt(n_bars) < 0.02


def test_drift_and_bounce_are_as_asked() -> None:
    plain, rising, bouncing = (
        simulate_market(settings(days=60, halts_per_year=0, gaps_per_year=0, **change))
        for change in ({}, {"annual_drift": {"BTCUSDT": 1.0}}, {"bounce_bps": 5.0})
    )
    gained = (log_returns(rising, "BTCUSDT") - log_returns(plain, "BTCUSDT")).sum()
    assert gained == pytest.approx(60 / 365, abs=1e-4)
    assert np.array_equal(log_returns(rising, "ETHUSDT"), log_returns(plain, "ETHUSDT"))
    bars = [each.datasets["perp", "BTCUSDT", "ohlcv_5m"] for each in (plain, bouncing)]
    offset_bps = 1e4 * (bars[1]["close"] / bars[0]["close"]).log()
    assert offset_bps.abs().to_numpy() == pytest.approx(np.full(len(offset_bps), 5.0), abs=0.1)
    assert autocorrelation(log_returns(bouncing, "BTCUSDT"), 1) < -0.03
    assert_valid(bars[1])


# ---------------------------------------------------------------- planting


def test_planted_drift_adds_exactly_what_was_asked_to_forward_returns() -> None:
    market = simulate_market(settings(days=60, seed=3))
    drift = np.zeros(market.settings.n_bars)
    at = np.arange(1000, 15_000, 500)
    for bar in range(6):
        drift[at + bar] = 10e-4 / 6
    planted = plant_drift(market, {"BTCUSDT": drift})
    for place, dataset in (("perp", "ohlcv_5m"), ("spot", "ohlcv_5m"), ("perp", "mark_5m"), ("perp", "index_5m")):
        before, after = (
            each.datasets[place, "BTCUSDT", dataset].upsample("timestamp", every="5m")["open"].to_numpy()
            for each in (market, planted)
        )
        added = 1e4 * (np.log(after[at + 6] / after[at]) - np.log(before[at + 6] / before[at]))
        assert np.nanmean(added) == pytest.approx(10.0, abs=0.01)
        untouched = 1e4 * (np.log(after[at + 20] / after[at + 6]) - np.log(before[at + 20] / before[at + 6]))
        assert np.nanmax(np.abs(untouched)) < 0.1
    truth = planted.datasets["perp", "BTCUSDT", "planted_drift"]
    assert truth.height == market.settings.n_bars
    assert np.array_equal(truth["planted_drift"].to_numpy(), drift)
    assert planted.datasets["perp", "ETHUSDT", "planted_drift"]["planted_drift"].abs().sum() == 0
    for key, frame in market.datasets.items():
        if key[1] == "ETHUSDT" or key[2] in ("funding", "liquidations", "book_ticker", "book_depth", "premium_5m"):
            assert planted.datasets[key].equals(frame)


def test_planting_nothing_changes_nothing_and_planting_twice_adds_up() -> None:
    market = simulate_market(settings(days=10))
    drifts = np.random.default_rng(1).normal(0, 3e-4, (2, market.settings.n_bars))
    nothing = plant_drift(market, {})
    assert all(nothing.datasets[key].equals(market.datasets[key]) for key in market.datasets)
    twice = plant_drift(plant_drift(market, {"BTCUSDT": drifts[0]}), {"BTCUSDT": drifts[1]})
    once = plant_drift(market, {"BTCUSDT": drifts.sum(axis=0)})
    for name in ("open", "close"):
        left, right = (each.datasets["perp", "BTCUSDT", "ohlcv_5m"][name].to_numpy() for each in (twice, once))
        assert np.abs(left / right - 1).max() < 1e-5
    truth = twice.datasets["perp", "BTCUSDT", "planted_drift"]["planted_drift"].to_numpy()
    assert truth == pytest.approx(drifts.sum(axis=0), abs=1e-18)


def test_drift_asked_for_in_a_halt_is_moved_to_and_recorded_at_the_first_bar_after_it(rough: SimulatedMarket) -> None:
    halted = halted_bars(rough.settings)
    first = int(np.flatnonzero(halted)[0])
    after = first + int(np.flatnonzero(~halted[first:])[0])
    drift = np.zeros(rough.settings.n_bars)
    drift[first] = drift[after] = 1e-3
    planted = plant_drift(rough, {"BTCUSDT": drift})
    truth = planted.datasets["perp", "BTCUSDT", "planted_drift"]["planted_drift"].to_numpy()
    assert np.flatnonzero(truth).tolist() == [after]
    assert truth[after] == pytest.approx(2e-3)


def test_planting_refuses_what_does_not_fit() -> None:
    market = simulate_market(settings(days=2))
    bad = {"BTCUSD": np.zeros(576), "ETHUSDT": np.zeros(5), "BTCUSDT": np.full(576, np.nan)}
    with pytest.raises(MisuseError) as caught:
        plant_drift(market, bad)
    assert "'BTCUSD' is not among the symbols" in str(caught.value)
    assert "Did you mean 'BTCUSDT'?" in str(caught.value)
    assert "ETHUSDT: shape (5,); it must be one number for each of 576 bars" in str(caught.value)
    assert "BTCUSDT: bar 0 is not a finite number" in str(caught.value)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "change, says",
    [
        ({"start": dt.datetime(2023, 1, 1)}, "it must be in UTC"),  # noqa: DTZ001
        ({"start": START + dt.timedelta(hours=1)}, "it must be a midnight, as in 2023-01-01T00:00+00:00"),
        ({"days": 0}, "days is 0; it must be a whole number of at least 1"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"symbols": ()}, "symbols is empty"),
        ({"symbols": ("btc",)}, "symbol 'btc' is not in capitals"),
        ({"symbols": ("BTCUSDT", "BTCUSDT")}, "symbol 'BTCUSDT' is named twice"),
        ({"correlation": 1.0}, "correlation is 1.0; it must be between 0 and 0.9"),
        ({"correlation": 0.9, "volatility_common_share": 0.0}, "correlation 0.9 cannot be reached"),
        ({"annual_drift": {"BTCUSD": 0.1}}, "Did you mean 'BTCUSDT'?"),
        ({"annual_drift": float("nan")}, "annual_drift of BTCUSDT is nan"),
        ({"annual_volatility": -0.5}, "annual_volatility of BTCUSDT is -0.5; it must be a finite number above zero"),
        ({"funding_interval_hours": 5}, "funding_interval_hours of BTCUSDT is 5; it must be one of (1, 2, 4, 8)"),
        ({"leverage": -0.8, "size_feedback": 0.8}, "their squares must sum to less than 1"),
        ({"volatility_components": (VolatilityComponent(0.0, 0.1),)}, "half_life_bars must be above 0"),
        ({"regimes": (VolatilityRegime(0.0, 0.5),)}, "they sum to 0.5"),
        ({"largest_jump_sigmas": 2.0}, "largest_jump_sigmas is 2.0; it must be between 3 and 50"),
    ],
)
def test_settings_that_describe_no_market_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(MisuseError) as caught:
        settings(**change)
    assert says in str(caught.value)


def test_all_faults_of_the_settings_are_told_at_once() -> None:
    with pytest.raises(MisuseError) as caught:
        settings(days=0, correlation=2.0, initial_price=0.0)
    assert str(caught.value).count("\n  - ") == 4
