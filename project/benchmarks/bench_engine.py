"""The backtest engine: 60 strategies with 5,000 signals each on a year of minutes, beside the same 60 columns in vectorbt."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from typing import Any

import numpy as np

NAME = "engine: 60 strategies × 5,000 signals"
N_BARS, N_STRATEGIES, N_SIGNALS, REPEATS = 525_600, 60, 5_000, 7
STOP, TARGET, FEE, SLIPPAGE, SIZE_USD = 0.002, 0.003, 5e-4, 1e-4, 1000.0
MEGABYTE = 1e6 if sys.platform == "darwin" else 1e3


def run() -> dict[str, float]:
    """Seconds and CPU seconds after a warm-up of the same size, as a share of vectorbt's (0: not installable), and memory.

    Of ours the middle of `REPEATS` runs, of vectorbt the better of its two after its own warm-up: what disturbs a run makes it
    longer.
    """
    from backtest.engine.simulation import simulate, simulate_bounds

    market, signals, account = portfolio()
    simulate(*portfolio(n_bars=2000, n_signals=5))
    before = _peak_megabytes()
    simulate(market, signals, account)
    figures = {"MB above bars and signals": _peak_megabytes() - before}
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        made = simulate(market, signals, account)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    figures["worst bound s"], figures["worst bound CPU s"] = statistics.median(walls), statistics.median(cpus)
    figures["trades"] = float(len(made.ledger))
    wall, cpu = time.perf_counter(), time.process_time()
    simulate_bounds(market, signals, account)
    figures["both bounds s"], figures["both bounds CPU s"] = time.perf_counter() - wall, time.process_time() - cpu
    vectorbt = _vectorbt(market, signals)
    figures["vectorbt CPU s"], figures["vectorbt trades"] = vectorbt.get("cpu_s", 0.0), vectorbt.get("n_trades", 0.0)
    figures["CPU / vectorbt"] = figures["worst bound CPU s"] / vectorbt["cpu_s"] if vectorbt else 0.0
    figures["vectorbt CPU / ours"] = vectorbt["cpu_s"] / figures["worst bound CPU s"] if vectorbt else 0.0
    return figures


def portfolio(n_bars: int = N_BARS, n_signals: int = N_SIGNALS) -> tuple[Any, Any, Any]:
    """A market of one instrument, signals and an account with every rule on."""
    from backtest.engine.account import Account, FixedFraction
    from backtest.engine.market import InstrumentRules, Market
    from backtest.engine.signals import Signals

    rng = np.random.default_rng(0)
    close = 30_000 * np.exp(np.cumsum(rng.normal(0, 6e-4, n_bars)))
    open_ = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 3e-4, n_bars)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 3e-4, n_bars)))
    minute = np.arange(n_bars)
    rules = InstrumentRules(
        since_bar=np.array([0, n_bars // 2]),
        tier_volume_usd=np.array([[0.0, 1e7]] * 2),
        taker_fee=np.array([[FEE, 4e-4]] * 2),
        maker_fee=np.array([[2e-4, 1.6e-4]] * 2),
        tick_size=np.array([0.01, 0.1]),
        lot_size=np.array([0.001, 0.001]),
        min_notional_usd=np.array([5.0, 100.0]),
        half_spread=np.array([SLIPPAGE, SLIPPAGE]),
        liquidation_fee=np.array([0.0125, 0.0125]),
        bracket_floor_usd=np.array([[0.0, 5e4, 6e5]] * 2),
        maintenance_rate=np.array([[0.004, 0.005, 0.01]] * 2),
        max_leverage=np.array([[125.0, 100.0, 50.0]] * 2),
        impact_coefficient=1.0,
    )

    def row(values: Any, dtype: type = float) -> Any:
        return np.ascontiguousarray(np.broadcast_to(values, (1, n_bars)), dtype=dtype)

    market = Market(
        instruments=("X",),
        timestamp=np.datetime64("2024-01-01T00:00", "ms") + minute * np.timedelta64(60_000, "ms"),
        open=row(open_),
        high=row(high),
        low=row(low),
        close=row(close),
        mark=row(close * np.exp(rng.normal(0, 1e-5, n_bars))),
        funding=row(np.where(minute % 480 == 0, rng.normal(1e-4, 1e-4, n_bars), 0.0)),
        tradable=row(rng.random(n_bars) > 1e-3, bool),
        halted=row(rng.random(n_bars) < 1e-4, bool),
        tainted=row(rng.random(n_bars) < 1e-3, bool),
        volatility=row(np.full(n_bars, 6e-4)),
        turnover_usd=row(rng.uniform(1e6, 1e7, n_bars)),
        rules=(rules,),
    )
    n = N_STRATEGIES * n_signals
    decision = np.concatenate([np.sort(rng.choice(n_bars, n_signals, replace=False)) for _ in range(N_STRATEGIES)])
    price = close[decision]
    signals = Signals(
        strategy=np.repeat(np.arange(N_STRATEGIES), n_signals),
        instrument=np.zeros(n, dtype=np.int64),
        decision_bar=decision,
        side=rng.choice([-1, 1], n),
        horizon_bars=np.full(n, 30),
        strategies=tuple(f"s{number}" for number in range(N_STRATEGIES)),
        stop_distance=STOP * price,
        target_distance=TARGET * price,
        close_stop=0.9 * STOP * price,
    )
    account = Account(
        1e6, FixedFraction(SIZE_USD / 1e6), max_strategy_leverage=0.1, max_symbol_leverage=1.0, overlap="skip"
    )
    return market, signals, account


def _vectorbt(market: Any, signals: Any) -> dict[str, float]:
    from other_engines import environments

    entry = signals.decision_bar + 1
    inside = entry < market.n_bars
    arrays = {
        **{name: getattr(market, name)[0] for name in ("open", "high", "low", "close")},
        "timestamp": market.timestamp,
        "entry_bar": entry[inside],
        "column": signals.strategy[inside],
        "side": signals.side[inside],
        "horizon": signals.horizon_bars[inside],
        **{
            "n_columns": N_STRATEGIES,
            "stop": STOP,
            "target": TARGET,
            "fee": FEE,
            "slippage": SLIPPAGE,
            "size_usd": SIZE_USD,
        },
    }
    try:
        return environments.run("vectorbt", "columns_in_vectorbt.py", arrays)[0]
    except environments.NotInstallableError as fault:
        print(fault, file=sys.stderr)
        return {}


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
