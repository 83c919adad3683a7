"""Commands that are not available yet say so, write nothing and never end with 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
DOORS = {
    "monitor_data_freshness": "--symbols BTCUSDT,ETHUSDT --timeframe 5m --max_staleness_bars 3",
    "monitor_feature_drift": "--run_id r1 --symbol BTCUSDT --reference_window_days 30 --live_window_days 7",
    "kill_switch": (
        "--run_id r1 --symbol BTCUSDT --max_staleness_bars 3 --max_drawdown -0.15 --max_slippage_ratio 2.5"
    ),
    "validate_oos_window": "--run_id r1 --eval_start 2025-01-01 --eval_end 2025-07-01",
}


def _door(name: str, arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "project" / "scripts" / f"{name}.py"
    surroundings = {**os.environ, "PYTHONPATH": str(REPOSITORY / "project"), "PYTHONDONTWRITEBYTECODE": "1"}
    surroundings.pop("BACKTEST_DATA_ROOT", None)
    command = [sys.executable, str(script), *arguments.split()]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", DOORS)
def test_the_runbook_call_is_understood_and_ends_with_2(name: str, tmp_path: Path) -> None:
    done = _door(name, DOORS[name], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the ")
    assert "is not available yet (it comes with live monitoring); until then" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    done = _door("kill_switch", "--run_id r1 --symbol BTCUSDT --max_drawdwn -0.15", tmp_path)
    assert done.returncode == 2
    assert "--max-drawdwn" in done.stderr
    assert "not available" not in done.stderr
