"""What a trade earned after its event: the only module that reads later bars.

An event at bar t uses data up to the close of bar t. Everything here enters at the open of a later bar, decides at
closes, and leaves at opens, so that each rule can be traded bar by bar exactly as it is measured.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.spec.models import Policy

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MAX_CARRY_BARS: Final = 288
"""An exit that falls into a halt or gap is carried to the next tradable bar, at most a day; else the trade is dropped."""
NO_BAR: Final = -1


@dataclass(frozen=True)
class Bars:
    """One symbol's bars as arrays of one length; prices NaN in gaps, `funding` 0 except at bars with a funding stamp."""

    open: Floats
    close: Floats
    tradable: Booleans
    funding: Floats

    def __len__(self) -> int:
        return len(self.open)

    @functools.cached_property
    def next_tradable(self) -> Integers:
        """For each bar the first tradable bar at or after it; `NO_BAR` where there is none."""
        return next_tradable(self.tradable)

    @functools.cached_property
    def funding_paid(self) -> Floats:
        """Sum of the funding rates of all stamps up to and including each bar's."""
        return np.cumsum(self.funding)


@dataclass(frozen=True)
class Trades:
    """Trades of one policy and horizon, in the order of their events.

    Attributes
    ----------
    event : indices into the given events that became trades.
    signal, entry, exit : bar of the decision, bar entered and bar left (both at the open).
    gross : fraction earned by a position in the event's own direction; the opposite side earns its negative.
    funding : fraction paid by that position at the funding stamps it was held over (negative: received).
    """

    event: Integers
    signal: Integers
    entry: Integers
    exit: Integers
    gross: Floats
    funding: Floats

    @property
    def bars_held(self) -> Integers:
        return self.exit - self.entry


def next_tradable(tradable: Booleans) -> Integers:
    """For each bar the first tradable bar at or after it; `NO_BAR` where there is none."""
    count = len(tradable)
    index = np.where(tradable, np.arange(count), count)
    nearest = np.minimum.accumulate(index[::-1])[::-1]
    return np.where(nearest == count, NO_BAR, nearest)


def forward_trades(
    bars: Bars,
    event_bars: Integers,
    directions: Floats,
    atr: Floats,
    move: Floats,
    policy: Policy,
    horizon_bars: int,
) -> Trades:
    """The trades that `policy` makes of events, measured in each event's own direction.

    Parameters
    ----------
    bars : Bars
    event_bars : (n,) indices of the bars at whose close the events are known, ascending.
    directions : (n,) +1 or −1.
    atr : (n,) average true range at the event, in price; used by policies with barriers.
    move : (n,) absolute price move that led to the event; used by policies that wait for a retrace of it.
    policy : Policy
        Entry lag or retrace, and the barriers at which a close ends the trade before its horizon.
    horizon_bars : int
        Bars from entry to exit, ≥ 1.

    Returns
    -------
    Trades
        Events whose entry bar is not tradable, whose retrace never comes, whose needed ATR or move is unknown, or whose
        exit lies beyond the data make no trade.
    """
    count = len(bars)
    known = np.ones(len(event_bars), dtype=bool)
    if policy.has_barriers:
        known &= np.isfinite(atr) & (atr > 0)
    if policy.retrace_fraction is not None:
        known &= np.isfinite(move) & (move > 0)
    event = np.flatnonzero(known)
    signal = _signals(bars, event_bars[event], directions[event], move[event], policy)
    entry = signal + policy.entry_lag_bars
    entered = (signal != NO_BAR) & (entry + horizon_bars < count)
    entered[entered] &= bars.tradable[entry[entered]]
    event, signal, entry = event[entered], signal[entered], entry[entered]
    side = directions[event]

    leave = _planned_exits(bars, entry, side, atr[event], policy, horizon_bars)
    exit_ = bars.next_tradable[leave]
    done = (exit_ != NO_BAR) & (exit_ - leave <= MAX_CARRY_BARS)
    event, signal, entry, exit_, side = event[done], signal[done], entry[done], exit_[done], side[done]

    gross = side * (bars.open[exit_] / bars.open[entry] - 1.0)
    funding = side * (bars.funding_paid[exit_] - bars.funding_paid[entry])
    return Trades(event, signal, entry, exit_, gross, funding)


def _signals(bars: Bars, event_bars: Integers, side: Floats, move: Floats, policy: Policy) -> Integers:
    """The bar at whose close each entry is decided: the event's own, or the first close that retraces far enough."""
    if policy.retrace_fraction is None:
        return event_bars.astype(np.int64)
    later = event_bars[:, None] + np.arange(1, policy.retrace_within_bars + 1)[None, :]
    inside = later < len(bars)
    closes = np.where(inside, bars.close[np.minimum(later, len(bars) - 1)], np.nan)
    moved = side[:, None] * (closes - bars.close[event_bars][:, None])
    hit = moved <= -policy.retrace_fraction * move[:, None]
    return np.where(hit.any(axis=1), event_bars + 1 + hit.argmax(axis=1), NO_BAR)


def _planned_exits(
    bars: Bars, entry: Integers, side: Floats, atr: Floats, policy: Policy, horizon_bars: int
) -> Integers:
    """The bar at whose open each trade would leave: its horizon, or the bar after the first close beyond a barrier."""
    planned = entry + horizon_bars
    if not policy.has_barriers:
        return planned
    held = entry[:, None] + np.arange(horizon_bars)[None, :]
    moved = side[:, None] * (bars.close[held] - bars.open[entry][:, None])
    hit = np.zeros(held.shape, dtype=bool)
    if policy.upper_barrier_atr is not None:
        hit |= moved >= policy.upper_barrier_atr * atr[:, None]
    if policy.lower_barrier_atr is not None:
        hit |= moved <= -policy.lower_barrier_atr * atr[:, None]
    return np.where(hit.any(axis=1), entry + 1 + hit.argmax(axis=1), planned)


def opens_around(opens: Floats, at: Integers, offsets: Integers) -> Floats:
    """Opens `offsets` bars from each of the bars `at`, relative to the open there, for figures of what happens around trades.

    Parameters
    ----------
    opens : (bars,) NaN in gaps.
    at : any shape, indices of bars.
    offsets : (k,) bars, negative for earlier ones.

    Returns
    -------
    (…, k) fractions P(at + offset)/P(at) − 1; NaN in gaps and beyond the data.
    """
    places = at[..., None] + offsets
    inside = (places >= 0) & (places < len(opens))
    reached = np.where(inside, opens[np.clip(places, 0, len(opens) - 1)], np.nan)
    return np.asarray(reached / opens[at][..., None] - 1.0)
