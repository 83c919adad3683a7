"""What differs between two blueprints, field by field, and between all blueprints of two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backtest.strategies.blueprints import Blueprint

NAMES: Final = frozenset({"run_id", "blueprint_id"})
"""Fields in which blueprints of two runs differ by their nature."""
ABSENT: Final = "–"


@dataclass(frozen=True)
class Difference:
    """One field, such as ``policy.entry_lag_bars``, with the value of each side as JSON has it; None where it is absent."""

    field: str
    first: Any
    second: Any


@dataclass(frozen=True)
class RunDifference:
    """Blueprints of two runs by candidate id: only in one of them, or in both with differences."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changed: Mapping[str, tuple[Difference, ...]]
    n_equal: int

    @property
    def is_empty(self) -> bool:
        return not (self.only_first or self.only_second or self.changed)


def candidate_of(blueprint: Blueprint) -> str:
    """The candidate's id, which is the same in every run."""
    return blueprint.blueprint_id.removeprefix(f"{blueprint.run_id}.")


def differences(first: Blueprint, second: Blueprint) -> tuple[Difference, ...]:
    """Every field that differs, in the order of the model; nested fields are named with dots, `NAMES` left out."""
    mine, other = (_flat(blueprint.model_dump(mode="json")) for blueprint in (first, second))
    order = [*mine, *(name for name in other if name not in mine)]
    return tuple(
        Difference(name, mine.get(name), other.get(name))
        for name in order
        if name not in NAMES and mine.get(name) != other.get(name)
    )


def run_differences(first: Sequence[Blueprint], second: Sequence[Blueprint]) -> RunDifference:
    """The blueprints of two runs compared."""
    mine, other = ({candidate_of(entry): entry for entry in entries} for entries in (first, second))
    both = [name for name in mine if name in other]
    compared = {name: differences(mine[name], other[name]) for name in both}
    changed = {name: found for name, found in compared.items() if found}
    return RunDifference(
        tuple(name for name in mine if name not in other),
        tuple(name for name in other if name not in mine),
        changed,
        len(both) - len(changed),
    )


def shown(value: Any) -> str:
    """A value in one short line."""
    if value is None:
        return ABSENT
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 120 else text[:117] + "…"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict | list) or not value:
        return {name: value}
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    flat: dict[str, Any] = {}
    for key, entry in entries:
        flat |= _flat(entry, f"{name}.{key}" if name else str(key))
    return flat
