"""What is noted at an event: strength, the states in force, cooldown, and why a type is unavailable."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.events.cooldowns import outside_cooldown, outside_cooldowns
from backtest.events.detect import detect_events, event_schema, missing_datasets
from backtest.events.quality import SYMBOL_QUALITY_SCHEMA, judge
from backtest.expressions import compile_expression
from backtest.expressions.evaluation import Evaluation
from backtest.expressions.excess import excess
from backtest.spec.loader import load_spec
from backtest.spec.models import Prevalence

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
START = dt.datetime(2024, 1, 5, 22, tzinfo=dt.UTC)


def stamps(n: int) -> list[dt.datetime]:
    return [START + dt.timedelta(minutes=5 * row) for row in range(n)]


def shocks(ratio: list[float | None]) -> pl.DataFrame:
    """Columns of VOL_SHOCK and of the states vol_regime and weekend."""
    n = len(ratio)
    return pl.DataFrame(
        {
            "timestamp": stamps(n),
            "realized_vol_1h_ratio": pl.Series(ratio, dtype=pl.Float64),
            "return_1h": [-0.01] * n,
            "realized_vol_24h_rank_30d": pl.Series([0.2, 0.4, 0.9, None] * n, dtype=pl.Float64)[:n],
        }
    )


def test_strength_is_the_excess_over_the_threshold_and_states_are_those_of_the_bar() -> None:
    states = {name: SPEC.states[name] for name in ("vol_regime", "weekend")}
    ratio = [1.0] * 30
    ratio[2], ratio[23], ratio[27] = 3.75, 4.5, 9.0
    found = detect_events(shocks(ratio), [SPEC.events["VOL_SHOCK"]], "BTCUSDT", states)
    assert found.schema == event_schema(states)
    assert found["timestamp"].to_list() == [stamps(30)[2], stamps(30)[23]]
    assert found["strength"].to_list() == [0.25, 0.5]
    assert found["vol_regime"].to_list() == ["high", None]
    assert found["weekend"].to_list() == ["outside", "outside"]
    assert found["event_id"][0] == "VOL_SHOCK.BTCUSDT.20240105T2210"
    late = detect_events(shocks([1.0] * 24 + [4.0]), [SPEC.events["VOL_SHOCK"]], "BTCUSDT", states)
    assert late["weekend"].to_list() == ["inside"]


def test_no_event_types_and_no_occurrences_have_the_schema() -> None:
    states = {"vol_regime": SPEC.states["vol_regime"]}
    assert detect_events(shocks([1.0] * 5), [], "BTCUSDT", states).schema == event_schema(states)
    assert detect_events(shocks([1.0] * 5), [SPEC.events["VOL_SHOCK"]], "BTCUSDT").schema == event_schema(())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("crosses_above(x, 2 * y) and z > 0", "((x) - (2 * y)) / abs(2 * y)"),
        ("crosses_below(x, 0.5)", "((0.5) - (x)) / abs(0.5)"),
        ("x >= y and (z > 0 or x > 1)", "((x) - (y)) / abs(y)"),
        ("(x < y) and z > 0", "((y) - (x)) / abs(y)"),
        ("x > 0", None),
        ("x > 1 or y > 1", None),
        ("1 < x < 2", None),
        ("not is_null(x)", None),
        ("x == y", None),
    ],
)
def test_the_excess_is_that_of_the_first_comparison_that_must_hold(condition: str, expected: str | None) -> None:
    assert excess(condition) == expected


def test_expressions_computed_together_give_what_each_gives_alone() -> None:
    texts = {
        "a": "trailing_median(x, 3) + lag(x, 1)",
        "b": "x > trailing_median(x, 3) and hour() >= 22",
        "c": "1 + 1",
        "d": "where(x > 1, trailing_median(x, 3), x * 1)",
    }
    frame = pl.DataFrame({"timestamp": stamps(9), "x": [1.0, 3.0, None, 2.0, 5.0, 4.0, 4.0, 1.0, 9.0]})
    compiled = {name: compile_expression(text, ["x"]) for name, text in texts.items()}
    evaluation = Evaluation.of_frame(frame)
    for expression in compiled.values():
        alone = frame.select(expression.polars())["value"]
        assert evaluation.series(expression.program).equals(
            pl.repeat(alone[0], 9, eager=True) if len(alone) == 1 else alone
        )


def test_an_event_is_unavailable_for_the_data_set_that_is_not_there_or_the_feature_that_is_not_defined() -> None:
    frame = pl.DataFrame({name: pl.Series([None, None], dtype=pl.Float64) for name in [*SPEC.columns, *SPEC.features]})
    here = frame.with_columns(close=pl.lit(1.0), btc_return=pl.lit(0.0))
    assert missing_datasets(here, SPEC.events["DEPTH_COLLAPSE"], SPEC.columns) == ["book_depth"]
    assert missing_datasets(here, SPEC.events["LIQUIDATION_CASCADE"], SPEC.columns) == ["liquidations", "metrics"]
    assert missing_datasets(here, SPEC.events["LEAD_LAG_BREAK"], SPEC.columns) == ["values of lead_lag_btc_24h"]
    known = here.with_columns(realized_vol_1h_ratio=pl.lit(1.0), return_1h=pl.lit(0.0))
    assert missing_datasets(known, SPEC.events["VOL_SHOCK"], SPEC.columns) == []


def test_an_event_may_have_bounds_of_its_own() -> None:
    quality = pl.DataFrame(
        [("RARE", "A", None, 100_000, 5, 5, 5, 0), ("OTHER", "A", None, 100_000, 5, 5, 5, 0)],
        schema=SYMBOL_QUALITY_SCHEMA,
        orient="row",
    )
    verdicts = judge(quality, SPEC.gates.gate_e1, {"RARE": Prevalence(min_per_10000_bars=0.1)})
    assert dict(verdicts.select("event_type", "verdict").iter_rows()) == {
        "RARE": "tested",
        "OTHER": "too rare: fewer than 1 per 10,000 bars",
    }
    most = judge(quality, SPEC.gates.gate_e1, {"RARE": Prevalence(min_per_10000_bars=0, max_per_10000_bars=0.25)})
    assert most["verdict"][0] == "too frequent: more than 0.25 per 10,000 bars"


def test_every_event_file_says_what_the_design_asks_for() -> None:
    for name, event in SPEC.events.items():
        model = event.model
        assert model.needs is not None, name
        assert model.description.endswith("."), name
        assert model.mechanism.endswith("."), name
        assert model.states is not None, name
        assert len(model.states) <= 5, name


def test_a_kept_hit_silences_its_own_type_up_to_and_including_its_cooldown() -> None:
    events = [SPEC.events[name] for name in ("VOL_SPIKE", "VOL_SHOCK", "BAND_BREAK")]
    chance = np.random.default_rng(3)
    names = ["VOL_SHOCK", "VOL_SPIKE", "DEPTH_COLLAPSE"]
    rows = sorted((row, name) for name in names for row in chance.choice(500, 150, replace=False).tolist())
    hits = pl.DataFrame(
        {"event_type": [name for _, name in rows], "timestamp": [stamps(500)[row] for row, _ in rows]},
        schema_overrides={"timestamp": pl.Datetime("ms", "UTC")},
    )
    expected = []
    for event in events:
        silent_until = -1
        for row, name in rows:
            if name == event.model.event_type and row > silent_until:
                expected.append((name, stamps(500)[row]))
                silent_until = row + event.model.cooldown_bars
    assert outside_cooldowns(hits, events).rows() == expected
    assert 0 < len(expected) < 250
    # By whole types, as stages find them, or mixed in time.
    assert outside_cooldowns(hits.sort("event_type", maintain_order=True), events).rows() == expected
    assert outside_cooldowns(hits.clear(), events).schema == hits.schema
    assert outside_cooldowns(hits, []).is_empty()


@pytest.mark.parametrize(
    ("cooldown_bars", "kept"), [(0, [2, 3, 5, 9]), (1, [2, 5, 9]), (3, [2, 9]), (6, [2, 9]), (7, [2])]
)
def test_hits_are_kept_that_lie_beyond_the_cooldown_of_the_last_kept_one(cooldown_bars: int, kept: list[int]) -> None:
    assert outside_cooldown(np.array([2, 3, 5, 9]), cooldown_bars).tolist() == kept
    assert outside_cooldown(np.array([], dtype=np.int64), cooldown_bars).tolist() == []
