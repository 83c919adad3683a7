"""Each gate of the promotion on candidates made by hand; whatever is missing promotes nobody."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.discovery.gates import GATES
from backtest.evaluation.promotion import GATE_SCHEMA, PROMOTION_SCHEMA, Promoted, promoted
from backtest.evaluation.robustness import VERDICT_SCHEMA
from backtest.evaluation.walk_forward import RESULT_SCHEMA
from backtest.monitoring.oos_window import SearchedWindow, WindowVerdict, judged_window
from backtest.reports.promotion import fold_table, overfitting_text, promotion_counts, promotion_table
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
SETTINGS = SPEC.evaluation.promotion
PROFILES = {name: SPEC.gates.profile("promotion", name) for name in SPEC.events}
DAY = dt.timedelta(days=1)
NEW_YEAR = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def candidate(**other: object) -> dict[str, object]:
    """A candidate that is far beyond every limit of the promotion profile."""
    numbers = {name: 0.0 for name, kind in CANDIDATE_SCHEMA.items() if kind.is_float()}
    counts = {name: 500 for name, kind in CANDIDATE_SCHEMA.items() if kind.is_integer()}
    flags = {name: True for name, kind in CANDIDATE_SCHEMA.items() if kind == pl.Boolean}
    good = {
        "candidate_id": "VOL_SHOCK.mean_reversion.60m.all.POOLED", "event_type": "VOL_SHOCK",
        "template_verb": "mean_reversion", "horizon": "60m", "state_id": "all", "symbol": "POOLED", "direction": -1,
        "posterior_mean": 40e-4, "cost": 10e-4, "after_cost_expectancy": 30e-4, "probability_above_cost": 1.0,
        "t_stat": 12.0, "confirmation_level": 0.1, "confirmation_level_at_first": 0.1, "deflated_sharpe": 1.0,
        "cusum_p": 0.5, "signs_by_year": "2023+ 2024+", "signs_by_symbol": "BTCUSDT+ ETHUSDT+", "spans_same_sign": 4,
    }  # fmt: skip
    empty: dict[str, object] = dict.fromkeys(CANDIDATE_SCHEMA)
    return {**empty, **numbers, **counts, **flags, **good, **other}


ROBUST = {"candidate_id": candidate()["candidate_id"], "verdict": "robust", "failed_checks": "", "reason": None}
WALKED = {"candidate_id": candidate()["candidate_id"], "n_folds": 5, "n_found": 4, "n_trades": 200, "n_days": 90,
          "gross": 30e-4, "net": 20e-4, "net_standard_error": 4e-4, "net_p": 1e-5}  # fmt: skip


def window(days_between: int = 2) -> WindowVerdict:
    searched = SearchedWindow("run", NEW_YEAR - 100 * DAY, NEW_YEAR, 2 * DAY)
    return judged_window(NEW_YEAR + days_between * DAY, NEW_YEAR + 30 * DAY, searched)


def asked(row: dict[str, object] | None = None, **changed: Any) -> Promoted:
    given: dict[str, Any] = {
        "verdicts": ROBUST, "walked": WALKED, "overfitting": 0.0, "windows": [window()], "traded": None,
        "traded_window": None, "placebo_p": 0.001, "n_folds": 5, **changed,
    }  # fmt: skip
    verdicts = pl.DataFrame([given["verdicts"]] if given["verdicts"] else [], schema=VERDICT_SCHEMA)
    walked = pl.DataFrame([given["walked"]] if given["walked"] else [], schema=RESULT_SCHEMA)
    placebo = pl.DataFrame(
        {"candidate_id": [ROBUST["candidate_id"]], "placebo_p": pl.Series([given["placebo_p"]], dtype=pl.Float64)}
    )
    traded = None if given["traded"] is None else pl.DataFrame([given["traded"]])
    return promoted(
        pl.DataFrame([row or candidate()], schema=CANDIDATE_SCHEMA), PROFILES, placebo, verdicts, walked, given["n_folds"],
        given["overfitting"], given["windows"], traded, given["traded_window"], SETTINGS,
    )  # fmt: skip


def failed(made: Promoted) -> str:
    assert dict(made.promotions.schema) == PROMOTION_SCHEMA
    assert dict(made.gates.schema) == GATE_SCHEMA
    row = made.promotions.row(0, named=True)
    assert row["is_promoted"] == (row["failed_gates"] == "")
    assert bool(row["reason"]) != row["is_promoted"]
    return str(row["failed_gates"])


def test_a_candidate_beyond_every_limit_is_promoted_and_every_gate_has_a_reason() -> None:
    made = asked()
    assert failed(made) == ""
    assert made.gates["reason"].str.len_chars().min() > 10  # type: ignore[operator]
    assert set(GATES) <= {f"gate_{name}" for name in made.gates["gate"]}


@pytest.mark.parametrize(
    ("changed", "gate", "reason"),
    [
        ({"verdicts": None}, "robustness", "its robustness was not looked at"),
        (
            {"verdicts": {**ROBUST, "verdict": "fragile", "failed_checks": "entry_delay, costs"}},
            "robustness",
            "it is fragile: entry delay, costs",
        ),
        ({"walked": None}, "walk_forward_found", "found in 0 of 5 training windows"),
        ({"walked": {**WALKED, "n_found": 1}}, "walk_forward_found", "found in 1 of 5 training windows"),
        (
            {"walked": {**WALKED, "n_trades": 12}},
            "walk_forward_net",
            "12 trades in the test windows after those; 30 are needed",
        ),
        (
            {"walked": {**WALKED, "net": -2e-4, "net_p": 0.7}},
            "walk_forward_net",
            "earned -2.0 bps net a trade in 200 trades of the test windows (p 0.7)",
        ),
        ({"walked": None, "n_folds": 0}, "walk_forward_found", "too few for a training window"),
        ({"windows": [window(1)]}, "out_of_sample_windows", "inside its embargo of 2 days"),
        ({"windows": []}, "out_of_sample_windows", "there is no test window"),
        ({"placebo_p": None}, "placebo", "its figure was not computed"),
        ({"placebo_p": 0.3}, "placebo", "placebo of the promotion profile missed by 0.25"),
        ({"overfitting": None}, "search_overfitting", "was not computed"),
        ({"overfitting": 0.45}, "search_overfitting", "overfitted with probability 0.45"),
        (
            {
                "traded": {
                    "candidate_id": ROBUST["candidate_id"],
                    "net_usd": -50.0,
                    "n_trades": 9,
                    "after_net_usd": None,
                }
            },
            "backtest",
            "-50 USD net in 9 trades of the backtest, all on days of the search",
        ),
        (
            {
                "traded": {
                    "candidate_id": ROBUST["candidate_id"],
                    "net_usd": 9.0,
                    "n_trades": 9,
                    "after_net_usd": -1.0,
                },
                "traded_window": window(),
            },
            "backtest",
            "-1 USD of it after the search",
        ),
    ],
)
def test_each_gate_that_fails_says_why(changed: dict[str, Any], gate: str, reason: str) -> None:
    made = asked(**changed)
    assert gate in failed(made).split(", ")
    assert reason in made.gates.filter(pl.col("gate") == gate)["reason"].item()


@pytest.mark.parametrize(
    ("changed", "gate"),
    [
        ({"n_events": 60}, "eligible"),
        ({"posterior_mean": 15e-4}, "economic_conservative"),
        ({"confirmation_q": 0.08}, "confirmed"),
        ({"spans_same_sign": 3}, "stability"),
        ({"deflated_sharpe": 0.6}, "deflated_sharpe"),
        ({"deflated_sharpe": None}, "deflated_sharpe"),
        ({"backtest_overfitting": 0.5}, "backtest_overfitting"),
        ({"tainted_share": 0.2}, "untainted"),
    ],
)
def test_the_stricter_profile_is_asked(changed: dict[str, object], gate: str) -> None:
    assert gate in failed(asked(candidate(**changed))).split(", ")


def test_a_gain_after_the_search_counts_only_where_the_guard_says_those_days_are_free() -> None:
    traded = {"candidate_id": ROBUST["candidate_id"], "net_usd": 10.0, "n_trades": 9, "after_net_usd": 5.0}
    free = asked(traded=traded, traded_window=window()).gates.filter(pl.col("gate") == "backtest").row(0, named=True)
    used = asked(traded=traded, traded_window=window(0)).gates.filter(pl.col("gate") == "backtest").row(0, named=True)
    assert (free["passed"], free["value"]) == (True, 5.0)
    assert (used["passed"], used["value"]) == (True, 10.0)
    assert "+5 USD of it after the search, which is no evidence: it lies 0 days after" in used["reason"]
    lost = asked(traded={**traded, "after_net_usd": -5.0}, traded_window=window(0))
    assert "backtest" in failed(lost).split(", ")
    none = asked().gates.filter(pl.col("gate") == "backtest").row(0, named=True)
    assert (none["passed"], none["reason"]) == (None, "the run has no backtest")


def test_only_what_the_discovery_passed_is_asked() -> None:
    made = asked(candidate(gate_phase2_final=False))
    assert made.promotions.is_empty()
    assert promotion_counts(made.promotions).endswith("there is none to promote.")


def test_tables_and_sentences_tell_of_it() -> None:
    made = asked(overfitting=0.45)
    assert promotion_table(made.promotions).row_count == 1
    assert "0 of 1 candidates" in promotion_counts(made.promotions)
    none = {"probability": None, "loss_probability": None, "n_trials": 1, "n_halvings": 924, "median_logit": None}
    told = overfitting_text({"search": {**none, "probability": 0.25, "n_trials": 1234}, "passed": none})
    assert told.startswith("Probability of overfitting over 1,234 trades of the whole search: 0.25")
    assert "over 1 candidates that passed every gate: too few" in told
    assert fold_table(pl.DataFrame(schema={"train_start": pl.Date()})).row_count == 0
