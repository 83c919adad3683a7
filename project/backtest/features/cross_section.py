"""What all symbols do at one bar: the market's return, its dispersion, and a symbol's own return beside it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.cleaning.bars import beside_bars
from backtest.expressions import BARS_PER_DAY, compile_expression

Floats = NDArray[np.float64]

BITCOIN: Final = "BTCUSDT"
BAR: Final = dt.timedelta(minutes=5)
SOURCE_COLUMNS: Final = ("timestamp", "close", "volume", "quote_volume")
"""Columns of a symbol's cleaned bars that `market_bars` reads."""
MARKET_SCHEMA: Final[dict[str, pl.DataType]] = {
    "timestamp": pl.Datetime("ms", "UTC"),
    "market_return": pl.Float64(),
    "market_return_volume_weighted": pl.Float64(),
    "btc_return": pl.Float64(),
    "return_dispersion": pl.Float64(),
}
DERIVED_COLUMNS: Final = frozenset(MARKET_SCHEMA) - {"timestamp"} | {"relative_return"}
"""Columns that `with_market` adds."""

RETURN: Final = compile_expression("close / lag(close, 1) - 1", ["close"])
WEIGHT: Final = compile_expression(
    f"trailing_sum(coalesce(quote_volume, volume * close), {BARS_PER_DAY})", ["close", "volume", "quote_volume"]
)
LOOKBACK_BARS: Final = max(RETURN.lookback_bars, WEIGHT.lookback_bars)
"""Bars before the first one wanted that a symbol's bars must reach back."""


def market_bars(
    symbols: Collection[str], bars_of: Callable[[str], pl.DataFrame], start: dt.datetime, end: dt.datetime
) -> pl.DataFrame:
    """Returns across symbols at each bar of [start, end).

    Parameters
    ----------
    symbols : in any order; they are taken in that of their names, so it has no influence, not even on the last digit.
    bars_of : gives a symbol's `SOURCE_COLUMNS` on the full grid, oldest first, from `LOOKBACK_BARS` before `start` where
        there are so many; empty where it has none. Asked for one symbol at a time, so that memory does not grow with
        their number.
    start, end : of whole bars.

    Returns
    -------
    `MARKET_SCHEMA` on the full grid from the first to the last bar of any symbol, all fractions per bar:
    ``market_return``, the mean of the close-to-close returns of the symbols that have one at this bar (null where none
    has); ``market_return_volume_weighted``, weighted by each one's turnover over the 24 hours before the bar (null where
    none has such a turnover); ``btc_return``, Bitcoin's (null where it is not among them); ``return_dispersion``, the
    sample standard deviation across symbols (null below two). Row t uses rows ≤ t only.
    """
    sums = _Sums((end - start) // BAR)
    first, behind = len(sums.count), 0
    for symbol in sorted(symbols):
        bars = bars_of(symbol)
        own = bars.select("timestamp", RETURN.polars().alias("return"), WEIGHT.polars().alias("weight")).filter(
            pl.col("timestamp").is_between(start, end, closed="left")
        )
        if own.is_empty():
            continue
        row = (own["timestamp"][0] - start) // BAR
        sums.add(symbol, slice(row, row + len(own)), own["return"].to_numpy(), own["weight"].to_numpy())
        first, behind = min(first, row), max(behind, row + len(own))
    grid = pl.datetime_range(start, end, BAR, closed="left", time_unit="ms", time_zone="UTC", eager=True)
    columns = {name: pl.Series(values, nan_to_null=True) for name, values in sums.results().items()}
    return pl.DataFrame({"timestamp": grid, **columns}, schema=MARKET_SCHEMA).slice(first, max(behind - first, 0))


class _Sums:
    """Running count, mean and squared deviations (Welford 1962) across symbols, for each bar."""

    def __init__(self, n_bars: int) -> None:
        self.count, self.mean, self.squares = np.zeros(n_bars), np.zeros(n_bars), np.zeros(n_bars)
        self.weight, self.weighted = np.zeros(n_bars), np.zeros(n_bars)
        self.bitcoin = np.full(n_bars, np.nan)

    def add(self, symbol: str, rows: slice, returns: Floats, weights: Floats) -> None:
        """One symbol's returns and weights, NaN where unknown."""
        known = ~np.isnan(returns)
        self.count[rows] += known
        delta = np.where(known, returns - self.mean[rows], 0.0)
        self.mean[rows] += delta / np.maximum(self.count[rows], 1.0)
        self.squares[rows] += delta * np.where(known, returns - self.mean[rows], 0.0)
        weighs = known & (weights > 0)
        self.weight[rows] += np.where(weighs, weights, 0.0)
        self.weighted[rows] += np.where(weighs, weights * returns, 0.0)
        if symbol == BITCOIN:
            self.bitcoin[rows] = returns

    def results(self) -> dict[str, NDArray[Any]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "market_return": np.where(self.count > 0, self.mean, np.nan),
                "market_return_volume_weighted": self.weighted / np.where(self.weight > 0, self.weight, np.nan),
                "btc_return": self.bitcoin,
                "return_dispersion": np.sqrt(self.squares / np.where(self.count > 1, self.count - 1, np.nan)),
            }


def with_market(bars: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """A symbol's bars with `DERIVED_COLUMNS` beside them; ``relative_return`` is its own return less the market's."""
    joined = beside_bars(bars, market.select(*MARKET_SCHEMA))
    return joined.with_columns((RETURN.polars() - pl.col("market_return")).alias("relative_return"))
