"""What the promotion reads of a run's backtest, and that the out-of-sample guard is asked about days after the search."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from backtest.evaluation.backtest_metrics import METRIC_SCHEMA
from backtest.lake.files import write_json, write_parquet
from backtest.lake.paths import DataRoot
from backtest.pipeline.stage import Plan
from backtest.pipeline.stages.promotion import _traded

DAY = dt.timedelta(days=1)
SEARCHED = [dt.date(2024, 1, 1), dt.date(2024, 9, 1), dt.date(2024, 9, 3), dt.date(2025, 1, 1)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    root = DataRoot(tmp_path)
    names = ("discovery_start", "discovery_end", "confirmation_start", "confirmation_end")
    write_json(root.design("first"), dict(zip(names, map(str, SEARCHED), strict=True)))
    return Plan(root, tmp_path / "spec", "first", ("BTCUSDT",))


def write_metrics(plan: Plan, after_starts: dt.date | None, openings: int = 1) -> None:
    empty: dict[str, object] = dict.fromkeys(METRIC_SCHEMA)
    whole = {**empty, "scope": "strategy", "span": "whole", "bound": "worst", "n_trades": 9, "net_usd": 70.0}
    rows = [
        {**whole, "name": "first.A"},
        {**whole, "name": "first.B", "net_usd": -3.0},
        {**whole, "name": "first.A", "bound": "best", "net_usd": 99.0},
        {**whole, "name": "firstly.A", "net_usd": 5.0},
        {**whole, "name": "vol_shock_mean_reversion_v1", "net_usd": 5.0},
        {**whole, "scope": "portfolio", "name": "", "net_usd": 5.0},
    ]
    if after_starts is not None:
        span = {"span": "after", "start": after_starts, "end": after_starts + 30 * DAY}
        rows.append({**whole, **span, "name": "first.A", "net_usd": 20.0, "n_trades": 4})
        rows.append({**whole, **span, "name": "first.B", "net_usd": 0.0, "n_trades": 0})
    write_parquet(plan.root.backtest("first", "metrics.parquet"), pl.DataFrame(rows, schema=METRIC_SCHEMA))
    opening = None if after_starts is None else {"openings": openings}
    write_json(plan.root.backtest("first", "summary.json"), {"out_of_sample_opening": opening})


def test_without_a_backtest_there_is_nothing_to_hold_it_to(plan: Plan) -> None:
    assert _traded(plan) == (None, None)


def test_it_reads_the_worst_bound_of_the_runs_own_blueprints(plan: Plan) -> None:
    write_metrics(plan, None)
    traded, window = _traded(plan)
    assert window is None
    assert traded is not None
    assert traded.sort("candidate_id").rows() == [("A", 70.0, 9, None), ("B", -3.0, 9, None)]


@pytest.mark.parametrize(("days_after", "is_free"), [(0, False), (1, False), (2, True)])
def test_the_guard_is_asked_about_the_days_after_the_search(plan: Plan, days_after: int, is_free: bool) -> None:
    write_metrics(plan, SEARCHED[-1] + days_after * DAY)
    traded, window = _traded(plan)
    assert traded is not None
    assert dict(traded.select("candidate_id", "after_net_usd").iter_rows()) == {"A": 20.0, "B": None}
    assert window is not None
    assert window.is_free is is_free
    assert window.searched.embargo == 2 * DAY


def test_days_that_somebody_had_opened_before_are_no_evidence(plan: Plan) -> None:
    write_metrics(plan, SEARCHED[-1] + 2 * DAY, openings=3)
    _, window = _traded(plan)
    assert window is not None
    assert window.obstacles == ("its days were opened 3 times (ledger/searches.jsonl)",)
