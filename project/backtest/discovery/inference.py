"""The day-cluster jackknife t statistic (CR3) from day scores, and what it says about dependence.

References
----------
Cameron & Miller (2015), J. Human Resources 50; MacKinnon, Nielsen & Webb (2023), J. Econometrics 232;
Kolari & Pynnönen (2010), Review of Financial Studies 23; Kish (1965), Survey Sampling: design effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WIDE_BLOCK_DAYS: Final = 5
WIDE_BLOCK_RATIO: Final = 1.2
"""Where blocks of five days give a standard error more than 1.2 times that of single days, the days are not independent,
and the larger one is used."""


@dataclass(frozen=True)
class ClusterT:
    """For each of m hypotheses: mean per event, its standard error, t, degrees of freedom, events and active days.

    All but the counts are NaN where there are fewer than two active days or no variation between them.
    """

    mean: Floats
    standard_error: Floats
    t: Floats
    degrees_of_freedom: Floats
    n_events: Integers
    n_days: Integers

    def two_sided_p(self) -> Floats:
        """2·T_ν(−|t|); NaN where t is."""
        from scipy.special import stdtr

        return np.asarray(2.0 * stdtr(self.degrees_of_freedom, -np.abs(self.t)))

    def one_sided_p(self, sign: Floats) -> Floats:
        """P of a t this far or further to the side of `sign` (±1); NaN where t is."""
        from scipy.special import stdtr

        return np.asarray(stdtr(self.degrees_of_freedom, -sign * self.t))

    def probability_above(self, threshold: Floats, sign: Floats) -> Floats:
        """P that sign·mean exceeds `threshold`, by the t distribution around the estimate; NaN where t is."""
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(stdtr(self.degrees_of_freedom, (sign * self.mean - threshold) / self.standard_error))


def segment_sums(values: NDArray[np.generic], owner: Integers, owners: int) -> Floats:
    """Sum of `values` per owner index 0 … owners−1; zero where an owner has none."""
    return np.bincount(owner, weights=values, minlength=owners).astype(np.float64)


def cluster_t(day_sums: Floats, day_counts: Integers, owner: Integers, owners: int) -> ClusterT:
    """Mean per event and its day-cluster jackknife t for many hypotheses at once.

    Parameters
    ----------
    day_sums, day_counts : (r,) S_g and N_g, one row for each hypothesis and active day.
    owner : (r,) the hypothesis a row belongs to, 0 … owners−1.
    owners : int

    Notes
    -----
    θ̂ = ΣS/n; U_g = S_g − θ̂·N_g; δ_g = U_g/(n − N_g); se² = (G−1)/G·Σδ_g²;
    ν = max(1, min(G, n²/ΣN_g²) − 1).
    """
    counts = day_counts.astype(np.float64)
    n = segment_sums(counts, owner, owners)
    groups = segment_sums(np.ones(len(owner)), owner, owners)
    total = segment_sums(day_sums, owner, owners)
    squares = segment_sums(counts**2, owner, owners)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        delta = (day_sums - mean[owner] * counts) / (n[owner] - counts)
        variance = (groups - 1.0) / groups * segment_sums(delta**2, owner, owners)
        error = np.sqrt(variance)
        # Day sums that are equal to rounding have no variation to estimate an error from.
        scale = segment_sums(np.abs(day_sums), owner, owners) / n
        error = np.where((groups >= 2) & (error > 1e-12 * scale), error, np.nan)
        t = mean / error
        freedom = np.maximum(1.0, np.minimum(groups, n**2 / squares) - 1.0)
    return ClusterT(
        mean=np.where(np.isnan(error), np.nan, mean),
        standard_error=error,
        t=t,
        degrees_of_freedom=np.where(np.isnan(error), np.nan, freedom),
        n_events=n.astype(np.int64),
        n_days=groups.astype(np.int64),
    )


def block_days(horizon_bars: int, bars_per_day: int) -> int:
    """Length in days of the clusters for a horizon: one day, or ⌈2H⌉ days where H exceeds half a day."""
    return 1 if 2 * horizon_bars <= bars_per_day else -(-2 * horizon_bars // bars_per_day)


def merged_days(owner: Integers, day: Integers, length: Integers, origin: int) -> tuple[Integers, Integers]:
    """Clusters of `length` days, counted from `origin`, out of rows that are sorted by owner and day.

    Parameters
    ----------
    owner, day : (r,)
    length : (owners,) days in a cluster of each owner.
    origin : a day at which a cluster of every length begins.

    Returns
    -------
    start : (c,) first row of each cluster, as `numpy.add.reduceat` takes it.
    day : (c,) first day of each cluster.
    """
    size = length[owner] if len(owner) else np.ones(0, np.int64)
    first = origin + (day - origin) // size * size
    is_new = np.ones(len(owner), dtype=bool)
    is_new[1:] = (owner[1:] != owner[:-1]) | (first[1:] != first[:-1])
    start = np.flatnonzero(is_new)
    return start, first[start]


def wide_block_days(cluster_days: Integers) -> Integers:
    """Length in days of the blocks that clusters are compared with: whole clusters, at least five days."""
    return np.asarray(-(-WIDE_BLOCK_DAYS // cluster_days) * cluster_days)


def effective_events(found: ClusterT, sum_of_squares: Floats) -> Floats:
    """Number of independent events whose mean would have the same standard error: n divided by Kish's design effect.

    n·(Σz² − n·θ̂²)/(n(n − 1))/se²; NaN where there is no t. It exceeds n where the events of a day offset one another.
    """
    n = found.n_events.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        independent = (sum_of_squares - n * found.mean**2) / (n * (n - 1.0))
        return np.asarray(n * independent / found.standard_error**2)
