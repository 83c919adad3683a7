"""How often event types happen together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

BAR_MILLISECONDS = 300_000


def co_occurrence(events: pl.DataFrame, names: Sequence[str], within_bars: int) -> NDArray[np.float64]:
    """Shares of the row event's occurrences that have one of the column event on the same symbol at most `within_bars` away.

    Parameters
    ----------
    events : ``event_type``, ``symbol``, ``timestamp``.
    names : event types, in the order of rows and columns.

    Returns
    -------
    (n, n) with 1 on the diagonal; NaN in the row of an event that never occurs.
    """
    met = np.zeros((len(names), len(names)))
    total = np.zeros(len(names))
    for own in events.partition_by("symbol"):
        bar = own["timestamp"].dt.epoch("ms").to_numpy() // BAR_MILLISECONDS
        first, n_bars = int(bar.min()), int(bar.max() - bar.min()) + 1
        by_name = own.select("event_type", pl.Series("bar", bar - first)).partition_by("event_type", as_dict=True)
        at = {str(name): rows["bar"].to_numpy() for (name,), rows in by_name.items()}
        near = np.stack([_near(at.get(name, np.zeros(0, np.int64)), n_bars, within_bars) for name in names])
        for row, name in enumerate(names):
            if name in at:
                total[row] += len(at[name])
                met[row] += near[:, at[name]].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(met / total[:, None])


def _near(at: NDArray[np.int64], n_bars: int, within_bars: int) -> NDArray[np.bool_]:
    """Whether each bar has one of the bars `at` no further away than `within_bars`."""
    change = np.zeros(n_bars + 1, dtype=np.int32)
    np.add.at(change, np.maximum(at - within_bars, 0), 1)
    np.add.at(change, np.minimum(at + within_bars + 1, n_bars), -1)
    return np.asarray(change.cumsum()[:-1] > 0)
