"""The engine trades what discovery measures: with neutral costs and sizes the trades are the same, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.discovery.forward_returns import MAX_CARRY_BARS, Bars, Trades, TwoLegs, forward_trades
from backtest.engine.account import neutral_account
from backtest.engine.ledger import NO_BAR
from backtest.engine.market import Market
from backtest.engine.signals import Signals
from backtest.engine.simulation import simulate
from backtest.spec.models import Policy
from backtest.strategies.round_trips import Barriers, round_trips
from tests.engine.markets import BAR, START, flat_rules

N_BARS, N_EVENTS = 700, 120
POLICIES = [
    Policy(entry_lag_bars=1),
    Policy(entry_lag_bars=3),
    Policy(entry_lag_bars=1, upper_barrier_atr=1.0, lower_barrier_atr=2.0),
    Policy(entry_lag_bars=2, lower_barrier_atr=0.7),
]


def random_bars(rng: np.random.Generator) -> Bars:
    """Prices with gaps, halts (one longer than a day) and funding."""
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, N_BARS)))
    open_ = np.concatenate([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.002, N_BARS))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.005, N_BARS)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.005, N_BARS)))
    tradable = rng.random(N_BARS) > 0.1
    if rng.random() < 0.5:
        start = int(rng.integers(0, 400))
        tradable[start : start + MAX_CARRY_BARS + 5] = False
    gap = ~tradable & (rng.random(N_BARS) > 0.5)
    for prices in (open_, high, low, close):
        prices[gap] = np.nan
    funding = np.where(np.arange(N_BARS) % 24 == 0, rng.normal(0, 1e-4, N_BARS), 0.0)
    return Bars(open_, high, low, close, tradable, funding)


def as_market(legs: list[Bars], tainted: np.ndarray) -> Market:
    stacked = {
        name: np.array([getattr(bars, name) for bars in legs])
        for name in ("open", "high", "low", "close", "tradable", "funding")
    }
    shape = (len(legs), N_BARS)
    return Market(
        instruments=tuple("XY"[: len(legs)]),
        timestamp=START + np.arange(N_BARS) * BAR,
        mark=np.full(shape, np.nan),
        volatility=np.full(shape, np.nan),
        turnover_usd=np.full(shape, np.nan),
        rules=(flat_rules(tick_size=0.01, lot_size=0.001, taker_fee=[1e-3], impact_coefficient=1.0),) * len(legs),
        tainted=np.broadcast_to(tainted, shape),
        **stacked,
    )


def compare(market: Market, tested: Trades, signals: Signals, event: np.ndarray) -> None:
    """Every trade that discovery measures is traded the same; the others are those whose exit it drops, knowing it."""
    made = simulate(market.without_costs(), signals, neutral_account())
    first = made.ledger[made.ledger["leg"] == 0]
    by_event = dict(zip(event[first["signal"]].tolist(), range(len(first)), strict=True))
    assert set(tested.event.tolist()) <= set(by_event)
    rows = first[[by_event[index] for index in tested.event.tolist()]]
    assert rows["entry_bar"].tolist() == tested.entry.tolist()
    assert rows["exit_bar"].tolist() == tested.exit.tolist()
    funding = dict.fromkeys(event.tolist(), 0.0)
    gross = dict.fromkeys(event.tolist(), 0.0)
    for row in made.ledger:
        own = int(event[row["signal"]])
        funding[own] += row["funding_rate"]
        gross[own] += row["side"] * (row["exit_reference"] / row["entry_reference"] - 1.0)
    np.testing.assert_allclose([gross[i] for i in tested.event.tolist()], tested.gross, rtol=0, atol=1e-15)
    np.testing.assert_allclose([funding[i] for i in tested.event.tolist()], tested.funding, rtol=0, atol=1e-15)
    if market.n_instruments == 1:
        assert rows["mfe"].tolist() == tested.favourable.tolist()
        assert rows["mae"].tolist() == tested.adverse.tolist()
    for index in set(by_event) - set(tested.event.tolist()):
        row = first[by_event[index]]
        beyond = row["entry_bar"] + signals.horizon_bars[row["signal"]] >= N_BARS
        carried = row["exit_bar"] - row["planned_exit_bar"] > MAX_CARRY_BARS
        assert beyond or carried or row["exit_bar"] == NO_BAR


@given(seed=st.integers(0, 2**32 - 1), policy=st.sampled_from(POLICIES), horizon=st.sampled_from([1, 3, 12, 60]))
@settings(max_examples=60, deadline=None)
def test_the_engine_trades_what_discovery_measures(seed: int, policy: Policy, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    bars = random_bars(rng)
    events = np.sort(rng.choice(N_BARS, N_EVENTS, replace=False))
    direction, atr = rng.choice([-1.0, 1.0], N_EVENTS), rng.uniform(0.3, 3, N_EVENTS)
    tested = forward_trades(bars, events, direction, atr, np.ones(N_EVENTS), policy, horizon)
    signals = Signals(
        strategy=np.zeros(N_EVENTS, dtype=np.int64),
        instrument=np.zeros(N_EVENTS, dtype=np.int64),
        decision_bar=events,
        side=direction.astype(np.int64),
        horizon_bars=np.full(N_EVENTS, horizon),
        strategies=("s",),
        entry_lag_bars=np.full(N_EVENTS, policy.entry_lag_bars),
        close_target=atr * (policy.upper_barrier_atr or np.nan),
        close_stop=atr * (policy.lower_barrier_atr or np.nan),
    )
    # Excursions of the engine leave wrong bars out, discovery's do not: none is wrong here, but fills may be in one.
    compare(as_market([bars], np.zeros(N_BARS, dtype=bool)), tested, signals, np.arange(N_EVENTS))


@given(seed=st.integers(0, 2**32 - 1), policy=st.sampled_from(POLICIES), horizon=st.sampled_from([1, 12, 60]))
@settings(max_examples=40, deadline=None)
def test_the_engine_trades_two_legs_as_discovery_measures_them(seed: int, policy: Policy, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = random_bars(rng), random_bars(rng)
    events = np.sort(rng.choice(N_BARS, N_EVENTS, replace=False))
    direction, gap = rng.choice([-1.0, 1.0], N_EVENTS), rng.uniform(0.002, 0.03, N_EVENTS)
    tested = forward_trades(TwoLegs(first, second), events, direction, gap, np.ones(N_EVENTS), policy, horizon)
    signals = Signals(
        strategy=np.zeros(N_EVENTS, dtype=np.int64),
        instrument=np.zeros(N_EVENTS, dtype=np.int64),
        decision_bar=events,
        side=direction.astype(np.int64),
        horizon_bars=np.full(N_EVENTS, horizon),
        strategies=("s",),
        entry_lag_bars=np.full(N_EVENTS, policy.entry_lag_bars),
        close_target=gap * (policy.upper_barrier_atr or np.nan),
        close_stop=gap * (policy.lower_barrier_atr or np.nan),
        hedge_instrument=np.ones(N_EVENTS, dtype=np.int64),
    )
    compare(as_market([first, second], rng.random(N_BARS) < 0.1), tested, signals, np.arange(N_EVENTS))


@given(seed=st.integers(0, 2**32 - 1), horizon=st.sampled_from([1, 3, 12, 60]))
@settings(max_examples=60, deadline=None)
def test_the_engine_trades_resting_orders_and_invalidations_as_an_event_study_measures_them(
    seed: int, horizon: int
) -> None:
    rng = np.random.default_rng(seed)
    bars = random_bars(rng)
    events = np.sort(rng.choice(N_BARS - 1, N_EVENTS, replace=False))
    events = events[bars.tradable[events + 1]]
    n = len(events)
    side = rng.choice([-1.0, 1.0], n)

    def some(share: float) -> np.ndarray:
        return np.where(rng.random(n) < share, rng.uniform(0.3, 4, n), np.nan)

    barriers = Barriers(some(0.3), some(0.3), some(0.6), some(0.6), rng.random(N_BARS) < 0.03)
    leave, price = round_trips(bars, events + 1, side, barriers, horizon)
    signals = Signals(
        strategy=np.zeros(n, dtype=np.int64),
        instrument=np.zeros(n, dtype=np.int64),
        decision_bar=events,
        side=side.astype(np.int64),
        horizon_bars=np.full(n, horizon),
        strategies=("s",),
        close_target=barriers.close_target,
        close_stop=barriers.close_stop,
        target_distance=barriers.target,
        stop_distance=barriers.stop,
        invalidation=np.zeros(n, dtype=np.int64),
        invalidation_masks=barriers.invalidated[None, :],
    )
    rows = simulate(as_market([bars], np.zeros(N_BARS, dtype=bool)).without_costs(), signals, neutral_account()).ledger
    assert rows["signal"].tolist() == list(range(n))
    carried = rows["exit_bar"] - rows["planned_exit_bar"] > MAX_CARRY_BARS
    measured = (rows["exit_bar"] != NO_BAR) & ~carried
    assert leave.tolist() == np.where(measured, rows["exit_bar"], NO_BAR).tolist()
    np.testing.assert_allclose(price[measured], rows["exit_reference"][measured], rtol=1e-14)


def test_round_trips_end_where_a_hand_finds_it() -> None:
    # Entered at the open of bar 0 at 100; stop 2 below, target 3 above, close target 1.5.
    rows = [(100, 101, 99, 100), (100, 102, 99, 101), (97, 99, 96, 98), (98, 98, 98, 98)]
    opens, highs, lows, closes = np.array(rows, dtype=float).T
    bars = Bars(opens, highs, lows, closes, np.ones(4, dtype=bool), np.zeros(4))
    none, never = np.array([np.nan]), np.zeros(4, dtype=bool)
    zero, long = np.zeros(1, dtype=np.int64), np.ones(1)

    def one(
        side: np.ndarray, horizon: int, *distances: np.ndarray, invalidated: np.ndarray = never
    ) -> tuple[int, float]:
        leave, price = round_trips(bars, zero, side, Barriers(*distances, invalidated), horizon)
        return int(leave[0]), float(price[0])

    two, three = np.array([2.0]), np.array([3.0])
    assert one(long, 3, none, none, three, two) == (2, 97.0)  # gapped through at the open
    assert one(long, 3, none, none, two, none) == (1, 102.0)  # reached inside the bar
    assert one(-long, 3, none, none, three, two) == (
        1,
        102.0,
    )  # the stop of a short, before its target of the bar after
    assert one(long, 3, np.array([1.0]), none, none, none) == (2, 97.0)  # a close at 101, out at the next open
    assert one(long, 3, none, none, none, none, invalidated=np.arange(4) == 0) == (1, 100.0)
    assert one(long, 3, none, none, none, none) == (3, 98.0)
    assert one(long, 4, none, none, none, none)[0] == NO_BAR


def test_a_tainted_bar_is_traded_in_only_where_told_to() -> None:
    rng = np.random.default_rng(1)
    bars = random_bars(rng)
    market = as_market([bars], np.ones(N_BARS, dtype=bool))
    assert not market.fillable().any()
    assert market.fillable(in_tainted_bars=True).tolist() == [bars.tradable.tolist()]
