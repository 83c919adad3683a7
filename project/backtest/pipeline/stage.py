"""What a stage is: a value with named data sets, a function, and all that decides its result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from backtest.lake.paths import DataRoot

JsonScalar: TypeAlias = bool | int | float | str | None
Json: TypeAlias = JsonScalar | Sequence["Json"] | Mapping[str, "Json"]

PARTITION_SEPARATOR = "__"


@dataclass(frozen=True)
class Plan:
    """What a run was asked for. Picklable: it travels to the worker processes.

    `start` and `end` are tz-aware UTC and mean the half-open span [start, end); None is no bound.
    """

    root: DataRoot
    spec_root: Path
    run_id: str
    symbols: tuple[str, ...]
    start: datetime | None = None
    end: datetime | None = None
    parameters: Mapping[str, JsonScalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one stage instance made.

    `outputs` are files under the data root. `summary` goes into the manifests as it is; its key ``facts``, where
    there is one, is merged into the run manifest.
    """

    outputs: tuple[Path, ...]
    summary: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def whole(_plan: Plan) -> Sequence[str]:
    """The one partition of a stage that has none."""
    return ("",)


def none(_plan: Plan, _partition: str) -> Sequence[Path]:
    """No input files."""
    return ()


def all_parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    """Everything of the plan but the run's name: safe for any stage, and misses more often than need be."""
    return {
        "symbols": list(plan.symbols),
        "start": plan.start.isoformat() if plan.start else None,
        "end": plan.end.isoformat() if plan.end else None,
        **plan.parameters,
    }


def whole_spec(plan: Plan, _partition: str) -> str:
    """Hash of every YAML file under the spec root: safe for any stage, and misses more often than need be."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(plan.spec_root.rglob("*.y*ml")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(plan.spec_root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True)
class Stage:
    """One step from data sets to data sets.

    All functions are defined at the top level of a module, since workers import them by name; heavy imports go inside.

    Attributes
    ----------
    name : snake_case, without ``__``; names the manifest and the log.
    title : what an operator reads while it runs, e.g. "Cleaning bars".
    reads, writes : names of data sets; the order of stages follows from them.
    run : makes the outputs of one partition (``""`` for a stage without partitions).
    partitions : the partition keys, asked for when the stages before this one have finished.
    inputs : the files one partition reads. A file that does not exist counts as such: its appearance is a change.
    parameters : everything of the plan that changes the result of one partition.
    spec : hash of the parts of the spec that change it.
    shared : outputs lie in the lake all runs share, and must not depend on the run's name; else they are this run's.
    """

    name: str
    title: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    run: Callable[[Plan, str], Outcome]
    partitions: Callable[[Plan], Sequence[str]] = whole
    inputs: Callable[[Plan, str], Sequence[Path]] = none
    parameters: Callable[[Plan, str], Mapping[str, Json]] = all_parameters
    spec: Callable[[Plan, str], str] = whole_spec
    shared: bool = False

    def instance(self, partition: str) -> str:
        """Name of the stage at one partition: ``clean``, ``clean__BTCUSDT``."""
        return f"{self.name}{PARTITION_SEPARATOR}{partition}" if partition else self.name
