"""The warm-up audit measures nothing where the look-back suffices, and the change where it does not."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import polars as pl

from backtest.audit.warm_up import WarmUp, measured_warm_up, worst_of
from backtest.expressions import compile_expression
from backtest.spec.compiled import CompiledFeature
from backtest.spec.models import Feature

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
N_BARS = 900


def feature(name: str, text: str, lookback_bars: int | None = None) -> CompiledFeature:
    compiled = compile_expression(text, ["close", "sparse"])
    model = Feature(name=name, unit="1", expression=text, description="A feature.")
    bars = compiled.lookback_bars if lookback_bars is None else lookback_bars
    return CompiledFeature(model, compiled, bars, compiled.inputs)


def bars() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, N_BARS)))
    sparse = [float(row) if row % 50 == 0 else None for row in range(N_BARS)]
    stamps = [START + row * dt.timedelta(minutes=5) for row in range(N_BARS)]
    return pl.DataFrame({"timestamp": stamps, "close": close, "sparse": sparse})


def test_derived_look_backs_suffice() -> None:
    expressions = {
        "level": "close",
        "spread": "rolling_std(close, 37)",
        "slow": "ewm_mean(close, 20)",
        "nested": "zscore(rolling_mean(close, 20), 48)",
        "median": "trailing_median(close, 61)",
    }
    measured = measured_warm_up(bars(), [feature(name, text) for name, text in expressions.items()], (13, 101))
    changes = {row.feature: row.largest_relative_change for row in measured}
    assert changes["level"] == changes["median"] == 0.0
    assert all(change is not None and change < 1e-9 for change in changes.values())
    assert all(row.n_null_changes == 0 and row.checked > 500 for row in measured)
    assert (measured[1].lookback_bars, measured[1].lookback_hours) == (36, 3.0)


def test_a_look_back_that_is_too_short_is_seen() -> None:
    short = feature("short", "ewm_mean(close, 20)", lookback_bars=190)
    missing = feature("missing", "last_known(sparse, 60)", lookback_bars=0)
    slow, unknown = measured_warm_up(bars(), [short, missing], (13,))
    assert slow.largest_relative_change is not None
    assert 0 < slow.largest_relative_change < 1e-6
    assert unknown.n_null_changes == 37


def test_features_without_values_say_so() -> None:
    (row,) = measured_warm_up(bars(), [feature("none", "log(0 - close)")], (13,))
    assert (row.checked, row.largest_relative_change, row.n_null_changes) == (0, None, 0)


def test_the_worst_of_symbols_is_reported() -> None:
    row = WarmUp("a", 3, 10, 1e-12, 0)
    other = dataclasses.replace(row, checked=5, largest_relative_change=1e-9, n_null_changes=2)
    assert worst_of([[row], [other]]) == [WarmUp("a", 3, 15, 1e-9, 2)]
