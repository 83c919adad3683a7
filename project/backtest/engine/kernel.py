"""The portfolio simulation in machine code: work is done where something happens, and once a bar for the account.

A position's exit follows from bars alone, so it is found once, when the position is entered, and kept in a list of the bar it
falls into. What it earns, what limits it and whether the account survives are settled bar by bar, in the order in which they
happen: funding, exits and entries at the open, resting orders and liquidation inside the bar, marks at the close.
`project/tests/engine/twin.py` does the same with plain loops over positions.

State lives in structured arrays (one row an instrument, a strategy, a position): an array is one pointer to a compiled
function, a tuple of thirty arrays is two hundred and takes minutes to compile.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtest.engine.compiling import inside, machine_code, unowned
from backtest.engine.ledger import ExitReason, Outcome

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Small = NDArray[np.int32]
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


def _dtype(floats: str, integers: str) -> np.dtype[Any]:
    return np.dtype([(n, np.float64) for n in floats.split()] + [(n, np.int64) for n in integers.split()], align=True)


SIGNAL: Final = _dtype(
    "hedge_ratio size_fraction size_usd close_target close_stop target_distance stop_distance target_price stop_price",
    "row strategy instrument hedge entry_bar horizon side mask",
)
"""A signal; prices and distances NaN, hedge and mask −1 where there is none."""
RULE: Final = _dtype("tick lot min_notional half_spread liquidation_fee", "since")
"""Rules of a period; one that does not exist starts after the last bar."""
INSTRUMENT: Final = _dtype(
    "open high low last_mark funding borrow impact_scale turnover impact_coefficient net_quantity net_cost "
    "tick lot min_notional half_spread liquidation_fee taker maker bought sold "
    "initial_long maintenance_long initial_short maintenance_short",
    "fillable cost_known period tier legs_open",
)
"""One instrument at the current bar: its bar, its rules of the day, and what the account holds of it.

impact_scale : impact of one side over the square root of an order in USD, as last known at the close before.
net_quantity, net_cost : signed sums over open legs of quantity and of quantity × entry price.
bought, sold : quantities of the orders at this open.
initial_long … maintenance_short : margin rates of a spot market; NaN for a perpetual, whose brackets hold.
"""
STRATEGY: Final = _dtype("used", "legs")
"""Notional at entry of a strategy's open legs, and their number."""
POSITION: Final = _dtype("trigger_price", "next_at exit_at place active queue")
"""Of ledger row i: price of the resting order it leaves at, next row in the list of its exit's bar, that bar, its place in
``active``. ``active`` and ``queue`` are lists of rows: those open, and those with an order at this open."""
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


@machine_code
def simulate(
    bars: BarArrays,
    rules: Records,
    tiers: Floats,
    brackets: Floats,
    signals: Records,
    masks: Booleans,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    positions: Records,
    ledger: Records,
    outcomes: NDArray[np.int8],
    series: Floats,
) -> None:
    """Fill `ledger` (as many rows as `account` then says), `outcomes` and `series`.

    Parameters
    ----------
    rules : (k, p) RULE. tiers : (k, p, t, 3). brackets : (k, p, b, 4).
    signals : (s,) SIGNAL in the order in which they are filled. masks : (m, n).
    account : (1,) ACCOUNT. instruments : (k,) INSTRUMENT. strategies : (q,) STRATEGY.
    held : (q, k, 2) open trades of a strategy in an instrument, and the side of the last.
    positions, ledger : (r,) POSITION and LEDGER, as many as there can be legs.
    outcomes : (s,) by the signals' own rows. series : (6, n).
    """
    first_at = np.full(len(bars.day), NONE, dtype=np.int32)
    day_volume = np.zeros(bars.day[-1] + 1)
    _simulate(
        BarArrays(
            unowned(bars.open),
            unowned(bars.high),
            unowned(bars.low),
            unowned(bars.close),
            unowned(bars.mark),
            unowned(bars.funding),
            unowned(bars.fillable),
            unowned(bars.volatility),
            unowned(bars.turnover),
            unowned(bars.day),
        ),
        unowned(rules),
        unowned(tiers),
        unowned(brackets),
        unowned(signals),
        unowned(masks),
        unowned(account),
        unowned(instruments),
        unowned(strategies),
        unowned(held),
        unowned(positions),
        unowned(ledger),
        unowned(outcomes),
        unowned(series),
        unowned(first_at),
        unowned(day_volume),
    )
    # Both live until here: what is unowned does not keep them.
    first_at[0], day_volume[0] = NONE, 0.0


@inside
def _simulate(
    bars: BarArrays,
    rules: Records,
    tiers: Floats,
    brackets: Floats,
    signals: Records,
    masks: Booleans,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    positions: Records,
    ledger: Records,
    outcomes: NDArray[np.int8],
    series: Floats,
    first_at: Small,
    day_volume: Floats,
) -> None:
    """Walk through the bars; `first_at`: first position in the list of each bar, `day_volume`: USD traded on each day."""
    n_bars = len(bars.day)
    equity = account[0].starting_equity
    s = 0
    for t in range(n_bars):
        new_day = t == 0 or bars.day[t] != bars.day[t - 1]
        if new_day:
            account[0].volume_30d_usd = account[0].other_volume_30d_usd
            for day in range(max(0, bars.day[t] - FEE_DAYS), bars.day[t]):
                account[0].volume_30d_usd += day_volume[day]
        _take_rules(rules, tiers, account, instruments, t, new_day)
        if account[0].n_open > 0 or (s < len(signals) and signals[s].entry_bar == t):
            _take_bar(bars, instruments, t)
            traded = 0.0
            _pay_funding(account, instruments, positions, ledger)
            account[0].n_queued = 0
            _queue_exits(first_at, account, instruments, strategies, held, positions, ledger, t)
            while s < len(signals) and signals[s].entry_bar == t:
                outcome = _enter(
                    brackets, signals, account, instruments, strategies, held, first_at, positions, ledger, s, t, equity
                )
                outcomes[signals[s].row] = outcome
                if outcome == TRADED_SIGNAL:
                    _plan_exit(bars, masks, signals, account, instruments, first_at, positions, ledger, s, t)
                s += 1
            traded += _fill_queue(account, instruments, positions, ledger)
            if account[0].n_open > 0:
                traded += _inside_bar(
                    bars.fillable, brackets, account, instruments, strategies, held, first_at, positions, ledger, t
                )
            day_volume[bars.day[t]] += traded
            series[TRADED, t] = traded
        if t % RESYNCHRONISE_BARS == 0:
            _resynchronise(account, instruments, strategies, positions, ledger)
        equity = _mark(bars.mark, bars.close, brackets, account, instruments, series, t)
    while s < len(signals):
        outcomes[signals[s].row] = BEYOND_DATA
        s += 1
    for place in range(account[0].n_open):
        row = ledger[positions[place].active]
        row.gross = row.side * row.quantity * (instruments[row.instrument].last_mark - row.entry_reference)


@inside
def _earn(account: Records, amount: float) -> None:
    """Add to cash without losing small amounts in a large sum (Neumaier 1974)."""
    before = account[0].cash
    total = before + amount
    if abs(before) >= abs(amount):
        account[0].carry += (before - total) + amount
    else:
        account[0].carry += (amount - total) + before
    account[0].cash = total


@inside
def _take_rules(rules: Records, tiers: Floats, account: Records, instruments: Records, t: int, new_day: bool) -> None:
    """Rules and fee tier of the bar; volumes are counted anew each UTC day."""
    for j in range(len(instruments)):
        instrument = instruments[j]
        changed = t == 0
        while instrument.period + 1 < rules.shape[1] and rules[j, instrument.period + 1].since <= t:
            instrument.period += 1
            changed = True
        if not (changed or new_day):
            continue
        rule = rules[j, instrument.period]
        instrument.tick = rule.tick
        instrument.lot = rule.lot
        instrument.min_notional = rule.min_notional
        instrument.half_spread = rule.half_spread
        instrument.liquidation_fee = rule.liquidation_fee
        own = tiers[j, instrument.period]
        tier = 0
        while tier + 1 < len(own) and own[tier + 1, VOLUME] <= account[0].volume_30d_usd:
            tier += 1
        instrument.taker = own[tier, TAKER]
        instrument.maker = own[tier, MAKER]


@inside
def _take_bar(bars: BarArrays, instruments: Records, t: int) -> None:
    """The bar of each instrument, and what its orders cost as far as the bar before knows."""
    for j in range(len(instruments)):
        instrument = instruments[j]
        instrument.open = bars.open[j, t]
        instrument.high = bars.high[j, t]
        instrument.low = bars.low[j, t]
        instrument.funding = bars.funding[j, t]
        instrument.fillable = bars.fillable[j, t]
        instrument.bought = 0.0
        instrument.sold = 0.0
        volatility, turnover = bars.volatility[j, t - 1], bars.turnover[j, t - 1]
        is_known = turnover > 0.0 and volatility >= 0.0
        if instrument.impact_coefficient == 0.0:
            instrument.cost_known = 1
            instrument.impact_scale = 0.0
        elif is_known:
            instrument.cost_known = 1
            instrument.impact_scale = 0.5 * instrument.impact_coefficient * volatility / np.sqrt(turnover)
        else:
            instrument.cost_known = 0
        instrument.turnover = turnover


@inside
def _pay_funding(account: Records, instruments: Records, positions: Records, ledger: Records) -> None:
    """Positions carried into a stamp pay its rate on their notional at the last mark, those that borrow interest."""
    for j in range(len(instruments)):
        rate, borrow = instruments[j].funding, instruments[j].borrow
        if (rate == 0.0 and borrow == 0.0) or instruments[j].legs_open == 0:
            continue
        for place in range(account[0].n_open):
            row = ledger[positions[place].active]
            if row.instrument == j:
                paid = row.side * row.quantity * instruments[j].last_mark * rate
                paid += row.quantity * row.entry_reference * borrow
                row.funding += paid
                row.funding_rate += row.side * rate
                _earn(account, -paid)


@inside
def _schedule(first_at: Small, positions: Records, i: int, bar: int) -> None:
    """Put a position into the list of the bar it leaves in; nowhere where that lies beyond the data."""
    if bar >= len(first_at):
        positions[i].exit_at = NONE
        return
    positions[i].exit_at = bar
    positions[i].next_at = first_at[bar]
    first_at[bar] = i


@inside
def _unschedule(first_at: Small, positions: Records, i: int) -> None:
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
def _open_leg(
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
    positions[i].place = account[0].n_open
    positions[account[0].n_open].active = i
    account[0].n_open += 1
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
def _close_leg(
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    positions: Records,
    ledger: Records,
    i: int,
    t: int,
    reason: int,
) -> None:
    """Take a leg out of every count; its price is settled elsewhere."""
    row = ledger[i]
    instrument, strategy = instruments[row.instrument], strategies[row.strategy]
    account[0].n_open -= 1
    last = positions[account[0].n_open].active
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
    row.reason = reason


@inside
def _queue(account: Records, positions: Records, i: int) -> None:
    positions[account[0].n_queued].queue = i
    account[0].n_queued += 1


@inside
def _queue_exits(
    first_at: Small,
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
            _close_leg(account, instruments, strategies, held, positions, ledger, i, t, ledger[i].reason)
            _queue(account, positions, i)
        i = positions[i].next_at


@inside
def _bracket(brackets: Floats, j: int, period: int, notional: float) -> int:
    b = 0
    while b + 1 < brackets.shape[2] and brackets[j, period, b + 1, FLOOR] <= notional:
        b += 1
    return b


@inside
def _maintenance(brackets: Floats, instruments: Records, j: int, notional: float) -> float:
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
def _initial_rate(
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
def _to_lots(quantity: float, lot: float) -> float:
    return quantity if lot == 0.0 else float(np.floor(quantity / lot + ROUNDING) * lot)


@inside
def _resting(price: float, distance: float, reference: float, direction: int, tick: float) -> float:
    """Price of a resting order to the nearest tick; NaN where there is none."""
    if np.isnan(price):
        price = reference + direction * distance
    if tick > 0.0 and not np.isnan(price):
        price = np.floor(price / tick + 0.5) * tick
    return price


@inside
def _enter(
    brackets: Floats,
    signals: Records,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Small,
    positions: Records,
    ledger: Records,
    s: int,
    t: int,
    equity: float,
) -> int:
    """Queue the orders of signal `s` at the open of bar t, or say why there are none; `equity` at the close before."""
    signal = signals[s]
    j, h, side, strategy = signal.instrument, signal.hedge, signal.side, signal.strategy
    first, hedge = instruments[j], instruments[max(h, 0)]
    has_hedge = h != NONE
    if not first.fillable or (has_hedge and not hedge.fillable):
        return NOT_FILLABLE
    if account[0].overlap != STACK and held[strategy, j, 0] > 0:
        if account[0].overlap == SKIP or held[strategy, j, 1] == side:
            return HELD_ALREADY
        if not _flip(account, instruments, strategies, held, first_at, positions, ledger, strategy, j, t):
            return HELD_ALREADY
    for leg in range(2 if has_hedge else 1):
        instrument = instruments[j if leg == 0 else h]
        if not instrument.cost_known or (account[0].max_participation < np.inf and not instrument.turnover > 0.0):
            return UNKNOWN_COST
    if np.isnan(signal.size_fraction):
        return UNKNOWN_SIZE
    stop = _resting(signal.stop_price, signal.stop_distance, first.open, -side, first.tick)
    target = _resting(signal.target_price, signal.target_distance, first.open, side, first.tick)
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
        i = account[0].n_rows
        account[0].n_rows += 1
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
        _open_leg(account, instruments, strategies, held, positions, ledger, i)
        _queue(account, positions, i)
    return TRADED_SIGNAL


@inside
def _is_large_enough(instruments: Records, j: int, h: int, ratio: float, notional: float) -> bool:
    """Whether each leg, rounded down to lots, is an order the venue takes."""
    for leg in range(1 if h == NONE else 2):
        instrument = instruments[j if leg == 0 else h]
        usd = notional if leg == 0 else notional * ratio
        quantity = _to_lots(usd / instrument.open, instrument.lot)
        if not quantity * instrument.open >= max(instrument.min_notional, SMALLEST_USD):
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
            price = instrument.open if m in (j, h) else instrument.last_mark
            notional = abs(instrument.net_quantity) * price
            gross += notional
            margin_used += notional * _initial_rate(
                brackets, account[0].leverage, instruments, m, instrument.net_quantity, notional
            )
    allowed = min(asked, (account[0].max_strategy_leverage * equity - used_by_strategy) / legs)
    if has_hedge:
        allowed = min(allowed, (account[0].max_leverage * equity - gross) / legs)
    offset = 0.0
    for leg in range(2 if has_hedge else 1):
        instrument = instruments[j if leg == 0 else h]
        share = 1.0 if leg == 0 else ratio
        own = (side if leg == 0 else -side) * instrument.net_quantity * instrument.open
        allowed = min(allowed, (account[0].max_symbol_leverage * equity - own) / share)
        if not has_hedge:
            allowed = min(allowed, account[0].max_leverage * equity - (gross - abs(own)) - own)
            # What closes a position that the account holds needs no margin.
            offset = max(-own, 0.0)
        if account[0].max_participation < np.inf:
            allowed = min(allowed, account[0].max_participation * instrument.turnover / share)
    if account[0].margin:
        rate = 0.0
        for leg in range(2 if has_hedge else 1):
            m = j if leg == 0 else h
            share = 1.0 if leg == 0 else ratio
            held_usd = abs(instruments[m].net_quantity) * instruments[m].open
            notional = held_usd + max(allowed, 0.0) * share
            own_side = float(side if leg == 0 else -side)
            rate += share * _initial_rate(brackets, account[0].leverage, instruments, m, own_side, notional)
        allowed = min(allowed, offset + max(equity - margin_used, 0.0) / rate)
    return float(allowed)


@inside
def _flip(
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Small,
    positions: Records,
    ledger: Records,
    strategy: int,
    j: int,
    t: int,
) -> bool:
    """Queue the exits of what the strategy holds in the instrument; False where a hedge of it cannot be filled now."""
    n_found = 0
    found = np.empty(account[0].n_open, dtype=np.int64)
    for place in range(account[0].n_open):
        i = positions[place].active
        row = ledger[i]
        if row.strategy == strategy and row.leg == 0 and row.instrument == j:
            if row.entry_bar == t or (
                _has_hedge(account, ledger, i) and not instruments[ledger[i + 1].instrument].fillable
            ):
                return False
            found[n_found] = i
            n_found += 1
    for first in found[:n_found]:
        for i in range(first, first + 2 if _has_hedge(account, ledger, first) else first + 1):
            if ledger[i].exit_bar == NONE:
                _unschedule(first_at, positions, i)
                ledger[i].planned_exit_bar = t
                ledger[i].intrabar = 0
                ledger[i].ambiguous = 0
                _close_leg(account, instruments, strategies, held, positions, ledger, i, t, FLIPPED)
                _queue(account, positions, i)
    return True


@inside
def _has_hedge(account: Records, ledger: Records, i: int) -> bool:
    return bool(i + 1 < account[0].n_rows and ledger[i + 1].signal == ledger[i].signal)


@inside
def _plan_exit(
    bars: BarArrays,
    masks: Booleans,
    signals: Records,
    account: Records,
    instruments: Records,
    first_at: Small,
    positions: Records,
    ledger: Records,
    s: int,
    t: int,
) -> None:
    """Find when and why the trade just entered leaves, and put its legs into that bar's list."""
    signal = signals[s]
    j, h = signal.instrument, signal.hedge
    tick, side, reference = instruments[j].tick, signal.side, instruments[j].open
    stop = _resting(signal.stop_price, signal.stop_distance, reference, -side, tick)
    target = _resting(signal.target_price, signal.target_distance, reference, side, tick)
    through = target + side * account[0].target_through_ticks * tick
    planned, reason, intrabar, ambiguous = t + signal.horizon, HORIZON, 0, 0
    has_resting = not (np.isnan(stop) and np.isnan(target))
    if has_resting or not (np.isnan(signal.close_target) and np.isnan(signal.close_stop)) or signal.mask != NONE:
        planned, reason, intrabar, ambiguous = _find_exit(
            bars, masks, signal, t, stop, through, has_resting, account[0].worst_first
        )
    bar = planned
    if intrabar == 0:
        while bar < len(first_at) and not (bars.fillable[j, bar] and (h == NONE or bars.fillable[h, bar])):
            bar += 1
    last = account[0].n_rows - 1
    for i in range(last if h == NONE else last - 1, last + 1):
        row = ledger[i]
        row.planned_exit_bar = planned
        row.reason = reason
        row.intrabar = intrabar
        row.ambiguous = ambiguous
        positions[i].trigger_price = target if reason == TARGET else stop
        _schedule(first_at, positions, i, bar)


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
    for bar in range(t, min(t + signal.horizon, bars.open.shape[1])):
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
                return bar, STOP, 1, int(is_reached)
            if is_reached:
                return bar, TARGET, 1, int(is_stopped)
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
    return t + signal.horizon, HORIZON, 0, 0


@inside
def _fill_queue(account: Records, instruments: Records, positions: Records, ledger: Records) -> float:
    """Let the orders of this open meet, send what is left to the market, share its costs; USD that went to the market."""
    for q in range(account[0].n_queued):
        row = ledger[positions[q].queue]
        bought = row.side > 0 if row.exit_bar == NONE else row.side < 0
        if bought:
            instruments[row.instrument].bought += row.quantity
        else:
            instruments[row.instrument].sold += row.quantity
    traded = 0.0
    for q in range(account[0].n_queued):
        i = positions[q].queue
        row = ledger[i]
        instrument = instruments[row.instrument]
        is_entry = row.exit_bar == NONE
        direction = row.side if is_entry else -row.side
        share, quantity = 1.0, row.quantity
        if account[0].net_orders:
            own, other = instrument.bought, instrument.sold
            if direction < 0:
                own, other = other, own
            quantity = max(own - other, 0.0)
            share = quantity / own
        price, usd = _trade(account, instrument, row, direction, instrument.open, share, quantity, True)
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
    is_taker: bool,
) -> tuple[float, float]:
    """Fill an order and charge its fee: its average price, `share` of it in the market and the rest at `reference`, and USD.

    `market_quantity` is the whole order that the market sees, from which impact follows.
    """
    if share == 0.0:
        return reference, 0.0
    size = row.quantity * share
    price, fee_rate = reference, instrument.maker
    if is_taker:
        fee_rate = instrument.taker
        tick = instrument.tick
        impact = instrument.impact_scale * np.sqrt(market_quantity * reference)
        slip = min(max(instrument.half_spread, 0.5 * tick / reference) + impact, LARGEST_SLIP)
        price = reference * (1.0 + direction * slip)
        if tick > 0.0:
            price = (
                np.ceil(price / tick - ROUNDING) * tick if direction > 0 else np.floor(price / tick + ROUNDING) * tick
            )
        impact_cost = size * reference * min(impact, slip)
        row.impact += impact_cost
        row.spread += size * abs(price - reference) - impact_cost
    fee = size * price * fee_rate
    row.fees += fee
    _earn(account, -fee)
    return reference + share * (price - reference), size * price


@inside
def _settle(account: Records, instrument: Any, row: Any, price: float) -> None:
    """Book what a position earned when it has left at `price`."""
    signed = row.side * row.quantity
    row.exit_price = price
    row.gross = signed * (row.exit_reference - row.entry_reference)
    _earn(account, signed * (price - row.entry_price))
    if row.reason == LIQUIDATION:
        row.liquidation_fee = row.quantity * price * instrument.liquidation_fee
        _earn(account, -row.liquidation_fee)


@inside
def _inside_bar(
    fillable: Booleans,
    brackets: Floats,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Small,
    positions: Records,
    ledger: Records,
    t: int,
) -> float:
    """Resting orders and liquidation within the bar: the worst first, or targets first; USD that went to the market."""
    traded = 0.0
    for targets_only in (True, False):
        if targets_only and account[0].worst_first:
            continue
        if not targets_only and account[0].margin:
            way = _way_to_liquidation(brackets, account, instruments, positions, ledger, t)
            if not np.isnan(way):
                traded += _liquidate(
                    fillable, account, instruments, strategies, held, first_at, positions, ledger, t, way
                )
        i = first_at[t]
        while i != NONE:
            row = ledger[i]
            if row.exit_bar == NONE and row.intrabar == 1 and (row.reason == TARGET or not targets_only):
                _close_leg(account, instruments, strategies, held, positions, ledger, i, t, row.reason)
                traded += _leave_inside(account, instruments, row, positions[i].trigger_price)
            i = positions[i].next_at
    return float(traded)


@inside
def _leave_inside(account: Records, instruments: Records, row: Any, reference: float) -> float:
    """Leave inside the bar at `reference`; a target rested in the book, everything else takes. USD traded."""
    instrument = instruments[row.instrument]
    row.exit_reference = reference
    price, usd = _trade(account, instrument, row, -row.side, reference, 1.0, row.quantity, row.reason != TARGET)
    _settle(account, instrument, row, price)
    return usd


@inside
def _path_price(instrument: Any, way: float) -> float:
    """Price when the bar has gone the share `way` from its open to its extreme against the account's net position."""
    if not instrument.fillable:
        return float(instrument.last_mark)
    extreme = instrument.low if instrument.net_quantity > 0.0 else instrument.high
    return float(instrument.open + way * (extreme - instrument.open))


@inside
def _way_to_liquidation(
    brackets: Floats, account: Records, instruments: Records, positions: Records, ledger: Records, t: int
) -> float:
    """Share of the way to the bar's adverse extremes at which equity falls below maintenance margin; NaN where it does not.

    All instruments go together from their opens to their extremes; positions with a stop in this bar lose no more than at it.
    """
    left = account[0].cash + account[0].carry
    for j in range(len(instruments)):
        instrument = instruments[j]
        if instrument.legs_open > 0:
            price = _path_price(instrument, 1.0)
            left += instrument.net_quantity * price - instrument.net_cost
            left -= _maintenance(brackets, instruments, j, instrument.net_quantity * price)
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
    left = account[0].cash + account[0].carry
    for place in range(account[0].n_open):
        i = positions[place].active
        row = ledger[i]
        price = _path_price(instruments[row.instrument], way)
        if _is_stopped(positions[i], row, t, price):
            price = positions[i].trigger_price
        left += row.side * row.quantity * (price - row.entry_price)
    for j in range(len(instruments)):
        instrument = instruments[j]
        if instrument.legs_open > 0:
            notional = instrument.net_quantity * _path_price(instrument, way)
            left -= _maintenance(brackets, instruments, j, notional)
    return float(left)


@inside
def _is_stopped(position: Any, row: Any, t: int, price: float) -> bool:
    """Whether a stop that fills in this bar has been passed at `price`."""
    if position.exit_at != t or row.intrabar == 0 or row.reason != STOP:
        return False
    return bool(row.side * (price - position.trigger_price) <= 0.0)


@inside
def _liquidate(
    fillable: Booleans,
    account: Records,
    instruments: Records,
    strategies: Records,
    held: Integers,
    first_at: Small,
    positions: Records,
    ledger: Records,
    t: int,
    way: float,
) -> float:
    """Close every position at its price on the path; one that cannot be filled leaves at the first open that can; USD."""
    prices = np.empty(len(instruments))
    for j in range(len(instruments)):
        prices[j] = _path_price(instruments[j], way)
    doomed = np.empty(account[0].n_open, dtype=np.int64)
    for place in range(account[0].n_open):
        doomed[place] = positions[place].active
    doomed.sort()
    traded = 0.0
    for i in doomed:
        row = ledger[i]
        j = row.instrument
        if _is_stopped(positions[i], row, t, prices[j]):
            continue
        _unschedule(first_at, positions, i)
        row.ambiguous = 0
        if instruments[j].fillable:
            row.planned_exit_bar = t
            row.intrabar = 1
            _close_leg(account, instruments, strategies, held, positions, ledger, i, t, LIQUIDATION)
            traded += _leave_inside(account, instruments, row, prices[j])
        else:
            bar = t + 1
            while bar < len(first_at) and not fillable[j, bar]:
                bar += 1
            row.planned_exit_bar = min(row.planned_exit_bar, t + 1)
            row.intrabar = 0
            row.reason = LIQUIDATION
            _schedule(first_at, positions, i, bar)
    return float(traded)


@inside
def _resynchronise(
    account: Records, instruments: Records, strategies: Records, positions: Records, ledger: Records
) -> None:
    """Sum net quantities, costs and notionals anew."""
    for j in range(len(instruments)):
        instruments[j].net_quantity = 0.0
        instruments[j].net_cost = 0.0
    for q in range(len(strategies)):
        strategies[q].used = 0.0
    for place in range(account[0].n_open):
        row = ledger[positions[place].active]
        signed = row.side * row.quantity
        instruments[row.instrument].net_quantity += signed
        instruments[row.instrument].net_cost += signed * row.entry_price
        strategies[row.strategy].used += row.quantity * row.entry_reference


@inside
def _mark(
    mark: Floats, close: Floats, brackets: Floats, account: Records, instruments: Records, series: Floats, t: int
) -> float:
    """Take the bar's marks and record the account at its close; equity."""
    equity = account[0].cash + account[0].carry
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
            if account[0].margin:
                series[MAINTENANCE, t] += _maintenance(brackets, instruments, j, notional)
    series[EQUITY, t] = equity
    series[OPEN_LEGS, t] = account[0].n_open
    return float(equity)


@machine_code
def in_order(strategy: Integers, instrument: Integers, entry_bar: Integers, counts: tuple[int, int, int]) -> Integers:
    """(s,) rows of signals by entry bar, strategy, instrument and row; each is below its number in `counts`."""
    order = np.arange(len(strategy))
    order = _sorted_by(instrument, counts[1], order)
    order = _sorted_by(strategy, counts[0], order)
    return _sorted_by(entry_bar, counts[2], order)


@machine_code
def _sorted_by(key: Integers, n_values: int, order: Integers) -> Integers:
    """`order` sorted by `key`, equal ones as they were."""
    if n_values == 1:
        return order
    place = np.zeros(n_values + 1, dtype=np.int64)
    for i in order:
        place[key[i] + 1] += 1
    for value in range(n_values):
        place[value + 1] += place[value]
    made = np.empty_like(order)
    for i in order:
        made[place[key[i]]] = i
        place[key[i]] += 1
    return made


@machine_code
def fill_signals(floats: Floats, integers: Integers, order: Integers, records: Records) -> None:
    """Rows of SIGNAL from columns in the order of its fields: (9, s) and (7, s), of row and in the order of `order`."""
    for place in range(len(order)):
        i = order[place]
        record = records[place]
        record.hedge_ratio = floats[0, i]
        record.size_fraction = floats[1, i]
        record.size_usd = floats[2, i]
        record.close_target = floats[3, i]
        record.close_stop = floats[4, i]
        record.target_distance = floats[5, i]
        record.stop_distance = floats[6, i]
        record.target_price = floats[7, i]
        record.stop_price = floats[8, i]
        record.row = i
        record.strategy = integers[0, i]
        record.instrument = integers[1, i]
        record.hedge = integers[2, i]
        record.entry_bar = integers[3, i]
        record.horizon = integers[4, i]
        record.side = integers[5, i]
        record.mask = integers[6, i]


@machine_code
def complete(high: Floats, low: Floats, tainted: Booleans, decision_bar: Integers, ledger: Records) -> None:
    """Fill in what follows from a row as a whole: net profit, largest excursions, whether a bar of the trade is tainted."""
    n_bars = high.shape[1]
    for i in range(len(ledger)):
        row = ledger[i]
        row.net = row.gross - (row.fees + row.spread + row.impact + row.funding + row.liquidation_fee)
        if row.exit_bar == NONE:
            # Planned, and not known to an account that stands at the last bar.
            row.reason, row.intrabar, row.ambiguous = 0, 0, 0
        j = row.instrument
        end = n_bars if row.exit_bar == NONE else row.exit_bar
        highest, lowest = row.entry_reference, row.entry_reference
        for bar in range(row.entry_bar, end):
            if not tainted[j, bar]:
                # A comparison with NaN is false: missing bars change nothing.
                if high[j, bar] > highest:
                    highest = high[j, bar]
                if low[j, bar] < lowest:
                    lowest = low[j, bar]
        if row.exit_bar != NONE:
            highest = max(highest, row.exit_reference)
            lowest = min(lowest, row.exit_reference)
        up, down = highest / row.entry_reference - 1.0, 1.0 - lowest / row.entry_reference
        row.mfe = up if row.side > 0 else down
        row.mae = down if row.side > 0 else up
        for bar in range(decision_bar[row.signal], min(end + 1, n_bars)):
            if tainted[j, bar]:
                row.tainted = 1
                break
