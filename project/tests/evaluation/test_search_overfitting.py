"""The overfitting of a search, against plain sums over its trades."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from backtest.discovery.folds import Folds
from backtest.evaluation import search_overfitting as module
from backtest.evaluation.cross_validation import block_sums, overfitting
from backtest.evaluation.drift_free import DRIFT_FREE_SCHEMA
from backtest.evaluation.search_overfitting import as_json, search_overfitting
from backtest.spec.models import POOLED

FIRST, DAYS, BLOCKS = 19_000, 120, 6
EPOCH = dt.date(1970, 1, 1)


def folds() -> Folds:
    at = [EPOCH + dt.timedelta(days=FIRST + day) for day in (0, 80, 82, DAYS)]
    return Folds(*at)


def made(rng: np.random.Generator) -> tuple[pl.DataFrame, dict[str, dict[str, pl.DataFrame]]]:
    """Candidates of two events and three symbols, and day scores of which some lie outside the window."""
    rows, scores = [], {}
    for event in ("A", "B"):
        scores[event] = {}
        for symbol in ("BTC", "ETH", "SOL"):
            frames = []
            for state in ("all", "high"):
                days = np.sort(rng.choice(np.arange(FIRST - 5, FIRST + DAYS + 5), 60, replace=False))
                columns = {
                    **dict.fromkeys(DRIFT_FREE_SCHEMA, 0.0),
                    **{
                        "policy": "p",
                        "horizon": "60m",
                        "state_id": state,
                        "event_type": event,
                        "symbol": symbol,
                        "leg": "",
                    },
                }
                frame = pl.DataFrame({"day": days}).with_columns(
                    *(pl.lit(value).alias(name) for name, value in columns.items() if name != "day"),
                )
                drawn = {name: rng.normal(0, 0.01, 60) for name in ("sum_y", "sum_funding", "sum_cost")}
                frames.append(frame.with_columns(*(pl.Series(name, values) for name, values in drawn.items())))
            scores[event][symbol] = pl.concat(frames).select(
                pl.col(name).cast(kind) for name, kind in DRIFT_FREE_SCHEMA.items()
            )
        for number, (state, scope) in enumerate((s, c) for s in ("all", "high") for c in ("BTC", "SOL", POOLED)):
            rows.append(
                {
                    "candidate_id": f"{event}{number}",
                    "event_type": event,
                    "policy": "p",
                    "horizon": "60m",
                    "state_id": state,
                    "symbol": scope,
                    "mirror_verb": "other" if number % 2 else None,
                    "direction": 1 if number % 3 else -1,
                    "gate_eligible": number != 4,
                    "gate_phase2_final": number in (0, 1, 2, 5),
                }
            )
    return pl.DataFrame(rows).with_columns(pl.col("direction").cast(pl.Int8)), scores


def plainly(
    candidates: pl.DataFrame, scores: dict[str, dict[str, pl.DataFrame]], *, both_sides: bool, after_costs: bool
) -> dict[str, object]:
    trials = [(row, side) for row in candidates.iter_rows(named=True) for side in (1, -1) if side == 1 or both_sides]
    trials = [(row, side) for row, side in trials if side == 1 or row["mirror_verb"] is not None]
    earned = np.zeros((len(trials), DAYS))
    for number, (row, turned) in enumerate(trials):
        side = turned * row["direction"]
        for symbol, frame in scores[row["event_type"]].items():
            if row["symbol"] not in (symbol, POOLED):
                continue
            for day in frame.filter(pl.col("state_id") == row["state_id"]).iter_rows(named=True):
                if FIRST <= day["day"] < FIRST + DAYS:
                    costs = side * day["sum_funding"] + day["sum_cost"] if after_costs else 0.0
                    earned[number, day["day"] - FIRST] += side * day["sum_y"] - costs
    trial, day = np.indices(earned.shape)
    sums = block_sums(
        earned.ravel(),
        FIRST + day.ravel(),
        trial.ravel(),
        n_trials=len(trials),
        first=FIRST,
        end=FIRST + DAYS,
        n_blocks=BLOCKS,
        purge=folds().embargo_days,
    )
    return as_json(overfitting(*sums))


@pytest.mark.parametrize("at_once", [1, 500])
def test_it_is_that_of_plain_sums_over_trades(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "TRIALS_AT_ONCE", at_once)
    for seed in range(5):
        candidates, scores = made(np.random.default_rng(seed))
        found = search_overfitting(candidates, lambda event, scores=scores: scores[event], folds(), BLOCKS)
        tested = candidates.filter("gate_eligible")
        assert found["search"] == pytest.approx(plainly(tested, scores, both_sides=True, after_costs=False))
        passed = tested.filter("gate_phase2_final")
        assert found["passed"] == pytest.approx(plainly(passed, scores, both_sides=False, after_costs=True))
        assert found["search"]["n_trials"] == 16


def test_without_candidates_there_is_none() -> None:
    candidates, scores = made(np.random.default_rng(0))
    found = search_overfitting(candidates.clear(), lambda event: scores[event], folds(), BLOCKS)
    assert (found["search"]["n_trials"], found["search"]["probability"]) == (0, None)
