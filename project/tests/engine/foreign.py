"""What the proofs against other engines share: real bars (simulated where there are none), and our side of a comparison."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.engine.account import Account, FixedNotional
from backtest.engine.ledger import NO_BAR
from backtest.engine.market import InstrumentRules, Market
from backtest.engine.signals import Signals
from backtest.engine.simulation import simulate
from backtest.sources.simulated import SimulationSettings, simulate_market

Trades: TypeAlias = dict[str, NDArray[Any]]
"""A column a field."""

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
SIZE_USD = 1000.0


@dataclass(frozen=True)
class History:
    """Bars of one perpetual without a gap, (n,) each; `funding` is 0 in bars that no stamp opens."""

    timestamp: NDArray[np.datetime64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    funding: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.timestamp)


def real_data() -> Path | None:
    """The folder of real market data, None where it is absent."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("BACKTEST_SHARED_DATA") or beside)
    return folder if folder.is_dir() else None


def history(shared_data: Path | None, symbol: str, days: int) -> History:
    """Bars from `START` on: real ones from `shared_data`, simulated ones where that is None."""
    end = START + dt.timedelta(days=days)
    if shared_data is None:
        settings = SimulationSettings(
            start=START, days=days, seed=3, symbols=(symbol,), halts_per_year=0, gaps_per_year=0
        )
        made = simulate_market(settings).datasets
        bars, funding = made["perp", symbol, "ohlcv_5m"], made["perp", symbol, "funding"]
    else:
        bars = pl.read_parquet(shared_data / f"import/{symbol}_perp_5m.parquet").rename({"open_time": "timestamp"})
        funding = pl.read_parquet(shared_data / f"import/{symbol}_funding.parquet")
        funding = funding.rename({"funding_time": "timestamp"})
    bars = bars.filter(pl.col("timestamp").is_between(START, end, closed="left")).join(
        funding.select(pl.col("timestamp").dt.cast_time_unit("ms"), "funding_rate"), on="timestamp", how="left"
    )
    prices = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close")}
    rates = bars["funding_rate"].fill_null(0.0).to_numpy()
    return History(bars["timestamp"].dt.replace_time_zone(None).to_numpy(), **prices, funding=rates)


def market(bars: History, rules: InstrumentRules) -> Market:
    """One instrument, tradable in every bar; marks are closes."""
    n = len(bars)

    def row(values: Any) -> Any:
        return np.asarray(values)[None, :]

    return Market(
        instruments=("X",),
        timestamp=bars.timestamp,
        **{name: row(getattr(bars, name)) for name in ("open", "high", "low", "close", "funding")},
        mark=row(bars.close),
        tradable=row(np.ones(n, dtype=bool)),
        volatility=row(np.full(n, 1e-3)),
        turnover_usd=row(np.full(n, 1e8)),
        rules=(rules,),
    )


def closed_trades(bars: History, rules: InstrumentRules, signals: Signals, **changes: Any) -> Trades:
    """Closed trades of our engine by strategy and entry; each is of `SIZE_USD`, and nothing limits it."""
    values: dict[str, Any] = {
        "max_leverage": np.inf,
        "margin": False,
        "net_orders": False,
        "target_through_ticks": 0.0,
        **changes,
    }
    account = Account(1e9, FixedNotional(SIZE_USD), **values)
    rows = simulate(market(bars, rules), signals, account).ledger
    return by_entry(
        {
            "column": rows["strategy"],
            **{name: rows[name] for name in rows.dtype.names},
        },
        rows["exit_bar"] != NO_BAR,
    )


def by_entry(trades: dict[str, Any], chosen: Any = slice(None)) -> Trades:
    """The chosen trades, ordered by column and entry."""
    columns = {name: np.asarray(values)[chosen] for name, values in trades.items()}
    order = np.lexsort((columns["entry_bar"], columns["column"]))
    return {name: values[order] for name, values in columns.items()}


def spaced_entries(
    rng: np.random.Generator, n_bars: int, n_columns: int, apart: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and entry bar of random entries that are at least `apart` bars from the next in their column."""
    columns, bars = [], []
    for column in range(n_columns):
        at = 1 + np.cumsum(rng.integers(apart, 3 * apart, n_bars // apart))
        bars.append(at[at < n_bars - apart])
        columns.append(np.full(len(bars[-1]), column))
    return np.concatenate(columns), np.concatenate(bars)
