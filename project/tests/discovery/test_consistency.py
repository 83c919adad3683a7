"""Signs by year and by symbol, in the direction of the trade."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtest.discovery.consistency import signs_by_symbol, signs_by_year


def test_every_year_with_events_has_its_sign() -> None:
    by_year = np.array([[-1.0, 2.0], [np.nan, np.nan], [-5.0, np.nan], [0.0, 1.0]])
    found = signs_by_year((2022, 2023), by_year)
    assert found.to_list() == ["2022- 2023+", None, "2022-", "20220 2023+"]


def test_every_scope_tells_of_all_symbols_in_the_direction_of_its_own_trade() -> None:
    register = pl.DataFrame(
        {"event_type": ["E"] * 4, "policy": ["lag1"] * 4, "horizon": ["5m"] * 4, "state_id": ["all"] * 4}
    ).with_columns(pl.Series("symbol", ["POOLED", "BTCUSDT", "ETHUSDT", "SOLUSDT"]))
    total, n, sign = np.array([1.0, 2.0, -1.0, 0.0]), np.array([5, 3, 2, 0]), np.array([1.0, 1.0, -1.0, 1.0])
    found = signs_by_symbol(register, total, n, sign)
    assert found.to_list() == ["BTCUSDT+ ETHUSDT-", "BTCUSDT+ ETHUSDT-", "BTCUSDT- ETHUSDT+", "BTCUSDT+ ETHUSDT-"]
