"""Multiplicity control against reference implementations and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from backtest.discovery.multiplicity import (
    benjamini_hochberg,
    benjamini_hochberg_q,
    simes_p,
    tree_bh,
)

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=40).map(np.array)


@given(p=p_values, level=st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=100, deadline=None)
def test_benjamini_hochberg_equals_statsmodels(p: NDArray[np.float64], level: float) -> None:
    rejected, adjusted, _, _ = multipletests(p, alpha=level, method="fdr_bh")
    assert benjamini_hochberg_q(p) == pytest.approx(adjusted)
    assert benjamini_hochberg(p, level).tolist() == rejected.tolist()


@given(p=p_values)
def test_q_is_at_least_p_and_monotone(p: NDArray[np.float64]) -> None:
    q = benjamini_hochberg_q(p)
    assert (q >= p).all()
    assert (np.diff(q[np.argsort(p)]) >= -1e-15).all()


def test_nothing_tested_rejects_nothing() -> None:
    assert benjamini_hochberg(np.zeros(0), 0.1).shape == (0,)
    assert benjamini_hochberg_q(np.zeros(0)).shape == (0,)
    assert tree_bh(np.zeros(0), [], [], 0.1).shape == (0,)


def test_simes_by_hand() -> None:
    assert simes_p(np.array([0.04, 0.01, 0.5])) == pytest.approx(0.03)
    assert simes_p(np.array([0.9, 1.0])) == pytest.approx(1.0)


def test_tree_selects_leaves_only_inside_selected_events_of_selected_families() -> None:
    p = np.array([0.001, 0.002, 0.8, 0.03, 0.9, 0.03])
    families = ["A", "A", "A", "A", "B", "B"]
    events = ["A1", "A1", "A2", "A2", "B1", "B1"]
    # Events by Simes: A1 .002, A2 .06, B1 .06; families: A min(.004, .06) = .004, B .06. BH at .05: family A alone.
    # Inside A at .05 * 1/2 = .025: A1 (.002 <= .0125); its leaves at .025 * 1/2 = .0125: both.
    assert tree_bh(p, families, events, 0.05).tolist() == [True, True, False, False, False, False]


def test_tree_selects_nothing_where_no_family_is_significant() -> None:
    assert not tree_bh(np.full(8, 0.5), ["A"] * 4 + ["B"] * 4, ["a", "a", "b", "b", "c", "c", "d", "d"], 0.1).any()
