"""Made-up candidates for the tests of reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.discovery.gates import GATES

PASSED: dict[str, Any] = {
    "event_type": "VOL_SHOCK",
    "family": "VOLATILITY",
    "symbol": "POOLED",
    "template_verb": "mean_reversion",
    "mirror_verb": "continuation",
    "policy": "lag1",
    "horizon": "60m",
    "state_id": "all",
    "direction": -1,
    "n_events": 400,
    "n_days": 200,
    "expectancy": 20e-4,
    "expectancy_standard_error": 4e-4,
    "cost": 8e-4,
    "posterior_mean": 18e-4,
    "posterior_sd": 3e-4,
    "posterior_low": 13e-4,
    "posterior_high": 23e-4,
    "local_false_sign_rate": 1e-6,
    "p_block_null": 1e-3,
    "after_cost_expectancy": 10e-4,
    "break_even_cost": 18e-4,
    "capacity_usd": 50_000.0,
    "probability_above_cost": 0.99,
    "mean_standardised_return": 0.3,
    "t_stat": 5.0,
    "adjusted_t_stat": 5.0,
    "degrees_of_freedom": 150.0,
    "p_value": 1e-6,
    "q_value": 1e-3,
    "family_wise_p": 0.01,
    "confirmation_n_events": 150,
    "confirmation_n_days": 80,
    "confirmation_expectancy": 15e-4,
    "confirmation_p": 1e-3,
    "confirmation_q": 0.01,
    "confirmation_level": 0.1,
    "confirmation_openings": 1,
    "confirmation_level_at_first": 0.1,
    "largest_day_share": 0.05,
    "largest_day_share_of_events": 0.03,
    "effective_n": 310.0,
    "cluster_days": 1,
    "standard_error_ratio": 1.05,
    "mean_favourable_excursion": 40e-4,
    "mean_adverse_excursion": 25e-4,
    "sharpe_ratio": 2.5,
    "deflated_sharpe": 0.97,
    "n_trials": 9000.0,
    "backtest_overfitting": 0.1,
    "cusum_p": 0.4,
    "tainted_share": 0.01,
    "search_scope": "whole",
    "spans_same_sign": 4,
    "signs_by_year": "2023+ 2024+",
    "signs_by_symbol": "BTCUSDT+ ETHUSDT-",
    "gate_tree_bh": True,
    "gate_tier_a": True,
    "is_confirmation_candidate": True,
}


@pytest.fixture(scope="session")
def made() -> Callable[..., pl.DataFrame]:
    """Candidates from what each differs in from one that passed every gate; `failed` names the gates it failed."""

    def frame(*changes: dict[str, Any]) -> pl.DataFrame:
        rows = []
        for change in changes:
            failed = change.get("failed", ())
            row = {
                **PASSED,
                **{gate: gate.removeprefix("gate_") not in failed for gate in GATES},
                **{gate.replace("gate_", "margin_", 1): -0.1 if gate[5:] in failed else 0.1 for gate in GATES},
                "gate_phase2_final": not failed,
                "fail_reasons": ", ".join(failed),
                **{name: value for name, value in change.items() if name != "failed"},
            }
            names = ("event_type", "template_verb", "horizon", "state_id", "symbol")
            row["candidate_id"] = ".".join(row[name] for name in names)
            rows.append({name: row.get(name) for name in CANDIDATE_SCHEMA})
        return pl.DataFrame(rows, schema=CANDIDATE_SCHEMA)

    return frame
