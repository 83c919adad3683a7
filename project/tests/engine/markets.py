"""Small markets by hand and at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.engine.account import Account, FixedNotional
from backtest.engine.market import InstrumentRules, Market
from backtest.engine.signals import Signals

START = np.datetime64("2024-01-01T00:00", "ms")
BAR = np.timedelta64(300_000, "ms")


def flat_rules(**changes: Any) -> InstrumentRules:
    """Rules of one period: no cost, no rounding, one margin bracket of 1 % at up to 50 times; `changes` are its values."""
    values: dict[str, Any] = {
        "since_bar": np.array([0]),
        "tier_volume_usd": [0.0],
        "taker_fee": [0.0],
        "maker_fee": [0.0],
        "tick_size": 0.0,
        "lot_size": 0.0,
        "min_notional_usd": 0.0,
        "half_spread": 0.0,
        "liquidation_fee": 0.0,
        "bracket_floor_usd": [0.0],
        "maintenance_rate": [0.01],
        "max_leverage": [50.0],
        "impact_coefficient": 0.0,
    }
    values.update(changes)
    keep = ("since_bar", "impact_coefficient", "spot_margin")
    return InstrumentRules(
        **{name: value if name in keep else np.array([value], dtype=np.float64) for name, value in values.items()}
    )


def by_hand(
    bars: Sequence[tuple[float, float, float, float]], rules: InstrumentRules | None = None, **changes: Any
) -> Market:
    """One instrument, X, from (open, high, low, close) a bar; `changes` are whole rows of other fields."""
    prices = np.array(bars, dtype=np.float64).T
    n = len(bars)
    values: dict[str, Any] = {
        "mark": prices[3],
        "funding": np.zeros(n),
        "tradable": np.ones(n, dtype=bool),
        "volatility": np.full(n, 0.001),
        "turnover_usd": np.full(n, 1e6),
    }
    values.update(changes)
    return Market(
        instruments=("X",),
        timestamp=START + np.arange(n) * BAR,
        open=prices[:1],
        high=prices[1:2],
        low=prices[2:3],
        close=prices[3:],
        rules=(rules or flat_rules(),),
        **{name: np.asarray(row)[None, :] for name, row in values.items()},
    )


def one_signal(**changes: Any) -> Signals:
    """A long decided at the close of bar 0, to be held for two bars; `changes` are its values."""
    values: dict[str, Any] = {"strategy": 0, "instrument": 0, "decision_bar": 0, "side": 1, "horizon_bars": 2}
    values.update(changes)
    masks = {"invalidation_masks": values.pop("invalidation_masks", None)}
    return many_signals({**{name: [value] for name, value in values.items()}, **masks})


def many_signals(values: dict[str, Any]) -> Signals:
    """Signals from columns."""
    integers = ("strategy", "instrument", "decision_bar", "side", "horizon_bars")
    integers += ("entry_lag_bars", "invalidation", "hedge_instrument")
    columns: dict[str, NDArray[Any]] = {}
    for name, column in values.items():
        if name not in ("strategies", "invalidation_masks"):
            columns[name] = np.array(column, dtype=np.int64 if name in integers else np.float64)
    n_strategies = int(columns["strategy"].max(initial=0)) + 1
    return Signals(
        strategies=tuple(f"s{number}" for number in range(n_strategies)),
        invalidation_masks=values.get("invalidation_masks"),
        **columns,  # type: ignore[arg-type]
    )


def account(**changes: Any) -> Account:
    """10,000 USD, 1,000 USD a trade, no caps."""
    values: dict[str, Any] = {
        "starting_equity_usd": 10_000.0,
        "sizing": FixedNotional(1000.0),
        "max_leverage": 100.0,
        "leverage": 50.0,
        "target_through_ticks": 0.0,
    }
    values.update(changes)
    return Account(**values)
