"""Atoms: every event lies in exactly one, and names tell which states hold."""

from __future__ import annotations

import numpy as np

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
