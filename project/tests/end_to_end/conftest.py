"""A small simulated lake, made once, and the command run on copies of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SPAN = ("--symbols", "BTCUSDT,ETHUSDT", "--start", "2024-01-01", "--end", "2024-08-31")
FEW_EVENTS = frozenset(
    [
        "BREAKOUT_TRIGGER",
        "CHOP_TO_TREND_SHIFT",
        "CLIMAX_VOLUME_BAR",
        "CROSS_VENUE_DESYNC",
        "FEE_REGIME_CHANGE_EVENT",
        "FUNDING_EXTREME_ONSET",
        "FUNDING_TIMESTAMP_EVENT",
        "PULLBACK_PIVOT",
        "RANGE_COMPRESSION_END",
        "SLIPPAGE_SPIKE_EVENT",
        "SWEEP_STOPRUN",
        "VOL_SHOCK",
        "VOL_SPIKE",
        "ZSCORE_STRETCH",
    ]
)
"""What the strategies trade, what is planted, and one that is too rare to be tested."""


@dataclass(frozen=True)
class Desk:
    """An operator's desk: a checkout, a data root, a spec, and the `backtest` command."""

    root: Path
    spec_root: Path = REPOSITORY / "spec"

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `backtest`; the result has its exit code and both outputs."""
        return self.python("-m", "backtest.cli", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python as an operator would, with the data root set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKTEST_")}
        return subprocess.run(
            [sys.executable, *arguments],
            env=kept
            | {
                "BACKTEST_DATA_ROOT": str(self.root),
                "BACKTEST_SPEC_ROOT": str(self.spec_root),
                "PYTHONPATH": str(REPOSITORY / "project"),
            }
            | environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def copy(self, to: Path) -> Desk:
        """Another desk with a copy of the data."""
        return replace(self, root=Path(shutil.copytree(self.root, to)))


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Eight months of two simulated symbols: raw data, cleaned bars and features. Not to be changed; take a copy."""
    desk = Desk(tmp_path_factory.mktemp("market") / "data")
    made = desk.command("run", "--source", "simulated", *SPAN)
    assert made.returncode == 0, made.stderr
    assert "Quality of the cleaned bars" in made.stdout
    return desk


@pytest.fixture(scope="session")
def simulated(market: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The market and one finished discovery of all events."""
    return _discovered(market.copy(tmp_path_factory.mktemp("simulated") / "data"))


@pytest.fixture(scope="session")
def small(market: Desk, few_events: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The same with a quarter of the events, for what does not hang on which and how many there are."""
    return _discovered(replace(market.copy(tmp_path_factory.mktemp("small") / "data"), spec_root=few_events))


@pytest.fixture(scope="session")
def few_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec with `FEW_EVENTS`."""
    root = Path(shutil.copytree(REPOSITORY / "spec", tmp_path_factory.mktemp("few_events") / "spec"))
    for path in (root / "events").glob("*.yaml"):
        if path.stem not in FEW_EVENTS:
            path.unlink()
    assert {path.stem for path in (root / "events").glob("*.yaml")} == FEW_EVENTS
    return root


def _discovered(desk: Desk) -> Desk:
    found = desk.command("discover-edges", "--run-id", "first", *SPAN, "--workers", "2")
    assert found.returncode == 0, found.stderr
    return desk
