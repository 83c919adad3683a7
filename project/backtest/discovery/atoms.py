"""Atoms: the disjoint cells of a symbol's market states that effect sizes are estimated on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]

ATOM_PREFIX: Final = "atom:"
SEPARATOR: Final = "&"
STATES_AT_ONCE: Final = 31
"""So many states make one number, with the number of those before them."""


def atom_state_ids(spec: Spec, event_type: str) -> tuple[str, ...]:
    """The state ids whose combinations are the atoms of an event: those of `atom_states` that condition it."""
    names = spec.events[event_type].model.states
    chosen = [name for name in spec.discovery.atom_states if names is None or name in names]
    return tuple(state_id for name in chosen for state_id in spec.states[name].values)


def atom_members(
    state_ids: tuple[str, ...], states: Mapping[str, Booleans], at: Integers
) -> tuple[list[str], Booleans]:
    """Which atom each event lies in.

    An atom is the set of states that hold at once, whatever that set is: none of them where the states are not known
    yet, several of one kind where a spec lets them overlap. So every event lies in exactly one.

    Parameters
    ----------
    state_ids : the states that are combined.
    states : (bars,) bool for each of them.
    at : (n,) bars of the events.

    Returns
    -------
    names : the atoms that occur, ``atom:`` and the ids of the states that hold, sorted.
    members : (n, atoms) bool, one True a row.
    """
    holds = np.column_stack([np.zeros((len(at), 0), bool), *(states[name][at] for name in state_ids)])
    which = np.zeros(len(at), np.int64)
    for first in range(0, len(state_ids), STATES_AT_ONCE):
        bits = holds[:, first : first + STATES_AT_ONCE]
        number = bits @ (1 << np.arange(bits.shape[1])[::-1])
        _, which = np.unique((which << STATES_AT_ONCE) + number, return_inverse=True)
    _, where = np.unique(which, return_index=True)
    names = [SEPARATOR.join(np.array(state_ids, dtype=object)[pattern]) for pattern in holds[where]]
    return [ATOM_PREFIX + name for name in names], which.reshape(-1, 1) == np.arange(len(names))


def states_of(atom: str) -> frozenset[str]:
    """The states that hold in an atom, from its name."""
    return frozenset(atom.removeprefix(ATOM_PREFIX).split(SEPARATOR)) - {""}
