"""The day-cluster jackknife t statistic (CR3) from day scores.

References
----------
Cameron & Miller (2015), J. Human Resources 50; MacKinnon, Nielsen & Webb (2023), J. Econometrics 232;
Kolari & Pynnönen (2010), Review of Financial Studies 23.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
