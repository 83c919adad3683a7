"""The drift check as an operator calls it: 0 no drift, 1 drift, 2 it cannot be told."""

from __future__ import annotations

import json

import polars as pl
import pytest

from backtest.lake.months import month_files
from backtest.pipeline.feature_drift import usage_of_features
from backtest.spec.loader import load_spec

from .conftest import SPEC_ROOT, Desk
from .test_kill_switch import BLUEPRINT, _checks, _write_blueprints, live  # noqa: F401 - a fixture
from .test_monitoring import NOON, _door

DRIFT = ("monitor-feature-drift", "--run-id", "r1", "--symbol", "BTCUSDT")
RUNBOOK = "--run_id r1 --symbol BTCUSDT --reference_window_days 30 --live_window_days 7"
PLANTED = {"realized_vol_1h": 1.0}


@pytest.mark.slow
def test_no_drift_ends_with_0_and_planted_drift_with_1_naming_what_stands_on_it(desk: Desk) -> None:
    desk.write_run("r1")
    _write_blueprints(desk, BLUEPRINT)
    desk.write_features("BTCUSDT", 110, {}, NOON)
    done = _door("monitor_feature_drift", RUNBOOK, desk.root.path)
    assert done.returncode == 0, done.stderr
    assert "no feature(s) of BTCUSDT with significant and large drift" in done.stdout
    assert "features move too slowly (95 % below is above 0.25) for 7 days" in done.stdout
    desk.write_features("BTCUSDT", 110, PLANTED, NOON)
    done = _door("monitor_feature_drift", f"{RUNBOOK} --json", desk.root.path)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "drift"
    assert told["live"] == ["2024-12-25T12:05:00+00:00", "2025-01-01T12:05:00+00:00"]
    first = told["features"][0]
    assert (first["feature"], first["status"], first["band"]) == ("realized_vol_1h", "drift", "large")
    assert first["shift_sd"] == pytest.approx(1.0, abs=0.1)
    assert first["unit"] == load_spec(SPEC_ROOT).features["realized_vol_1h"].model.unit
    assert first["blueprints"] == ["r1.b"]
    assert "VOL_SHOCK" in first["events"]
    assert [feature["status"] for feature in told["features"]].count("drift") == 1


@pytest.mark.slow
def test_drift_under_a_blueprint_halts_and_elsewhere_warns(
    live: Desk,  # noqa: F811 - the fixture
    capsys: pytest.CaptureFixture[str],
) -> None:
    live.write_features("BTCUSDT", 110, PLANTED, NOON)
    assert _checks(live, capsys)[1]["feature_drift"]["status"] == "WARN"
    _write_blueprints(live, BLUEPRINT)
    code, checks = _checks(live, capsys)
    assert (code, checks["feature_drift"]["status"]) == (2, "HALT")
    assert "realized_vol_1h" in checks["feature_drift"]["text"]
    live.write_features("BTCUSDT", 110, {}, NOON)
    assert _checks(live, capsys)[1]["feature_drift"]["status"] == "PASS"
    (file, *_) = month_files(live.root.features("BTCUSDT"))
    file.write_bytes(b"no parquet")
    assert _checks(live, capsys)[1]["feature_drift"]["status"] == "HALT"


def test_what_cannot_be_told_ends_with_2_and_says_why(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run(*DRIFT) == 2
    assert "there is no run r1" in capsys.readouterr().err
    desk.write_run("r1")
    assert desk.run(*DRIFT[:-1], "ETHUSDT") == 2
    assert "ETHUSDT is not among the symbols of run r1" in capsys.readouterr().err
    assert desk.run(*DRIFT) == 2
    assert "there are no features of BTCUSDT" in capsys.readouterr().err
    desk.write_features("BTCUSDT", 20, {}, NOON)
    assert desk.run(*DRIFT) == 2
    assert "there are 20 whole days of features" in capsys.readouterr().err
    frame = pl.read_parquet(month_files(desk.root.features("BTCUSDT"))[0])
    frame.write_parquet(month_files(desk.root.features("BTCUSDT"))[0])
    assert desk.run(*DRIFT) == 2
    assert "built from other feature definitions" in capsys.readouterr().err
    for wrong in ("../r1", "a/b", "x" * 10_000, "a\0b", "$(id)"):
        assert desk.run("monitor-feature-drift", "--run-id", wrong, "--symbol", "BTCUSDT") == 2
        assert desk.run(*DRIFT[:-1], wrong) == 2


def test_usage_follows_features_through_other_features(desk: Desk) -> None:
    desk.write_run("r1")
    _write_blueprints(desk, BLUEPRINT, {**BLUEPRINT, "blueprint_id": "r1.eth", "symbols": ["ETHUSDT"]})
    spec = load_spec(SPEC_ROOT)
    usage = usage_of_features(desk.root, spec, "r1", "BTCUSDT")
    assert usage["realized_vol_1h"].blueprints == ("r1.b",)
    assert usage["log_return"].blueprints == ("r1.b",)
    assert usage["rsi_14"].blueprints == ()
    assert set(usage) == set(spec.features)
