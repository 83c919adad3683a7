"""Day scores of a run come back from their two files as they were made, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from backtest.discovery.candidates import TESTED_COLUMNS
from backtest.discovery.day_scores import DayScores, Held, TradeScores, long_form, sum_by_day, trial_scores
from backtest.errors import DataError
from backtest.lake.paths import DataRoot
from backtest.pipeline.run_tables import read_day_scores, read_long_scores, score_files, write_day_scores
from backtest.pipeline.stage import Plan

EVENT, SYMBOL = "VOL_SHOCK", "BTCUSDT"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(DataRoot(tmp_path), tmp_path / "spec", "made", (SYMBOL,))


def scores(n: int) -> DayScores:
    rng = np.random.default_rng(n)
    trades = TradeScores(np.arange(n), *rng.normal(size=(8, n)))
    sums = sum_by_day(trades, np.arange(n), Held.of(rng.random((n, 2)) < (1.0, 0.5)), np.zeros(n, bool))
    return trial_scores([("time", "1h", sums)], ["all", "calm"], 10)


def test_they_come_back_whole_in_part_and_in_long_form(plan: Plan) -> None:
    made = scores(30)
    write_day_scores(plan, EVENT, SYMBOL, made)
    assert all(path.is_file() for path in score_files(plan, {EVENT: [SYMBOL]}))
    whole, part = read_day_scores(plan, EVENT, SYMBOL), read_day_scores(plan, EVENT, SYMBOL, TESTED_COLUMNS)
    assert_frame_equal(whole.days, made.days)
    for read in (whole, part):
        assert_frame_equal(read.series, made.series)
    assert_frame_equal(part.days, made.days.select(TESTED_COLUMNS))
    assert_frame_equal(read_long_scores(plan, EVENT, SYMBOL), long_form(made))


def test_files_of_two_scorings_are_told(plan: Plan) -> None:
    write_day_scores(plan, EVENT, SYMBOL, scores(30)._replace(series=scores(20).series))
    with pytest.raises(
        DataError, match=r"(?s)BTCUSDT.parquet has \d+ rows.*BTCUSDT.series.parquet.*make discover-edges"
    ):
        read_day_scores(plan, EVENT, SYMBOL)
