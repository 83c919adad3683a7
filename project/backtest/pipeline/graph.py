"""Which stages there are, and in which order they run."""

from __future__ import annotations

import graphlib
import importlib
import itertools
import pkgutil
import re
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Final

from backtest.errors import MisuseError, RunError, did_you_mean, listed
from backtest.pipeline import stages as stage_modules
from backtest.pipeline.stage import PARTITION_SEPARATOR, Stage

RESERVED_NAMES: Final = frozenset({"run_manifest", "kill_switch_status"})
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def find_stages(package: ModuleType = stage_modules) -> tuple[Stage, ...]:
    """The ``STAGE`` of every module of `package`, in the order they run; modules named ``_…`` are left out.

    Raises RunError naming each module that cannot be imported or has no stage, and each fault of the graph.
    """
    found: list[Stage] = []
    faults: list[str] = []
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda entry: entry.name):
        if module.name.startswith("_"):
            continue
        name = f"{package.__name__}.{module.name}"
        try:
            stage = getattr(importlib.import_module(name), "STAGE", None)
        except Exception as fault:  # noqa: BLE001 - whatever a module's import raises is told with its name
            faults.append(f"module {name} cannot be imported: {type(fault).__name__}: {fault}")
            continue
        if isinstance(stage, Stage):
            found.append(stage)
        else:
            faults.append(f"module {name} defines no STAGE = Stage(...)")
    if faults:
        raise RunError(f"the stages are at fault:\n{listed(faults)}")
    return ordered(found)


def ordered(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """`stages` so that each comes after those whose data sets it reads; by name where that leaves a choice.

    A data set that none of them writes is taken to lie in the lake. Raises RunError where names are doubled or not
    allowed, where two stages write one data set, and where stages wait for each other.
    """
    faults = [*_name_faults(stages), *_producer_faults(stages)]
    if faults:
        raise RunError(f"the stages are at fault:\n{listed(faults)}")
    by_name = {stage.name: stage for stage in stages}
    producer = {dataset: stage.name for stage in stages for dataset in stage.writes}
    sorter = graphlib.TopologicalSorter(
        {name: {producer[read] for read in by_name[name].reads if read in producer} for name in sorted(by_name)}
    )
    try:
        sorter.prepare()
    except graphlib.CycleError as fault:
        raise RunError(f"the stages wait for each other: {_cycle(fault.args[1], by_name)}.") from None
    order: list[Stage] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order.extend(by_name[name] for name in ready)
        sorter.done(*ready)
    return tuple(order)


def require_producers(stages: Sequence[Stage], given: Collection[str] = ("raw",)) -> None:
    """RunError unless every data set read is written by a stage or is one of `given`."""
    written = {dataset for stage in stages for dataset in stage.writes} | set(given)
    faults = [
        f"stage {stage.name} reads {read!r}, which no stage writes.{did_you_mean(read, written)}"
        for stage in stages
        for read in stage.reads
        if read not in written
    ]
    if faults:
        raise RunError(f"the stages are at fault:\n{listed(faults)}")


def chosen(stages: Sequence[Stage], names: Sequence[str]) -> tuple[Stage, ...]:
    """The stages called `names`, in the order they run; MisuseError for a name that is none."""
    by_name = {stage.name: stage for stage in stages}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise MisuseError(
            f"there is no stage {unknown[0]!r}.{did_you_mean(unknown[0], by_name)} Stages: {', '.join(by_name)}."
        )
    return ordered([by_name[name] for name in dict.fromkeys(names)])


def _name_faults(stages: Sequence[Stage]) -> list[str]:
    faults = []
    for stage in stages:
        if not _NAME.fullmatch(stage.name) or stage.name in RESERVED_NAMES:
            faults.append(
                f"stage name {stage.name!r} ({_origin(stage)}) is not allowed: lower-case words joined by '_', "
                f"without {PARTITION_SEPARATOR!r}, and none of {', '.join(sorted(RESERVED_NAMES))}"
            )
    for name in sorted({stage.name for stage in stages}):
        same = [_origin(stage) for stage in stages if stage.name == name]
        if len(same) > 1:
            faults.append(f"stage {name} is declared {len(same)} times: in {' and '.join(same)}")
    return faults


def _producer_faults(stages: Sequence[Stage]) -> list[str]:
    producers: dict[str, list[str]] = {}
    for stage in stages:
        for dataset in dict.fromkeys(stage.writes):
            producers.setdefault(dataset, []).append(f"{stage.name} ({_origin(stage)})")
    return [
        f"data set {dataset} is written by {len(names)} stages: {' and '.join(names)}"
        for dataset, names in sorted(producers.items())
        if len(names) > 1 and len(set(names)) > 1
    ]


def _cycle(names: Sequence[str], by_name: dict[str, Stage]) -> str:
    """``a -cleaned→ b -features→ a``; graphlib gives a cycle as each node before the one that waits for it."""
    text = names[0]
    for before, after in itertools.pairwise(names):
        through = [dataset for dataset in by_name[before].writes if dataset in by_name[after].reads]
        text += f" -({', '.join(through)})→ {after}"
    return text


def _origin(stage: Stage) -> str:
    return str(getattr(stage.run, "__module__", "unknown module"))
