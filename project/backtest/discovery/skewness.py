"""t statistics of skewed returns.

A trade with a stop but no target has many small losses and a few large gains. Samples that happen to lack the gains have a
low mean *and* a small standard error, so that a plain t lies below −5 far more often than a t distribution says: at 4 hours
and a stop of one ATR 20 times as often as 1 in 10,000. How skewed returns are is a matter of how a position is left and for
how long it is held, which thousands of hypotheses of a search share: they are pooled, as one hypothesis alone cannot tell.

References
----------
Johnson (1978), J. American Statistical Association 73; Hall (1992), JRSS-B 54: the transformation and its cubic form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def pooled_skewness(
    sample: Floats, degrees_of_freedom: Floats, groups: Sequence[NDArray[np.generic]], used: Booleans
) -> Floats:
    """Skewness that a single independent cluster of each hypothesis's group has; 0 where no hypothesis of it is used.

    Parameters
    ----------
    sample : (m,) Σδ³/(Σδ²)^1.5 of each hypothesis's jackknife scores: the skewness of its mean as its own sample has it.
    degrees_of_freedom : (m,) ν of its t; a mean of ν + 1 independent clusters is 1/√(ν + 1) times as skewed as one of them.
    groups : labels, (m,) each; hypotheses that are equal in all of them are of one group.
    used : (m,) which hypotheses are averaged over, weighted by ν + 1.
    """
    member = np.zeros(len(sample), np.int64)
    for labels in groups:
        _, code = np.unique(labels, return_inverse=True)
        _, member = np.unique(member * (code.max(initial=0) + 1) + code, return_inverse=True)
    counted = np.flatnonzero(used & np.isfinite(sample))
    size, clusters = member.max(initial=-1) + 1, degrees_of_freedom[counted] + 1.0
    weight = np.bincount(member[counted], weights=clusters, minlength=size)
    total = np.bincount(member[counted], weights=sample[counted] * clusters**1.5, minlength=size)
    return np.asarray(np.divide(total, weight, out=np.zeros(size), where=weight > 0.0)[member])


def skewness_of_mean(per_cluster: Floats, degrees_of_freedom: Floats) -> Floats:
    """(m,) skewness of means of ν + 1 independent clusters."""
    return np.asarray(per_cluster / np.sqrt(degrees_of_freedom + 1.0))


def adjusted_t(t: Floats, skewness: Floats) -> Floats:
    """Each t as it would be without skewness where that is nearer to zero, else as it is; NaN where t is.

    Parameters
    ----------
    t : (m,) mean over its standard error.
    skewness : (m,) of the mean, as `skewness_of_mean` gives it.

    Notes
    -----
    Hall's monotone t + m·t²/3 + m²·t³/27 + m/6, whose distribution is that of a symmetric t up to terms in 1/n. On the side
    where it would raise |t| the plain t stays: the skewness is an estimate too, and no evidence is made from it.
    """
    symmetric = t + skewness * t**2 / 3.0 + skewness**2 * t**3 / 27.0 + skewness / 6.0
    nearer = np.where(t > 0.0, np.clip(symmetric, 0.0, t), np.clip(symmetric, t, 0.0))
    return np.where(np.isnan(skewness), t, nearer)
