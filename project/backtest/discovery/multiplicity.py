"""False discovery and family-wise control over the whole search.

References
----------
Benjamini & Hochberg (1995), JRSS-B 57; Simes (1986), Biometrika 73; Bogomolov, Peterson, Benjamini & Sabatti (2021),
Biometrika 108; Benjamini & Bogomolov (2014), JRSS-B 76; Romano & Wolf (2005), Econometrica 73; Wallace (1959),
Annals of Mathematical Statistics 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Real = TypeVar("Real", np.float32, np.float64)

HYPOTHESES_PER_CHUNK: Final = 2048


def benjamini_hochberg_q(p: Floats) -> Floats:
    """Adjusted p-values: the smallest level at which Benjamini–Hochberg rejects each; ≥ p, ≤ 1, monotone in p."""
    m = len(p)
    if m == 0:
        return np.zeros(0)
    order = np.argsort(p, kind="stable")
    raised = p[order] * m / np.arange(1, m + 1)
    monotone = np.minimum.accumulate(raised[::-1])[::-1]
    q = np.empty(m)
    q[order] = np.maximum(np.minimum(monotone, 1.0), p[order])
    return q


def benjamini_hochberg(p: Floats, level: float) -> Booleans:
    """Which hypotheses Benjamini–Hochberg rejects at `level`."""
    m = len(p)
    if m == 0:
        return np.zeros(0, dtype=bool)
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= level * np.arange(1, m + 1) / m)
    return p <= ordered[below[-1]] if len(below) else np.zeros(m, dtype=bool)


def simes_p(p: Floats) -> float:
    """Simes' p-value of the intersection of hypotheses: min over ranks of m·p₍ᵢ₎/i."""
    m = len(p)
    return float(min(1.0, np.min(np.sort(p) * m / np.arange(1, m + 1))))


def tree_bh(p: Floats, families: Sequence[str], events: Sequence[str], level: float) -> Booleans:
    """Which leaves the tree-structured procedure selects: families, then events inside them, then leaves.

    Parameters
    ----------
    p : (m,) p-values of the leaves.
    families, events : names of each leaf's family and event; an event belongs to one family.
    level : float
        BH level over families; an event inside a selected family is tested at level × R_f/m_f, a leaf at that × R_e/m_e.
    """
    selected = np.zeros(len(p), dtype=bool)
    family_of = np.asarray(families, dtype=str)
    event_of = np.asarray(events, dtype=str)
    family_names = np.unique(family_of)
    leaves = {
        family: [
            np.flatnonzero((family_of == family) & (event_of == event))
            for event in np.unique(event_of[family_of == family])
        ]
        for family in family_names
    }
    event_p = {family: np.array([simes_p(p[rows]) for rows in groups]) for family, groups in leaves.items()}
    family_p = np.array([simes_p(event_p[family]) for family in family_names])
    chosen_families = benjamini_hochberg(family_p, level)
    if not chosen_families.any():
        return selected
    family_level = level * chosen_families.sum() / len(family_names)
    for family in family_names[chosen_families]:
        chosen_events = benjamini_hochberg(event_p[family], family_level)
        event_level = family_level * chosen_events.sum() / len(chosen_events)
        for index in np.flatnonzero(chosen_events):
            rows = leaves[family][index]
            selected[rows] = benjamini_hochberg(p[rows], event_level)
    return selected


def normal_scale(t: NDArray[Real], degrees_of_freedom: NDArray[Real]) -> NDArray[Real]:
    """Wallace's transform of a t value to the normal scale, so that different degrees of freedom compare."""
    nu = degrees_of_freedom
    return np.asarray(np.sign(t) * np.sqrt(nu * np.log1p(t**2 / nu)) * (8 * nu + 1) / (8 * nu + 3))


def sign_flip_step_down(
    day_sums: Floats,
    day_counts: Floats,
    degrees_of_freedom: Floats,
    *,
    one_sided: Booleans,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Family-wise adjusted p-values by joint day sign-flips and Romano–Wolf step-down.

    All hypotheses of a day share its sign, so that every dependence between them is kept.

    Parameters
    ----------
    day_sums, day_counts : (d, m)
        S and N of each day and hypothesis, zero where a hypothesis has no event on a day.
    degrees_of_freedom : (m,)
    one_sided : (m,) bool
        Hypotheses that only a positive mean would support.
    draws : int
        Number B of sign vectors besides the observed one.
    rng : Generator

    Returns
    -------
    (m,) p̃₍ⱼ₎ = max_{k≤j} (1 + #{b : max_{l≥k} |ζ*₍ₗ₎| ≥ |ζ₍ₖ₎|})/(B+1).

    Notes
    -----
    The draws are worked on in single precision: they are compared with one another only, the observed one among them,
    and the memory they take is what the time goes into.
    """
    days, m = day_sums.shape
    if m == 0:
        return np.zeros(0)
    n = day_counts.sum(axis=0)
    squares = (day_sums**2).sum(axis=0)
    count_squares = (day_counts**2).sum(axis=0)
    groups = (day_counts > 0).sum(axis=0)
    signs = rng.integers(0, 2, size=(draws, days)).astype(np.float32) * 2.0 - 1.0
    weights = np.vstack([np.ones(days, np.float32), signs])
    extremes = np.empty((draws + 1, m), np.float32)
    for first in range(0, m, HYPOTHESES_PER_CHUNK):
        chunk = slice(first, first + HYPOTHESES_PER_CHUNK)
        mean = weights @ (day_sums[:, chunk] / n[chunk]).astype(np.float32)
        cross = weights @ (day_sums[:, chunk] * day_counts[:, chunk]).astype(np.float32)
        variance = squares[chunk].astype(np.float32) - 2.0 * mean * cross
        variance += mean**2 * count_squares[chunk].astype(np.float32)
        variance *= (groups[chunk] / (groups[chunk] - 1.0) / n[chunk] ** 2).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = mean / np.sqrt(np.maximum(variance, 0.0))
            zeta = normal_scale(t, degrees_of_freedom[chunk].astype(np.float32))
        extremes[:, chunk] = np.nan_to_num(np.where(one_sided[chunk], zeta, np.abs(zeta)), nan=-np.inf)
    observed = extremes[0]
    order = np.argsort(-observed, kind="stable")
    # Maximum over the hypotheses not yet stepped past, for each draw, from the weakest to the strongest.
    tails = np.maximum.accumulate(extremes[1:, order][:, ::-1], axis=1)[:, ::-1]
    exceed = (tails >= observed[order]).sum(axis=0)
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate((1.0 + exceed) / (draws + 1.0))
    return adjusted
