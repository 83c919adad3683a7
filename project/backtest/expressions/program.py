"""A checked expression as a list of steps, each computed from earlier ones; equal parts are one step."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from backtest.expressions.registry import Kind

TIMESTAMP = "timestamp"
COMPARISONS: Final = frozenset({"<", "<=", ">", ">=", "==", "!=", "crosses_above", "crosses_below"})


@dataclass(frozen=True)
class Column:
    """A column of the frame; kind "clock" is the time of the bar's open."""

    name: str
    kind: Kind | None

    @property
    def is_clock(self) -> bool:
        return self.kind is None


@dataclass(frozen=True)
class Constant:
    """A number or truth value written in the expression."""

    value: float | bool


@dataclass(frozen=True)
class Call:
    """An operator or function over earlier steps (`operands`) and the literals fixed when compiling."""

    name: str
    operands: tuple[int, ...]
    literals: tuple[int | float, ...] = ()


Step = Column | Constant | Call
Meaning: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Program:
    """Steps in an order in which each can be computed; the last is the result."""

    steps: tuple[Step, ...]

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset(step.name for step in self.steps if isinstance(step, Column))

    @property
    def thresholded(self) -> tuple[int, ...]:
        """Steps whose numbers are compared with something: what there is before it becomes true or false."""
        compared = {
            operand
            for step in self.steps
            if isinstance(step, Call) and step.name in COMPARISONS
            for operand in step.operands
            if isinstance(self.steps[operand], Call)
        }
        return tuple(sorted(compared))

    @functools.cached_property
    def last_uses(self) -> Mapping[int, int]:
        """The last step that reads each step."""
        return {
            operand: position
            for position, step in enumerate(self.steps)
            if isinstance(step, Call)
            for operand in step.operands
        }

    @functools.cached_property
    def meanings(self) -> tuple[Meaning, ...]:
        """What each step computes, whatever its place: equal in two programs where the steps are."""
        meanings: list[Meaning] = []
        for step in self.steps:
            match step:
                case Column():
                    meanings.append(("column", step))
                case Constant():
                    meanings.append(("constant", type(step.value), step.value))
                case Call():
                    meanings.append((step.name, tuple(meanings[operand] for operand in step.operands), step.literals))
        return tuple(meanings)

    def part(self, result: int) -> Program:
        """The steps that step `result` needs, in order, itself the last."""
        return _needed(self.steps, result)


@dataclass
class Builder:
    """Collects steps; an equal step is added once."""

    _steps: list[Step] = field(default_factory=list)
    _index: dict[tuple[str, Step], int] = field(default_factory=dict)

    def add(self, step: Step) -> int:
        # True == 1.0 in Python, so the text takes part in the key.
        key = (repr(step), step)
        if key not in self._index:
            self._index[key] = len(self._steps)
            self._steps.append(step)
        return self._index[key]

    def program(self, result: int) -> Program:
        """The steps that `result` needs, in order, itself the last."""
        return _needed(self._steps, result)


def _needed(steps: Sequence[Step], result: int) -> Program:
    needed = {result}
    for index in range(result, -1, -1):
        step = steps[index]
        if index in needed and isinstance(step, Call):
            needed.update(step.operands)
    renumbered = {index: position for position, index in enumerate(sorted(needed))}
    return Program(tuple(_renumbered(steps[index], renumbered) for index in renumbered))


def _renumbered(step: Step, positions: Mapping[int, int]) -> Step:
    if isinstance(step, Call):
        return Call(step.name, tuple(positions[operand] for operand in step.operands), step.literals)
    return step
