"""The simulated market as raw data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from backtest.lake.schemas import RAW_SCHEMAS
from backtest.sources.simulated.book import Book, Depth, book_depth, book_ticker, log_spreads
from backtest.sources.simulated.calendar import Mask, bar_times, log_volume_season, missing_bars
from backtest.sources.simulated.carry import (
    basis_bps,
    funding_rates,
    funding_stamps,
    mark_deviations,
    premiums,
    spot_basis_bps,
)
from backtest.sources.simulated.positioning import Positioning, positioning
from backtest.sources.simulated.prices import Bars, LogPrices, Tick, log_prices, related_prices, rounded_bars
from backtest.sources.simulated.settings import STEPS_PER_BAR, SimulationSettings
from backtest.sources.simulated.streams import Floats, Streams
from backtest.sources.simulated.trading import Counts, Trading, perpetual_trading, spot_trading
from backtest.sources.simulated.volatility import (
    MarketFactors,
    bar_volatility,
    draw_jumps,
    standard_shocks,
)

# Market ("perp" or "spot"), symbol, name of the data set.
DatasetKey = tuple[str, str, str]

BARS: Final = "ohlcv_5m"
MARK: Final = "mark_5m"
INDEX: Final = "index_5m"
PREMIUM: Final = "premium_5m"
# Digits that computed prices have beyond traded ones, and digits of the premium.
COMPUTED_DIGITS: Final = 2
_PREMIUM_DIGITS: Final = 8
# Mean distance of the premium's extremes within a bar from its ends, as a fraction.
_PREMIUM_EXTREME: Final = 0.5e-4


@dataclass(frozen=True)
class SimulatedMarket:
    """Raw data sets of all symbols, in their raw schemas and ordered by ``timestamp``, and the settings used."""

    settings: SimulationSettings
    datasets: Mapping[DatasetKey, pl.DataFrame]


def simulate_market(settings: SimulationSettings) -> SimulatedMarket:
    """A market in which no information about the past says anything about the mean of later returns of a perpetual.

    Returns
    -------
    SimulatedMarket
        For each symbol ``ohlcv_5m`` of perp and spot, and of perp ``mark_5m``, ``index_5m``, ``premium_5m``,
        ``funding``, ``metrics``, ``liquidations``, ``book_ticker`` and ``book_depth``. ``metrics`` and ``funding`` are
        known at their stamp; other rows at the close of their bar. A bar in a halt is flat with zero volume and has no
        row in any other data set; the metrics begin with the second bar.
    """
    factors = MarketFactors(settings)
    times, volume_season = bar_times(settings), log_volume_season(settings)
    datasets: dict[DatasetKey, pl.DataFrame] = {}
    for symbol in settings.symbols:
        datasets.update(_symbol_datasets(factors, symbol, times, volume_season))
    return SimulatedMarket(settings, datasets)


def _symbol_datasets(
    factors: MarketFactors, symbol: str, times: pl.Series, volume_season: Floats
) -> dict[DatasetKey, pl.DataFrame]:
    settings, halted = factors.settings, factors.halted
    shocks, jumps = standard_shocks(factors, symbol), draw_jumps(factors, symbol)
    bar_shocks = shocks.sum(axis=1) / np.sqrt(STEPS_PER_BAR)
    volatility = bar_volatility(factors, symbol, bar_shocks, jumps)
    prices = log_prices(settings, symbol, shocks, volatility.sigma, jumps, halted)
    tick, basis = Tick.of(settings, symbol), basis_bps(settings, symbol, bar_shocks)
    spot = related_prices(prices, 1e-4 * spot_basis_bps(settings, symbol, basis), halted)
    perp_bars, spot_bars = rounded_bars(prices, tick), rounded_bars(spot, tick)
    premium = premiums(settings, symbol, basis)
    rates = funding_rates(settings, symbol, premium)
    log_spread = log_spreads(settings, symbol, volatility, jumps)
    moves = np.divide(prices.returns, volatility.sigma, out=np.zeros(settings.n_bars), where=~halted)
    trading = perpetual_trading(
        factors, symbol, volume_season=volume_season, volatility=volatility, moves=moves, jumps=jumps, bars=perp_bars
    )
    held = positioning(
        settings, symbol, returns=prices.returns, bar_shocks=bar_shocks, volatility=volatility, price=perp_bars.close
    )
    frames = {
        ("perp", BARS): _bars_frame(times, perp_bars, trading, missing_bars(settings, "perp", symbol)),
        ("spot", BARS): _bars_frame(
            times, spot_bars, spot_trading(factors, symbol, trading, spot_bars), missing_bars(settings, "spot", symbol)
        ),
        **_computed_frames(settings, symbol, times, prices, premium, rates, halted),
        ("perp", "funding"): _funding_frame(settings, symbol, times, rates),
        ("perp", "metrics"): _metrics_frame(times, held, trading, perp_bars.open),
        ("perp", "liquidations"): _liquidations_frame(times, held, halted),
        ("perp", "book_ticker"): _book_frame(times, book_ticker(settings, symbol, log_spread), halted),
        ("perp", "book_depth"): _depth_frame(times, book_depth(settings, symbol, log_spread, moves), halted),
    }
    return {(market, symbol, dataset): frame for (market, dataset), frame in frames.items()}


def _frame(
    dataset: str, times: pl.Series, columns: Mapping[str, Floats | Counts], kept: Mask | None = None
) -> pl.DataFrame:
    """Columns in the order and type of the raw schema; only the kept rows."""
    schema = RAW_SCHEMAS[dataset]
    frame = pl.DataFrame({"timestamp": times, **columns}).select(
        pl.col(name).cast(kind) for name, kind in schema.items()
    )
    return frame if kept is None else frame.filter(pl.Series(kept))


def _bars_frame(times: pl.Series, bars: Bars, trading: Trading, missing: Mask) -> pl.DataFrame:
    columns: dict[str, Floats | Counts] = {
        "open": bars.open,
        "high": bars.high,
        "low": bars.low,
        "close": bars.close,
        "volume": trading.volume,
        "quote_volume": trading.quote_volume,
        "trade_count": trading.trade_count,
        "taker_buy_volume": trading.taker_buy_volume,
        "taker_buy_quote_volume": trading.taker_buy_quote_volume,
    }
    return _frame(BARS, times, columns, ~missing)


def _computed_frames(
    settings: SimulationSettings,
    symbol: str,
    times: pl.Series,
    prices: LogPrices,
    premium: Floats,
    rates: Floats,
    halted: Mask,
) -> dict[tuple[str, str], pl.DataFrame]:
    """Mark price, index price and premium index; like the venue's files, each lacks some rows."""
    tick = Tick.of(settings, symbol).finer(COMPUTED_DIGITS)
    index = related_prices(prices, np.log1p(premium), halted)
    mark = related_prices(prices, -mark_deviations(settings, symbol, premium, rates), halted)
    return {
        ("perp", dataset): _frame(dataset, times, vars(bars), ~halted & ~missing_bars(settings, dataset, symbol))
        for dataset, bars in (
            (MARK, rounded_bars(mark, tick)),
            (INDEX, rounded_bars(index, tick)),
            (PREMIUM, _premium_bars(Streams(settings.seed, symbol), premium)),
        )
    }


def _premium_bars(streams: Streams, premium: Floats) -> Bars:
    first, last = (np.round(values, _PREMIUM_DIGITS) for values in (premium[:-1], premium[1:]))
    above, below = (
        np.round(-_PREMIUM_EXTREME * np.log(streams.uniforms(f"premium/{side}", len(first))), _PREMIUM_DIGITS)
        for side in ("above", "below")
    )
    return Bars(first, np.maximum(first, last) + above, np.minimum(first, last) - below, last)


def _funding_frame(settings: SimulationSettings, symbol: str, times: pl.Series, rates: Floats) -> pl.DataFrame:
    hours = np.full(len(rates), settings.level("funding_interval_hours", symbol))
    columns = {"funding_rate": rates, "funding_interval_hours": hours}
    return _frame("funding", times.gather(funding_stamps(settings, symbol)), columns)


def _metrics_frame(times: pl.Series, held: Positioning, trading: Trading, price: Floats) -> pl.DataFrame:
    """Observations at bar opens; the taker ratio is that of the bar before, so a stamp after no trades has no row."""
    bought = np.concatenate(([0.0], trading.taker_buy_volume[:-1]))
    sold = np.concatenate(([0.0], (trading.volume - trading.taker_buy_volume)[:-1]))
    kept = (bought > 0) & (sold > 0)
    columns = {
        "open_interest": held.open_interest,
        "open_interest_usd": held.open_interest * price,
        "taker_volume_ratio": np.divide(bought, sold, out=np.ones_like(sold), where=kept),
        **held.ratios,
    }
    return _frame("metrics", times, columns, kept)


def _liquidations_frame(times: pl.Series, held: Positioning, halted: Mask) -> pl.DataFrame:
    columns: dict[str, Floats | Counts] = {
        "long_liquidation_usd": held.liquidations.long_usd,
        "short_liquidation_usd": held.liquidations.short_usd,
        "liquidation_count": held.liquidations.count,
    }
    return _frame("liquidations", times, columns, ~halted)


def _book_frame(times: pl.Series, book: Book, halted: Mask) -> pl.DataFrame:
    columns = {
        "mean_spread_bps": book.mean_spread_bps,
        "max_spread_bps": book.max_spread_bps,
        "best_bid_depth_usd": book.best_bid_depth_usd,
        "best_ask_depth_usd": book.best_ask_depth_usd,
        "book_imbalance": book.imbalance,
        "book_coverage": book.book_coverage,
    }
    return _frame("book_ticker", times, columns, ~halted)


def _depth_frame(times: pl.Series, depth: Depth, halted: Mask) -> pl.DataFrame:
    return _frame("book_depth", times, vars(depth), ~halted)
