"""A small lake and a small finished run, written in a moment."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backtest.cli import main
from backtest.lake.files import write_json
from backtest.lake.months import write_months
from backtest.lake.paths import DataRoot
from backtest.pipeline.frames import FEATURES_HASH, features_hash
from backtest.spec.loader import load_spec

BAR = dt.timedelta(minutes=5)
SPEC_ROOT = Path(__file__).resolve().parents[3] / "spec"


class Desk:
    """A data root, and the command run in this process."""

    def __init__(self, root: DataRoot) -> None:
        self.root = root

    def run(self, *arguments: str) -> int:
        """Exit code of `backtest` with these arguments."""
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0)

    def write_bars(self, symbol: str, last: dt.datetime, n_bars: int = 3, gaps_at_end: int = 0) -> None:
        """Cleaned perpetual bars, the newest opening at `last`; the newest `gaps_at_end` of them are gaps."""
        stamps = [last - BAR * back for back in reversed(range(n_bars))]
        closes = [100.0] * (n_bars - gaps_at_end) + [None] * gaps_at_end
        frame = pl.DataFrame({"timestamp": stamps, "close": closes}).cast({"timestamp": pl.Datetime("ms", "UTC")})
        write_months(self.root.cleaned_bars("perp", symbol), frame)

    def write_features(self, symbol: str, days: int, planted: dict[str, float], last: dt.datetime) -> None:
        """Features of the spec as noise, those `planted` shifted by so many standard deviations in the newest seven days."""
        spec = load_spec(SPEC_ROOT)
        n_bars, rng = days * 288, np.random.default_rng(1)
        stamps = [last - BAR * back for back in reversed(range(n_bars))]
        columns = {name: rng.standard_normal(n_bars) for name in spec.features}
        for name, shift in planted.items():
            columns[name][-7 * 288 :] += shift
        frame = pl.DataFrame({"timestamp": stamps, **columns}).cast({"timestamp": pl.Datetime("ms", "UTC")})
        write_months(self.root.features(symbol), frame, metadata={FEATURES_HASH: features_hash(spec)})

    def write_run(self, name: str, /, **changes: Any) -> None:
        """The manifest of a finished run that searched January to February 2024."""
        manifest = {
            "run_id": name,
            "status": "finished",
            "started_at": "2025-01-01T10:00:00.000Z",
            "finished_at": "2025-01-01T10:00:09.000Z",
            "duration_seconds": 9.0,
            "failed_stage": None,
            "error": None,
            "symbols": ["BTCUSDT"],
            "planned": [],
            "stages": {},
            "warnings": [],
            "discovery_start": "2024-01-01T00:00:00+00:00",
            "discovery_end": "2024-03-01T00:00:00+00:00",
            "folds": {
                "discovery_start": "2024-01-01",
                "discovery_end": "2024-02-01",
                "confirmation_start": "2024-02-03",
                "confirmation_end": "2024-03-01",
            },
        }
        write_json(self.root.run_manifest(name), manifest | changes)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("BACKTEST_SYMBOLS", "BACKTEST_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    root = DataRoot(tmp_path / "data")
    root.create()
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(root.path))
    return Desk(root)
