"""The audit finds every kind of look-ahead that is planted, and raises no alarm over what only accumulates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.audit.definitions import definition_values
from backtest.audit.look_ahead import Check, look_ahead, merged
from backtest.expressions import compile_expression
from backtest.spec.loader import load_spec

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
BAR = dt.timedelta(minutes=5)
N_BARS = 600
CUT = START + 400 * BAR
SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")


def market() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, N_BARS)))
    stamps = [START + row * BAR for row in range(N_BARS)]
    sparse = pl.Series(rng.normal(0, 1, N_BARS)).set(pl.Series(np.arange(N_BARS) % 96 != 0), None)
    return pl.DataFrame({"timestamp": stamps, "close": close, "sparse": sparse})


def checks(expression: pl.Expr, cut: dt.datetime = CUT) -> list[Check]:
    return look_ahead(
        {"bars": market()}, lambda known: known["bars"].select("timestamp", expression.alias("planted")), cut, "BTCUSDT"
    )


CLOSE, SPARSE = pl.col("close"), pl.col("sparse")


@pytest.mark.parametrize(
    ("peek", "first_row"),
    [
        (CLOSE.rolling_mean(25, center=True), 388),
        (CLOSE.shift(-1), 399),
        (SPARSE.fill_null(strategy="backward"), 385),
        ((CLOSE - CLOSE.mean()) / CLOSE.std(), 0),
        (CLOSE.rank() / pl.len(), 0),
        (CLOSE.reverse().ewm_mean(span=20).reverse(), None),
        (SPARSE.interpolate(), 385),
        (CLOSE.gt(CLOSE.quantile(0.9)), None),
        (CLOSE.eq(CLOSE.max()), None),
    ],
    ids=["centred", "next", "backward fill", "full sample", "rank", "reverse", "interpolated", "quantile", "maximum"],
)
def test_a_planted_look_ahead_is_found_at_its_first_row(peek: pl.Expr, first_row: int | None) -> None:
    (check,) = checks(peek)
    assert check.mismatches > 0
    assert check.first is not None
    assert (check.definition, check.first.symbol, check.first.cut) == ("planted", "BTCUSDT", CUT)
    assert check.first.timestamp < CUT
    assert check.first.with_future != check.first.without_future
    if first_row is not None:
        assert check.first.timestamp == START + first_row * BAR


@pytest.mark.parametrize(
    "honest",
    [
        CLOSE.cum_sum(),
        CLOSE.cum_max(),
        CLOSE.cum_sum() / (pl.int_range(pl.len()) + 1),
        CLOSE.ewm_mean(span=500, adjust=False),
        CLOSE.ewm_std(span=20),
        SPARSE.fill_null(strategy="forward"),
        CLOSE.rolling_std(50),
        compile_expression("zscore(close, 48)", ["close"]).polars(),
        compile_expression("ewm_mean(close, 30)", ["close"]).polars(),
        compile_expression("percentile_rank(close, 96)", ["close"]).polars(),
        compile_expression("trailing_quantile(close, 0.9, 96)", ["close"]).polars(),
        compile_expression("same_time_mean(close, 1)", ["close"]).polars(),
    ],
)
def test_what_accumulates_from_the_beginning_raises_no_alarm(honest: pl.Expr) -> None:
    for cut in (1, 2, 47, 96, 97, 400, N_BARS):
        (check,) = checks(honest, START + cut * BAR)
        assert (check.mismatches, check.first) == (0, None)


def test_a_difference_in_the_last_bit_or_the_sign_of_zero_is_a_difference() -> None:
    def last_bit(change: float) -> Callable[[dict[str, pl.DataFrame]], pl.DataFrame]:
        return lambda known: known["bars"].select(
            "timestamp", (pl.col("close") * 0 + (change if len(known["bars"]) == N_BARS else abs(change))).alias("x")
        )

    (nothing,) = look_ahead({"bars": market()}, last_bit(0.0), CUT)
    assert nothing.mismatches == 0
    noisy = look_ahead(
        {"bars": market()},
        lambda known: known["bars"].select(
            "timestamp", x=pl.lit(1.0 if len(known["bars"]) == N_BARS else float(np.nextafter(1.0, 2.0)))
        ),
        CUT,
    )
    signed = look_ahead(
        {"bars": market()},
        lambda known: known["bars"].select("timestamp", x=pl.lit(0.0 if len(known["bars"]) == N_BARS else -0.0)),
        CUT,
    )
    assert (noisy[0].mismatches, signed[0].mismatches) == (400, 400)


def test_values_are_counted_where_either_side_knows_one() -> None:
    (check,) = checks(SPARSE)
    assert check.checked == sum(row % 96 == 0 for row in range(400))
    (unknown_later,) = checks(pl.when(pl.len() == N_BARS).then(CLOSE))
    assert (unknown_later.checked, unknown_later.mismatches) == (400, 400)
    assert unknown_later.first is not None
    assert unknown_later.first.without_future is None


def test_parts_of_a_definition_are_one_row_with_its_earliest_offence() -> None:
    found = look_ahead(
        {"bars": market()},
        lambda known: known["bars"].select(
            "timestamp",
            CLOSE.alias("event X: close"),
            CLOSE.shift(-1).alias("event X: next"),
            CLOSE.shift(-3).alias("event X: later"),
            CLOSE.alias("feature Y"),
        ),
        CUT,
    )
    assert [(check.definition, check.checked, check.mismatches) for check in found] == [
        ("event X", 1200, 4),
        ("feature Y", 400, 0),
    ]
    assert found[0].first is not None
    assert (found[0].first.column, found[0].first.timestamp) == ("event X: later", START + 397 * BAR)
    assert merged([*found, *found])[0].mismatches == 8


def test_computations_that_begin_at_different_bars_are_refused() -> None:
    with pytest.raises(ValueError, match="begin at different bars"):
        look_ahead({"bars": market()}, lambda known: known["bars"].tail(300), CUT)


def test_a_computation_that_has_nothing_before_the_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="no row before"):
        look_ahead({"bars": market()}, lambda known: known["bars"].filter(pl.len() == N_BARS), CUT)


def bars() -> pl.DataFrame:
    """Every column the spec names, without meaning."""
    rng = np.random.default_rng(0)
    close = market()["close"].to_numpy()
    columns = {name: rng.uniform(1, 2, N_BARS) for name in SPEC.columns}
    columns |= {"close": close, "open": close, "high": close * 1.01, "low": close * 0.99}
    return pl.DataFrame({"timestamp": market()["timestamp"], **columns})


def test_every_definition_is_looked_at_with_the_numbers_behind_its_conditions() -> None:
    values = definition_values(bars(), SPEC)
    definitions = {name.partition(": ")[0] for name in values.columns[1:]}
    wanted = {f"feature {name}" for name in SPEC.features} | {f"state {name}" for name in SPEC.states}
    wanted |= {f"event {name}" for name in SPEC.events} | {f"discovery {name}" for name in SPEC.bar_expressions}
    assert definitions == wanted
    for name, event in SPEC.events.items():
        parts = {
            column.removeprefix(f"event {name}: ") for column in values.columns if column.startswith(f"event {name}:")
        }
        assert {"when", "direction", "occurs"} <= parts
        assert len(parts) >= 3 + len(event.when.program.thresholded)


def test_the_numbers_of_a_condition_are_those_it_compares() -> None:
    compiled = compile_expression("crosses_above(diff(close, 2), 1) and close > lag(close, 3) * 2", ["close"])
    frame = market()
    first, second = frame.select(number.alias(str(i)) for i, number in enumerate(compiled.thresholded()))
    assert first.equals(frame.select(compile_expression("diff(close, 2)", ["close"]).polars().alias("0"))["0"])
    assert second.equals(frame.select(compile_expression("lag(close, 3) * 2", ["close"]).polars().alias("1"))["1"])


def test_one_event_brings_the_features_it_rests_on_and_no_other() -> None:
    values = definition_values(bars(), SPEC, "VOL_SHOCK")
    definitions = {name.partition(": ")[0] for name in values.columns[1:]}
    assert definitions == {
        "feature log_return",
        "feature realized_vol_1h",
        "feature realized_vol_1h_ratio",
        "feature return_1h",
        "event VOL_SHOCK",
    }
