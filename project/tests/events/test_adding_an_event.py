"""The file of docs/adding_an_event.md, put into a spec folder, goes through to candidates; nothing else is edited."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from backtest.discovery.candidates import assess
from backtest.discovery.folds import split
from backtest.discovery.hypotheses import longest_window_bars, register
from backtest.discovery.scoring import score_event, symbol_market
from backtest.events.detect import detect_events, event_flags, event_schema, missing_datasets
from backtest.events.quality import judge, symbol_quality
from backtest.features.bar_columns import with_all_columns
from backtest.features.build import build_features
from backtest.reports.definitions import described
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec
from backtest.states.evaluate import evaluate_states

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "adding_an_event.md"
SYMBOL = "BTCUSDT"
NAME = "QUIET_DRIFT"
N_DAYS = 80


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    """The shipped spec and one file more."""
    folder = Path(shutil.copytree(REPOSITORY / "spec", tmp_path_factory.mktemp("added") / "spec"))
    block = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    name = yaml.safe_load(block[1])["event_type"]
    (folder / "events" / f"{name}.yaml").write_text(block[1], encoding="utf-8")
    return load_spec(folder)


@pytest.fixture(scope="module")
def frame(spec: Spec) -> pl.DataFrame:
    """Bars of a random walk with every feature beside them."""
    rng = np.random.default_rng(3)
    n = N_DAYS * 288
    close = 30_000 * np.exp(np.cumsum(rng.standard_t(5, n) * 1e-3))
    opens = np.concatenate([[30_000.0], close[:-1]])
    volume = np.exp(rng.normal(3, 0.5, n))
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    stamps = pl.datetime_range(start, start + dt.timedelta(minutes=5 * (n - 1)), "5m", time_unit="ms", eager=True)
    bars = pl.DataFrame(
        {
            "timestamp": stamps,
            "open": opens,
            "high": np.maximum(opens, close) * 1.0005,
            "low": np.minimum(opens, close) * 0.9995,
            "close": close,
            "volume": volume,
            "is_gap": False,
            "is_zero_volume": False,
        }
    )
    bars = with_all_columns(bars, spec.columns, spec.calendars.values())
    features = build_features(bars, list(spec.features.values()))
    return pl.concat([bars, features.drop("timestamp")], how="horizontal")


def test_the_page_explains_what_follows_from_its_file(spec: Spec) -> None:
    shown = described(spec, NAME).text
    assert "event of the family TREND_STRUCTURE" in shown
    assert "mean_reversion or" in shown or "continuation or mean_reversion" in shown
    assert "look-back" in shown


def test_an_added_event_goes_through_to_candidates(spec: Spec, frame: pl.DataFrame) -> None:
    needs = {name: missing_datasets(frame, event, spec.columns) for name, event in spec.events.items()}
    assert needs[NAME] == []
    events = detect_events(frame, [spec.events[NAME]], SYMBOL, spec.states)
    assert events.schema == event_schema(spec.states)
    assert len(events) > 20
    assert set(events["direction"]) == {-1, 1}
    assert events["strength"].min() > 0
    assert set(events["vol_regime"].drop_nulls()) <= {"low", "mid", "high"}
    assert events["weekend"].null_count() == 0

    volatility = frame.select(
        "timestamp", "is_gap", spec.bar_expressions["expected_volatility"].polars().alias("expected_volatility")
    )
    counted = symbol_quality(
        events, volatility, needs, SYMBOL, clustering_bars=5, reach_bars=spec.volatility_reach_bars
    )
    quality = judge(counted, spec.gates.gate_e1)
    assert quality.filter(pl.col("event_type") == NAME)["verdict"].item() == "tested"
    assert quality.filter(pl.col("event_type") == "OI_FLUSH")["verdict"].item() == "unavailable: needs metrics"
    flags = event_flags(events, {SYMBOL: frame["timestamp"]})
    assert flags[NAME].sum() == len(events)

    hypotheses = register(spec, {NAME: [SYMBOL]})
    assert set(hypotheses["event_type"]) == {NAME}
    stamps = frame["timestamp"]
    folds = split(
        stamps[0],
        stamps[-1] + dt.timedelta(minutes=5),
        discovery_share=spec.discovery.discovery_share,
        longest_window_bars=longest_window_bars(spec),
    )
    market = symbol_market(frame, evaluate_states(frame, spec.states.values()), SYMBOL, spec, folds)
    scores = score_event(market, NAME, events, spec).with_columns(
        pl.lit(NAME).alias("event_type"), pl.lit(SYMBOL).alias("symbol")
    )
    candidates = assess(hypotheses, scores, folds, spec)
    assert len(candidates) >= len(hypotheses)
    assert candidates["n_events"].max() > 20
    assert set(candidates["template_verb"]) == {"continuation", "mean_reversion"}
