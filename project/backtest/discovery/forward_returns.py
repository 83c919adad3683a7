"""What a trade earned after its event: the only module that reads later bars.

An event at bar t uses data up to the close of bar t. Everything here enters at the open of a later bar, decides at
closes, and leaves at opens, so that each rule can be traded bar by bar exactly as it is measured.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.expressions.compiling import machine_code
from backtest.spec.models import Policy

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MAX_CARRY_BARS: Final = 288
"""An exit that falls into a halt or gap is carried to the next tradable bar, at most a day; else the trade is dropped."""
NO_BAR: Final = -1
_NOTHING: Final = np.zeros(0)
"""In the place of a second leg where there is none."""


@dataclass(frozen=True)
class Bars:
    """One symbol's bars as arrays of one length; prices NaN in gaps, `funding` 0 except at bars with a funding stamp."""

    open: Floats
    high: Floats
    low: Floats
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
class TwoLegs:
    """Two markets on the same bars; a trade of both is long one and short the other, the same notional of each."""

    first: Bars
    second: Bars

    @functools.cached_property
    def tradable(self) -> Booleans:
        """Where both can be traded."""
        return self.first.tradable & self.second.tradable

    @functools.cached_property
    def next_tradable(self) -> Integers:
        return next_tradable(self.tradable)

    @functools.cached_property
    def funding_paid(self) -> Floats:
        """What a long first and short second leg paid up to and including each bar's stamps."""
        return self.first.funding_paid - self.second.funding_paid


@dataclass(frozen=True)
class Trades:
    """Trades of one policy and horizon, in the order of their events.

    Attributes
    ----------
    event : indices into the given events that became trades.
    signal, entry, exit : bar of the decision, bar entered and bar left (both at the open).
    side : +1 or −1, the direction that the trade is measured in: the event's own, or that of the break it waited for.
    gross : fraction earned by a position on that side; the opposite side earns its negative.
    funding : fraction paid by that position at the funding stamps it was held over (negative: received).
    favourable, adverse : largest gain and largest loss (a positive number) of that position between entry and exit, as
        fractions, ≥ 0: by highs and lows, of two legs by their closes, whose highs need not have been at once.
    """

    event: Integers
    signal: Integers
    entry: Integers
    exit: Integers
    side: Floats
    gross: Floats
    funding: Floats
    favourable: Floats
    adverse: Floats

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
    bars: Bars | TwoLegs,
    event_bars: Integers,
    directions: Floats,
    unit: Floats,
    move: Floats,
    policy: Policy,
    horizon_bars: int,
) -> Trades:
    """The trades that `policy` makes of events, measured in each event's own direction.

    Parameters
    ----------
    bars : Bars, or TwoLegs where the policy has a second leg.
    event_bars : (n,) indices of the bars at whose close the events are known, ascending.
    directions : (n,) +1 or −1.
    unit : (n,) what barriers and breaks are measured in: the average true range at the event, in price; of two legs the
        gap between them, a fraction.
    move : (n,) absolute price move that led to the event; used by policies that wait for a retrace of it.
    policy : Policy
        Entry lag, what it waits for, and the barriers at which a close ends the trade before its horizon.
    horizon_bars : int
        Bars from entry to exit, ≥ 1.

    Returns
    -------
    Trades
        Events whose entry bar is not tradable, whose retrace or break never comes, whose needed unit or move is unknown,
        or whose exit lies beyond the data make no trade.
    """
    first, second = (bars.first, bars.second) if isinstance(bars, TwoLegs) else (bars, None)
    made = _walk(
        first.open,
        first.high,
        first.low,
        first.close,
        bars.tradable,
        bars.next_tradable,
        bars.funding_paid,
        _NOTHING if second is None else second.open,
        _NOTHING if second is None else second.close,
        event_bars.astype(np.int64),
        directions.astype(np.float64),
        unit.astype(np.float64),
        move.astype(np.float64),
        policy.entry_lag_bars,
        horizon_bars,
        math.nan if policy.retrace_fraction is None else policy.retrace_fraction,
        math.nan if policy.breakout_atr is None else policy.breakout_atr,
        policy.waits_bars,
        math.inf if policy.upper_barrier_atr is None else policy.upper_barrier_atr,
        math.inf if policy.lower_barrier_atr is None else policy.lower_barrier_atr,
    )
    return Trades(*made)


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


@machine_code
def _walk(
    opens: Floats,
    highs: Floats,
    lows: Floats,
    closes: Floats,
    tradable: Booleans,
    following: Integers,
    funding_paid: Floats,
    second_opens: Floats,
    second_closes: Floats,
    event_bars: Integers,
    directions: Floats,
    units: Floats,
    moves: Floats,
    lag: int,
    horizon: int,
    retrace: float,
    breakout: float,
    waits: int,
    upper: float,
    lower: float,
) -> tuple[Integers, Integers, Integers, Integers, Floats, Floats, Floats, Floats, Floats]:
    """The arrays of `Trades`; NaN for a wait there is none for, infinity for a barrier there is none of."""
    count, n_events = opens.size, event_bars.size
    has_second = second_opens.size > 0
    has_barriers = upper < np.inf or lower < np.inf
    needs_unit = has_barriers or breakout == breakout
    event, signals = np.empty(n_events, np.int64), np.empty(n_events, np.int64)
    entries, exits = np.empty(n_events, np.int64), np.empty(n_events, np.int64)
    sides, gross, funding = np.empty(n_events), np.empty(n_events), np.empty(n_events)
    favourable, adverse = np.empty(n_events), np.empty(n_events)
    made = 0
    for index in range(n_events):
        bar, side, unit = event_bars[index], directions[index], units[index]
        if needs_unit and not (unit > 0 and unit < np.inf):
            continue
        signal = bar
        if retrace == retrace:
            move = moves[index]
            if not (move > 0 and move < np.inf):
                continue
            signal = -1
            for later in range(bar + 1, min(bar + waits, count - 1) + 1):
                if side * (closes[later] - closes[bar]) <= -retrace * move:
                    signal = later
                    break
        elif breakout == breakout:
            signal = -1
            for later in range(bar + 1, min(bar + waits, count - 1) + 1):
                moved = closes[later] - closes[bar]
                if abs(moved) >= breakout * unit:
                    signal, side = later, (1.0 if moved > 0 else -1.0)
                    break
        if signal < 0:
            continue
        entry = signal + lag
        if entry + horizon >= count or not tradable[entry]:
            continue
        leave = entry + horizon
        if has_barriers:
            for held in range(entry, entry + horizon):
                if has_second:
                    moved = side * (closes[held] / opens[entry] - second_closes[held] / second_opens[entry])
                else:
                    moved = side * (closes[held] - opens[entry])
                if moved >= upper * unit or moved <= -lower * unit:
                    leave = held + 1
                    break
        exit_ = following[leave]
        if exit_ < 0 or exit_ - leave > MAX_CARRY_BARS:
            continue
        paid, best, worst = opens[entry], 0.0, 0.0
        if has_second:
            earned = side * (opens[exit_] / paid - second_opens[exit_] / second_opens[entry])
            for held in range(entry, exit_):
                at_close = side * (closes[held] / paid - second_closes[held] / second_opens[entry])
                if at_close > best:
                    best = at_close
                if at_close < worst:
                    worst = at_close
        else:
            earned = side * (opens[exit_] / paid - 1.0)
            highest, lowest = paid, paid
            for held in range(entry, exit_):
                if highs[held] > highest:
                    highest = highs[held]
                if lows[held] < lowest:
                    lowest = lows[held]
            best = (highest / paid - 1.0) if side > 0 else (1.0 - lowest / paid)
            worst = (lowest / paid - 1.0) if side > 0 else (1.0 - highest / paid)
        event[made], signals[made], entries[made], exits[made] = index, signal, entry, exit_
        sides[made], gross[made] = side, earned
        funding[made] = side * (funding_paid[exit_] - funding_paid[entry])
        favourable[made], adverse[made] = max(best, earned), -min(worst, earned)
        made += 1
    return (
        event[:made],
        signals[:made],
        entries[:made],
        exits[:made],
        sides[:made],
        gross[:made],
        funding[:made],
        favourable[:made],
        adverse[:made],
    )
