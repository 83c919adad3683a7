"""Atoms: every event lies in exactly one, and names tell which states hold."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.discovery.atoms import atom_members, states_of


def test_an_atom_is_the_set_of_states_that_hold_whatever_it_is() -> None:
    states = {
        "low": np.array([True, True, False, False, False]),
        "high": np.array([False, True, False, False, True]),
        "pos": np.array([True, True, True, False, False]),
    }
    names, members = atom_members(("low", "high", "pos"), states, np.array([0, 1, 2, 3, 4, 0]))
    assert (members.sum(axis=1) == 1).all()
    found = [states_of(names[int(np.flatnonzero(row)[0])]) for row in members]
    assert found == [{"low", "pos"}, {"low", "high", "pos"}, {"pos"}, set(), {"high"}, {"low", "pos"}]


def test_without_states_there_is_one_atom_and_without_events_none() -> None:
    names, members = atom_members((), {}, np.array([3, 4]))
    assert names == ["atom:"]
    assert members.tolist() == [[True], [True]]
    names, members = atom_members(("low",), {"low": np.array([True])}, np.zeros(0, np.int64))
    assert names == []
    assert members.shape == (0, 0)


@pytest.mark.parametrize("n_states", [1, 5, 31, 32, 70])
def test_atoms_are_the_distinct_rows_of_what_holds(n_states: int) -> None:
    rng = np.random.default_rng(n_states)
    ids = tuple(f"s{number}" for number in range(n_states))
    states, at = {name: rng.random(300) < 0.1 for name in ids}, rng.integers(0, 300, 500)
    patterns, which = np.unique(np.column_stack([states[name][at] for name in ids]), axis=0, return_inverse=True)
    names, members = atom_members(ids, states, at)
    assert [states_of(name) for name in names] == [set(np.array(ids)[pattern].tolist()) for pattern in patterns]
    assert (members == (which.reshape(-1, 1) == np.arange(len(patterns)))).all()
