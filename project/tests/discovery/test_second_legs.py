"""Trades of two legs by hand: returns, both legs' costs, what is borrowed, truth and taint."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.cleaning.taint import SPOT_BIT
from backtest.discovery.forward_returns import Bars
from backtest.discovery.hypotheses import Trial
from backtest.discovery.scoring import DISCOVERY, MadeTrades, SymbolMarket, trades_made
from backtest.discovery.second_legs import SecondLeg, TwoLegs, difference_volatility, spot_leg
from backtest.events.taint import counted_before
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec
from backtest.spec.models import Contract, ContractPeriod, Costs, FeePeriod, Policy, SpotCosts

BARS = 12
FIRST_DAY = (dt.date(2023, 1, 1) - dt.date(1970, 1, 1)).days
# Another day, and with it other fees, from the seventh bar on.
DAY = np.repeat([FIRST_DAY, FIRST_DAY + 1], 6).astype(np.int64)
OPEN = np.array([100, 100, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109], dtype=float)
SECOND_OPEN = np.array([50, 50, 50, 50, 50, 51, 51, 51, 51, 51, 51, 51], dtype=float)
AT, ENTRY, EXIT = 2, 3, 9
TRIAL = {name: Trial(Policy(entry_lag_bars=1, second_leg=name), "30m", "long", "short") for name in ("spot", "pair")}


def fees(*levels: float) -> tuple[FeePeriod, ...]:
    dates = (dt.date(2023, 1, 1), dt.date(2023, 1, 2))
    return tuple(
        FeePeriod(since=since, taker_fee_bps=bps, source="made up") for since, bps in zip(dates, levels, strict=True)
    )


@pytest.fixture(scope="module")
def spec() -> Spec:
    shipped = load_spec(Path(__file__).resolve().parents[3] / "spec")
    periods = (ContractPeriod(since=dt.date(2023, 1, 1)),)
    costs = Costs(
        fees=fees(5, 4),
        half_spread_bps={"default": 9.0, "ETHUSDT": 0.5, "BTCUSDT": 0.25},
        impact_coefficient=1.0,
        order_usd=10_000,
        spot=SpotCosts(fees=fees(10, 8), half_spread_bps={"default": 9.0, "ETHUSDT": 1.5}, borrow_bps_per_day=288.0),
    )
    contracts = {
        "ETHUSDT": Contract(symbol="ETHUSDT", periods=periods),
        "BTCUSDT": Contract(symbol="BTCUSDT", periods=periods, fees=fees(3, 2)),
    }
    return dataclasses.replace(shipped, costs=costs, contracts={**shipped.contracts, **contracts})


def bars(opens: np.ndarray, funding: float) -> Bars:
    stamps = np.zeros(BARS)
    stamps[5] = funding
    return Bars(opens, opens + 0.5, opens - 0.5, opens, np.ones(BARS, bool), stamps)


def leg(name: str, *, suspect: int | None = None, drift: float | None = None) -> SecondLeg:
    return SecondLeg(
        symbol="ETHUSDT" if name == "spot" else "BTCUSDT",
        is_spot=name == "spot",
        both=TwoLegs(bars(OPEN, 0.0003), bars(SECOND_OPEN, 0.0 if name == "spot" else 0.0001)),
        mean_bar_return=np.full(BARS, 0.0002),
        volatility=np.full(BARS, 0.003),
        difference_volatility=np.full(BARS, 0.001),
        turnover_usd=np.full(BARS, 250_000.0),
        tainted_before=counted_before(np.arange(BARS) == suspect),
        planted_drift=None if drift is None else np.full(BARS, drift),
    )


def market(second: SecondLeg, *, suspect: int | None = None, drift: float | None = None) -> SymbolMarket:
    unused = np.full(BARS, np.nan)
    return SymbolMarket(
        symbol="ETHUSDT",
        timestamp=pl.Series(np.arange(BARS)),
        day=DAY,
        fold=np.full(BARS, DISCOVERY, np.int8),
        mean_bar_return=np.full(BARS, 0.0005),
        bars=second.both.first,
        volatility=np.full(BARS, 0.002),
        average_true_range=unused,
        event_move=unused,
        fallback_direction=unused,
        turnover_usd=np.full(BARS, 1_000_000.0),
        spot_gap=unused,
        states={},
        filters={},
        tainted_before=counted_before(np.arange(BARS) == suspect),
        second_legs={"spot" if second.is_spot else "pair": second},
        planted_drift=None if drift is None else np.full(BARS, drift),
    )


def made(spec: Spec, of: SymbolMarket, direction: float = 1.0) -> MadeTrades:
    (name,) = of.second_legs
    found = trades_made(of, TRIAL[name], np.array([AT]), np.array([direction]), spec)
    assert found is not None
    assert found.entry.tolist() == [ENTRY]
    assert found.exit.tolist() == [EXIT]
    return found


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_trade_earns_the_first_legs_return_less_the_seconds_without_the_drift_of_both(
    spec: Spec, direction: float
) -> None:
    found = made(spec, market(leg("pair")), direction)
    gross = direction * (OPEN[EXIT] / OPEN[ENTRY] - SECOND_OPEN[EXIT] / SECOND_OPEN[ENTRY])
    assert found.gross == pytest.approx([gross])
    assert found.abnormal == pytest.approx([gross - direction * 6 * (0.0005 - 0.0002)])
    assert found.volatility.tolist() == [0.001]
    # The stamp at the sixth bar lies within: a long first leg pays 3 bps, a short second one receives 1.
    assert found.funding == pytest.approx([direction * 2e-4])


def test_a_pair_pays_the_fees_of_both_contracts_both_spreads_and_both_impacts(spec: Spec) -> None:
    found = made(spec, market(leg("pair")))
    fees_bps = (5 + 4) + (3 + 2)
    spread_bps = 2 * 0.5 + 2 * 0.25
    # 20 bps x sqrt(10,000 / 1,000,000) and 30 bps x sqrt(10,000 / 250,000).
    impact_bps = 20 * 0.1 + 30 * 0.2
    assert found.cost.fees == pytest.approx([fees_bps * 1e-4])
    assert found.cost.impact == pytest.approx([impact_bps * 1e-4])
    assert found.cost.total == pytest.approx([(fees_bps + spread_bps + impact_bps) * 1e-4])
    assert found.turnover_usd.tolist() == [250_000.0]


def test_spot_pays_its_own_fees_and_spread_and_interest_for_each_bar_it_is_held(spec: Spec) -> None:
    found = made(spec, market(leg("spot")))
    fees_bps = (5 + 4) + (10 + 8)
    spread_bps = 2 * 0.5 + 2 * 1.5
    impact_bps = 20 * 0.1 + 30 * 0.2
    # 288 bps a day are one for each of six bars.
    assert found.cost.total == pytest.approx([(fees_bps + spread_bps + impact_bps + 6) * 1e-4])
    assert found.cost.interest == pytest.approx([6e-4])
    # Spot has no funding.
    assert found.funding == pytest.approx([3e-4])


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_the_truth_is_what_was_planted_in_the_first_leg_less_that_in_the_second(spec: Spec, direction: float) -> None:
    found = made(spec, market(leg("pair", drift=0.0001), drift=0.0004), direction)
    assert found.truth == pytest.approx([direction * (np.expm1(6 * 0.0004) - np.expm1(6 * 0.0001))])
    spot = made(spec, market(leg("spot"), drift=0.0004), direction)
    assert spot.truth is not None
    assert np.isnan(spot.truth).all()


@pytest.mark.parametrize(("bar", "is_tainted"), [(1, False), (2, True), (8, True), (9, True), (10, False)])
def test_a_bar_of_either_leg_that_cannot_be_trusted_taints_the_trade(spec: Spec, bar: int, is_tainted: bool) -> None:
    assert made(spec, market(leg("pair", suspect=bar))).is_tainted.tolist() == [is_tainted]
    assert made(spec, market(leg("pair"), suspect=bar)).is_tainted.tolist() == [is_tainted]


def test_without_its_second_leg_in_the_lake_or_a_known_cost_of_it_there_is_no_trade(spec: Spec) -> None:
    alone = dataclasses.replace(market(leg("pair")), second_legs={})
    assert trades_made(alone, TRIAL["pair"], np.array([AT]), np.array([1.0]), spec) is None
    unknown = dataclasses.replace(leg("pair"), turnover_usd=np.zeros(BARS))
    found = trades_made(market(unknown), TRIAL["pair"], np.array([AT]), np.array([1.0]), spec)
    assert found is not None
    assert len(found.entry) == 0


def test_spot_that_nobody_trades_or_that_is_suspect_taints_and_cannot_be_traded() -> None:
    frame = pl.DataFrame(
        {
            "spot_open": [50.0, None, 50.0, 50.0],
            "spot_close": [50.0, None, 50.0, 50.0],
            "spot_volume": [1.0, None, 0.0, 1.0],
            "taint": [0, 0, 0, SPOT_BIT],
        }
    )
    own = Bars(*(np.full(4, 100.0),) * 4, np.ones(4, bool), np.zeros(4))
    found = spot_leg("ETHUSDT", own, np.ones(4), frame, np.ones(4), lambda opens: opens)
    assert found.both.tradable.tolist() == [True, False, False, True]
    assert np.diff(found.tainted_before).tolist() == [0, 1, 1, 1]


def test_the_volatility_of_the_difference_is_its_root_mean_square_over_about_a_day() -> None:
    rng = np.random.default_rng(2)
    first, second = (100 * np.cumprod(1 + rng.normal(0, 0.002, 700)) for _ in range(2))
    found = difference_volatility(first, second)
    assert np.isnan(found[:288]).all()
    difference = np.diff(first) / first[:-1] - np.diff(second) / second[:-1]
    weights = (1 - 2 / 289) ** np.arange(699)[::-1]
    assert found[-1] == pytest.approx(np.sqrt((weights * difference**2).sum() / weights.sum()))
