"""Copies of real bars from which every prediction of returns is taken away and everything else is kept."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BESIDE_PRICE: Final = ("spot_close", "mark_close", "index_close")
BESIDE_OPEN: Final = ("spot_open",)
"""Prices that keep their distance to the perpetual's close, and to its open."""
BASE_QUANTITIES: Final = ("volume", "taker_buy_volume", "spot_volume", "open_interest")
"""Quantities in base currency: their value in USD stays what it was."""
OF_BUYERS: Final = (("taker_buy_volume", "volume"), ("taker_buy_quote_volume", "quote_volume"))
"""What buyers took of a total: where a bar is mirrored, sellers took it."""
SIDES: Final = (
    ("long_liquidation_usd", "short_liquidation_usd"),
    ("best_bid_depth_usd", "best_ask_depth_usd"),
    ("bid_depth_1pct_usd", "ask_depth_1pct_usd"),
    ("bid_depth_5pct_usd", "ask_depth_5pct_usd"),
)
"""Two sides that change places where a bar is mirrored."""


def with_random_signs(bars: pl.DataFrame, signs: Floats) -> pl.DataFrame:
    """The same bars on a price path whose every bar goes up or down as `signs` say.

    Parameters
    ----------
    bars : one symbol's cleaned bars on the full grid, with spot, mark and index beside them where there are any; gaps null.
    signs : (bars,) +1: the bar as it was; −1: mirrored. Independent of everything, so that no past tells the mean of a
        later return: simple returns are mirrored, which makes the price a martingale.

    Returns
    -------
    Bars of the same columns. The step from the last close to the open, and the ways from the open to high, low and close,
    are multiplied by the sign; high and low change places. Sizes of returns, values traded in USD, funding, premium and
    distances of other prices to the perpetual's are the real ones; what is told of one side is told of the other one.
    """
    columns = {name: bars[name].cast(pl.Float64).to_numpy() for name in ("open", "high", "low", "close")}
    first, last = columns["open"], columns["close"]
    before = np.concatenate(([np.nan], _forward_filled(last)[:-1]))
    step = 1.0 + np.where(np.isfinite(first / before), signs * (first / before - 1.0), 0.0)
    within = 1.0 + np.where(np.isfinite(last / first), signs * (last / first - 1.0), 0.0)
    known = first[np.isfinite(first)]
    start = known[0] if len(known) else np.nan
    path = start * np.cumprod(step * within)
    opened = path / within
    ways = np.stack([signs * (columns[name] / first - 1.0) for name in ("high", "low")])
    ratio = path / last
    mirrored = pl.Series(signs < 0)
    prices = {
        "open": np.where(np.isfinite(first), opened, np.nan),
        "high": opened * (1.0 + ways.max(axis=0)),
        "low": opened * (1.0 + ways.min(axis=0)),
        "close": np.where(np.isfinite(last), path, np.nan),
    }
    turned = bars.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in prices.items())
    there = set(bars.columns)
    turned = turned.with_columns(
        pl.when(mirrored).then(pl.col(total) - pl.col(part)).otherwise(pl.col(part)).alias(part)
        for part, total in OF_BUYERS
        if {part, total} <= there
    )
    turned = turned.with_columns(
        pl.when(mirrored).then(pl.col(other)).otherwise(pl.col(one)).alias(one)
        for pair in SIDES
        if set(pair) <= there
        for one, other in (pair, pair[::-1])
    )
    scale, at_open = pl.Series(ratio, nan_to_null=True), pl.Series(opened / first, nan_to_null=True)
    return turned.with_columns(
        *(pl.col(name) * at_open for name in BESIDE_OPEN if name in there),
        *(pl.col(name) * scale for name in BESIDE_PRICE if name in there),
        *(pl.col(name) / scale for name in BASE_QUANTITIES if name in there),
        *(
            pl.when(mirrored).then(1.0 / pl.col(name)).otherwise(pl.col(name)).alias(name)
            for name in ("taker_volume_ratio",)
            if name in there
        ),
        *(
            pl.when(mirrored).then(-pl.col(name)).otherwise(pl.col(name)).alias(name)
            for name in ("book_imbalance",)
            if name in there
        ),
    )


def _forward_filled(values: Floats) -> Floats:
    """The last known value at each place; NaN before the first."""
    at = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    return np.where(at >= 0, values[at], np.nan)
