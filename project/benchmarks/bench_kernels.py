"""Window kernels over five years of 5-minute bars, beside Polars' own where it has one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from backtest.expressions import compile_expression

NAME = "window kernels, 525,000 rows"
N_ROWS = 525_000
EXPRESSIONS = (
    "rolling_mean(x, 288)",
    "rolling_std(x, 288)",
    "zscore(x, 288)",
    "rolling_beta(y, x, 288)",
    "ewm_std(x, 288)",
    "rolling_sum(x, 288)",
    "bars_since_max(x, 288)",
    "trailing_median(x, 1440)",
    "trailing_quantile(x, 0.97, 2016)",
    "percentile_rank(x, 8640)",
    "percentile_rank(x, 17280)",
    "same_time_mean(x, 20)",
)


def run() -> dict[str, float]:
    """Milliseconds of each function at its second call, and how much slower Polars' rolling rank is."""
    rng = np.random.default_rng(0)
    # Volatility as the features see it: persistent, positive, with ties in neither.
    x = np.exp(np.convolve(rng.normal(0, 0.2, N_ROWS), np.exp(-np.arange(288) / 48), "same"))
    frame = pl.DataFrame({"x": x, "y": rng.normal(0, 1, N_ROWS)})
    figures = {}
    for text in EXPRESSIONS:
        expression = compile_expression(text, ["x", "y"]).polars()
        frame.head(100).select(expression)
        figures[f"{text} ms"] = _milliseconds(lambda expression=expression: frame.select(expression))
    for window in (8640, 17280):
        polars = _milliseconds(lambda window=window: frame["x"].rolling_rank(window, method="average", min_samples=1))
        figures[f"polars rolling_rank {window} / own"] = polars / figures[f"percentile_rank(x, {window}) ms"]
    return figures


def _milliseconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times) * 1000
