"""What the terminal says of how much luck is in a backtest."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from backtest.evaluation.backtest_metrics import METRIC_SCHEMA
from backtest.reports.backtest import luck_lines


def metrics(**changes: object) -> pl.DataFrame:
    empty: dict[str, Any] = dict.fromkeys(METRIC_SCHEMA)
    row = {**empty, "scope": "portfolio", "name": "", "span": "whole", "bound": "worst", **changes}
    other = {**row, "bound": "best", "deflated_sharpe": 0.999}
    return pl.DataFrame([row, other], schema=METRIC_SCHEMA)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"deflated_sharpe": 0.671, "n_trials": 9490.6, "overfitting_probability": 0.25},
            ["above the best of 9,491 trials by luck with probability 0.67", "Choosing among the strategies", "0.25"],
        ),
        ({}, ["Deflated Sharpe ratio of the account: not known", "not told"]),
    ],
)
def test_the_accounts_ratio_is_told_against_the_trials(changes: dict[str, object], parts: list[str]) -> None:
    told = "\n".join(luck_lines(metrics(**changes)))
    for part in parts:
        assert part in told


def test_a_backtest_without_a_day_says_nothing() -> None:
    assert luck_lines(metrics().clear()) == []
