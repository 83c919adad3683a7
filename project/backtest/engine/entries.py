"""Entries: whether a signal becomes orders, how large, and what limits it."""

from __future__ import annotations

import numpy as np

from backtest.engine.compiling import inside
from backtest.engine.exits import resting
from backtest.engine.margin import initial_rate
from backtest.engine.positions import close_leg, open_leg, queue, unschedule
from backtest.engine.records import (
    BEYOND_STOP,
    FLIPPED,
    HELD_ALREADY,
    LIMITED,
    NO_EQUITY,
    NONE,
    NOT_FILLABLE,
    ROUNDING,
    SKIP,
    SMALLEST_USD,
    STACK,
    TOO_SMALL,
    TRADED_SIGNAL,
    UNKNOWN_COST,
    UNKNOWN_SIZE,
    Floats,
    Integers,
    Records,
)


@inside
def enter(
    brackets: Floats,
    signals: Records,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Integers,
    positions: Records,
    ledger: Records,
    s: int,
    t: int,
    equity: float,
) -> int:
    """Queue the orders of signal `s` at the open of bar t, or say why there are none; `equity` at the close before."""
    signal = signals[s]
    j, h, side, strategy = signal.instrument, signal.hedge, signal.side, signal.strategy
    first, hedge = instruments[j], instruments[h if h > 0 else 0]
    has_hedge = h != NONE
    if not first.fillable or (has_hedge and not hedge.fillable):
        return NOT_FILLABLE
    if account.overlap != STACK and held[strategy, j, 0] > 0:
        if account.overlap == SKIP or held[strategy, j, 1] == side:
            return HELD_ALREADY
        if not _flip(account, instruments, strategies, held, first_at, positions, ledger, strategy, j, t):
            return HELD_ALREADY
    for leg in range(2 if has_hedge else 1):
        instrument = instruments[j if leg == 0 else h]
        if not instrument.cost_known or (account.max_participation < np.inf and not instrument.turnover > 0.0):
            return UNKNOWN_COST
    if np.isnan(signal.size_fraction):
        return UNKNOWN_SIZE
    stop = resting(signal.stop_price, signal.stop_distance, first.open, -side, first.tick)
    target = resting(signal.target_price, signal.target_distance, first.open, side, first.tick)
    if side * (first.open - stop) <= 0.0 or side * (first.open - target) >= 0.0:
        return BEYOND_STOP
    if equity <= 0.0:
        return NO_EQUITY
    asked = signal.size_fraction * equity + signal.size_usd
    if not _is_large_enough(instruments, j, h, signal.hedge_ratio, asked):
        return TOO_SMALL
    allowed = _allowed(
        brackets, account, instruments, strategies[strategy].used, j, h, signal.hedge_ratio, side, equity, asked
    )
    if not _is_large_enough(instruments, j, h, signal.hedge_ratio, allowed):
        return LIMITED
    for leg in range(2 if has_hedge else 1):
        i = account.n_rows
        account.n_rows += 1
        instrument = instruments[j if leg == 0 else h]
        row = ledger[i]
        row.signal = signal.row
        row.leg = leg
        row.strategy = strategy
        row.instrument = j if leg == 0 else h
        row.side = side if leg == 0 else -side
        row.entry_bar = t
        row.exit_bar = NONE
        row.entry_reference = instrument.open
        notional = allowed if leg == 0 else allowed * signal.hedge_ratio
        row.quantity = _to_lots(notional / instrument.open, instrument.lot)
        open_leg(account, instruments, strategies, held, positions, ledger, i)
        queue(account, positions, i)
    return TRADED_SIGNAL


@inside
def _is_large_enough(instruments: Records, j: int, h: int, ratio: float, notional: float) -> bool:
    """Whether each leg, rounded down to lots, is an order the venue takes."""
    for leg in range(1 if h == NONE else 2):
        instrument = instruments[j if leg == 0 else h]
        usd = notional if leg == 0 else notional * ratio
        quantity = _to_lots(usd / instrument.open, instrument.lot)
        usd = quantity * instrument.open
        if not (usd >= instrument.min_notional and usd >= SMALLEST_USD):
            return False
    return True


@inside
def _allowed(
    brackets: Floats,
    account: Records,
    instruments: Records,
    used_by_strategy: float,
    j: int,
    h: int,
    ratio: float,
    side: int,
    equity: float,
    asked: float,
) -> float:
    """The largest notional (USD) of the first leg that caps, turnover and initial margin leave of what is asked for."""
    has_hedge = h != NONE
    legs = 1.0 + ratio if has_hedge else 1.0
    gross, margin_used = 0.0, 0.0
    for m in range(len(instruments)):
        instrument = instruments[m]
        if instrument.legs_open > 0:
            price = instrument.last_mark if m != j and m != h else instrument.open
            notional = abs(instrument.net_quantity) * price
            gross += notional
            margin_used += notional * initial_rate(
                brackets, account.leverage, instruments, m, instrument.net_quantity, notional
            )
    allowed = _smaller(asked, (account.max_strategy_leverage * equity - used_by_strategy) / legs)
    if has_hedge:
        allowed = _smaller(allowed, (account.max_leverage * equity - gross) / legs)
    offset = 0.0
    for leg in range(2 if has_hedge else 1):
        instrument = instruments[j if leg == 0 else h]
        share = 1.0 if leg == 0 else ratio
        own = (side if leg == 0 else -side) * instrument.net_quantity * instrument.open
        allowed = _smaller(allowed, (account.max_symbol_leverage * equity - own) / share)
        if not has_hedge:
            allowed = _smaller(allowed, account.max_leverage * equity - (gross - abs(own)) - own)
            # What closes a position that the account holds needs no margin.
            offset = _positive(-own)
        if account.max_participation < np.inf:
            allowed = _smaller(allowed, account.max_participation * instrument.turnover / share)
    if account.margin:
        rate = 0.0
        for leg in range(2 if has_hedge else 1):
            m = j if leg == 0 else h
            share = 1.0 if leg == 0 else ratio
            held_usd = abs(instruments[m].net_quantity) * instruments[m].open
            notional = held_usd + _positive(allowed) * share
            own_side = float(side if leg == 0 else -side)
            rate += share * initial_rate(brackets, account.leverage, instruments, m, own_side, notional)
        allowed = _smaller(allowed, offset + _positive(equity - margin_used) / rate)
    return float(allowed)


@inside
def _smaller(one: float, other: float) -> float:
    return other if other < one else one


@inside
def _positive(value: float) -> float:
    return value if value > 0.0 else 0.0


@inside
def _to_lots(quantity: float, lot: float) -> float:
    return quantity if lot == 0.0 else float(np.floor(quantity / lot + ROUNDING) * lot)


@inside
def _flip(
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Integers,
    positions: Records,
    ledger: Records,
    strategy: int,
    j: int,
    t: int,
) -> bool:
    """Queue the exits of what the strategy holds in the instrument; False where a hedge of it cannot be filled now."""
    n_found = 0
    for place in range(account.n_open):
        i = positions[place].active
        row = ledger[i]
        if row.strategy == strategy and row.leg == 0 and row.instrument == j:
            if row.entry_bar == t or (
                _has_hedge(account, ledger, i) and not instruments[ledger[i + 1].instrument].fillable
            ):
                return False
            positions[n_found].found = i
            n_found += 1
    for place in range(n_found):
        first = positions[place].found
        for i in range(first, first + 2 if _has_hedge(account, ledger, first) else first + 1):
            if ledger[i].exit_bar == NONE:
                unschedule(first_at, positions, i)
                ledger[i].planned_exit_bar = t
                ledger[i].intrabar = 0
                ledger[i].ambiguous = 0
                ledger[i].reason = FLIPPED
                close_leg(account, instruments, strategies, held, positions, ledger, i, t)
                queue(account, positions, i)
    return True


@inside
def _has_hedge(account: Records, ledger: Records, i: int) -> bool:
    return bool(i + 1 < account.n_rows and ledger[i + 1].signal == ledger[i].signal)
