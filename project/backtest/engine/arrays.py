"""Signals in the order in which they are filled, and what follows from a whole row of the ledger."""

from __future__ import annotations

from backtest.engine.compiling import machine_code
from backtest.engine.records import NONE, Booleans, Floats, Integers, Records


@machine_code
def sort_by(keys: tuple[Integers, ...], counts: Integers, order: Integers, spare: Integers, place: Integers) -> None:
    """Sort `order` by each of `keys`, the last one first in rank; equal ones stay as they were.

    Parameters
    ----------
    keys : (s,) each, number k at least 0 and below `counts[k]`.
    order, spare : (s,) the rows to sort, and as much room.
    place : room for one more than the largest of `counts`.
    """
    for k in range(len(counts)):
        if counts[k] == 1:
            continue
        key = keys[k]
        place[: counts[k] + 1] = 0
        is_sorted, before = True, key[order[0]] if len(order) else 0
        for i in order:
            is_sorted = is_sorted and key[i] >= before
            before = key[i]
            place[before + 1] += 1
        if is_sorted:
            continue
        for value in range(counts[k]):
            place[value + 1] += place[value]
        for i in order:
            spare[place[key[i]]] = i
            place[key[i]] += 1
        order[:] = spare


@machine_code
def fill_signals(
    floats: tuple[Floats, ...], integers: tuple[Integers, ...], steps: Integers, order: Integers, records: Records
) -> None:
    """Rows of SIGNAL in the order of `order`, from columns in the order of its fields without ``row``.

    Parameters
    ----------
    floats, integers : (s,) each, or (1,) where all rows have the same value.
    steps : 1 for each column of s values, 0 for each of one; first those of `floats`.
    """
    for place in range(len(order)):
        i = order[place]
        record = records[place]
        record.hedge_ratio = floats[0][i * steps[0]]
        record.size_fraction = floats[1][i * steps[1]]
        record.size_usd = floats[2][i * steps[2]]
        record.close_target = floats[3][i * steps[3]]
        record.close_stop = floats[4][i * steps[4]]
        record.target_distance = floats[5][i * steps[5]]
        record.stop_distance = floats[6][i * steps[6]]
        record.target_price = floats[7][i * steps[7]]
        record.stop_price = floats[8][i * steps[8]]
        record.row = i
        record.strategy = integers[0][i * steps[9]]
        record.instrument = integers[1][i * steps[10]]
        record.hedge = integers[2][i * steps[11]]
        record.entry_bar = integers[3][i * steps[12]]
        record.horizon = integers[4][i * steps[13]]
        record.side = integers[5][i * steps[14]]
        record.mask = integers[6][i * steps[15]]


@machine_code
def complete(high: Floats, low: Floats, tainted: Booleans, decision_bar: Integers, ledger: Records) -> None:
    """Fill in what follows from a row as a whole: net profit, largest excursions, whether a bar of the trade is tainted."""
    n_bars = high.shape[1]
    for i in range(len(ledger)):
        row = ledger[i]
        row.net = row.gross - (row.fees + row.spread + row.impact + row.funding + row.liquidation_fee)
        j, start = row.instrument, row.entry_bar
        is_tainted = False
        for bar in range(decision_bar[row.signal], start):
            is_tainted |= tainted[j, bar]
        end = n_bars if row.exit_bar == NONE else row.exit_bar
        highest, lowest = row.entry_reference, row.entry_reference
        for bar in range(start, end):
            is_wrong = tainted[j, bar]
            # A comparison with NaN is false: missing bars change nothing.
            highest = high[j, bar] if (high[j, bar] > highest) & (not is_wrong) else highest
            lowest = low[j, bar] if (low[j, bar] < lowest) & (not is_wrong) else lowest
            is_tainted |= is_wrong
        if row.exit_bar == NONE:
            # Planned, and not known to an account that stands at the last bar.
            row.reason, row.intrabar, row.ambiguous = 0, 0, 0
        else:
            is_tainted |= tainted[j, end]
            highest, lowest = max(highest, row.exit_reference), min(lowest, row.exit_reference)
        up, down = highest / row.entry_reference - 1.0, 1.0 - lowest / row.entry_reference
        row.mfe = up if row.side > 0 else down
        row.mae = down if row.side > 0 else up
        row.tainted = is_tainted
