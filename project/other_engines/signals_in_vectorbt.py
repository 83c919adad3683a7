"""Signals traded in vectorbt, in its own environment; prints a line of JSON a case: a list a field of its closed trades.

    python signals_in_vectorbt.py case.npz …

One column a strategy on the bars of one instrument. An entry fills at the open of its bar, an exit at the open of its own.
`stop` and `target` are fractions of the entry's open, NaN for none; an entry against the position is ignored, or reverses it
where `reverse` is true.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import vectorbt as vbt


def trades(given: dict[str, np.ndarray]) -> dict[str, list[float]]:
    index = pd.to_datetime(given["timestamp"])
    shape = (len(index), int(given["n_columns"]))
    long_entries, short_entries, exits = (np.zeros(shape, dtype=bool) for _ in range(3))
    side, column, entry, leave = given["side"], given["column"], given["entry_bar"], given["exit_bar"]
    long_entries[entry[side > 0], column[side > 0]] = True
    short_entries[entry[side < 0], column[side < 0]] = True
    inside = leave < shape[0]
    exits[leave[inside], column[inside]] = True
    prices = {name: pd.Series(given[name], index=index) for name in ("open", "high", "low", "close")}
    stop, target = float(given["stop"]), float(given["target"])
    made = vbt.Portfolio.from_signals(
        entries=long_entries,
        exits=exits,
        short_entries=short_entries,
        short_exits=exits,
        price=prices["open"],
        **prices,
        size=float(given["size_usd"]),
        size_type="value",
        fees=float(given["fee"]),
        slippage=float(given["slippage"]),
        sl_stop=None if np.isnan(stop) else stop,
        tp_stop=None if np.isnan(target) else target,
        stop_entry_price="price",
        stop_exit_price="stopmarket",
        upon_opposite_entry="reverse" if given["reverse"] else "ignore",
        init_cash=1e9,
        freq="5min",
    )
    rows = made.trades.records
    rows = rows[rows["status"] == 1]
    return {
        "column": rows["col"].tolist(),
        "side": np.where(rows["direction"] == 0, 1, -1).tolist(),
        "entry_bar": rows["entry_idx"].tolist(),
        "exit_bar": rows["exit_idx"].tolist(),
        "entry_price": rows["entry_price"].tolist(),
        "exit_price": rows["exit_price"].tolist(),
        "quantity": rows["size"].tolist(),
        "fees": (rows["entry_fees"] + rows["exit_fees"]).tolist(),
        "net": rows["pnl"].tolist(),
    }


for path in sys.argv[1:]:
    print(json.dumps(trades(dict(np.load(path)))))
