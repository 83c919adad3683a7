"""Costs by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from backtest.engine.costs import round_trip_cost, taker_fees, tick_sizes
from backtest.spec.models import Contract, ContractPeriod, Costs, FeePeriod, SpotCosts

COSTS = Costs(
    fees=(
        FeePeriod(since=dt.date(2020, 1, 1), taker_fee_bps=4, source="made up"),
        FeePeriod(since=dt.date(2020, 1, 11), taker_fee_bps=5, source="made up"),
    ),
    half_spread_bps={"default": 1.0, "BTCUSDT": 0.1},
    impact_coefficient=1.0,
    order_usd=10_000,
    spot=SpotCosts(
        fees=(FeePeriod(since=dt.date(2020, 1, 1), taker_fee_bps=10, source="made up"),),
        half_spread_bps={"default": 1.0},
        borrow_bps_per_day=1.0,
    ),
)
CONTRACT = Contract(
    symbol="BTCUSDT",
    periods=(
        ContractPeriod(since=dt.date(2020, 1, 1), tick_size=0.01),
        ContractPeriod(since=dt.date(2020, 1, 11), tick_size=1.0),
    ),
)
FIRST = (dt.date(2020, 1, 1) - dt.date(1970, 1, 1)).days


def test_fees_and_ticks_are_those_of_their_day() -> None:
    days = np.array([FIRST - 5, FIRST, FIRST + 9, FIRST + 10, FIRST + 500])
    assert taker_fees(COSTS, days) == pytest.approx(np.array([4, 4, 4, 5, 5]) * 1e-4)
    assert tick_sizes(CONTRACT, days).tolist() == [0.01, 0.01, 0.01, 1.0, 1.0]


def test_a_round_trip_pays_each_sides_fee_two_half_spreads_and_impact() -> None:
    cost = round_trip_cost(
        COSTS,
        CONTRACT,
        "BTCUSDT",
        np.array([FIRST + 9]),
        np.array([FIRST + 10]),
        np.array([50_000.0]),
        np.array([0.002]),
        np.array([1_000_000.0]),
    )
    # 4 + 5 bps of fees, 0.2 bps of spread, 20 bps x sqrt(1 %) of impact.
    assert cost.total == pytest.approx(np.array([9e-4 + 0.2e-4 + 2e-4]))


def test_a_contract_with_fees_of_its_own_pays_those() -> None:
    fees = (
        FeePeriod(since=dt.date(2020, 1, 1), taker_fee_bps=1, source="made up"),
        FeePeriod(since=dt.date(2020, 1, 11), taker_fee_bps=2, source="made up"),
    )
    own = CONTRACT.model_copy(update={"fees": fees})
    at = (np.array([FIRST + 9]), np.array([FIRST + 10]), np.array([50_000.0]), np.array([0.002]), np.array([1e6]))
    usual, other = (round_trip_cost(COSTS, contract, "BTCUSDT", *at) for contract in (CONTRACT, own))
    # 4 + 5 bps become 1 + 2; spread and impact stay.
    assert usual.total - other.total == pytest.approx(np.array([6e-4]))


def test_the_spread_is_at_least_a_tick() -> None:
    at = np.array([FIRST + 20])
    cost = round_trip_cost(COSTS, CONTRACT, "BTCUSDT", at, at, np.array([1000.0]), np.array([0.0]), np.array([1e6]))
    assert cost.total == pytest.approx(np.array([10e-4 + 1 / 1000]))


@pytest.mark.parametrize("turnover", [0.0, np.nan])
def test_no_turnover_gives_no_cost_rather_than_none(turnover: float) -> None:
    at = np.array([FIRST])
    cost = round_trip_cost(COSTS, CONTRACT, "X", at, at, np.array([1.0]), np.array([0.001]), np.array([turnover]))
    assert np.isnan(cost.total).all()


def test_a_contract_exists_between_its_days_and_has_the_rules_of_each() -> None:
    listed = CONTRACT.model_copy(update={"listed": dt.date(2020, 1, 5), "delisted": dt.date(2020, 2, 1)})
    assert [listed.exists_on(dt.date(2020, 1, day)) for day in (4, 5)] == [False, True]
    assert not listed.exists_on(dt.date(2020, 2, 2))
    assert listed.on(dt.date(2020, 1, 10)).tick_size == 0.01
    assert listed.on(dt.date(2020, 1, 11)).tick_size == 1.0
