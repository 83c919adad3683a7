"""How often the drift check alarms on stationary markets, and how often it finds a planted shift of one standard deviation.

    BACKTEST_DRIFT_WORLDS=2 python project/benchmarks/run.py feature_drift

The worlds are simulated markets of two symbols and 800 days without any drift; every feature of the spec is built on ETHUSDT.
A run judges 30 + 7 days by 365 days of history, every 37 days, so that no two runs share a live day.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np

NAME = "feature drift: false alarms and power"
WORLDS_VARIABLE = "BACKTEST_DRIFT_WORLDS"
WORLDS = 21
"""Gives 210 runs."""
SPEC_ROOT = Path(__file__).resolve().parents[2] / "spec"
DAYS, FIRST_DAY = 800, 65
BARS = 288


def run() -> dict[str, float]:
    """Rates in percent. A feature counts as quick where its index stays below 0.25 in 19 of 20 windows without drift."""
    from backtest.monitoring.feature_drift import DriftWindows, drifted, judged, measured
    from backtest.spec.loader import load_spec

    spec, windows = load_spec(SPEC_ROOT), DriftWindows()
    units = {name: feature.model.unit for name, feature in spec.features.items()}
    rng = np.random.default_rng(5)
    n_runs = n_alarms = n_market = 0
    found: dict[bool, list[bool]] = {True: [], False: []}
    for world in range(int(os.environ.get(WORLDS_VARIABLE, WORLDS))):
        features = _features(spec, seed=20_000 + world)
        span = windows.history_days + windows.live_days
        for end in range(FIRST_DAY + span, DAYS + 1, windows.reference_days + windows.live_days):
            values = {name: column[(end - span) * BARS : end * BARS] for name, column in features.items()}
            verdicts = {name: measured(name, units[name], column, windows) for name, column in values.items()}
            shifted = {
                name: measured(name, units[name], _planted(column, rng, windows.live_days), windows)
                for name, column in values.items()
            }
            n_runs += 1
            n_alarms += bool(drifted(judged(list(verdicts.values()))))
            n_market += bool(drifted(judged(list(shifted.values()))))
            for name, verdict in verdicts.items():
                if verdict.usual_psi is not None:
                    told = drifted(judged([*({**verdicts, name: shifted[name]}).values()]))
                    found[not verdict.is_slow].append(name in {drift.feature for drift in told})
    return {
        "runs": n_runs,
        "stationary, exit 1 %": 100 * n_alarms / n_runs,
        "all features + 1 sd, exit 1 %": 100 * n_market / n_runs,
        "one quick feature + 1 sd, found %": 100 * float(np.mean(found[True])),
        "one slow feature + 1 sd, found %": 100 * float(np.mean(found[False])),
        "quick features, share %": 100 * len(found[True]) / sum(map(len, found.values())),
    }


def _planted(column: np.ndarray, rng: np.random.Generator, live_days: int) -> np.ndarray:
    """The column with its live values shifted, up or down, by one standard deviation of the history."""
    shifted, live = column.copy(), live_days * BARS
    shifted[-live:] += np.nanstd(column[:-live]) * rng.choice([-1.0, 1.0])
    return shifted


def _features(spec: object, seed: int) -> dict[str, np.ndarray]:
    from typing import Any, cast

    from backtest.pipeline.worlds import with_features, world_bars
    from backtest.sources.simulated import SimulationSettings, simulate_market

    loaded = cast("Any", spec)
    start = dt.datetime(2022, 1, 1, tzinfo=dt.UTC)
    market = simulate_market(SimulationSettings(symbols=("BTCUSDT", "ETHUSDT"), start=start, days=DAYS, seed=seed))
    frame = with_features(world_bars(market)["ETHUSDT"], loaded, loaded.features.keys())
    return {name: frame[name].fill_null(float("nan")).to_numpy() for name in loaded.features}
