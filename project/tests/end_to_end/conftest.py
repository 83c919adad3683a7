"""A small simulated lake, made once, and the command run on copies of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Desk:
    """An operator's desk: a checkout, a data root, and the `backtest` command."""

    root: Path

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `backtest`; the result has its exit code and both outputs."""
        return self.python("-m", "backtest.cli", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python as an operator would, with the data root set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKTEST_")}
        return subprocess.run(
            [sys.executable, *arguments],
            env=kept | {"BACKTEST_DATA_ROOT": str(self.root), "PYTHONPATH": str(REPOSITORY / "project")} | environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def copy(self, to: Path) -> Desk:
        """Another desk with a copy of the data."""
        return Desk(Path(shutil.copytree(self.root, to)))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Eight months of two simulated symbols with raw data, cleaned bars, features, and one finished discovery."""
    desk = Desk(tmp_path_factory.mktemp("end_to_end") / "data")
    span = ("--symbols", "BTCUSDT,ETHUSDT", "--start", "2024-01-01", "--end", "2024-08-31")
    made = desk.command("run", "--source", "simulated", *span)
    assert made.returncode == 0, made.stderr
    assert "Quality of the cleaned bars" in made.stdout
    found = desk.command("discover-edges", "--run-id", "first", *span)
    assert found.returncode == 0, found.stderr
    return desk
