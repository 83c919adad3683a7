"""Forward returns against a plain loop, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.discovery.forward_returns import MAX_CARRY_BARS, Bars, forward_trades, next_tradable
from backtest.spec.models import Policy

POLICIES = [
    Policy(entry_lag_bars=1),
    Policy(entry_lag_bars=3),
    Policy(entry_lag_bars=1, lower_barrier_atr=1.0),
    Policy(entry_lag_bars=2, upper_barrier_atr=0.8, lower_barrier_atr=1.5),
    Policy(entry_lag_bars=1, retrace_fraction=0.5, retrace_within_bars=4),
    Policy(entry_lag_bars=1, retrace_fraction=0.3, retrace_within_bars=3, upper_barrier_atr=1.0),
]


def market(seed: int, count: int = 80) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.001, count))
    tradable = rng.random(count) > 0.1
    gap = ~tradable & (rng.random(count) > 0.5)
    open_[gap] = close[gap] = np.nan
    funding = np.where(np.arange(count) % 24 == 0, rng.normal(0, 1e-4, count), 0.0)
    return Bars(open_, close, tradable, funding)


def plain_loop(
    bars: Bars, t: int, side: float, atr: float, move: float, policy: Policy, horizon: int
) -> tuple[int, int, int, float, float] | None:
    """One trade by the rules in words; None where there is none."""
    count, signal = len(bars), t
    if policy.has_barriers and not (np.isfinite(atr) and atr > 0):
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
    if entry + horizon >= count or not bars.tradable[entry]:
        return None
    leave = entry + horizon
    for held in range(entry, entry + horizon):
        moved = side * (bars.close[held] - bars.open[entry])
        up, down = policy.upper_barrier_atr, policy.lower_barrier_atr
        if (up is not None and moved >= up * atr) or (down is not None and moved <= -down * atr):
            leave = held + 1
            break
    exit_ = leave
    while exit_ < count and not bars.tradable[exit_]:
        exit_ += 1
    if exit_ >= count or exit_ - leave > MAX_CARRY_BARS:
        return None
    gross = side * (bars.open[exit_] / bars.open[entry] - 1)
    return signal, entry, exit_, gross, side * sum(bars.funding[entry + 1 : exit_ + 1])


@given(seed=st.integers(0, 10_000), policy=st.sampled_from(POLICIES), horizon=st.sampled_from([1, 3, 12]))
@settings(max_examples=150, deadline=None)
def test_forward_trades_equal_a_plain_loop(seed: int, policy: Policy, horizon: int) -> None:
    bars = market(seed)
    rng = np.random.default_rng(seed + 1)
    events = np.sort(rng.choice(len(bars), 25, replace=False))
    sides = rng.choice([-1.0, 1.0], 25)
    atr = np.where(rng.random(25) < 0.1, np.nan, rng.uniform(0.2, 2, 25))
    move = np.where(rng.random(25) < 0.1, np.nan, rng.uniform(0.2, 2, 25))
    made = forward_trades(bars, events, sides, atr, move, policy, horizon)
    expected = {
        index: trade
        for index, t in enumerate(events)
        if (trade := plain_loop(bars, int(t), sides[index], atr[index], move[index], policy, horizon)) is not None
    }
    assert made.event.tolist() == list(expected)
    for row, (signal, entry, exit_, gross, funding) in enumerate(expected.values()):
        assert (made.signal[row], made.entry[row], made.exit[row]) == (signal, entry, exit_)
        assert made.gross[row] == pytest.approx(gross, rel=1e-12)
        assert made.funding[row] == pytest.approx(funding, abs=1e-15)


def test_entry_and_exit_are_opens_of_later_bars() -> None:
    bars = Bars(np.array([10.0, 11.0, 12.0, 15.0]), np.full(4, 99.0), np.ones(4, bool), np.zeros(4))
    made = forward_trades(bars, np.array([0]), np.ones(1), np.ones(1), np.ones(1), Policy(entry_lag_bars=1), 2)
    assert (made.entry[0], made.exit[0]) == (1, 3)
    assert made.gross[0] == pytest.approx(15 / 11 - 1)


def test_funding_is_paid_at_stamps_after_entry_up_to_exit() -> None:
    funding = np.array([0.0, 0.01, 0.0, 0.02, 0.04])
    bars = Bars(np.full(5, 10.0), np.full(5, 10.0), np.ones(5, bool), funding)
    made = forward_trades(bars, np.array([0]), -np.ones(1), np.ones(1), np.ones(1), Policy(entry_lag_bars=1), 2)
    # Entered at the stamp of bar 1 (not charged), held over the one at bar 3: a short receives it.
    assert made.funding[0] == pytest.approx(-0.02)


def test_an_exit_into_a_halt_is_carried_to_the_next_tradable_bar() -> None:
    bars = Bars(
        np.array([10.0, 10.0, np.nan, np.nan, 8.0]), np.full(5, 10.0), np.array([1, 1, 0, 0, 1], bool), np.zeros(5)
    )
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
