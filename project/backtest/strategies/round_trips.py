"""Round trips with orders that rest inside bars and with invalidations, measured event by event as a search would.

A search tests neither. A strategy written by hand may have them, and what an engine trades of it is held against this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.discovery.forward_returns import MAX_CARRY_BARS, NO_BAR, Bars
from backtest.strategies.signals import Booleans, Floats, Integers


@dataclass(frozen=True)
class Barriers:
    """What ends each trade before its horizon: (n,) distances in price from the entry's open, NaN for none.

    ``invalidated`` are the bars whose close ends every trade.
    """

    close_target: Floats
    close_stop: Floats
    target: Floats
    stop: Floats
    invalidated: Booleans


def round_trips(
    bars: Bars, entry: Integers, side: Floats, barriers: Barriers, horizon_bars: int
) -> tuple[Integers, Floats]:
    """Bar and price of each trade's exit; `NO_BAR` and NaN where it lies beyond the data or waits for more than a day.

    Parameters
    ----------
    entry, side : (n,) bars entered at the open, and +1 long or −1 short.

    Notes
    -----
    All trades are followed together, one bar after the entry, two, and so on. In each bar the open comes first: a stop that it
    has passed fills there, a target at its own price. Then inside the bar the stop before the target. Then the close: target,
    stop, invalidation, which leave at the next open that can be traded, as does the horizon. Nothing rests in a bar in which
    nobody trades.
    """
    n = len(bars)
    reference = bars.open[entry]
    stop, target = reference - side * barriers.stop, reference + side * barriers.target
    leave = np.full(len(entry), NO_BAR, dtype=np.int64)
    price = np.full(len(entry), np.nan)
    planned = entry + horizon_bars
    is_held = np.ones(len(entry), dtype=bool)

    def ended(which: Booleans, bar: Integers, at: Floats) -> None:
        leave[which], price[which] = bar[which], at[which]
        is_held[which] = False

    for held in range(horizon_bars):
        bar = np.minimum(entry + held, n - 1)
        is_held &= entry + held < n
        works = is_held & bars.tradable[bar]
        opens, closes = bars.open[bar], bars.close[bar]
        if held > 0:
            ended(works & (side * (opens - stop) <= 0.0), bar, opens)
            ended(works & is_held & (side * (opens - target) >= 0.0), bar, target)
        against, in_favour = (np.where(side > 0, low, high) for low, high in _both_ways(bars, bar))
        ended(works & is_held & (side * (against - stop) <= 0.0), bar, stop)
        ended(works & is_held & (side * (in_favour - target) >= 0.0), bar, target)
        moved = side * (closes - reference)
        is_met = (moved >= barriers.close_target) | (moved <= -barriers.close_stop) | barriers.invalidated[bar]
        closed = is_held & is_met
        planned[closed] = bar[closed] + 1
        is_held &= ~closed
    waits = (leave == NO_BAR) & (planned < n)
    following = bars.next_tradable[np.minimum(planned, n - 1)]
    waits &= (following != NO_BAR) & (following - planned <= MAX_CARRY_BARS)
    ended(waits, following, bars.open[following])
    return leave, price


def _both_ways(bars: Bars, bar: Integers) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Lows and highs, and highs and lows."""
    lows, highs = bars.low[bar], bars.high[bar]
    return (lows, highs), (highs, lows)
