"""What compiled functions hand to each other: structured arrays (a row an instrument, a strategy, a position), and numbers.

A row of one is a single pointer to a compiled function; a tuple of thirty arrays is two hundred and takes minutes to compile.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtest.engine.ledger import ExitReason, Outcome

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Records = Any
"""A structured array; Numba reads its fields as attributes of a row."""

NONE: Final = -1
STACK, SKIP, FLIP = 0, 1, 2
RESYNCHRONISE_BARS: Final = 2048
"""How often net quantities are summed anew from the open positions, against the drift of running sums."""
LARGEST_SLIP: Final = 0.99
"""No order pushes the price further than this fraction of it."""
ROUNDING: Final = 1e-9
"""Steps by which a number may miss a whole number of ticks or lots and still be it."""
SMALLEST_USD: Final = 1e-6
"""No order is smaller, whatever the venue takes: it is what rounding leaves of a limit that is used up."""
BISECTIONS: Final = 60
FEE_DAYS: Final = 30
FLOOR, RATE, BELOW, LEVERAGE = 0, 1, 2, 3
"""Columns of a margin bracket: its first USD, maintenance rate, maintenance of all brackets below it, largest leverage."""
VOLUME, TAKER, MAKER = 0, 1, 2
"""Columns of a fee tier."""
EQUITY, GROSS, NET, MAINTENANCE, TRADED, OPEN_LEGS = 0, 1, 2, 3, 4, 5
"""Rows of the series."""

# Numbers of `ExitReason` and `Outcome`; compiled code keeps them.
HORIZON = int(ExitReason.HORIZON)
CLOSE_TARGET = int(ExitReason.CLOSE_TARGET)
CLOSE_STOP = int(ExitReason.CLOSE_STOP)
INVALIDATION = int(ExitReason.INVALIDATION)
TARGET = int(ExitReason.TARGET)
STOP = int(ExitReason.STOP)
STOP_GAP = int(ExitReason.STOP_GAP)
FLIPPED = int(ExitReason.FLIP)
LIQUIDATION = int(ExitReason.LIQUIDATION)
TRADED_SIGNAL = int(Outcome.TRADED)
BEYOND_DATA = int(Outcome.BEYOND_DATA)
NOT_FILLABLE = int(Outcome.NOT_FILLABLE)
HELD_ALREADY = int(Outcome.HELD_ALREADY)
UNKNOWN_COST = int(Outcome.UNKNOWN_COST)
UNKNOWN_SIZE = int(Outcome.UNKNOWN_SIZE)
BEYOND_STOP = int(Outcome.BEYOND_STOP)
LIMITED = int(Outcome.LIMITED)
TOO_SMALL = int(Outcome.TOO_SMALL)
NO_EQUITY = int(Outcome.NO_EQUITY)


def _dtype(floats: str, integers: str, integer: type[np.signedinteger[Any]] = np.int64) -> np.dtype[Any]:
    return np.dtype([(n, np.float64) for n in floats.split()] + [(n, integer) for n in integers.split()], align=True)


SIGNAL: Final = _dtype(
    "hedge_ratio size_fraction size_usd close_target close_stop target_distance stop_distance target_price stop_price",
    "row strategy instrument hedge entry_bar horizon side mask",
    np.int32,
)
"""A signal; prices and distances NaN, hedge and mask −1 where there is none."""
RULE: Final = _dtype("tick lot min_notional half_spread liquidation_fee", "since")
"""Rules of a period; one that does not exist starts after the last bar."""
INSTRUMENT: Final = _dtype(
    "open high low last_mark funding borrow impact_scale turnover impact_coefficient net_quantity net_cost "
    "tick lot min_notional half_spread liquidation_fee taker maker bought sold "
    "initial_long maintenance_long initial_short maintenance_short liquidation_price",
    "fillable cost_known period tier legs_open",
)
"""One instrument at the current bar: its bar, its rules of the day, and what the account holds of it.

impact_scale : impact of one side over the square root of an order in USD, as last known at the close before.
net_quantity, net_cost : signed sums over open legs of quantity and of quantity × entry price.
bought, sold : quantities of the orders at this open.
liquidation_price : of a liquidation in this bar.
initial_long … maintenance_short : margin rates of a spot market; NaN for a perpetual, whose brackets hold.
"""
STRATEGY: Final = _dtype("used", "legs")
"""Notional at entry of a strategy's open legs, and their number."""
POSITION: Final = _dtype("trigger_price", "next_at exit_at place active queue found", np.int32)
"""Of ledger row i: price of the resting order it leaves at, next row in the list of its exit's bar, that bar, its place in
``active``. ``active``, ``queue`` and ``found`` are lists of rows: those open, those with an order at this open, and those that
are to be closed together."""
ACCOUNT: Final = _dtype(
    "cash carry starting_equity max_strategy_leverage max_symbol_leverage max_leverage max_participation leverage "
    "target_through_ticks other_volume_30d_usd volume_30d_usd",
    "n_rows n_open n_queued overlap net_orders margin worst_first",
)
"""The account's rules, its cash (a sum and its compensation) and how many rows are made, open and queued."""


class BarArrays(NamedTuple):
    """(k, n) arrays of the market; `day` (n,), counted from the first."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    mark: Floats
    funding: Floats
    fillable: Booleans
    volatility: Floats
    turnover: Floats
    day: Integers


class Run(NamedTuple):
    """All that a simulation reads and writes.

    Attributes
    ----------
    rules : (k, p) RULE. tiers : (k, p, t, 3). brackets : (k, p, b, 4).
    signals : (s,) SIGNAL in the order in which they are filled. masks : (m, n).
    account : (1,) ACCOUNT. instruments : (k,) INSTRUMENT. strategies : (q,) STRATEGY.
    held : (q, k, 2) open trades of a strategy in an instrument, and the side of the last.
    positions, ledger : (r,) POSITION and LEDGER, as many as there can be legs.
    outcomes : (s,) by the signals' own rows. series : (6, n).
    first_at : (n,) first position in the list of each bar, `NONE` before the start. day_volume : (days,) USD traded on each.
    """

    bars: BarArrays
    rules: Records
    tiers: Floats
    brackets: Floats
    signals: Records
    masks: Booleans
    account: Records
    instruments: Records
    strategies: Records
    held: Integers
    positions: Records
    ledger: Records
    outcomes: NDArray[np.int8]
    series: Floats
    first_at: Integers
    day_volume: Floats
