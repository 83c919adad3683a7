"""Drawdown, slippage and positions of a live account, against slow and obvious computations."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import DataError
from backtest.monitoring.live_account import (
    drawdowns,
    positions_usd,
    slippage_ratio,
    sound_equity,
    sound_fills,
)

NOW = dt.datetime(2025, 1, 10, tzinfo=dt.UTC)
START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def _equity(values: list[float], flows: list[float] | None = None) -> pl.DataFrame:
    rows: dict[str, Any] = {
        "timestamp": [START + dt.timedelta(minutes=number) for number in range(len(values))],
        "equity_usd": values,
    }
    return sound_equity(pl.DataFrame(rows | ({"cash_flow_usd": flows} if flows else {})), NOW)


def _fill(**changes: Any) -> dict[str, Any]:
    fill = {
        "timestamp": "2025-01-01T12:00:00Z",
        "symbol": "BTCUSDT",
        "side": "buy",
        "price": 100.1,
        "quantity": 2.0,
        "expected_price": 100.0,
        "modelled_slippage_bps": 5.0,
    }
    return fill | changes


def _fills(*fills: dict[str, Any]) -> pl.DataFrame:
    return sound_fills(pl.DataFrame(list(fills), strict=False), NOW)


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=30))
def test_drawdown_is_the_worst_fall_between_any_two_moments(values: list[float]) -> None:
    slow = max(1 - later / earlier for at, earlier in enumerate(values) for later in values[at:])
    latest = 1 - values[-1] / max(values)
    assert drawdowns(_equity(values)) == (pytest.approx(slow, abs=1e-9), pytest.approx(latest, abs=1e-9))


def test_a_withdrawal_is_no_loss_and_a_deposit_hides_none() -> None:
    assert drawdowns(_equity([100.0, 40.0, 40.0], [0.0, -60.0, 0.0])) == (0.0, 0.0)
    deepest, _ = drawdowns(_equity([100.0, 140.0], [0.0, 60.0]))
    assert deepest == pytest.approx(0.2)


def test_an_account_wiped_out_stays_wiped_out() -> None:
    assert drawdowns(_equity([100.0, 0.0, 500.0])) == (1.0, 1.0)
    assert drawdowns(_equity([-5.0])) == (1.0, 1.0)


def test_slippage_is_what_was_paid_more_than_expected_over_what_was_modelled() -> None:
    bought = _fill(price=100.1)  # 10 bps worse on 200 USD, 5 modelled
    sold = _fill(side="SELL", price=99.5, quantity=1.0)  # 50 bps worse on 100 USD
    assert slippage_ratio(_fills(bought)) == pytest.approx(2.0)
    assert slippage_ratio(_fills(bought, sold)) == pytest.approx((200 * 10 + 100 * 50) / (300 * 5))
    assert slippage_ratio(_fills(_fill(side="sell", price=100.1))) == pytest.approx(-2.0)
    with pytest.raises(DataError, match="zero throughout"):
        slippage_ratio(_fills(_fill(modelled_slippage_bps=0.0)))


def test_a_position_is_the_sum_of_its_fills_at_the_given_price_or_that_of_the_last_fill() -> None:
    fills = _fills(
        _fill(quantity=3.0),
        _fill(side="sell", quantity=5.0, timestamp="2025-01-02T00:00:00+00:00"),
        _fill(symbol="ETHUSDT", quantity=1.0, price=10.0),
    )
    assert positions_usd(fills, {"BTCUSDT": 50.0}) == {"BTCUSDT": -100.0, "ETHUSDT": 10.0}


def test_texts_and_milliseconds_are_understood_and_fills_are_put_in_order() -> None:
    fills = _fills(
        _fill(timestamp="1735819200000", price="100.2", quantity="1"),
        _fill(timestamp="2025-01-01T01:00:00+01:00", price="100.1", quantity="2"),
    )
    assert fills["timestamp"].to_list() == [START, dt.datetime(2025, 1, 2, 12, tzinfo=dt.UTC)]
    assert fills["price"].to_list() == [100.1, 100.2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"side": "long"}, "neither buy nor sell"),
        ({"price": -1.0}, "price is not positive"),
        ({"quantity": 0.0}, "quantity is not positive"),
        ({"price": float("nan")}, "no finite number"),
        ({"price": None}, "no number"),
        ({"price": "1e999"}, "no finite number"),
        ({"modelled_slippage_bps": -1.0}, "is negative"),
        ({"symbol": None}, "no symbol"),
        ({"timestamp": "2025-01-01T12:00:00"}, "no time with an offset"),
        ({"timestamp": "noon"}, "no time with an offset"),
        ({"timestamp": "2026-01-01T12:00:00Z"}, "lies after now"),
        ({"timestamp": "1735819200"}, "are the timestamps milliseconds"),
        ({"timestamp": 10**30}, "no time with an offset"),
    ],
)
def test_a_fill_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        sound_fills(pl.DataFrame([_fill(**changes)], schema=dict.fromkeys(_fill(), pl.Object)), NOW)


def test_contradictions_between_rows_and_missing_columns_are_refused() -> None:
    with pytest.raises(DataError, match="occurs twice"):
        _fills(_fill(fill_id="a"), _fill(fill_id="a"))
    with pytest.raises(DataError, match=r"column expected_price is missing\. Did you mean 'expected_prices'"):
        _fills({name.replace("d_price", "d_prices"): value for name, value in _fill().items()})
    same = pl.DataFrame({"timestamp": [START, START], "equity_usd": [1.0, 2.0]})
    with pytest.raises(DataError, match="one timestamp"):
        sound_equity(same, NOW)
