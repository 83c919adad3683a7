"""An explanation names the first failed gate, what would mend it, and relatives that passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.discovery.inference import cluster_t
from backtest.errors import MisuseError
from backtest.reports.why_not import explanation, found, nearest_passing
from backtest.spec.loader import load_spec

PROFILE = load_spec(Path(__file__).resolve().parents[3] / "spec").gates.profiles["discovery"]
ID = "VOL_SHOCK.mean_reversion.60m.all.POOLED"


def lines_of(candidates, candidate_id: str = ID) -> str:
    return explanation(candidates, candidate_id, PROFILE)


def test_one_that_passed_says_so_and_needs_nothing(made) -> None:
    text = lines_of(made({}))
    assert "passed every gate" in text
    assert "posterior mean 18.0, 90 % interval 13.0 … 23.0" in text
    assert "cost 8.0, after cost 10.0" in text
    assert "sign by year 2023+ 2024+, by symbol BTCUSDT+ ETHUSDT-" in text
    assert "What it would need" not in text
    assert "FAILED" not in text


def test_the_first_failed_gate_is_named_and_the_rest_counted(made) -> None:
    text = lines_of(made({"failed": ("confirmed", "economic", "stability")}))
    assert "first gate failed: confirmed, and 2 more" in text
    assert text.count("FAILED") == 3


def test_a_t_half_as_large_as_needed_takes_three_times_the_events_more_or_twice_the_mean(made) -> None:
    selected = {"symbol": "BTCUSDT", "p_value": 0.0023}  # two-sided p of t = 3.1 at 150 degrees of freedom
    weak = {
        "failed": ("significant",),
        "t_stat": 3.1 / 2,
        "adjusted_t_stat": 3.1 / 2,
        "p_value": 0.12,
        "gate_tree_bh": False,
        "gate_tier_a": False,
    }
    text = lines_of(made(selected, weak))
    events = int(text.split("takes about ")[1].split(" more events")[0].replace(",", ""))
    assert events == pytest.approx(3 * 400, rel=0.02)
    assert "a raw mean of about 40.0 bps" in text or "a raw mean of about 40.1 bps" in text


def test_more_of_the_same_events_do_indeed_make_t_grow_with_their_root() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    sums = rng.normal(0.2, 1.0, 100)
    owner, ones = np.zeros(100, np.int64), np.ones(100, np.int64)
    once = cluster_t(sums, ones, owner, 1).t[0]
    four = cluster_t(np.tile(sums, 4), np.tile(ones, 4), np.tile(owner, 4), 1).t[0]
    assert four == pytest.approx(2 * once, rel=0.02)


def test_what_was_not_tested_says_how_many_events_and_days_are_missing(made) -> None:
    row = {"failed": ("eligible",), "n_events": 30, "n_days": 25, "confirmation_n_days": 4, "p_value": None}
    text = lines_of(made({**row, "q_value": None, "family_wise_p": None}))
    assert "nothing is said for or against it" in text
    assert "20 more events in the discovery fold" in text
    assert "5 more active days in the discovery fold" in text
    assert "6 more active days in the confirmation fold" in text


def test_a_mean_below_cost_is_not_mended_by_more_events(made) -> None:
    below = {"failed": ("economic", "economic_conservative"), "posterior_mean": 6e-4, "after_cost_expectancy": -2e-4}
    text = lines_of(made(below))
    assert "a posterior mean of about 11.8 bps with its uncertainty as it is; its mean is below cost" in text
    assert "a posterior mean above 12.0 bps; more events alone do not raise it" in text


def test_a_reopened_fold_is_shown_with_the_level_it_was_held_to(made) -> None:
    text = lines_of(made({"confirmation_openings": 4, "confirmation_level": 0.025}))
    assert "confirmation q ≤ 0.025 (4 openings)" in text


def test_relatives_share_event_and_horizon_before_anything_else_and_passed(made) -> None:
    candidates = made(
        {"failed": ("confirmed",)},
        {"horizon": "5m"},
        {"symbol": "BTCUSDT"},
        {"event_type": "OTHER", "family": "VOLATILITY"},
        {"event_type": "OTHER", "family": "FUNDING"},
        {"symbol": "ETHUSDT", "failed": ("stability",)},
    )
    names = nearest_passing(candidates, found(candidates, ID))["candidate_id"].to_list()
    assert names == [
        "VOL_SHOCK.mean_reversion.60m.all.BTCUSDT",
        "VOL_SHOCK.mean_reversion.5m.all.POOLED",
        "OTHER.mean_reversion.60m.all.POOLED",
    ]
    assert all(name in lines_of(candidates) for name in names)


def test_the_id_with_the_mirrors_verb_finds_the_same_hypothesis_and_a_wrong_one_the_nearest(made) -> None:
    candidates = made({})
    assert found(candidates, "VOL_SHOCK.continuation.60m.all.POOLED")["candidate_id"] == ID
    with pytest.raises(MisuseError, match=f"Did you mean '{ID}'"):
        found(candidates, ID.replace("60m", "65m"))
