"""Fills: orders of one open meet and go to the market, orders rest inside bars, the account is liquidated."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.engine.compiling import inside
from backtest.engine.margin import is_stopped, path_price, way_to_liquidation
from backtest.engine.positions import close_leg, earn, schedule, unschedule
from backtest.engine.records import (
    LARGEST_SLIP,
    LIQUIDATION,
    NONE,
    ROUNDING,
    TARGET,
    Booleans,
    Floats,
    Integers,
    Records,
)


@inside
def fill_queue(account: Records, instruments: Records, positions: Records, ledger: Records) -> float:
    """Let the orders of this open meet, send what is left to the market, share its costs; USD that went to the market."""
    for q in range(account.n_queued):
        row = ledger[positions[q].queue]
        bought = row.side > 0 if row.exit_bar == NONE else row.side < 0
        if bought:
            instruments[row.instrument].bought += row.quantity
        else:
            instruments[row.instrument].sold += row.quantity
    traded = 0.0
    for q in range(account.n_queued):
        i = positions[q].queue
        row = ledger[i]
        instrument = instruments[row.instrument]
        is_entry = row.exit_bar == NONE
        direction = row.side if is_entry else -row.side
        share, quantity = 1.0, row.quantity
        if account.net_orders:
            own, other = instrument.bought, instrument.sold
            if direction < 0:
                own, other = other, own
            quantity = own - other if own > other else 0.0
            share = quantity / own
        price, usd = _trade(account, instrument, row, direction, instrument.open, share, quantity)
        traded += usd
        if is_entry:
            row.entry_price = price
            instrument.net_cost += row.side * row.quantity * price
        else:
            row.exit_reference = instrument.open
            _settle(account, instrument, row, price)
    return float(traded)


@inside
def _trade(
    account: Records,
    instrument: Any,
    row: Any,
    direction: int,
    reference: float,
    share: float,
    market_quantity: float,
) -> tuple[float, float]:
    """Send an order to the market and charge its fee: its average price, the rest of `share` at `reference`, and USD.

    `market_quantity` is the whole order that the market sees, from which impact follows.
    """
    if share == 0.0:
        return reference, 0.0
    size, tick = row.quantity * share, instrument.tick
    impact = instrument.impact_scale * np.sqrt(market_quantity * reference)
    half_tick = 0.5 * tick / reference
    slip = (half_tick if half_tick > instrument.half_spread else instrument.half_spread) + impact
    if slip > LARGEST_SLIP:
        slip = LARGEST_SLIP
    price = reference * (1.0 + direction * slip)
    if tick > 0.0:
        price = np.ceil(price / tick - ROUNDING) * tick if direction > 0 else np.floor(price / tick + ROUNDING) * tick
    impact_cost = size * reference * (slip if slip < impact else impact)
    row.impact += impact_cost
    row.spread += size * abs(price - reference) - impact_cost
    fee = size * price * instrument.taker
    row.fees += fee
    earn(account, -fee)
    return reference + share * (price - reference), size * price


@inside
def _settle(account: Records, instrument: Any, row: Any, price: float) -> None:
    """Book what a position earned when it has left at `price`."""
    signed = row.side * row.quantity
    row.exit_price = price
    row.gross = signed * (row.exit_reference - row.entry_reference)
    earn(account, signed * (price - row.entry_price))
    if row.reason == LIQUIDATION:
        row.liquidation_fee = row.quantity * price * instrument.liquidation_fee
        earn(account, -row.liquidation_fee)


@inside
def inside_bar(
    fillable: Booleans,
    brackets: Floats,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Integers,
    positions: Records,
    ledger: Records,
    t: int,
) -> float:
    """Resting orders and liquidation within the bar: the worst first, or targets first; USD that went to the market."""
    traded = 0.0
    for pass_ in range(account.worst_first, 2):
        targets_only = pass_ == 0
        if not targets_only and account.margin:
            way = way_to_liquidation(brackets, account, instruments, positions, ledger, t)
            if not np.isnan(way):
                traded += _liquidate(
                    fillable, account, instruments, strategies, held, first_at, positions, ledger, t, way
                )
        i = first_at[t]
        while i != NONE:
            row = ledger[i]
            if row.exit_bar == NONE and row.intrabar == 1 and (row.reason == TARGET or not targets_only):
                close_leg(account, instruments, strategies, held, positions, ledger, i, t)
                traded += _leave_inside(account, instruments, row, positions[i].trigger_price)
            i = positions[i].next_at
    return float(traded)


@inside
def _leave_inside(account: Records, instruments: Records, row: Any, reference: float) -> float:
    """Leave inside the bar at `reference`; a target rested in the book, everything else takes. USD traded."""
    instrument = instruments[row.instrument]
    row.exit_reference = reference
    if row.reason == TARGET:
        price, usd = reference, row.quantity * reference
        fee = usd * instrument.maker
        row.fees += fee
        earn(account, -fee)
    else:
        price, usd = _trade(account, instrument, row, -row.side, reference, 1.0, row.quantity)
    _settle(account, instrument, row, price)
    return float(usd)


@inside
def _list_open(positions: Records, n_open: int) -> None:
    """Put the open rows into ``found``, in the order in which they were entered."""
    for place in range(n_open):
        i = positions[place].active
        at = place
        while at > 0 and positions[at - 1].found > i:
            positions[at].found = positions[at - 1].found
            at -= 1
        positions[at].found = i


@inside
def _liquidate(
    fillable: Booleans,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Integers,
    positions: Records,
    ledger: Records,
    t: int,
    way: float,
) -> float:
    """Close every position at its price on the path; one that cannot be filled leaves at the first open that can; USD."""
    for j in range(len(instruments)):
        instruments[j].liquidation_price = path_price(instruments[j], way)
    n_found = account.n_open
    _list_open(positions, n_found)
    traded = 0.0
    for place in range(n_found):
        i = positions[place].found
        row = ledger[i]
        j = row.instrument
        price = instruments[j].liquidation_price
        if is_stopped(positions[i], row, t, price):
            continue
        unschedule(first_at, positions, i)
        row.ambiguous = 0
        if instruments[j].fillable:
            row.planned_exit_bar = t
            row.intrabar = 1
            row.reason = LIQUIDATION
            close_leg(account, instruments, strategies, held, positions, ledger, i, t)
            traded += _leave_inside(account, instruments, row, price)
        else:
            bar = t + 1
            while bar < len(first_at) and not fillable[j, bar]:
                bar += 1
            if row.planned_exit_bar > t + 1:
                row.planned_exit_bar = t + 1
            row.intrabar = 0
            row.reason = LIQUIDATION
            schedule(first_at, positions, i, bar)
    return float(traded)
