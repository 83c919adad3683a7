"""Candidates held to the limits of another profile, by the figures they carry."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from backtest.discovery.gates import GATES, REPORT_GATES, held_to, margin_of
from backtest.reports.why_not import explanation
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec").gates
DISCOVERY, PROMOTION = ({"VOL_SHOCK": SPEC.profiles[name]} for name in ("discovery", "promotion"))
PLACEBO = pl.DataFrame(
    {
        "candidate_id": ["VOL_SHOCK.mean_reversion.60m.all.POOLED"],
        "placebo_n_events": [1900],
        "placebo_mean": [1e-4],
        "placebo_low": [-1e-4],
        "placebo_high": [3e-4],
        "placebo_difference": [19e-4],
        "placebo_difference_standard_error": [5e-4],
        "placebo_p": [0.001],
    }
)
SOUND = {"signs_by_year": "2023+ 2024+ 2025+ 2026-", "signs_by_symbol": "BTCUSDT+ ETHUSDT+"}


def test_the_profile_candidates_were_made_with_gives_their_own_gates_again(made) -> None:
    held = held_to(made({}), DISCOVERY)
    assert held["passed"].item()
    assert held.columns == ["candidate_id", *GATES, *REPORT_GATES, *map(margin_of, (*GATES, *REPORT_GATES)), "passed"]
    # What a profile does not ask for is passed without a margin.
    assert held.select(margin_of(gate) for gate in REPORT_GATES).row(0) == (None,) * len(REPORT_GATES)
    assert held["margin_economic"].item() == pytest.approx(0.99 - 0.90)
    assert held["margin_confirmed"].item() == pytest.approx(0.1 - 0.01)


@pytest.mark.parametrize(
    ("change", "gate", "margin"),
    [
        ({"n_events": 80}, "gate_eligible", 80 / 100 - 1),
        ({"family_wise_p": 0.2, "gate_tree_bh": False}, "gate_significant", None),
        ({"largest_day_share": 0.2}, "gate_day_concentration", -0.05),
        ({"confirmation_q": 0.06}, "gate_confirmed", -0.01),
        ({"probability_above_cost": 0.93}, "gate_economic", -0.02),
        ({"cost": 9.5e-4}, "gate_economic_conservative", 18 - 19),
        ({"spans_same_sign": 3}, "gate_stability", -0.25),
        ({"deflated_sharpe": 0.9}, "gate_deflated_sharpe", -0.05),
        ({"deflated_sharpe": None}, "gate_deflated_sharpe", None),
        ({"backtest_overfitting": 0.3}, "gate_backtest_overfitting", -0.1),
        ({"cusum_p": 0.004}, "gate_cusum", -0.006),
        ({"signs_by_year": "2023+ 2024-"}, "gate_years", 0.5 - 0.75),
        ({"signs_by_symbol": "BTCUSDT- ETHUSDT0"}, "gate_symbols", 0.0 - 0.5),
        ({"tainted_share": 0.08}, "gate_untainted", -0.03),
    ],
)
def test_each_gate_of_promotion_is_missed_alone_and_by_its_margin(
    made, change, gate: str, margin: float | None
) -> None:
    sound = {**SOUND, "cost": 5e-4}
    assert held_to(made(sound), PROMOTION, PLACEBO)["passed"].item()
    held = held_to(made(sound | change), PROMOTION, PLACEBO)
    assert [name for name in (*GATES, *REPORT_GATES) if not held[name].item()] == [gate]
    assert not held["passed"].item()
    if margin is not None:
        assert held[margin_of(gate)].item() == pytest.approx(margin)


def test_a_comparison_with_placebo_times_that_is_missing_is_not_passed(made) -> None:
    candidates = made({**SOUND, "cost": 5e-4})
    assert not held_to(candidates, PROMOTION)["gate_placebo"].item()
    worse = PLACEBO.with_columns(pl.lit(0.2).alias("placebo_p"))
    assert held_to(candidates, PROMOTION, worse)["margin_placebo"].item() == pytest.approx(0.05 - 0.2)


def test_a_reopened_fold_leaves_as_much_of_every_profiles_level(made) -> None:
    reopened = made(
        {**SOUND, "cost": 5e-4, "confirmation_level": 0.05, "confirmation_openings": 2, "confirmation_q": 0.03}
    )
    assert held_to(reopened, DISCOVERY)["margin_confirmed"].item() == pytest.approx(0.05 - 0.03)
    assert held_to(reopened, PROMOTION, PLACEBO)["margin_confirmed"].item() == pytest.approx(0.025 - 0.03)


def test_an_explanation_tells_of_luck_placebo_times_and_promotion(made) -> None:
    candidates = made({"deflated_sharpe": 0.9})
    text = explanation(candidates, PLACEBO["candidate_id"][0], DISCOVERY["VOL_SHOCK"], PROMOTION["VOL_SHOCK"], PLACEBO)
    assert "effective n 310 of 400, standard error of five-day blocks 1.05 times that of days" in text
    assert "largest gain while held 40.0, largest loss 25.0" in text
    assert "above the best of 9,000 trials by luck with probability 0.90" in text
    assert "placebo times (1,900): mean 1.0, 90 % interval -1.0 … 3.0; difference 19.0, p 0.001" in text
    assert "Gates of the profile promotion: 13 of 14 passed" in text
    assert "FAILED  deflated sharpe: -0.05" in text


def test_what_was_not_controlled_over_the_whole_search_says_so(made) -> None:
    partial = made(
        {"search_scope": "partial", "failed": ("significant", "confirmed"), "q_value": None, "confirmation_q": None}
    )
    text = explanation(partial, PLACEBO["candidate_id"][0], DISCOVERY["VOL_SHOCK"])
    assert "not controlled: day scores of other events were missing" in text


def test_a_filter_is_explained_as_a_difference(made) -> None:
    filtered = made({"state_id": "only_if_trend", "template_verb": "only_if_trend", "mirror_verb": None})
    text = explanation(filtered, "VOL_SHOCK.only_if_trend.60m.only_if_trend.POOLED", DISCOVERY["VOL_SHOCK"])
    assert "the difference between the trades it holds for and the others" in text
