"""From day scores to candidates on made-up scores whose truth is known."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.discovery.candidates import CANDIDATE_SCHEMA, assess
from backtest.discovery.day_rows import collect_rows
from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.discovery.folds import Folds, split
from backtest.discovery.gates import GATES
from backtest.discovery.hypotheses import event_trials, register
from backtest.errors import DataError
from backtest.spec.loader import load_spec
from backtest.spec.models import POOLED

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
EVENTS = ("VOL_SHOCK", "RANGE_BREAKOUT", "FND_DISLOC")
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
FOLDS = Folds(dt.date(2023, 1, 1), dt.date(2023, 9, 13), dt.date(2023, 9, 14), dt.date(2024, 1, 1))
FIRST_DAY = 19358


def scores(effect_bps: float, seed: int = 0, sigma_bps: float = 30.0) -> pl.DataFrame:
    """Day scores with one event a day; VOL_SHOCK at 60m on either symbol earns `effect_bps` with the event."""
    rng = np.random.default_rng(seed)
    frames = []
    days = np.arange(FIRST_DAY, FIRST_DAY + 365)
    for event in EVENTS:
        for trial in event_trials(SPEC, event):
            for symbol in SYMBOLS:
                planted = effect_bps if event == "VOL_SHOCK" and trial.horizon == "60m" else 0.0
                y = rng.normal(planted, sigma_bps, len(days)) * 1e-4
                frames.append(
                    pl.DataFrame(
                        {
                            "policy": trial.policy.policy_id,
                            "horizon": trial.horizon,
                            "state_id": "all",
                            "day": days.astype(np.int32),
                            "n": np.ones(len(days), np.int32),
                            "n_tainted": (days % 4 == 0).astype(np.int32),
                            "sum_z": y / (sigma_bps * 1e-4),
                            "sum_z2": (y / (sigma_bps * 1e-4)) ** 2,
                            "sum_y": y,
                            "sum_y2": y**2,
                            "sum_cost": np.full(len(days), 4e-4),
                            "sum_impact": np.full(len(days), 1e-4),
                            "sum_log_turnover": np.full(len(days), np.log(1e7)),
                            "sum_funding": np.zeros(len(days)),
                            "sum_favourable": np.full(len(days), 20e-4),
                            "sum_adverse": np.full(len(days), 10e-4),
                        },
                        schema=SCORE_SCHEMA,
                    ).with_columns(pl.lit(event).alias("event_type"), pl.lit(symbol).alias("symbol"))
                )
    every = pl.concat(frames)
    return pl.concat([every, every.with_columns(pl.lit("atom:").alias("state_id"))])


REGISTER = register(SPEC, dict.fromkeys(EVENTS, SYMBOLS))


def test_a_large_edge_is_found_on_the_right_side_and_nothing_else_is() -> None:
    found = assess(REGISTER, scores(20.0), FOLDS, SPEC)
    passed = found.filter("gate_phase2_final")
    assert set(passed["event_type"]) == {"VOL_SHOCK"}
    assert set(passed["horizon"]) == {"60m"}
    both = passed.filter((pl.col("symbol") == POOLED) & (pl.col("template_verb") == "continuation")).row(0, named=True)
    assert both["direction"] == 1
    assert both["expectancy"] == pytest.approx(20e-4, rel=0.3)
    assert both["posterior_mean"] == pytest.approx(20e-4, rel=0.3)
    assert both["posterior_low"] < both["posterior_mean"] < both["posterior_high"]
    assert both["after_cost_expectancy"] == pytest.approx(both["posterior_mean"] - 4e-4)
    assert both["break_even_cost"] == pytest.approx(both["posterior_mean"])
    unhindered = both["posterior_mean"] - 3e-4
    assert both["capacity_usd"] == pytest.approx(min(1e4 * (unhindered / 2e-4) ** 2, 0.02 * 1e7))
    assert both["p_block_null"] < 0.01
    assert both["fail_reasons"] == ""


def test_the_sign_picks_the_verb_of_a_two_sided_hypothesis_and_none_is_picked_against_a_one_sided_one() -> None:
    found = assess(REGISTER, scores(-20.0), FOLDS, SPEC)
    passed = found.filter("gate_phase2_final")
    assert "mean_reversion" in set(passed["template_verb"])
    assert {"trend_continuation", "pullback_entry"}.isdisjoint(passed["template_verb"])
    row = passed.filter(pl.col("template_verb") == "mean_reversion").row(0, named=True)
    assert row["direction"] == -1
    assert row["mirror_verb"] == "continuation"
    assert row["expectancy"] > 0


def test_an_edge_below_its_cost_fails_the_economic_gate_alone() -> None:
    found = assess(REGISTER, scores(3.5, sigma_bps=8.0), FOLDS, SPEC)
    row = found.filter(
        (pl.col("event_type") == "VOL_SHOCK")
        & (pl.col("symbol") == POOLED)
        & (pl.col("template_verb") == "continuation")
    ).filter(pl.col("state_id") == "all", pl.col("horizon") == "60m")
    assert row["gate_significant"].item()
    assert row["gate_confirmed"].item()
    assert not row["gate_phase2_final"].item()
    assert row["fail_reasons"].item() == "economic, economic_conservative"
    assert row["margin_economic_conservative"].item() == pytest.approx(3.5 - 6.0, abs=1.0)


def test_final_is_all_gates_and_every_failed_gate_is_named() -> None:
    found = assess(REGISTER, scores(6.0), FOLDS, SPEC)
    assert (found["gate_phase2_final"] == found.select(pl.all_horizontal(GATES)).to_series()).all()
    for row in found.filter("gate_eligible").iter_rows(named=True):
        failed = [gate.removeprefix("gate_") for gate in GATES if not row[gate]]
        assert row["fail_reasons"] == ", ".join(failed)
        for gate in failed:
            margin = row[f"margin_{gate}"]
            assert margin is None or margin <= 0


def test_hypotheses_without_enough_events_are_not_tested_and_say_so() -> None:
    few = scores(20.0).filter((pl.col("day") % 10 == 0) | (pl.col("event_type") != "VOL_SHOCK"))
    found = assess(REGISTER, few, FOLDS, SPEC).filter(pl.col("event_type") == "VOL_SHOCK", pl.col("symbol") != POOLED)
    assert not found["gate_eligible"].any()
    assert found["p_value"].null_count() == found["q_value"].null_count() == len(found)
    assert set(found["fail_reasons"]) == {"insufficient_data"}


def test_the_discovery_fold_decides_alone_what_is_confirmed() -> None:
    whole = scores(20.0)
    cut = (FOLDS.confirmation_start - dt.date(1970, 1, 1)).days
    spoiled = whole.with_columns(
        pl.when(pl.col("day") >= cut).then(-pl.col("sum_z")).otherwise("sum_z").alias("sum_z"),
        pl.when(pl.col("day") >= cut).then(-pl.col("sum_y")).otherwise("sum_y").alias("sum_y"),
    )
    good, bad = assess(REGISTER, whole, FOLDS, SPEC), assess(REGISTER, spoiled, FOLDS, SPEC)
    first = ["candidate_id", "t_stat", "p_value", "q_value", "family_wise_p", "expectancy", "gate_significant"]
    assert good.select(first).equals(bad.select(first))
    assert good["gate_phase2_final"].any()
    assert not bad["gate_confirmed"].any()


def test_pooled_day_scores_are_the_sums_of_the_symbols_days() -> None:
    some = scores(5.0)
    rows = collect_rows(REGISTER, some, FOLDS)
    index = (
        REGISTER.with_row_index("owner")
        .filter(
            (pl.col("symbol") == POOLED)
            & (pl.col("event_type") == "FND_DISLOC")
            & (pl.col("policy") == "lag1")
            & (pl.col("horizon") == "15m")
            & (pl.col("state_id") == "all")
        )["owner"]
        .item()
    )
    mine = rows.where(rows.owner == index)
    expected = (
        some.filter(
            (pl.col("event_type") == "FND_DISLOC") & (pl.col("policy") == "lag1") & (pl.col("horizon") == "15m")
        )
        .filter(pl.col("state_id") == "all")
        .group_by("day")
        .agg(pl.col("sum_z").sum(), pl.col("n").sum())
        .sort("day")
    )
    assert mine.day.tolist() == expected["day"].to_list()
    assert mine.n.tolist() == expected["n"].to_list()
    assert mine.sums["sum_z"] == pytest.approx(expected["sum_z"].to_numpy())


def test_clusters_longer_than_a_day_do_not_straddle_the_folds() -> None:
    key = ("event_type", "policy", "horizon", "state_id")
    long = (
        REGISTER.filter(pl.col("symbol") == "BTCUSDT").with_columns(pl.lit("1d").alias("horizon")).unique(key).head(1)
    )
    cut = FOLDS.first_confirmation_day
    some = scores(5.0).filter(pl.col("symbol") == "BTCUSDT").head(6)
    some = some.with_columns(
        pl.Series("day", [cut - 3, cut - 2, cut - 1, cut, cut + 1, cut + 2], dtype=pl.Int32),
        *(pl.lit(long[name].item()).alias(name) for name in key),
    )
    rows = collect_rows(long, some, FOLDS)
    assert (rows.day - cut).tolist() == [-4, -2, 0, 2]
    assert rows.n.tolist() == [1, 2, 2, 1]


def test_permuting_symbols_and_rows_permutes_results() -> None:
    some = scores(20.0)
    shuffled = some.sample(fraction=1.0, shuffle=True, seed=3).sort("symbol", descending=True)
    columns = ["candidate_id", "n_events", "gate_phase2_final", "family_wise_p"]
    one, other = assess(REGISTER, some, FOLDS, SPEC), assess(REGISTER, shuffled, FOLDS, SPEC)
    assert one.select(columns).equals(other.select(columns))
    assert one["t_stat"].to_numpy() == pytest.approx(other["t_stat"].to_numpy(), nan_ok=True)


def test_no_hypothesis_gives_an_empty_table_with_its_schema() -> None:
    empty = scores(0.0).clear()
    assert dict(assess(register(SPEC, {}), empty, FOLDS, SPEC).schema) == CANDIDATE_SCHEMA


def test_folds_leave_an_embargo_of_whole_days() -> None:
    start = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
    folds = split(start, start + dt.timedelta(days=100), discovery_share=0.7, longest_window_bars=300)
    assert (folds.discovery_end, folds.confirmation_start) == (dt.date(2023, 3, 12), dt.date(2023, 3, 14))
    assert folds.embargo_days == 2
    with pytest.raises(DataError, match="too short for a discovery fold"):
        split(start, start + dt.timedelta(days=6), discovery_share=0.7, longest_window_bars=19)


def test_candidates_report_the_share_of_their_trades_that_rest_on_suspect_bars() -> None:
    share = assess(REGISTER, scores(0.0), FOLDS, SPEC)["tainted_share"].drop_nulls()
    # One day in four is tainted above, so is one trade in four of either fold.
    assert ((share - 0.25).abs() < 0.01).all()
    assert len(share) > 0


def test_scores_without_joint_states_are_refused() -> None:
    old = scores(5.0).filter(pl.col("state_id") == "all")
    with pytest.raises(DataError, match=r"hold no joint states.*score again: make discover-edges"):
        assess(REGISTER, old, FOLDS, SPEC)


def test_each_further_opening_of_the_confirmation_fold_lowers_its_level() -> None:
    some = scores(15.0)
    first, third = (assess(REGISTER, some, FOLDS, SPEC, confirmation_openings=n) for n in (1, 3))
    assert third["confirmation_level"].to_list() == pytest.approx([first["confirmation_level"][0] / 6] * len(third))
    assert first["confirmation_q"].equals(third["confirmation_q"])
    expected = third["confirmation_q"] <= first["confirmation_level"] / 6
    assert third["gate_confirmed"].equals(expected.fill_null(value=False))
    many = assess(REGISTER, some, FOLDS, SPEC, confirmation_openings=10**18)
    assert first["gate_confirmed"].any()
    assert not many["gate_confirmed"].any()


def test_hypotheses_whose_days_depend_on_each_other_are_tested_on_blocks_in_both_folds() -> None:
    some = scores(0.0)
    shifted = some.with_columns(
        (((pl.col("day") // 5).hash(3) % 2).cast(pl.Float64) * 2 - 1).alias("of_block")
    ).with_columns(pl.col("sum_z") + pl.col("of_block"), pl.col("sum_y") + pl.col("of_block") * 30e-4)
    key = ("candidate_id", "cluster_days", "standard_error_ratio", "degrees_of_freedom", "n_days", "effective_n")
    plain, blocked = (assess(REGISTER, each.select(some.columns), FOLDS, SPEC).select(key) for each in (some, shifted))
    tested = blocked.filter(pl.col("n_days") > 0)
    assert set(tested["cluster_days"]) == {5}
    assert (tested["standard_error_ratio"] > 1.2).all()
    assert (tested["degrees_of_freedom"] < 60).all()
    assert (tested["effective_n"] < tested["n_days"]).all()
    assert plain.filter(pl.col("n_days") > 0)["cluster_days"].mean() < 1.5
    assert (tested["n_days"] == plain.filter(pl.col("n_days") > 0)["n_days"]).all()
