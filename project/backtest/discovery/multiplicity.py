"""False discovery and family-wise control over the whole search.

References
----------
Benjamini & Hochberg (1995), JRSS-B 57; Simes (1986), Biometrika 73; Bogomolov, Peterson, Benjamini & Sabatti (2021),
Biometrika 108; Benjamini & Bogomolov (2014), JRSS-B 76.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


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
