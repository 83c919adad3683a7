"""Candidates that passed, made by hand, and the blueprints they become."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from backtest.discovery.candidates import CANDIDATE_SCHEMA
from backtest.spec.compiled import Spec
from backtest.strategies.blueprints import Blueprint, SearchFacts, compile_blueprints

SHIPPED = Path(__file__).resolve().parents[3] / "spec"
SEARCH = SearchFacts(
    run_id="first",
    tested={"VOL_SHOCK": ("BTCUSDT", "ETHUSDT")},
    window=("2024-01-01", "2024-12-31"),
    data_hash="d" * 32,
    register_hash="r" * 32,
)


def passed(verb: str, policy: str, direction: int, **changes: object) -> dict[str, object]:
    """One candidate that passed every gate; figures are arbitrary."""
    scope = str(changes.get("symbol", "POOLED"))
    state = str(changes.get("state_id", "all"))
    horizon = str(changes.get("horizon", "60m"))
    figures = {name: 0.01 for name, dtype in CANDIDATE_SCHEMA.items() if dtype == pl.Float64()}
    counts = {name: 100 for name, dtype in CANDIDATE_SCHEMA.items() if dtype == pl.Int64()}
    flags = {name: True for name, dtype in CANDIDATE_SCHEMA.items() if dtype == pl.Boolean()}
    texts = {
        "candidate_id": f"VOL_SHOCK.{verb}.{horizon}.{state}.{scope}",
        "event_type": "VOL_SHOCK",
        "family": "VOLATILITY_TRANSITION",
        "symbol": "POOLED",
        "template_verb": verb,
        "policy": policy,
        "horizon": "60m",
        "state_id": "all",
        "direction": direction,
        "degrees_of_freedom": 40.0,
        "posterior_low": 0.001,
        "posterior_high": 0.02,
        "confirmation_openings": 1,
    }
    return {**figures, **counts, **flags, **texts, **changes}


def blueprints_from(spec: Spec, *rows: dict[str, object]) -> list[Blueprint]:
    """What candidates become."""
    return compile_blueprints(pl.DataFrame(rows, schema=CANDIDATE_SCHEMA), spec, SEARCH)
