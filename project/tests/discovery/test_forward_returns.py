"""Forward returns against a plain loop, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.discovery.forward_returns import MAX_CARRY_BARS, Bars, TwoLegs, forward_trades, next_tradable
from backtest.spec.models import Policy

POLICIES = [
    Policy(entry_lag_bars=1),
    Policy(entry_lag_bars=3),
    Policy(entry_lag_bars=1, lower_barrier_atr=1.0),
    Policy(entry_lag_bars=2, upper_barrier_atr=0.8, lower_barrier_atr=1.5),
    Policy(entry_lag_bars=1, retrace_fraction=0.5, retrace_within_bars=4),
    Policy(entry_lag_bars=1, retrace_fraction=0.3, retrace_within_bars=3, upper_barrier_atr=1.0),
    Policy(entry_lag_bars=1, breakout_atr=0.7, breakout_within_bars=5),
    Policy(entry_lag_bars=2, breakout_atr=0.4, breakout_within_bars=2, upper_barrier_atr=1.0, lower_barrier_atr=1.0),
]


def market(seed: int, count: int = 80) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.001, count))
    tradable = rng.random(count) > 0.1
    gap = ~tradable & (rng.random(count) > 0.5)
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.003, count)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.003, count)))
    for prices in (open_, high, low, close):
        prices[gap] = np.nan
    funding = np.where(np.arange(count) % 24 == 0, rng.normal(0, 1e-4, count), 0.0)
    return Bars(open_, high, low, close, tradable, funding)


def flat(opens: list[float], closes: list[float] | None = None, **other: np.ndarray) -> Bars:
    """Bars whose highs and lows are their opens and closes."""
    open_ = np.array(opens)
    close = open_ if closes is None else np.array(closes)
    tradable, funding = other.get("tradable", np.ones(len(open_), bool)), other.get("funding", np.zeros(len(open_)))
    return Bars(open_, np.fmax(open_, close), np.fmin(open_, close), close, tradable, funding)


def plain_loop(
    bars: Bars, t: int, side: float, atr: float, move: float, policy: Policy, horizon: int, second: Bars | None = None
) -> tuple[int, int, int, float, float, float, float, float] | None:
    """One trade by the rules in words; None where there is none."""
    count, signal = len(bars), t
    tradable = bars.tradable if second is None else bars.tradable & second.tradable
    if (policy.has_barriers or policy.breakout_atr is not None) and not (np.isfinite(atr) and atr > 0):
        return None
    if policy.breakout_atr is not None:
        for later in range(t + 1, min(t + policy.breakout_within_bars, count - 1) + 1):
            moved = bars.close[later] - bars.close[t]
            if abs(moved) >= policy.breakout_atr * atr:
                signal, side = later, float(np.sign(moved))
                break
        else:
            return None
    if policy.retrace_fraction is not None:
        if not (np.isfinite(move) and move > 0):
            return None
        for later in range(t + 1, min(t + policy.retrace_within_bars, count - 1) + 1):
            if side * (bars.close[later] - bars.close[t]) <= -policy.retrace_fraction * move:
                signal = later
                break
        else:
            return None
    entry = signal + policy.entry_lag_bars
    if entry + horizon >= count or not tradable[entry]:
        return None
    leave = entry + horizon
    for held in range(entry, entry + horizon):
        moved = side * (bars.close[held] - bars.open[entry])
        if second is not None:
            moved = side * (bars.close[held] / bars.open[entry] - second.close[held] / second.open[entry])
        up, down = policy.upper_barrier_atr, policy.lower_barrier_atr
        if (up is not None and moved >= up * atr) or (down is not None and moved <= -down * atr):
            leave = held + 1
            break
    exit_ = leave
    while exit_ < count and not tradable[exit_]:
        exit_ += 1
    if exit_ >= count or exit_ - leave > MAX_CARRY_BARS:
        return None
    held = slice(entry, exit_)
    gross = side * (bars.open[exit_] / bars.open[entry] - 1)
    paths = [side * (prices[held] / bars.open[entry] - 1) for prices in (bars.high, bars.low)]
    funding = bars.funding
    if second is not None:
        gross = side * (bars.open[exit_] / bars.open[entry] - second.open[exit_] / second.open[entry])
        paths = [side * (bars.close[held] / bars.open[entry] - second.close[held] / second.open[entry])]
        funding = bars.funding - second.funding
    path = np.concatenate([[0.0, gross], *paths])
    paid = side * sum(funding[entry + 1 : exit_ + 1])
    return signal, entry, exit_, side, gross, paid, float(np.nanmax(path)), float(-np.nanmin(path))


@given(
    seed=st.integers(0, 10_000),
    policy=st.sampled_from(POLICIES),
    horizon=st.sampled_from([1, 3, 12]),
    has_second=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_forward_trades_equal_a_plain_loop(seed: int, policy: Policy, horizon: int, has_second: bool) -> None:
    bars = market(seed)
    second = market(seed + 7) if has_second else None
    legs = bars if second is None else TwoLegs(bars, second)
    rng = np.random.default_rng(seed + 1)
    events = np.sort(rng.choice(len(bars), 25, replace=False))
    sides = rng.choice([-1.0, 1.0], 25)
    atr = np.where(rng.random(25) < 0.1, np.nan, rng.uniform(0.2, 2, 25) * (0.01 if has_second else 1))
    move = np.where(rng.random(25) < 0.1, np.nan, rng.uniform(0.2, 2, 25))
    made = forward_trades(legs, events, sides, atr, move, policy, horizon)
    expected = {
        index: trade
        for index, t in enumerate(events)
        if (trade := plain_loop(bars, int(t), sides[index], atr[index], move[index], policy, horizon, second))
        is not None
    }
    assert made.event.tolist() == list(expected)
    for row, (signal, entry, exit_, side, gross, funding, best, worst) in enumerate(expected.values()):
        assert (made.signal[row], made.entry[row], made.exit[row], made.side[row]) == (signal, entry, exit_, side)
        assert made.favourable[row] == pytest.approx(best, abs=1e-12)
        assert made.adverse[row] == pytest.approx(worst, abs=1e-12)
        assert made.gross[row] == pytest.approx(gross, rel=1e-11, abs=1e-14)
        assert made.funding[row] == pytest.approx(funding, abs=1e-15)


def test_entry_and_exit_are_opens_of_later_bars() -> None:
    bars = flat([10.0, 11.0, 12.0, 15.0], [99.0] * 4)
    made = forward_trades(bars, np.array([0]), np.ones(1), np.ones(1), np.ones(1), Policy(entry_lag_bars=1), 2)
    assert (made.entry[0], made.exit[0]) == (1, 3)
    assert made.gross[0] == pytest.approx(15 / 11 - 1)


def test_funding_is_paid_at_stamps_after_entry_up_to_exit() -> None:
    funding = np.array([0.0, 0.01, 0.0, 0.02, 0.04])
    bars = flat([10.0] * 5, funding=funding)
    made = forward_trades(bars, np.array([0]), -np.ones(1), np.ones(1), np.ones(1), Policy(entry_lag_bars=1), 2)
    # Entered at the stamp of bar 1 (not charged), held over the one at bar 3: a short receives it.
    assert made.funding[0] == pytest.approx(-0.02)


def test_an_exit_into_a_halt_is_carried_to_the_next_tradable_bar() -> None:
    bars = flat([10.0, 10.0, np.nan, np.nan, 8.0], [10.0] * 5, tradable=np.array([1, 1, 0, 0, 1], bool))
    made = forward_trades(bars, np.array([0]), np.ones(1), np.ones(1), np.ones(1), Policy(entry_lag_bars=1), 1)
    assert made.exit[0] == 4
    assert made.gross[0] == pytest.approx(-0.2)


def test_next_tradable_looks_forward_and_knows_where_nothing_follows() -> None:
    assert next_tradable(np.array([False, True, False, True, False])).tolist() == [1, 1, 3, 3, -1]


@given(seed=st.integers(0, 1000), policy=st.sampled_from(POLICIES[:2]))
@settings(max_examples=40, deadline=None)
def test_opposite_directions_earn_opposite_returns_without_barriers(seed: int, policy: Policy) -> None:
    bars = market(seed)
    events, ones = np.arange(5, 40, 7), np.ones(5)
    up = forward_trades(bars, events, ones, ones, ones, policy, 3)
    down = forward_trades(bars, events, -ones, ones, ones, policy, 3)
    assert up.gross.tolist() == (-down.gross).tolist()
