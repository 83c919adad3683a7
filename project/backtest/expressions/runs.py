"""Counts over a window that look at more than one bar at a time: visits to its extreme, runs over known values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from backtest.expressions.registry import min_samples

CELLS_AT_ONCE: Final = 1 << 20
"""Window cells worked on together, so that memory does not grow with the window; has no influence on the result."""


def visits_to_max(x: pl.Series, depth: pl.Series, window: int) -> pl.Series:
    """Separate visits of x to within `depth` of its largest value, over the `window` bars before this one.

    A visit is a bar inside that depth whose bar before, in the window, is not. Null where the depth is or where too few
    bars are known (`min_samples`).
    """
    values = np.concatenate([np.full(window, np.nan), x.fill_null(np.nan).to_numpy()])
    depths = depth.fill_null(np.nan).to_numpy()
    windows = sliding_window_view(values, window)[: x.len()] if x.len() else np.empty((0, window))
    counted = np.full(x.len(), np.nan)
    step = max(1, CELLS_AT_ONCE // window)
    for start in range(0, x.len(), step):
        rows = windows[start : start + step]
        known = np.isfinite(rows)
        level = np.max(rows, axis=1, initial=-np.inf, where=known)
        with np.errstate(invalid="ignore", over="ignore"):
            inside = rows >= (level - depths[start : start + step])[:, None]
        visits = inside[:, 0] + (inside[:, 1:] & ~inside[:, :-1]).sum(axis=1)
        enough = (known.sum(axis=1) >= min_samples(window)) & np.isfinite(depths[start : start + step])
        counted[start : start + step] = np.where(enough, visits, np.nan)
    return pl.Series(counted).fill_nan(None)


def visits_to_min(x: pl.Series, depth: pl.Series, window: int) -> pl.Series:
    """The same for the smallest value."""
    return visits_to_max(-x, depth, window)


def known_run(condition: pl.Series, limit: int) -> pl.Series:
    """Length of the current run of true among the known values of the last `limit` bars; null bars are passed over.

    0 where the condition is false, null where it is null.
    """
    known = condition.is_not_null().to_numpy()
    place = np.flatnonzero(known)
    holds = condition.fill_null(value=False).to_numpy()[place]
    order = np.arange(place.size)
    last_false = np.maximum.accumulate(np.where(holds, -1, order))
    in_reach = order - np.searchsorted(place, place - limit + 1) + 1
    length = np.full(condition.len(), np.nan)
    length[place] = np.minimum(order - last_false, in_reach)
    return pl.Series(length).fill_nan(None)


RUN_SERIES: Final[Mapping[str, Callable[..., pl.Series]]] = MappingProxyType(
    {"visits_to_max": visits_to_max, "visits_to_min": visits_to_min, "known_run": known_run}
)
