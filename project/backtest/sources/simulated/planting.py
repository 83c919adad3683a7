"""Edges planted into a simulated market: drift added inside chosen bars, and written down as the truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from backtest.errors import MisuseError, did_you_mean, listed
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.sources.simulated.calendar import bar_times, halted_bars, moved_out_of_halts
from backtest.sources.simulated.market import BARS, COMPUTED_DIGITS, INDEX, MARK, DatasetKey, SimulatedMarket
from backtest.sources.simulated.prices import Tick
from backtest.sources.simulated.streams import Floats

PLANTED: str = "planted_drift"


def plant_drift(market: SimulatedMarket, drift: Mapping[str, np.ndarray]) -> SimulatedMarket:
    """A new market with extra log returns inside chosen perpetual bars, spread evenly over each bar.

    Close, high and low of the bar move consistently, all later prices are scaled, spot, index and mark move along (basis
    and premium are unchanged). Volumes in base currency, flow, funding, liquidations and book stay; amounts in quote
    currency and ``open_interest_usd`` follow the price.

    Parameters
    ----------
    market
        A simulated market, planted before or not: planting adds up.
    drift
        For each named symbol the extra log return of each bar of the **full** 5-minute grid (``settings.n_bars``
        values, bar 0 at ``settings.start``; bars whose rows are missing count too). Symbols left out get none.

    Returns
    -------
    SimulatedMarket
        With the data set ("perp", symbol, "planted_drift") of every symbol: the sum of all planted log returns of
        each bar of the full grid. What was asked for in a halted bar is moved to, and recorded at, the first bar
        traded after it (nothing after the last). Prices are on the tick, so a return differs from return + drift by
        at most a tick.

    Raises
    ------
    MisuseError
        Where a symbol is unknown, or an array is not of finite numbers of the grid's length.
    """
    _check(market, drift)
    halted, times = halted_bars(market.settings), bar_times(market.settings)
    datasets = dict(market.datasets)
    for symbol in market.settings.symbols:
        asked = np.asarray(drift.get(symbol, np.zeros(market.settings.n_bars)), dtype=np.float64)
        planted = moved_out_of_halts(asked, halted)
        before = np.concatenate(([0.0], np.cumsum(planted)))[:-1]
        moves = pl.DataFrame({"timestamp": times, "_before": np.exp(before), "_within": np.exp(planted)})
        tick = Tick.of(market.settings, symbol)
        for key in (("perp", symbol, BARS), ("spot", symbol, BARS)):
            datasets[key] = _moved_bars(datasets[key], moves, tick)
        for key in (("perp", symbol, MARK), ("perp", symbol, INDEX)):
            datasets[key] = _moved_bars(datasets[key], moves, tick.finer(COMPUTED_DIGITS))
        datasets["perp", symbol, "metrics"] = _moved_metrics(datasets["perp", symbol, "metrics"], moves)
        key = ("perp", symbol, PLANTED)
        datasets[key] = _truth(datasets, key, times, planted)
    return SimulatedMarket(market.settings, datasets)


def _check(market: SimulatedMarket, drift: Mapping[str, np.ndarray]) -> None:
    symbols, n_bars, faults = market.settings.symbols, market.settings.n_bars, []
    for symbol, values in drift.items():
        if symbol not in symbols:
            faults.append(f"{symbol!r} is not among the symbols {list(symbols)}.{did_you_mean(symbol, symbols)}")
        elif np.shape(values) != (n_bars,):
            faults.append(f"{symbol}: shape {np.shape(values)}; it must be one number for each of {n_bars} bars")
        elif not np.all(np.isfinite(values)):
            faults.append(f"{symbol}: bar {int(np.argmin(np.isfinite(values)))} is not a finite number")
    if faults:
        raise MisuseError(f"this drift cannot be planted:\n{listed(faults)}")


def _moved_bars(bars: pl.DataFrame, moves: pl.DataFrame, tick: Tick) -> pl.DataFrame:
    """Bars with opens moved by the drift before them, closes also by their own, extremes by half of it at least."""
    joined = bars.join(moves, on="timestamp", how="left", maintain_order="left")
    before, within = joined["_before"].to_numpy(), joined["_within"].to_numpy()
    old = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close")}
    first = tick.rounded(old["open"] * before)
    last = tick.rounded(old["close"] * before * within)
    high = np.maximum(tick.rounded(old["high"] * before * np.sqrt(within)), np.maximum(first, last))
    low = np.minimum(tick.rounded(old["low"] * before * np.sqrt(within)), np.minimum(first, last))
    price_ratio = (first + high + low + last) / (old["open"] + old["high"] + old["low"] + old["close"])
    columns: dict[str, Floats] = {"open": first, "high": high, "low": low, "close": last}
    for name in {"quote_volume", "taker_buy_quote_volume"} & set(bars.columns):
        columns[name] = bars[name].to_numpy() * price_ratio
    return bars.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def _moved_metrics(metrics: pl.DataFrame, moves: pl.DataFrame) -> pl.DataFrame:
    joined = metrics.join(moves, on="timestamp", how="left", maintain_order="left")
    return metrics.with_columns(open_interest_usd=joined["open_interest_usd"] * joined["_before"])


def _truth(
    datasets: Mapping[DatasetKey, pl.DataFrame], key: DatasetKey, times: pl.Series, planted: Floats
) -> pl.DataFrame:
    """Planted log return of each bar of the full grid, added to what was planted before."""
    if key in datasets:
        planted = datasets[key][PLANTED].to_numpy() + planted
    return pl.DataFrame({"timestamp": times, PLANTED: planted}, schema=RAW_SCHEMAS[PLANTED])
