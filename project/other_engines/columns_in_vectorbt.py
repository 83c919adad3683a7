"""Sixty columns in vectorbt: run in its own environment, prints JSON of CPU seconds (the better of two calls) and trades made.

    python columns_in_vectorbt.py given.npz

What is timed is what our engine gives too: the trades with their costs and equity at each bar.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def main() -> None:
    given = np.load(sys.argv[1])
    index = pd.to_datetime(given["timestamp"])
    shape = (len(index), int(given["n_columns"]))
    long_entries, short_entries, exits = (np.zeros(shape, dtype=bool) for _ in range(3))
    at, column, side = given["entry_bar"], given["column"], given["side"]
    long_entries[at[side > 0], column[side > 0]] = True
    short_entries[at[side < 0], column[side < 0]] = True
    leave = at + given["horizon"]
    exits[leave[leave < shape[0]], column[leave < shape[0]]] = True
    prices = {name: pd.Series(given[name], index=index) for name in ("open", "high", "low", "close")}

    def trade(rows: int) -> tuple[int, float]:
        made = vbt.Portfolio.from_signals(
            prices["close"].iloc[:rows],
            entries=long_entries[:rows],
            exits=exits[:rows],
            short_entries=short_entries[:rows],
            short_exits=exits[:rows],
            price=prices["open"].iloc[:rows],
            open=prices["open"].iloc[:rows],
            high=prices["high"].iloc[:rows],
            low=prices["low"].iloc[:rows],
            size=float(given["size_usd"]),
            size_type="value",
            fees=float(given["fee"]),
            slippage=float(given["slippage"]),
            sl_stop=float(given["stop"]),
            tp_stop=float(given["target"]),
            init_cash=1e9,
            freq="5min",
        )
        return len(made.trades.records), float(np.asarray(made.value())[-1].sum())

    trade(5000)
    cpu, wall = [], []
    for _ in range(2):
        begun, started = time.process_time(), time.perf_counter()
        n_trades, _value = trade(shape[0])
        cpu.append(time.process_time() - begun)
        wall.append(time.perf_counter() - started)
    print(json.dumps({"cpu_s": min(cpu), "wall_s": min(wall), "n_trades": n_trades}))


main()
