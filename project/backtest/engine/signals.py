"""What strategies ask the engine to trade: one entry a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from backtest.errors import MisuseError, listed

if TYPE_CHECKING:
    from backtest.engine.market import Market

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

LONGEST_HORIZON: Final = 2**30
"""Bars; what lies behind the last bar is counted too, in 32 bits."""


@dataclass(frozen=True)
class Signals:
    """Entries of all strategies, (n,) arrays in any order; decided at the close of `decision_bar`, entered at a later open.

    Attributes
    ----------
    strategy : index into `strategies`.
    instrument : index into `Market.instruments`.
    decision_bar : bar at whose close the entry is decided (for a retrace the bar that retraced).
    side : +1 long, −1 short.
    horizon_bars : bars from entry to exit, ≥ 1; the position leaves at the open of bar entry + horizon.
    strategies : names.
    entry_lag_bars : entry at the open of decision_bar + lag, ≥ 1; 1 where None. No trade where that bar cannot be filled.
    weight : factor on the size that the account's sizing gives, > 0; 1 where None.
    event_id : what the ledger calls the occurrence behind each row; any values, none where None.
    close_target, close_stop : distance (price, > 0) from the entry's open in favour and against; a *close* at it or beyond
        leaves at the next open. NaN or None: none. What discovery tests. Of a hedged trade they are fractions of the notional:
        ``side·((P/P₀ − 1) − ratio·(H/H₀ − 1))``, P the instrument's close, H the hedge's, ₀ at the entry's open.
    target_distance, stop_distance : distance (price, > 0) from the entry's open of an order that rests inside bars.
    target_price, stop_price : the same as absolute prices, in the place of a distance.
    invalidation : row of `invalidation_masks` that ends the trade, −1 for none; all none where None.
    invalidation_masks : (m, n_bars) True at bars whose close ends the trade at the next open.
    hedge_instrument : instrument traded against it on the other side, −1 for none; both legs are entered and left together,
        and only in bars in which both can be filled. All none where None.
    hedge_ratio : notional of the hedge as a multiple of the first leg's, > 0; 1 where None.

    Notes
    -----
    A trade leaves at whichever comes first: horizon, a close barrier, invalidation, a resting target or stop. Hedged trades
    take no resting orders: one leg's high says nothing of the other's price at that moment.
    """

    strategy: Integers
    instrument: Integers
    decision_bar: Integers
    side: Integers
    horizon_bars: Integers
    strategies: tuple[str, ...]
    entry_lag_bars: Integers | None = None
    weight: Floats | None = None
    event_id: NDArray[np.generic] | None = None
    close_target: Floats | None = None
    close_stop: Floats | None = None
    target_distance: Floats | None = None
    stop_distance: Floats | None = None
    target_price: Floats | None = None
    stop_price: Floats | None = None
    invalidation: Integers | None = None
    invalidation_masks: Booleans | None = None
    hedge_instrument: Integers | None = None
    hedge_ratio: Floats | None = None

    def __len__(self) -> int:
        return len(self.decision_bar)

    @property
    def has_resting_orders(self) -> bool:
        """Whether a target or stop inside bars makes the order of a bar's high and low matter."""
        resting = (self.target_distance, self.stop_distance, self.target_price, self.stop_price)
        return any(array is not None and bool(np.isfinite(array).any()) for array in resting)

    def check(self, market: Market) -> None:
        """MisuseError with all faults, at most ten, where a row does not say what `market` can trade."""
        faults = _lengths(self)
        if not faults:
            faults = _values(self, market)
        if faults:
            raise MisuseError(f"signals:\n{listed(faults)}")


def _lengths(signals: Signals) -> list[str]:
    names = (
        *("strategy", "instrument", "decision_bar", "side", "horizon_bars", "entry_lag_bars", "weight", "event_id"),
        *("close_target", "close_stop", "target_distance", "stop_distance", "target_price", "stop_price"),
        *("invalidation", "hedge_instrument", "hedge_ratio"),
    )
    found = {name: getattr(signals, name) for name in names}
    return [
        f"{name} has {len(array)} rows, decision_bar {len(signals)}"
        for name, array in found.items()
        if array is not None and array.shape != (len(signals),)
    ]


def _values(signals: Signals, market: Market) -> list[str]:
    faults: list[str] = []

    def need(name: str, holds: Booleans, allowed: str) -> None:
        bad = np.flatnonzero(~holds)
        if len(bad):
            value = getattr(signals, name)[bad[0]]
            faults.append(f"{name} is {value} in row {bad[0]} ({len(bad)} such rows); {allowed}")

    k, n = market.n_instruments, market.n_bars
    need(
        "strategy",
        _within(signals.strategy, 0, len(signals.strategies)),
        f"strategies are 0 … {len(signals.strategies) - 1}",
    )
    need("instrument", _within(signals.instrument, 0, k), f"instruments are 0 … {k - 1}")
    need("decision_bar", _within(signals.decision_bar, 0, n), f"bars are 0 … {n - 1}")
    need("side", np.isin(signals.side, (-1, 1)), "a side is 1 or -1")
    need(
        "horizon_bars",
        _within(signals.horizon_bars, 1, LONGEST_HORIZON + 1),
        f"a horizon is at least one bar, and at most {LONGEST_HORIZON}",
    )
    if signals.entry_lag_bars is not None:
        need("entry_lag_bars", signals.entry_lag_bars >= 1, "a signal at a close fills at the next open or later")
    for name in ("weight", "hedge_ratio"):
        if (array := getattr(signals, name)) is not None:
            need(name, np.isfinite(array) & (array > 0), "it is finite and above 0")
    hedged = np.zeros(len(signals), dtype=bool)
    if signals.hedge_instrument is not None:
        hedged = signals.hedge_instrument >= 0
        need("hedge_instrument", _within(signals.hedge_instrument, -1, k), f"instruments are 0 … {k - 1}, none is -1")
        need(
            "hedge_instrument",
            ~hedged | (signals.hedge_instrument != signals.instrument),
            "a hedge is another instrument",
        )
    for name in ("close_target", "close_stop", "target_distance", "stop_distance", "target_price", "stop_price"):
        if (array := getattr(signals, name)) is not None:
            need(
                name, np.isnan(array) | (np.isfinite(array) & (array > 0)), "it is finite and above 0, or NaN for none"
            )
            if not name.startswith("close"):
                need(name, np.isnan(array) | ~hedged, "a hedged trade takes no resting orders")
    for order in ("target", "stop"):
        distance, price = getattr(signals, f"{order}_distance"), getattr(signals, f"{order}_price")
        if distance is not None and price is not None:
            need(f"{order}_price", np.isnan(distance) | np.isnan(price), f"{order}_distance states it too")
    masks = signals.invalidation_masks
    if masks is not None and masks.shape[1:] != (n,):
        faults.append(f"invalidation_masks has shape {masks.shape}; there are {n} bars")
    if signals.invalidation is not None:
        rows = 0 if masks is None else len(masks)
        need("invalidation", _within(signals.invalidation, -1, rows), f"there are {rows} masks, none is -1")
    return faults


def _within(values: Integers, low: int, high: int) -> Booleans:
    return np.asarray((values >= low) & (values < high))
