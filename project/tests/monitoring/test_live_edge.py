"""Live trades against a blueprint's interval: round trips by hand, wealth by a slow loop, bets that do not win."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from backtest.errors import DataError
from backtest.monitoring.kill_switch import edge_check
from backtest.monitoring.live_edge import BETS, CAPS_SD, Promise, Trade, edge_evidence, round_trips, wealth_path

START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
PROMISE = Promise("b", low=0.001, sd=0.005)


def _fills(*rows: tuple[int, float, float], blueprint: str | None = "b") -> pl.DataFrame:
    """Hour, signed quantity and expected price of each fill."""
    return pl.DataFrame(
        {
            "timestamp": [START + dt.timedelta(hours=hour) for hour, _, _ in rows],
            "symbol": ["BTCUSDT"] * len(rows),
            "blueprint_id": [blueprint] * len(rows),
            "expected_price": [price for _, _, price in rows],
            "signed_quantity": [quantity for _, quantity, _ in rows],
        },
        schema_overrides={"blueprint_id": pl.String()},
    )


def test_a_long_and_a_short_trade_by_hand() -> None:
    trades = round_trips(_fills((0, 1.0, 100.0), (1, -1.0, 102.0), (2, -2.0, 100.0), (3, 1.0, 98.0), (4, 1.0, 96.0)))
    assert [trade.gross_return for trade in trades] == pytest.approx([0.02, 0.03])
    assert [trade.entered_at.hour for trade in trades] == [0, 2]


def test_a_fill_that_turns_a_position_closes_one_trade_and_opens_the_next() -> None:
    trades = round_trips(_fills((0, 1.0, 100.0), (1, -3.0, 110.0), (2, 2.0, 99.0)))
    assert [trade.gross_return for trade in trades] == pytest.approx([0.1, 0.1])


def test_open_positions_and_fills_of_no_blueprint_are_no_trades() -> None:
    assert round_trips(_fills((0, 1.0, 100.0), (1, -0.5, 101.0))) == []
    assert round_trips(_fills((0, 1.0, 100.0), (1, -1.0, 101.0), blueprint=None)) == []


def test_rounding_of_quantities_leaves_no_position_open() -> None:
    trades = round_trips(_fills((0, 0.1, 100.0), (1, 0.2, 100.0), (2, -0.3, 101.0), (3, 1.0, 50.0), (4, -1.0, 51.0)))
    assert [trade.gross_return for trade in trades] == pytest.approx([0.01, 0.02])


def test_wealth_is_that_of_a_slow_loop_and_never_negative() -> None:
    days = np.random.default_rng(1).standard_t(2, 50) * 0.005
    days[7] = 5.0  # an absurd gain
    expected = []
    for n_days in range(1, 51):
        total = 0.0
        for cap in CAPS_SD:
            allowance = PROMISE.sd / (4 * cap)
            for share in BETS:
                bet, wealth = share / (cap * PROMISE.sd + allowance), 1.0
                for day in days[:n_days]:
                    wealth *= 1 + bet * (PROMISE.low - allowance - min(day, PROMISE.low + cap * PROMISE.sd))
                total += wealth / (len(CAPS_SD) * len(BETS))
        expected.append(total)
    found = wealth_path(days, PROMISE)
    assert found == pytest.approx(expected)
    assert (found > 0).all()


@pytest.mark.parametrize("skew", [1.0, -1.0])
def test_no_bet_wins_on_average_where_the_promise_is_kept_exactly(skew: float) -> None:
    rng = np.random.default_rng(2)
    days = PROMISE.low + skew * (rng.exponential(size=400_000) - 1) * PROMISE.sd
    for cap in CAPS_SD:
        allowance = PROMISE.sd / (4 * cap)
        gap = PROMISE.low - allowance - np.minimum(days, PROMISE.low + cap * PROMISE.sd)
        assert gap.mean() < 3 * gap.std() / np.sqrt(len(days))


def test_days_that_are_not_over_do_not_count_and_a_day_is_one_bet() -> None:
    trades = [Trade("b", "BTCUSDT", START, START, 0.01), Trade("b", "ETHUSDT", START, START, 0.03)]
    late = Trade("b", "BTCUSDT", START + dt.timedelta(days=1), START + dt.timedelta(days=1), -1.0)
    (evidence,) = edge_evidence([*trades, late], {"b": PROMISE}, START + dt.timedelta(days=1, hours=5))
    assert (evidence.n_days, evidence.n_trades) == (1, 2)
    assert evidence.wealth == pytest.approx(wealth_path(np.array([0.02]), PROMISE)[-1])


def test_trades_of_a_blueprint_the_run_does_not_have_contradict_it() -> None:
    with pytest.raises(DataError, match="which the run does not have"):
        edge_evidence([Trade("x", "BTCUSDT", START, START, 0.01)], {"b": PROMISE}, START + dt.timedelta(days=2))


@pytest.mark.parametrize(("mean", "status"), [(0.001, "PASS"), (-0.002, "HALT")])
def test_an_edge_that_is_gone_halts_and_one_that_holds_passes(mean: float, status: str) -> None:
    noise = np.random.default_rng(4).standard_normal(150) * PROMISE.sd
    trades = [
        Trade("b", "BTCUSDT", START + dt.timedelta(days=day), START + dt.timedelta(days=day), mean + value)
        for day, value in enumerate(noise - noise.mean())
    ]
    evidence = edge_evidence(trades, {"b": PROMISE}, START + dt.timedelta(days=200))
    check = edge_check(evidence, 1, data="live fills.csv")
    assert check.status == status
    assert check.limit == pytest.approx(np.log10(20))


def test_no_trades_are_a_warning() -> None:
    assert edge_check([], 3, data="live fills.csv").status == "WARN"
