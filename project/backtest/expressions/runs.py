"""Counts over a window that look at more than one bar at a time: visits to its extreme, runs over known values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from backtest.expressions.arrays import TRUE, UNKNOWN, Conditions, Floats
from backtest.expressions.registry import min_samples


def visits_to_max(x: Floats, depth: Floats, window: int) -> Floats:
    """Separate visits of x to within `depth` of its largest value, over the `window` bars before this one.

    A visit is a bar inside that depth whose bar before, in the window, is not. Null where the depth is or where too few
    bars are known (`min_samples`).
    """
    from backtest.expressions.moments import visits_to_largest

    return visits_to_largest(x, depth, window, min_samples(window))


def visits_to_min(x: Floats, depth: Floats, window: int) -> Floats:
    """The same for the smallest value."""
    return visits_to_max(-x, depth, window)


def known_run(condition: Conditions, limit: int) -> Floats:
    """Length of the current run of true among the known values of the last `limit` bars; null bars are passed over.

    0 where the condition is false, null where it is null.
    """
    place = np.flatnonzero(condition != UNKNOWN)
    holds = condition[place] == TRUE
    order = np.arange(place.size)
    last_false = np.maximum.accumulate(np.where(holds, -1, order))
    in_reach = order - np.searchsorted(place, place - limit + 1) + 1
    length = np.full(condition.size, np.nan)
    length[place] = np.minimum(order - last_false, in_reach)
    return length


RUN_ARRAYS: Final[Mapping[str, Callable[..., Floats]]] = MappingProxyType(
    {"visits_to_max": visits_to_max, "visits_to_min": visits_to_min, "known_run": known_run}
)
