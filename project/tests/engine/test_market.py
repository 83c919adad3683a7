"""Rules by date out of spec models, and faults of markets and signals."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from backtest.engine.account import Account, FixedFraction
from backtest.engine.market import SpotMargin, contract_rules
from backtest.errors import MisuseError, SpecError
from backtest.spec.models import (
    Contract,
    ContractPeriod,
    Costs,
    FeePeriod,
    FeeTier,
    MarginBracket,
    MarginPeriod,
    SpotCosts,
)
from backtest.spec.strategies import SpotMarginRates
from backtest.strategies.portfolio import SPOT, _rules
from tests.engine.markets import by_hand, one_signal

FEES = (
    FeePeriod(since=dt.date(2020, 1, 1), taker_fee_bps=5, maker_fee_bps=2, source="made up"),
    FeePeriod(
        since=dt.date(2020, 1, 3),
        taker_fee_bps=4,
        tiers=(FeeTier(min_volume_30d_usd=1e6, taker_fee_bps=3, maker_fee_bps=1),),
        source="made up",
    ),
)
COSTS = Costs(
    fees=FEES,
    half_spread_bps={"default": 1.0, "X": 0.5},
    impact_coefficient=1.0,
    order_usd=1000,
    spot=SpotCosts(fees=FEES[:1], half_spread_bps={"default": 1.0}, borrow_bps_per_day=1.0),
)
MARGIN = MarginPeriod(
    since=dt.date(2020, 1, 1),
    liquidation_fee_bps=100,
    brackets=(
        MarginBracket(from_usd=0, max_leverage=50, maintenance_rate=0.01),
        MarginBracket(from_usd=1000, max_leverage=10, maintenance_rate=0.05),
    ),
)
CONTRACT = Contract(
    symbol="X",
    periods=(
        ContractPeriod(since=dt.date(2020, 1, 1), tick_size=0.1, min_notional_usd=5),
        ContractPeriod(since=dt.date(2020, 1, 2), tick_size=0.01, lot_size=0.001),
    ),
    margin=(MARGIN,),
)
HOURS = np.datetime64("2020-01-01T12:00", "ms") + np.arange(48) * np.timedelta64(1, "h").astype("timedelta64[ms]")


def test_rules_start_at_the_first_bar_of_their_day() -> None:
    rules = contract_rules(CONTRACT, COSTS, HOURS)
    assert rules.since_bar.tolist() == [0, 12, 36]
    assert rules.tick_size.tolist() == [0.1, 0.01, 0.01]
    assert rules.lot_size.tolist() == [0.0, 0.001, 0.001]
    assert rules.taker_fee.tolist() == pytest.approx(np.array([[5, 5], [5, 5], [4, 3]]) * 1e-4)
    assert rules.maker_fee.tolist() == pytest.approx(np.array([[2, 2], [2, 2], [4, 1]]) * 1e-4)
    assert rules.tier_volume_usd.tolist() == [[0, np.inf], [0, np.inf], [0, 1e6]]
    assert rules.half_spread.tolist() == [0.5e-4] * 3
    assert rules.bracket_floor_usd.tolist() == [[0.0, 1000.0]] * 3


def test_a_contract_s_own_fees_are_those_of_the_perpetual_and_not_of_its_spot_market() -> None:
    own = CONTRACT.model_copy(
        update={"fees": (FeePeriod(since=dt.date(2020, 1, 1), taker_fee_bps=1, maker_fee_bps=0, source="made up"),)}
    )
    perpetual, spot = (_rules(name, {"X": own}, COSTS, SpotMarginRates(), HOURS) for name in ("X", f"X{SPOT}"))
    assert set(perpetual.taker_fee.ravel()) == {1e-4}
    assert set(perpetual.maker_fee.ravel()) == {0.0}
    assert set(spot.taker_fee.ravel()) == {COSTS.spot.fees[0].taker_fee_bps * 1e-4}


def test_spot_is_paid_in_full_or_borrowed_with_collateral_and_knows_no_brackets() -> None:
    perpetual, spot = (_rules(name, {"X": CONTRACT}, COSTS, SpotMarginRates(), HOURS) for name in ("X", f"X{SPOT}"))
    assert perpetual.spot_margin is None
    assert spot.spot_margin == SpotMargin(
        initial_long=1.0, maintenance_long=1.0, initial_short=0.5, maintenance_short=0.1
    )
    assert not spot.liquidation_fee.any()
    with pytest.raises(MisuseError, match="maintenance is above initial margin"):
        SpotMargin(1.0, 1.0, 0.1, 0.5)


def test_a_contract_without_margin_is_named() -> None:
    bare = CONTRACT.model_copy(update={"margin": ()})
    with pytest.raises(SpecError, match=r"X states no margin; state it in its file, or remove the file"):
        contract_rules(bare, COSTS, HOURS)


@pytest.mark.parametrize(
    ("brackets", "fault"),
    [
        ([(5, 50, 0.01)], "they ascend from 0"),
        ([(0, 50, 0.01), (10, 60, 0.02)], "max_leverage never rises"),
        ([(0, 50, 0.02)], "must lie below 1 / max_leverage"),
    ],
)
def test_margin_brackets_that_contradict_themselves_are_refused(
    brackets: list[tuple[float, float, float]], fault: str
) -> None:
    made = tuple(MarginBracket(from_usd=a, max_leverage=b, maintenance_rate=c) for a, b, c in brackets)
    with pytest.raises(ValueError, match=fault):
        MarginPeriod(since=dt.date(2020, 1, 1), liquidation_fee_bps=1, brackets=made)


def test_a_tradable_bar_needs_its_prices() -> None:
    with pytest.raises(MisuseError, match=r"X: bar 2024-01-01T00:05.* is tradable but lacks a price"):
        by_hand([(1, 1, 1, 1), (1, 1, np.nan, 1)])


def test_all_faults_of_signals_are_told_at_once() -> None:
    market = by_hand([(1, 1, 1, 1)] * 3)
    with pytest.raises(MisuseError) as caught:
        one_signal(instrument=1, side=0, horizon_bars=0, stop_distance=-1.0).check(market)
    for fault in ("instrument is 1 in row 0", "side is 0", "horizon_bars is 0", "stop_distance is -1.0"):
        assert fault in str(caught.value)


def test_an_account_needs_money_and_limits_above_zero() -> None:
    with pytest.raises(MisuseError, match=r"max_leverage is 0; it is above 0; FixedFraction.fraction is -1"):
        Account(starting_equity_usd=1.0, sizing=FixedFraction(-1), max_leverage=0)
