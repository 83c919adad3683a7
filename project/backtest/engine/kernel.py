"""The portfolio simulation in machine code: work is done where something happens, and once a bar for the account.

A position's exit follows from bars alone, so it is found once, when the position is entered, and kept in a list of the bar it
falls into. What it earns, what limits it and whether the account survives are settled bar by bar, in the order in which they
happen: funding, exits and entries at the open, resting orders and liquidation inside the bar, marks at the close.
`project/tests/engine/twin.py` does the same with plain loops over positions.

State lives in structured arrays (one row an instrument, a strategy, a position): an array is one pointer to a compiled
function, a tuple of thirty arrays is two hundred and takes minutes to compile.
"""

from __future__ import annotations

import numpy as np

from backtest.engine.compiling import inside, machine_code, unowned
from backtest.engine.entries import enter
from backtest.engine.exits import plan_exit
from backtest.engine.fills import fill_queue, inside_bar
from backtest.engine.positions import mark, pay_funding, queue_exits, resynchronise
from backtest.engine.records import (
    BEYOND_DATA,
    FEE_DAYS,
    MAKER,
    RESYNCHRONISE_BARS,
    TAKER,
    TRADED,
    TRADED_SIGNAL,
    VOLUME,
    BarArrays,
    Floats,
    Records,
    Run,
)


@machine_code
def simulate(run: Run) -> None:
    """Fill the ledger (as many rows as the account then says), outcomes and series of `run`."""
    _walk(unowned(run))


@inside
def _walk(run: Run) -> None:
    """Go through the bars."""
    bars, rules, tiers, brackets = run.bars, run.rules, run.tiers, run.brackets
    signals, masks, account, instruments = run.signals, run.masks, run.account[0], run.instruments
    strategies, held, positions, ledger = run.strategies, run.held, run.positions, run.ledger
    outcomes, series, first_at, day_volume = run.outcomes, run.series, run.first_at, run.day_volume
    n_bars = len(bars.day)
    equity = account.starting_equity
    s = account.n_rows  # 0, and no literal: what it is handed to is compiled once
    for t in range(n_bars):
        new_day = t == 0 or bars.day[t] != bars.day[t - 1]
        if new_day:
            account.volume_30d_usd = account.other_volume_30d_usd
            first_day = bars.day[t] - FEE_DAYS
            for day in range(first_day if first_day > 0 else 0, bars.day[t]):
                account.volume_30d_usd += day_volume[day]
        _take_rules(rules, tiers, account, instruments, t, new_day)
        if account.n_open > 0 or (s < len(signals) and signals[s].entry_bar == t):
            _take_bar(bars, instruments, t)
            traded = 0.0
            pay_funding(account, instruments, positions, ledger)
            account.n_queued = 0
            queue_exits(first_at, account, instruments, strategies, held, positions, ledger, t)
            while s < len(signals) and signals[s].entry_bar == t:
                outcome = enter(
                    brackets, signals, account, instruments, strategies, held, first_at, positions, ledger, s, t, equity
                )
                outcomes[signals[s].row] = outcome
                if outcome == TRADED_SIGNAL:
                    plan_exit(bars, masks, signals, account, instruments, first_at, positions, ledger, s, t)
                s += 1
            traded += fill_queue(account, instruments, positions, ledger)
            if account.n_open > 0:
                traded += inside_bar(
                    bars.fillable, brackets, account, instruments, strategies, held, first_at, positions, ledger, t
                )
            day_volume[bars.day[t]] += traded
            series[TRADED, t] = traded
        if t % RESYNCHRONISE_BARS == 0:
            resynchronise(account, instruments, strategies, positions, ledger)
        equity = mark(bars.mark, bars.close, brackets, account, instruments, series, t)
    while s < len(signals):
        outcomes[signals[s].row] = BEYOND_DATA
        s += 1
    for place in range(account.n_open):
        row = ledger[positions[place].active]
        row.gross = row.side * row.quantity * (instruments[row.instrument].last_mark - row.entry_reference)


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
        while tier + 1 < len(own) and own[tier + 1, VOLUME] <= account.volume_30d_usd:
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
