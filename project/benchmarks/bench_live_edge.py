"""How often the live edge check halts a blueprint that keeps its promise, and how soon one that does not."""

from __future__ import annotations

import numpy as np

NAME = "live edge: false alarms and days to a halt"
LIVES, DAYS = 4000, 730
SD = 0.006
"""Standard deviation of a trade's return: 60 bps, as of an hour's hold."""


def run() -> dict[str, float]:
    """Rates in percent over two years of daily looks; returns of heavy tails (Student's t, 3 degrees of freedom) and skewed."""
    from backtest.monitoring.live_edge import EDGE_LEVEL, Promise, wealth_path

    promise = Promise("b", low=0.0008, sd=SD)
    rng = np.random.default_rng(3)
    heavy = rng.standard_t(3, size=(LIVES, DAYS)) / np.sqrt(3) * SD
    skewed = (1 - rng.exponential(size=(LIVES, DAYS))) * SD
    figures = {}
    for name, noise in (("heavy tails", heavy), ("rare losses", skewed), ("rare gains", -skewed)):
        figures[f"{name}, promise kept, halted %"] = 100 * _halted(noise + promise.low, promise, 1 / EDGE_LEVEL)[0]
    for share in (0.0, -0.0008, -0.0024):
        rate, days = _halted(heavy + share, promise, 1 / EDGE_LEVEL)
        figures[f"mean {1e4 * share:g} bps, halted %"] = 100 * rate
        figures[f"mean {1e4 * share:g} bps, median days"] = days
    wealth_path(heavy[0], promise)
    return figures


def _halted(returns: np.ndarray, promise: object, limit: float) -> tuple[float, float]:
    from typing import Any, cast

    from backtest.monitoring.live_edge import wealth_path

    first = []
    for life in returns:
        above = np.flatnonzero(wealth_path(life, cast("Any", promise)) >= limit)
        first.append(above[0] + 1 if above.size else np.inf)
    return float(np.isfinite(first).mean()), float(np.median(first))
