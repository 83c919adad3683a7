"""Has the distribution of a feature left what it was: population stability index (PSI), judged by the feature's own history.

The usual bands of the index are for independent observations. A feature that moves slowly shows large values in most weeks
without any drift, so each value is compared with those of the same two windows at every earlier day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from backtest.errors import TooLittleDataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Band = Literal["stable", "moderate", "large"]
Status = Literal["drift", "ok", "no data"]

BARS_PER_DAY: Final = 288
MIN_LOG_SPREAD: Final = 0.1
MIN_RANK_SPREAD: Final = 0.01
"""Least standard deviations taken of a null distribution: calendar features repeat exactly, and 0 has no p-value."""
N_BINS: Final = 10
MODERATE_PSI: Final = 0.10
LARGE_PSI: Final = 0.25
"""The bands of credit scoring: below 0.10 stable, above 0.25 a large shift (Siddiqi 2006, Credit Risk Scorecards)."""
DRIFT_LEVEL: Final = 0.05
"""False discovery rate over the features of one check; without any drift it is also the rate of false alarms."""
MIN_WINDOWS: Final = 8
"""Live windows side by side that the history must hold: fewer say too little about how much a feature moves by itself."""
USUAL_SHARE: Final = 0.05
REPEATED_SHARE: Final = 0.05
HALF_COUNT: Final = 0.5
"""Added to every bin, so that an empty one gives a large index and not an infinite one."""


@dataclass(frozen=True)
class DriftWindows:
    """Which days are compared: the newest `live_days` with the `reference_days` before them; both together lie as far back
    as `history_days` for the null distribution."""

    reference_days: int = 30
    live_days: int = 7
    history_days: int = 365

    @property
    def min_history_days(self) -> int:
        """Days before the live ones that are needed."""
        return self.reference_days + MIN_WINDOWS * self.live_days


@dataclass(frozen=True)
class FeatureDrift:
    """The verdict on one feature.

    ``shift`` is the live median minus the reference's, in the feature's unit, ``shift_sd`` the same in standard deviations
    of the reference; ``usual_psi`` is what the index stays below in 19 of 20 windows of the history, without any drift: a
    slow feature's is high. Values are None where there is nothing to compare.
    """

    feature: str
    unit: str
    status: Status
    psi: float | None = None
    band: Band | None = None
    p_value: float | None = None
    q_value: float | None = None
    reference_median: float | None = None
    live_median: float | None = None
    shift: float | None = None
    shift_sd: float | None = None
    missing_reference: float | None = None
    missing_live: float | None = None
    usual_psi: float | None = None

    @property
    def is_slow(self) -> bool:
        """Whether the index is large in more than one of 20 windows without any drift."""
        return self.usual_psi is not None and self.usual_psi > LARGE_PSI

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def feature_drifts(
    values: Mapping[str, Floats], units: Mapping[str, str], windows: DriftWindows, level: float = DRIFT_LEVEL
) -> list[FeatureDrift]:
    """Every feature's verdict, the gravest first.

    ``drift`` needs both: q ≤ `level` by Benjamini and Hochberg over the features (it is no accident), and an index above
    0.25 (it is large).

    Parameters
    ----------
    values : by feature, one value a bar (NaN where null), the newest last, whole days; all of one length.

    Raises
    ------
    TooLittleDataError
        There are fewer days than the windows need.

    References
    ----------
    Benjamini & Hochberg 1995 (JRSS-B 57); for the index and its dependence on the number of observations, Yurdakul 2018
    (Statistical Properties of Population Stability Index, Western Michigan University).
    """
    return judged([measured(name, units[name], column, windows) for name, column in values.items()], level)


def judged(drifts: Sequence[FeatureDrift], level: float = DRIFT_LEVEL) -> list[FeatureDrift]:
    """What `measured` found with the q-value over all of it and the status that follows, the gravest first."""
    from backtest.discovery.multiplicity import benjamini_hochberg_q

    tested = [drift for drift in drifts if drift.p_value is not None]
    q_values = benjamini_hochberg_q(np.array([drift.p_value for drift in tested], dtype=np.float64))
    told = [
        replace(drift, q_value=float(q), status=_status(drift, q, level))
        for drift, q in zip(tested, q_values, strict=True)
    ]
    told += [drift for drift in drifts if drift.p_value is None]
    order = {"drift": 0, "ok": 1, "no data": 2}
    return sorted(
        told, key=lambda drift: (order[drift.status], drift.q_value or 0.0, drift.p_value or 0.0, drift.feature)
    )


def _status(drift: FeatureDrift, q: float, level: float) -> Status:
    return "drift" if q <= level and drift.psi is not None and drift.psi > LARGE_PSI else "ok"


def measured(name: str, unit: str, column: Floats, windows: DriftWindows) -> FeatureDrift:
    """One feature's index, shift and p-value, without the q-value that needs the others; raises as `feature_drifts`."""
    live, history = _split(column, windows)
    reference = history[-windows.reference_days * BARS_PER_DAY :]
    if not np.isfinite(history).any() or not (np.isfinite(reference).any() or np.isfinite(live).any()):
        return FeatureDrift(name, unit, "no data")
    edges = bin_edges(history)
    counts = np.concatenate([day_counts(history, edges), day_counts(live, edges)])
    ranks = mid_ranks(counts[: -windows.live_days])
    indices, shifts = windowed(counts, windows, population_stability_index), windowed(counts, windows, ranks.shift)
    index = float(indices[-1])
    null = indices[: -windows.live_days]
    p_index = p_of_index(index, null, windows, n_bins=counts.shape[1])
    p_shift = p_of_shift(float(shifts[-1]), shifts[: -windows.live_days], windows)
    with np.errstate(all="ignore"):
        live_median, reference_median = _median(live), _median(reference)
        spread = float(np.nanstd(reference)) if np.isfinite(reference).any() else math.nan
    shift = live_median - reference_median
    return FeatureDrift(
        name,
        unit,
        "ok",
        psi=index,
        band=band_of(index),
        p_value=min(1.0, 2 * min(p_index, p_shift)),
        reference_median=_finite(reference_median),
        live_median=_finite(live_median),
        shift=_finite(shift),
        shift_sd=_finite(shift / spread) if spread > 0 else None,
        missing_reference=float(1 - np.isfinite(reference).mean()),
        missing_live=float(1 - np.isfinite(live).mean()),
        usual_psi=float(np.quantile(null, 1 - USUAL_SHARE)),
    )


def _split(column: Floats, windows: DriftWindows) -> tuple[Floats, Floats]:
    """Live values and the history before them, at most `history_days` long."""
    n_days = len(column) // BARS_PER_DAY
    history_days = min(n_days - windows.live_days, windows.history_days)
    if history_days < windows.min_history_days:
        raise TooLittleDataError(
            f"there are {n_days} whole days of features; comparing {windows.live_days} days with {windows.reference_days} "
            f"needs {windows.min_history_days + windows.live_days}, to know how much a feature moves by itself"
        )
    used = column[-(history_days + windows.live_days) * BARS_PER_DAY :]
    return used[-windows.live_days * BARS_PER_DAY :], used[: -windows.live_days * BARS_PER_DAY]


# -- the index ----------------------------------------------------------------------------------------------


def bin_edges(values: Floats) -> Floats:
    """Inner edges of at most ten bins with equally many of the finite values (fewer where values repeat), two outer bins for
    what is below or above everything seen, and a bin of its own for a value that is repeated often."""
    finite = values[np.isfinite(values)]
    inner = np.unique(np.quantile(finite, np.arange(1, N_BINS) / N_BINS, method="inverted_cdf"))
    repeated = [value for value in inner if np.count_nonzero(finite == value) >= REPEATED_SHARE * len(finite)]
    below = np.nextafter([finite.min(), *repeated], -np.inf)
    return np.unique([*below, *inner, finite.max()])


def day_counts(values: Floats, edges: Floats) -> Integers:
    """Values of each day in each bin, shape (days, bins + 1); the last column counts those that are null."""
    n_days, n_bins = len(values) // BARS_PER_DAY, len(edges) + 2
    with np.errstate(invalid="ignore"):
        at = np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), n_bins - 1)
    day = np.repeat(np.arange(n_days), BARS_PER_DAY)
    return np.bincount(day * n_bins + at, minlength=n_days * n_bins).reshape(n_days, n_bins)


def population_stability_index(live: NDArray[np.generic], reference: NDArray[np.generic]) -> Any:
    """Σ over bins of (live share − reference share)·ln(live share / reference share), over the last axis of counts.

    0 where both distributions are the same; symmetric; for two normal distributions a shift of δ standard deviations
    gives about δ² in fine bins (it is the symmetric Kullback–Leibler divergence).
    """
    first, second = _shares(live), _shares(reference)
    return np.sum((first - second) * np.log(first / second), axis=-1)


def _shares(counts: NDArray[np.generic]) -> Floats:
    raised = counts.astype(np.float64) + HALF_COUNT
    shares: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def band_of(index: float) -> Band:
    """The usual reading of an index, which takes observations for independent."""
    return "stable" if index < MODERATE_PSI else "moderate" if index <= LARGE_PSI else "large"


# -- what the index does without drift -----------------------------------------------------------------------


def windowed(counts: Integers, windows: DriftWindows, statistic: Callable[[Integers, Integers], Floats]) -> Floats:
    """`statistic` of live and reference counts at every day on which both adjoining windows lie in `counts`, oldest first."""
    total = np.concatenate([np.zeros((1, counts.shape[1]), dtype=np.int64), np.cumsum(counts, axis=0)])
    starts = np.arange(len(counts) - windows.reference_days - windows.live_days + 1)
    middle = starts + windows.reference_days
    return statistic(total[middle + windows.live_days] - total[middle], total[middle] - total[starts])


@dataclass(frozen=True)
class MidRanks:
    """The rank of each bin's middle within a history, in [0, 1]."""

    of_bins: Floats

    def shift(self, live: Integers, reference: Integers) -> Floats:
        """Mean rank of the live values minus that of the reference's (a Mann–Whitney effect, in [−1, 1]); nulls are left out.

        Zero where one of them has no value: the index tells of that.
        """
        first, second = (np.maximum(part[..., :-1].sum(axis=-1), 1) for part in (live, reference))
        shift: Floats = (live[..., :-1] @ self.of_bins) / first - (reference[..., :-1] @ self.of_bins) / second
        has_both = (live[..., :-1].sum(axis=-1) > 0) & (reference[..., :-1].sum(axis=-1) > 0)
        return np.where(has_both, shift, 0.0)


def mid_ranks(counts: Integers) -> MidRanks:
    """The ranks of the bins in `counts`, whose last column counts nulls."""
    shares = counts[:, :-1].sum(axis=0) / max(1, counts[:, :-1].sum())
    return MidRanks(np.cumsum(shares) - shares / 2)


def p_of_index(index: float, null: Floats, windows: DriftWindows, *, n_bins: int) -> float:
    """Probability of an index at least as large without drift.

    Its logarithm is judged as one further observation of a normal distribution known from as many as live windows fit side by
    side into the history; never less than the share of the history's own windows that reached it. What independent values
    would show is added before the logarithm, so that an index near zero does not count as far away.

    References: Hahn & Meeker 1991 (Statistical Intervals), prediction interval of one further observation.
    """
    from scipy.stats import t as student

    offset = (n_bins - 1) / BARS_PER_DAY * (1 / windows.live_days + 1 / windows.reference_days)
    logs = np.log(null + offset)
    fitted = float(student.sf(*_scaled(math.log(index + offset), logs, windows, MIN_LOG_SPREAD)))
    return _at_least_counted(fitted, int(np.count_nonzero(null >= index)), len(null))


def p_of_shift(shift: float, null: Floats, windows: DriftWindows) -> float:
    """Two-sided probability of a shift of the mean rank at least as large without drift, as `p_of_index`."""
    from scipy.stats import t as student

    scaled, freedom = _scaled(shift, null, windows, MIN_RANK_SPREAD)
    fitted = 2 * float(student.sf(abs(scaled), freedom))
    centre = float(null.mean())
    return _at_least_counted(fitted, int(np.count_nonzero(np.abs(null - centre) >= abs(shift - centre))), len(null))


def _scaled(value: float, null: Floats, windows: DriftWindows, least: float) -> tuple[float, int]:
    """A further observation in standard deviations of its prediction, and the degrees of freedom."""
    n_windows = max(2, (len(null) + windows.live_days - 1) // windows.live_days)
    spread = max(float(null.std(ddof=1)), least)
    return (value - float(null.mean())) / (spread * math.sqrt(1 + 1 / n_windows)), n_windows - 1


def _at_least_counted(fitted: float, n_reached: int, n_windows: int) -> float:
    counted = (n_reached + 1) / (n_windows + 1) if n_reached else 0.0
    return min(1.0, max(fitted, counted))


def _median(values: Floats) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def drifted(drifts: Sequence[FeatureDrift]) -> list[FeatureDrift]:
    """Those that are significant and large."""
    return [drift for drift in drifts if drift.status == "drift"]
