"""Figures of an account, by hand and by a second way."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.evaluation.account_metrics import (
    annual_return,
    annual_volatility,
    daily_returns,
    expectancy_interval,
    hit_rate,
    max_drawdown,
    profit_factor,
    sharpe_ratio,
    sharpe_standard_error,
    sortino_ratio,
)


def test_returns_are_of_each_days_start_and_zero_without_equity() -> None:
    assert daily_returns(np.array([100.0, 110.0, 99.0, 0.0, 0.0])).tolist() == pytest.approx([0.1, -0.1, -1.0, 0.0])


def test_a_year_has_365_days() -> None:
    returns = np.full(365, 0.001)
    assert annual_return(returns) == pytest.approx(1.001**365 - 1)
    assert annual_volatility(np.array([0.01, -0.01])) == pytest.approx(0.01 * np.sqrt(2) * np.sqrt(365))
    assert annual_return(np.array([-1.0, 0.5])) == -1.0


def test_ratios_by_hand() -> None:
    returns = np.array([0.02, -0.01, 0.02, -0.01])
    assert sharpe_ratio(returns) == pytest.approx(0.005 / returns.std(ddof=1) * np.sqrt(365))
    assert sortino_ratio(returns) == pytest.approx(0.005 / np.sqrt(2 * 0.01**2 / 4) * np.sqrt(365))


def test_what_does_not_vary_or_is_empty_has_no_figure_instead_of_infinity() -> None:
    assert sharpe_ratio(np.full(10, 0.01)) is None
    assert sharpe_standard_error(np.zeros(10)) is None
    assert sortino_ratio(np.full(10, 0.01)) is None
    assert annual_return(np.zeros(0)) is None
    assert hit_rate(np.zeros(0)) is None
    assert profit_factor(np.array([1.0])) is None
    assert expectancy_interval(np.zeros(0), np.zeros(0, np.int64)) == (None, None, None)
    assert expectancy_interval(np.array([0.01, 0.03]), np.array([5, 5])) == (pytest.approx(0.02), None, None)


def test_the_standard_error_of_sharpe_agrees_with_simulation() -> None:
    rng = np.random.default_rng(1)
    samples = 0.001 + 0.01 * rng.standard_t(5, (2000, 400))
    ratios = np.array([sharpe_ratio(sample) for sample in samples])
    errors = np.array([sharpe_standard_error(sample) for sample in samples])
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.05)


def test_drawdown_is_the_deepest_fall_and_its_length_the_longest_time_below_a_high() -> None:
    depth, days = max_drawdown(np.array([100.0, 120.0, 90.0, 110.0, 119.0, 121.0, 120.0]))
    assert depth == pytest.approx(-0.25)
    assert days == 3


def test_gains_and_losses_of_trades() -> None:
    net = np.array([3.0, -1.0, 2.0, -1.5])
    assert hit_rate(net) == 0.5
    assert profit_factor(net) == pytest.approx(2.0)


def test_the_interval_of_expectancy_takes_days_as_clusters() -> None:
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(50), 4)
    alike = np.repeat(rng.normal(0.001, 0.01, 50), 4)
    mean, low, high = expectancy_interval(alike, day)
    assert mean == pytest.approx(alike.mean())
    # Four equal trades a day say no more than one: the interval is that of 50 values.
    reach = alike[::4].std(ddof=1) / np.sqrt(50) * 2.01
    assert high - mean == pytest.approx(reach, rel=0.03)
    assert mean - low == pytest.approx(reach, rel=0.03)
