"""The figures of a backtest by hand: five days of one bar each, one trade that earns and one that loses."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import polars as pl
import pytest
from scipy import stats

from backtest.discovery.folds import Folds
from backtest.engine.account import FixedFraction
from backtest.engine.simulation import simulate_bounds
from backtest.evaluation.backtest_luck import (
    Trials,
    deflated_sharpe_ratio,
    strategies_overfitting,
    trials_of,
)
from backtest.evaluation.backtest_metrics import metric_rows
from backtest.evaluation.backtest_tables import (
    Portfolio,
    capacity_rows,
    cost_rows,
    each_alone,
    strategy_returns,
    trade_rows,
)
from tests.engine.markets import START, account, by_hand, flat_rules, many_signals

BARS = [
    (100.0, 101.0, 99.0, 100.0),
    (100.0, 112.0, 99.0, 110.0),
    (120.0, 121.0, 117.0, 118.0),
    (118.0, 119.0, 100.0, 101.0),
    (100.0, 101.0, 95.0, 100.0),
]
DAY = dt.date(2024, 1, 1)
QUANTITY = 1000 / 118
NET = (200 - 1 - 1.2, -18 * QUANTITY - 1 - 0.1 * QUANTITY)
EQUITY = np.array([10_000, 10_099, 10_000 + NET[0], 10_000 + NET[0] - 1 - 17 * QUANTITY, 10_000 + sum(NET)])
RETURNS = EQUITY[1:] / EQUITY[:-1] - 1


@pytest.fixture(scope="module")
def portfolio() -> Portfolio:
    market = by_hand(BARS, flat_rules(taker_fee=[1e-3]))
    market = dataclasses.replace(market, timestamp=START + np.arange(5) * np.timedelta64(86_400_000, "ms"))
    signals = many_signals(
        {"strategy": [0, 0], "instrument": [0, 0], "decision_bar": [0, 2], "side": [1, 1], "horizon_bars": [1, 1]}
    )
    signals = dataclasses.replace(signals, event_id=np.array(["a", "b"]))
    days = [DAY + dt.timedelta(days=number) for number in (0, 2, 3, 4)]
    folds = Folds(*days)
    return Portfolio(
        market=market,
        signals=signals,
        tainted=np.zeros(2, dtype=bool),
        bounds=simulate_bounds(market, signals, account()),
        alone=each_alone(market, signals, account()),
        folds={"s0": folds},
        run_folds=folds,
    )


@pytest.fixture(scope="module")
def metrics(portfolio: Portfolio) -> pl.DataFrame:
    trades = trade_rows(portfolio.bounds.worst, portfolio.signals, portfolio, portfolio.tainted)
    return metric_rows(portfolio, trades, trades, Trials(50.0, 1.5), 0.25)


def row(metrics: pl.DataFrame, scope: str, span: str) -> dict[str, object]:
    return metrics.filter((pl.col("scope") == scope) & (pl.col("span") == span) & (pl.col("bound") == "worst")).row(
        0, named=True
    )


@pytest.mark.parametrize("scope", ["portfolio", "strategy"])
def test_every_figure_of_the_whole_window_by_hand(metrics: pl.DataFrame, scope: str) -> None:
    found = row(metrics, scope, "whole")
    returns = np.concatenate([[0.0], RETURNS])
    yearly = (EQUITY[-1] / 10_000) ** (365 / 5) - 1
    daily = returns.mean() / returns.std(ddof=1)
    traded = np.array([0, 1000, 1200, 1000, 100 * QUANTITY])
    depth = EQUITY[4] / EQUITY[2] - 1
    expected = {
        "n_days": 5,
        "n_trades": 2,
        "total_return": sum(NET) / 10_000,
        "annual_return": yearly,
        "annual_volatility": returns.std(ddof=1) * np.sqrt(365),
        "sharpe_ratio": daily * np.sqrt(365),
        "sharpe_standard_error": np.sqrt(
            365 / 4 * (1 - stats.skew(returns) * daily + (stats.kurtosis(returns, fisher=False) - 1) / 4 * daily**2)
        ),
        "sortino_ratio": returns.mean() / np.sqrt((returns[returns < 0] ** 2).sum() / 5) * np.sqrt(365),
        "max_drawdown": depth,
        "max_drawdown_days": 2,
        "calmar_ratio": yearly / -depth,
        "turnover_per_year": (traded / EQUITY).sum() / (5 / 365),
        "mean_exposure": (1100 / EQUITY[1] + 101 * QUANTITY / EQUITY[3]) / 5,
        "hit_rate": 0.5,
        "profit_factor": NET[0] / -NET[1],
        "expectancy": sum(NET) / 2000,
        "net_usd": sum(NET),
        "n_trials": 50.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    # Two days of one trade each: a mean of two with one degree of freedom.
    reach = stats.t.ppf(0.975, 1) * np.std(np.array(NET) / 1000, ddof=1) / np.sqrt(2)
    assert found["expectancy_high"] == pytest.approx(sum(NET) / 2000 + reach, rel=1e-9)
    assert found["expectancy_low"] == pytest.approx(sum(NET) / 2000 - reach, rel=1e-9)


def test_the_drawdown_is_that_of_every_bar_and_not_of_days_ends() -> None:
    market = by_hand([*BARS, (100.0, 121.0, 99.0, 120.0)], flat_rules())
    signals = many_signals({"strategy": [0], "instrument": [0], "decision_bar": [0], "side": [1], "horizon_bars": [9]})
    signals = dataclasses.replace(signals, event_id=np.array(["a"]))
    folds = Folds(DAY, DAY, DAY, DAY)
    made = Portfolio(
        market=market,
        signals=signals,
        tainted=np.zeros(1, dtype=bool),
        bounds=simulate_bounds(market, signals, account()),
        alone=each_alone(market, signals, account()),
        folds={"s0": folds},
        run_folds=folds,
    )
    trades = trade_rows(made.bounds.worst, signals, made, made.tainted)
    found = row(metric_rows(made, trades, trades, Trials(None), None), "portfolio", "whole")
    # All bars lie in one day, which ends with a gain; on the way equity fell from 10,180 to 10,000.
    assert found["max_drawdown"] == pytest.approx(10_000 / 10_180 - 1)
    assert found["total_return"] == pytest.approx(0.02)
    assert found["deflated_sharpe"] is None
    assert found["n_trials"] is None


def test_costs_are_split_and_add_up(portfolio: Portfolio) -> None:
    trades = trade_rows(portfolio.bounds.worst, portfolio.signals, portfolio, portfolio.tainted)
    found = cost_rows(trades).filter(pl.col("scope") == "portfolio").row(0, named=True)
    assert found["gross"] == pytest.approx(200 - 18 * QUANTITY)
    assert found["fees"] == pytest.approx(2.2 + 1 + 0.1 * QUANTITY)
    assert found["net"] == pytest.approx(sum(NET))
    assert found["traded_usd"] == pytest.approx(1000 + 1200 + 1000 + 100 * QUANTITY)
    assert found["fees_bps"] == pytest.approx(1e4 * found["fees"] / 2000)


def test_only_days_after_the_search_are_not_deflated_by_its_trials(metrics: pl.DataFrame) -> None:
    counts = dict(metrics.filter(pl.col("scope") == "portfolio").select("span", "n_trials").iter_rows())
    assert counts == {"whole": 50.0, "in_sample": 50.0, "confirmation": 50.0, "after": 1.0}
    told = metrics.filter(pl.col("overfitting_probability").is_not_null())
    assert told.select("scope", "span", "bound").rows() == [("portfolio", "whole", "worst")]


def test_the_deflated_sharpe_ratio_is_the_papers_formula() -> None:
    rng = np.random.default_rng(4)
    returns = 0.001 + 0.01 * rng.standard_t(4, 500)
    n, spread = 300.0, 1.3
    gamma = 0.5772156649015329
    largest = (1 - gamma) * stats.norm.ppf(1 - 1 / n) + gamma * stats.norm.ppf(1 - 1 / (n * np.e))
    ratio = returns.mean() / returns.std(ddof=1)
    below = 1 - stats.skew(returns) * ratio + (stats.kurtosis(returns, fisher=False) - 1) / 4 * ratio**2
    expected = stats.norm.cdf((ratio - spread / np.sqrt(500) * largest) * np.sqrt(499 / below))
    assert deflated_sharpe_ratio(returns, Trials(n, spread)) == pytest.approx(expected, rel=1e-12)
    probabilistic = stats.norm.cdf(ratio * np.sqrt(499 / below))
    assert deflated_sharpe_ratio(returns, Trials(n, spread).none_tried) == pytest.approx(probabilistic, rel=1e-12)
    assert deflated_sharpe_ratio(returns, Trials(None)) is None
    assert deflated_sharpe_ratio(np.full(500, 0.01), Trials(n)) is None


def test_trials_are_the_ledgers_and_their_spread_that_of_all_tested() -> None:
    folds = Folds(DAY, DAY + dt.timedelta(days=365), DAY + dt.timedelta(days=367), DAY + dt.timedelta(days=500))
    candidates = pl.DataFrame(
        {
            "gate_eligible": [True, True, True, False],
            "n_trials": [120.0, 120.0, 120.0, float("nan")],
            "sharpe_ratio": [3.0, 2.0, 1.0, 9.0],
            "direction": [1, -1, 1, 1],
        }
    )
    found = trials_of(candidates, folds)
    assert found.n == 120.0
    assert found.spread == pytest.approx(np.std([3.0, -2.0, 1.0], ddof=1))
    assert trials_of(candidates.tail(1), folds) == Trials(None)


def test_choosing_among_strategies_of_noise_overfits_and_one_edge_does_not() -> None:
    rng = np.random.default_rng(5)
    days = pl.date_range(DAY, DAY + dt.timedelta(days=599), eager=True)
    noise = [
        pl.DataFrame({"day": days, "strategy": f"s{number}", "return": rng.normal(0, 0.01, 600)})
        for number in range(20)
    ]
    found = strategies_overfitting(pl.concat(noise), 12, 1)
    assert found is not None
    assert found.probability is not None
    assert 0.2 < found.probability < 0.8
    edge = noise[3].with_columns(pl.col("return") + 0.004)
    sure = strategies_overfitting(pl.concat([*noise[:3], edge, *noise[4:]]), 12, 1)
    assert sure is not None
    assert sure.probability == 0.0
    assert strategies_overfitting(noise[0], 12, 1) is None
    short = pl.concat(noise).filter(pl.col("day") < DAY + dt.timedelta(days=60))
    assert strategies_overfitting(short, 12, 1) is None


def test_daily_profits_of_a_strategy_are_of_the_accounts_start(portfolio: Portfolio) -> None:
    found = strategy_returns(portfolio)["return"].to_list()
    assert found == pytest.approx(np.diff(np.concatenate([[10_000], EQUITY])) / 10_000)


def test_the_capacity_curve_by_hand() -> None:
    # A tenth of the equity, twice, on a flat market: a side costs half of 0.001 x sqrt(order / 1,000,000) and nothing else.
    market = by_hand([(100.0, 101.0, 99.0, 100.0)] * 6, flat_rules(impact_coefficient=1.0))
    market = dataclasses.replace(market, timestamp=START + np.arange(6) * np.timedelta64(86_400_000, "ms"))
    signals = many_signals(
        {"strategy": [0, 0], "instrument": [0, 0], "decision_bar": [0, 2], "side": [1, 1], "horizon_bars": [1, 1]}
    )
    traded = account(sizing=FixedFraction(0.1), max_participation=0.2)
    equities = [10_000.0, 1_000_000.0, 100_000_000.0]
    found = capacity_rows(market, signals, traded, equities).rows(named=True)
    assert [row["starting_equity_usd"] for row in found] == equities
    for row in found:
        # The largest account may enter with a fifth of a bar's turnover only.
        first = min(0.1 * row["starting_equity_usd"], 0.2 * 1e6)
        lost = first * 0.001 * np.sqrt(first / 1e6)
        second = min(0.1 * (row["starting_equity_usd"] - lost), 0.2 * 1e6)
        both = lost + second * 0.001 * np.sqrt(second / 1e6)
        assert row["net_bps"] == pytest.approx(-1e4 * both / (first + second))
        assert row["total_return"] == pytest.approx(-both / row["starting_equity_usd"])
        assert row["notional_over_equity"] == pytest.approx((first + second) / row["starting_equity_usd"])
        assert row["n_trades"] == 2
    # Ten thousand times the order costs a hundred times as much a dollar.
    small = capacity_rows(market, signals, account(sizing=FixedFraction(1e-5)), [10_000.0])["net_bps"].item()
    large = capacity_rows(market, signals, account(sizing=FixedFraction(0.1)), [10_000.0])["net_bps"].item()
    assert large / small == pytest.approx(100.0, rel=1e-4)
