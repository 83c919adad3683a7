"""Equal day scores are one hypothesis with several names."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtest.discovery.day_scores import SCORE_SCHEMA, in_series
from backtest.discovery.duplicates import NO_ALIAS, aliases, series_digests
from backtest.discovery.event_days import event_days
from backtest.discovery.hypotheses import REGISTER_SCHEMA


def series(policy: str, state_id: str, sums: list[float], days: list[int] | None = None) -> pl.DataFrame:
    size = len(sums)
    given = {
        "policy": [policy] * size,
        "horizon": ["15m"] * size,
        "state_id": [state_id] * size,
        "day": np.array(days or range(100, 100 + size), np.int32),
        "n": np.ones(size, np.int32),
        "n_tainted": np.zeros(size, np.int32),
    }
    values = {name: np.array(sums) for name in SCORE_SCHEMA if name.startswith("sum_")}
    return pl.DataFrame({**given, **values}, schema=SCORE_SCHEMA)


def found(rows: list[tuple[str, str, str, str, str]], scores: dict[str, pl.DataFrame]) -> dict[str, str]:
    """Which of (policy, state, symbol, with, against) stands for which."""
    register = pl.DataFrame(
        [
            ("E", "F", policy, "15m", state, symbol, with_verb or None, against_verb or None)
            for policy, state, symbol, with_verb, against_verb in rows
        ],
        schema=REGISTER_SCHEMA,
        orient="row",
    )
    days = event_days({symbol: in_series(frame, 0) for symbol, frame in scores.items()})
    alias = aliases(register, series_digests(days, register, ["only"]))
    names = [f"{policy} {state} {symbol}" for policy, state, symbol, _, _ in rows]
    return {name: names[of] for name, of in zip(names, alias, strict=True) if of != NO_ALIAS}


def test_a_barrier_never_met_and_a_state_that_always_holds_are_other_names_of_the_plain_trade() -> None:
    one, other = [0.1, -0.2, 0.3], [0.1, -0.2, 0.4]
    scores = pl.concat(
        [
            series("lag1", "all", one),
            series("lag1", "vol_high", one),
            series("lag1", "vol_low", other),
            series("lag1_down2", "all", one),
            series("lag1_up2", "all", other),
        ]
    )
    rows = [
        ("lag1_down2", "all", "BTCUSDT", "trend_continuation", ""),
        ("lag1", "vol_high", "BTCUSDT", "continuation", "mean_reversion"),
        ("lag1", "all", "BTCUSDT", "continuation", "mean_reversion"),
        ("lag1_up2", "all", "BTCUSDT", "", "momentum_fade"),
    ]
    plain = "lag1 all BTCUSDT"
    assert found(rows, {"BTCUSDT": scores}) == {"lag1_down2 all BTCUSDT": plain, "lag1 vol_high BTCUSDT": plain}


def test_a_hypothesis_with_a_side_that_the_other_has_not_stands_for_itself() -> None:
    scores = pl.concat([series("lag1_down2", "all", [0.5, 0.25]), series("lag1_up2", "all", [0.5, 0.25])])
    rows = [("lag1_down2", "all", "BTCUSDT", "follow", ""), ("lag1_up2", "all", "BTCUSDT", "", "fade")]
    assert found(rows, {"BTCUSDT": scores}) == {}


def test_pooled_over_one_symbol_with_events_is_that_symbol_and_sums_of_two_are_not() -> None:
    only = series("lag1", "all", [0.5, 0.25])
    rows = [("lag1", "all", symbol, "follow", "fade") for symbol in ("BTCUSDT", "ETHUSDT", "POOLED")]
    assert found(rows, {"BTCUSDT": only, "ETHUSDT": only.clear()}) == {"lag1 all POOLED": "lag1 all BTCUSDT"}
    assert found(rows, {"BTCUSDT": only, "ETHUSDT": series("lag1", "all", [0.5, 0.125])}) == {}


def test_days_matter_and_what_has_no_events_is_no_duplicate() -> None:
    scores = pl.concat([series("a", "all", [0.5, 0.25]), series("b", "all", [0.5, 0.25], [100, 102])])
    rows = [(policy, "all", "BTCUSDT", "follow", "fade") for policy in ("a", "b", "c", "d")]
    assert found(rows, {"BTCUSDT": scores}) == {}


def test_a_filter_is_a_duplicate_only_of_one_with_both_groups_equal() -> None:
    scores = pl.concat(
        [
            series("a", "all", [0.5]),
            series("a", "only", [0.5]),
            series("b", "only", [0.5]),
            series("c", "only", [0.5]),
            series("a", "not:only", [0.25]),
            series("b", "not:only", [0.25]),
            series("c", "not:only", [0.125]),
        ]
    )
    rows = [(policy, "only", "BTCUSDT", "filter", "filter") for policy in ("a", "b", "c")]
    plain = [("a", "all", "BTCUSDT", "follow", "fade")]
    assert found(rows + plain, {"BTCUSDT": scores}) == {"b only BTCUSDT": "a only BTCUSDT"}
