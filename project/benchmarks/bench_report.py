"""The report of a run with 20,000 hypotheses of which 50 passed: limits are 10 MB and 5 seconds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

NAME = "report: 20,000 hypotheses, 50 candidates"


def run() -> dict[str, float]:
    """Seconds to read the run's trades and to write its pages, and megabytes (10⁶ bytes) of all files."""
    from made_run import made_results

    from backtest.lake.paths import DataRoot
    from backtest.pipeline.reporting import write_pages

    begun = time.perf_counter()
    results = made_results(n_hypotheses=20_000, n_passed=50, days=365, events_a_day=3.0)
    gathered = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = DataRoot(Path(folder) / "data")
        root.create()
        report = write_pages(root, results)
        written = time.perf_counter()
    return {
        "make up and study s": gathered - begun,
        "pages s": written - gathered,
        "size MB": report.size_bytes / 1e6,
        "files": float(len(report.files)),
    }
