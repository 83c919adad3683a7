"""Initial and maintenance margin, and where inside a bar the account falls below it."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.engine.compiling import inside
from backtest.engine.records import BELOW, BISECTIONS, FLOOR, LEVERAGE, RATE, STOP, Floats, Records


@inside
def _bracket(brackets: Floats, j: int, period: int, notional: float) -> int:
    b = 0
    while b + 1 < brackets.shape[2] and brackets[j, period, b + 1, FLOOR] <= notional:
        b += 1
    return b


@inside
def maintenance(brackets: Floats, instruments: Records, j: int, notional: float) -> float:
    """Maintenance margin (USD) of a net notional, long above 0."""
    instrument = instruments[j]
    size = abs(notional)
    rate = instrument.maintenance_long if notional > 0.0 else instrument.maintenance_short
    if not np.isnan(rate):
        return float(rate * size)
    b = _bracket(brackets, j, instrument.period, size)
    above = size - brackets[j, instrument.period, b, FLOOR]
    return float(brackets[j, instrument.period, b, BELOW] + brackets[j, instrument.period, b, RATE] * above)


@inside
def initial_rate(
    brackets: Floats, venue_leverage: float, instruments: Records, j: int, side: float, notional: float
) -> float:
    """Initial margin of a position of `notional` USD on that side, as a fraction of it."""
    instrument = instruments[j]
    rate = instrument.initial_long if side > 0.0 else instrument.initial_short
    if not np.isnan(rate):
        return float(rate)
    b = _bracket(brackets, j, instrument.period, notional)
    return float(1.0 / min(venue_leverage, brackets[j, instrument.period, b, LEVERAGE]))


@inside
def path_price(instrument: Any, way: float) -> float:
    """Price when the bar has gone the share `way` from its open to its extreme against the account's net position."""
    if not instrument.fillable:
        return float(instrument.last_mark)
    extreme = instrument.low if instrument.net_quantity > 0.0 else instrument.high
    return float(instrument.open + way * (extreme - instrument.open))


@inside
def way_to_liquidation(
    brackets: Floats, account: Records, instruments: Records, positions: Records, ledger: Records, t: int
) -> float:
    """Share of the way to the bar's adverse extremes at which equity falls below maintenance margin; NaN where it does not.

    All instruments go together from their opens to their extremes; positions with a stop in this bar lose no more than at it.
    """
    left = account.cash + account.carry
    for j in range(len(instruments)):
        instrument = instruments[j]
        if instrument.legs_open > 0:
            price = path_price(instrument, 1.0)
            left += instrument.net_quantity * price - instrument.net_cost
            left -= maintenance(brackets, instruments, j, instrument.net_quantity * price)
    if left >= 0.0 or _margin_left(brackets, account, instruments, positions, ledger, t, 1.0) >= 0.0:
        return np.nan
    if _margin_left(brackets, account, instruments, positions, ledger, t, 0.0) < 0.0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _margin_left(brackets, account, instruments, positions, ledger, t, middle) < 0.0:
            high = middle
        else:
            low = middle
    return high


@inside
def _margin_left(
    brackets: Floats, account: Records, instruments: Records, positions: Records, ledger: Records, t: int, way: float
) -> float:
    """Equity less maintenance margin when prices have gone the share `way` of the path to the extremes."""
    left = account.cash + account.carry
    for place in range(account.n_open):
        i = positions[place].active
        row = ledger[i]
        price = path_price(instruments[row.instrument], way)
        if is_stopped(positions[i], row, t, price):
            price = positions[i].trigger_price
        left += row.side * row.quantity * (price - row.entry_price)
    for j in range(len(instruments)):
        instrument = instruments[j]
        if instrument.legs_open > 0:
            notional = instrument.net_quantity * path_price(instrument, way)
            left -= maintenance(brackets, instruments, j, notional)
    return float(left)


@inside
def is_stopped(position: Any, row: Any, t: int, price: float) -> bool:
    """Whether a stop that fills in this bar has been passed at `price`."""
    if position.exit_at != t or row.intrabar == 0 or row.reason != STOP:
        return False
    return bool(row.side * (price - position.trigger_price) <= 0.0)
