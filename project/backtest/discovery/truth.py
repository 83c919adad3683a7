"""The truth of a trade in a simulated market: the drift that was planted inside the bars it was held over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PLANTED_DRIFT = "planted_drift"
"""The column of a frame that holds it: log return added inside each bar."""


def planted_truth(planted_drift: Floats, entry: Integers, exit_: Integers, direction: Floats) -> Floats:
    """What each trade earns on average because of what was planted.

    Parameters
    ----------
    planted_drift : (bars,) log return planted inside each bar; NaN counts as none.
    entry, exit_ : (n,) bars at whose open each trade enters and leaves, 0 ≤ entry ≤ exit_ ≤ bars.
    direction : (n,) +1 or −1.

    Returns
    -------
    (n,) Σ planted_drift over the bars entry … exit_ − 1, turned to simple return, times the direction (fraction).
    """
    summed = np.concatenate(([0.0], np.cumsum(np.nan_to_num(planted_drift))))
    return np.asarray(direction * np.expm1(summed[exit_] - summed[entry]))
