"""Signals in the order in which they are filled, and what follows from a whole row of the ledger."""

from __future__ import annotations

from backtest.engine.compiling import machine_code
from backtest.engine.records import NONE, Booleans, Floats, Integers, Records


@machine_code
def sort_by(keys: Integers, counts: Integers, order: Integers, spare: Integers, place: Integers) -> None:
    """Sort `order` by each row of `keys`, the last one first in rank; equal ones stay as they were.

    Parameters
    ----------
    keys : (m, s), each of row i at least 0 and below `counts[i]`.
    order, spare : (s,) the rows to sort, and as much room.
    place : room for one more than the largest of `counts`.
    """
    for k in range(len(counts)):
        if counts[k] == 1:
            continue
        for value in range(counts[k] + 1):
            place[value] = 0
        for i in order:
            place[keys[k, i] + 1] += 1
        for value in range(counts[k]):
            place[value + 1] += place[value]
        for i in order:
            spare[place[keys[k, i]]] = i
            place[keys[k, i]] += 1
        for number in range(len(order)):
            order[number] = spare[number]


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
            if row.exit_reference > highest:
                highest = row.exit_reference
            if row.exit_reference < lowest:
                lowest = row.exit_reference
        up, down = highest / row.entry_reference - 1.0, 1.0 - lowest / row.entry_reference
        row.mfe = up if row.side > 0 else down
        row.mae = down if row.side > 0 else up
        for bar in range(decision_bar[row.signal], end + 1 if end < n_bars else n_bars):
            if tainted[j, bar]:
                row.tainted = 1
                break
