"""The quick calibration: 26 simulated worlds of a year, simulated, searched and held against the truth; limits included."""

from __future__ import annotations

import time
from pathlib import Path

NAME = "calibration: 26 worlds of 1 year × 2"
SPEC_ROOT = Path(__file__).resolve().parents[2] / "spec"
MOST_SECONDS = 300.0


def run() -> dict[str, float]:
    """Seconds, worlds per second, and how many limits are broken; SystemExit where any is."""
    from backtest.evaluation.calibration_limits import limits
    from backtest.evaluation.error_rates import summary
    from backtest.pipeline.calibration import calibrate, quick_worlds
    from backtest.pipeline.executors import ProcessWorkers, available_cores
    from backtest.reports.calibration import limit_text

    worlds, begun = quick_worlds(), time.monotonic()
    pool = ProcessWorkers(available_cores())
    found = calibrate(worlds, SPEC_ROOT, seed=1, workers=pool, progress=lambda _progress: None, now=time.monotonic)
    pool.shutdown()
    seconds = time.monotonic() - begun
    broken = [limit_text(limit) for limit in limits(summary(found)) if not limit.is_kept]
    if broken:
        raise SystemExit("\n".join(broken))
    return {
        "seconds": seconds,
        "seconds allowed on 2 cores": MOST_SECONDS,
        "worlds a minute": 60.0 * len(worlds) / seconds,
        "CPU s a world": sum(world.seconds for world in found) / len(found),
    }
