"""Exits: when and why a trade leaves, found from the bars alone when it is entered."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.engine.compiling import inside
from backtest.engine.positions import schedule
from backtest.engine.records import (
    CLOSE_STOP,
    CLOSE_TARGET,
    HORIZON,
    INVALIDATION,
    NONE,
    STOP,
    STOP_GAP,
    TARGET,
    BarArrays,
    Booleans,
    Integers,
    Records,
)


@inside
def plan_exit(
    bars: BarArrays,
    masks: Booleans,
    signals: Records,
    account: Records,
    instruments: Records,
    first_at: Integers,
    positions: Records,
    ledger: Records,
    s: int,
    t: int,
) -> None:
    """Find when and why the trade just entered leaves, and put its legs into that bar's list."""
    signal = signals[s]
    j, h = signal.instrument, signal.hedge
    tick, side, reference = instruments[j].tick, signal.side, instruments[j].open
    stop = resting(signal.stop_price, signal.stop_distance, reference, -side, tick)
    target = resting(signal.target_price, signal.target_distance, reference, side, tick)
    through = target + side * account.target_through_ticks * tick
    planned, reason, intrabar, ambiguous = t + signal.horizon, HORIZON, 0, 0
    has_resting = not (np.isnan(stop) and np.isnan(target))
    if has_resting or not (np.isnan(signal.close_target) and np.isnan(signal.close_stop)) or signal.mask != NONE:
        planned, reason, intrabar, ambiguous = _find_exit(
            bars, masks, signal, t, stop, through, has_resting, account.worst_first
        )
    bar = planned
    if intrabar == 0:
        while bar < len(first_at) and not (bars.fillable[j, bar] and (h == NONE or bars.fillable[h, bar])):
            bar += 1
    last = account.n_rows - 1
    for i in range(last if h == NONE else last - 1, last + 1):
        row = ledger[i]
        row.planned_exit_bar = planned
        row.reason = reason
        row.intrabar = intrabar
        row.ambiguous = ambiguous
        positions[i].trigger_price = target if reason == TARGET else stop
        schedule(first_at, positions, i, bar)


@inside
def _find_exit(
    bars: BarArrays,
    masks: Booleans,
    signal: Any,
    t: int,
    stop: float,
    through: float,
    has_resting: bool,
    worst_first: bool,
) -> tuple[int, int, int, int]:
    """Bar and reason of the exit, whether it is inside the bar, and whether the bound decided it.

    `through` is the price at which a resting target counts as filled. Comparisons with NaN are false: what does not exist
    ends nothing.
    """
    j, h, side = signal.instrument, signal.hedge, signal.side
    reference = bars.open[j, t]
    end = t + signal.horizon
    if end > bars.open.shape[1]:
        end = bars.open.shape[1]
    bar = t
    while bar < end:
        if h == NONE and signal.mask == NONE:
            bar = _skip_quiet_bars(bars, signal, bar, end, stop, through, reference)
            if bar == end:
                break
        if has_resting and bars.fillable[j, bar]:
            if bar > t:
                if side * (bars.open[j, bar] - stop) <= 0.0:
                    return bar, STOP_GAP, 0, 0
                if side * (bars.open[j, bar] - through) >= 0.0:
                    return bar, TARGET, 1, 0
            against, in_favour = bars.low[j, bar], bars.high[j, bar]
            if side < 0:
                against, in_favour = in_favour, against
            is_stopped = side * (against - stop) <= 0.0
            is_reached = side * (in_favour - through) >= 0.0
            if is_stopped and (worst_first or not is_reached):
                return bar, STOP, 1, 1 if is_reached else 0
            if is_reached:
                return bar, TARGET, 1, 1 if is_stopped else 0
        moved = side * (bars.close[j, bar] - reference)
        if h != NONE:
            ratio = signal.hedge_ratio
            first, hedge = bars.close[j, bar] / reference, bars.close[h, bar] / bars.open[h, t]
            moved = side * (first - ratio * hedge - (1.0 - ratio))
        if moved >= signal.close_target:
            return bar + 1, CLOSE_TARGET, 0, 0
        if moved <= -signal.close_stop:
            return bar + 1, CLOSE_STOP, 0, 0
        if signal.mask != NONE and masks[signal.mask, bar]:
            return bar + 1, INVALIDATION, 0, 0
        bar += 1
    return t + signal.horizon, HORIZON, 0, 0


@inside
def _skip_quiet_bars(
    bars: BarArrays, signal: Any, start: int, end: int, stop: float, through: float, reference: float
) -> int:
    """The first bar from `start` on in which a price meets an order or a close barrier; `end` where none does.

    All questions are asked at once, so that there is one branch to predict, and rows and bars are counted without a sign, which
    spares their check.
    """
    j, side = np.uintp(signal.instrument), signal.side
    lower, upper = (stop, through) if side > 0 else (through, stop)
    close_target, close_stop = signal.close_target, -signal.close_stop
    for bar in range(np.uintp(start), np.uintp(end)):
        moved = side * (bars.close[j, bar] - reference)
        is_met = (bars.open[j, bar] <= lower) | (bars.low[j, bar] <= lower)
        is_met |= (bars.open[j, bar] >= upper) | (bars.high[j, bar] >= upper)
        if (is_met & bars.fillable[j, bar]) | (moved >= close_target) | (moved <= close_stop):
            return int(np.int64(bar))
    return end


@inside
def resting(price: float, distance: float, reference: float, direction: int, tick: float) -> float:
    """Price of a resting order to the nearest tick; NaN where there is none."""
    if np.isnan(price):
        price = reference + direction * distance
    if tick > 0.0 and not np.isnan(price):
        price = np.floor(price / tick + 0.5) * tick
    return price
