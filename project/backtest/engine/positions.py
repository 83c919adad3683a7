"""What the account holds: legs counted in and out, the lists of bars they leave in, funding, marks."""

from __future__ import annotations

import numpy as np

from backtest.engine.compiling import inside
from backtest.engine.margin import maintenance
from backtest.engine.records import EQUITY, GROSS, MAINTENANCE, NET, NONE, OPEN_LEGS, Floats, Integers, Records


@inside
def earn(account: Records, amount: float) -> None:
    """Add to cash without losing small amounts in a large sum (Neumaier 1974)."""
    before = account.cash
    total = before + amount
    if abs(before) >= abs(amount):
        account.carry += (before - total) + amount
    else:
        account.carry += (amount - total) + before
    account.cash = total


@inside
def pay_funding(account: Records, instruments: Records, positions: Records, ledger: Records) -> None:
    """Positions carried into a stamp pay its rate on their notional at the last mark, those that borrow interest."""
    for j in range(len(instruments)):
        rate, borrow = instruments[j].funding, instruments[j].borrow
        if (rate == 0.0 and borrow == 0.0) or instruments[j].legs_open == 0:
            continue
        for place in range(account.n_open):
            row = ledger[positions[place].active]
            if row.instrument == j:
                paid = row.side * row.quantity * instruments[j].last_mark * rate
                paid += row.quantity * row.entry_reference * borrow
                row.funding += paid
                row.funding_rate += row.side * rate
                earn(account, -paid)


@inside
def schedule(first_at: Integers, positions: Records, i: int, bar: int) -> None:
    """Put a position into the list of the bar it leaves in; nowhere where that lies beyond the data."""
    if bar >= len(first_at):
        positions[i].exit_at = NONE
        return
    positions[i].exit_at = bar
    positions[i].next_at = first_at[bar]
    first_at[bar] = i


@inside
def unschedule(first_at: Integers, positions: Records, i: int) -> None:
    bar = positions[i].exit_at
    if bar == NONE:
        return
    if first_at[bar] == i:
        first_at[bar] = positions[i].next_at
    else:
        before = first_at[bar]
        while positions[before].next_at != i:
            before = positions[before].next_at
        positions[before].next_at = positions[i].next_at
    positions[i].exit_at = NONE


@inside
def open_leg(
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    positions: Records,
    ledger: Records,
    i: int,
) -> None:
    """Count a leg that is entered now; its price is settled when the orders of the bar have met."""
    row = ledger[i]
    instrument, strategy = instruments[row.instrument], strategies[row.strategy]
    positions[i].place = account.n_open
    positions[account.n_open].active = i
    account.n_open += 1
    if np.isnan(instrument.last_mark):
        instrument.last_mark = row.entry_reference
    instrument.legs_open += 1
    instrument.net_quantity += row.side * row.quantity
    strategy.legs += 1
    strategy.used += row.quantity * row.entry_reference
    if row.leg == 0:
        held[row.strategy, row.instrument, 0] += 1
        held[row.strategy, row.instrument, 1] = row.side


@inside
def close_leg(
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    positions: Records,
    ledger: Records,
    i: int,
    t: int,
) -> None:
    """Take a leg out of every count; its reason and its price are settled elsewhere."""
    row = ledger[i]
    instrument, strategy = instruments[row.instrument], strategies[row.strategy]
    account.n_open -= 1
    last = positions[account.n_open].active
    positions[positions[i].place].active = last
    positions[last].place = positions[i].place
    signed = row.side * row.quantity
    instrument.legs_open -= 1
    instrument.net_quantity -= signed
    instrument.net_cost -= signed * row.entry_price
    if instrument.legs_open == 0:
        instrument.net_quantity = 0.0
        instrument.net_cost = 0.0
    strategy.legs -= 1
    strategy.used -= row.quantity * row.entry_reference
    if strategy.legs == 0:
        strategy.used = 0.0
    if row.leg == 0:
        held[row.strategy, row.instrument, 0] -= 1
    row.exit_bar = t


@inside
def queue(account: Records, positions: Records, i: int) -> None:
    positions[account.n_queued].queue = i
    account.n_queued += 1


@inside
def queue_exits(
    first_at: Integers,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    positions: Records,
    ledger: Records,
    t: int,
) -> None:
    """Orders of all positions that leave at this open."""
    i = first_at[t]
    while i != NONE:
        if ledger[i].exit_bar == NONE and ledger[i].intrabar == 0:
            close_leg(account, instruments, strategies, held, positions, ledger, i, t)
            queue(account, positions, i)
        i = positions[i].next_at


@inside
def resynchronise(
    account: Records, instruments: Records, strategies: Records, positions: Records, ledger: Records
) -> None:
    """Sum net quantities, costs and notionals anew."""
    for j in range(len(instruments)):
        instruments[j].net_quantity = 0.0
        instruments[j].net_cost = 0.0
    for q in range(len(strategies)):
        strategies[q].used = 0.0
    for place in range(account.n_open):
        row = ledger[positions[place].active]
        signed = row.side * row.quantity
        instruments[row.instrument].net_quantity += signed
        instruments[row.instrument].net_cost += signed * row.entry_price
        strategies[row.strategy].used += row.quantity * row.entry_reference


@inside
def mark(
    mark: Floats, close: Floats, brackets: Floats, account: Records, instruments: Records, series: Floats, t: int
) -> float:
    """Take the bar's marks and record the account at its close; equity."""
    equity = account.cash + account.carry
    for j in range(len(instruments)):
        instrument = instruments[j]
        price = mark[j, t]
        if np.isnan(price):
            price = close[j, t]
        if not np.isnan(price):
            instrument.last_mark = price
        if instrument.legs_open > 0:
            notional = instrument.net_quantity * instrument.last_mark
            equity += notional - instrument.net_cost
            series[GROSS, t] += abs(notional)
            series[NET, t] += notional
            if account.margin:
                series[MAINTENANCE, t] += maintenance(brackets, instruments, j, notional)
    series[EQUITY, t] = equity
    series[OPEN_LEGS, t] = account.n_open
    return float(equity)
