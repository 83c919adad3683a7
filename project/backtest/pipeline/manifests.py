"""What a run leaves about itself: one manifest a stage instance, one for the run."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from backtest.errors import DataError
from backtest.lake.files import read_json, write_json
from backtest.pipeline.cache import FileHashes, Key, canonical_hash
from backtest.pipeline.code_hash import CodeHashes
from backtest.pipeline.stage import Json, Plan, Stage

InstanceStatus = Literal["finished", "cached", "failed", "interrupted"]
RunStatus = Literal["running", "finished", "failed", "interrupted"]
DONE: Final = ("finished", "cached")
TRACEBACK_LINES: Final = 30
_TIMING: Final = ("started_at", "finished_at", "duration_seconds")
# Facts of a run that are known by name even before a stage has told them.
KNOWN_FACTS: Final = ("discovery_start", "discovery_end", "ontology_spec_hash")
# Facts of a search that stay true of what a later call on the same run leaves as it is.
SEARCH_FACTS: Final = ("folds", "n_hypotheses", "register_hash")


def utc_text(moment: datetime) -> str:
    """``2025-02-28T13:05:07.123Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def name_of(plan: Plan, path: Path) -> str:
    """A file's name in manifests: relative to the data root, ``spec/…`` below the spec root, else its full path."""
    name = path.as_posix()
    # As texts: there are thousands in a run, and paths are slow to take apart.
    for folder, prefix in ((plan.root.path, ""), (plan.spec_root, "spec/")):
        if name.startswith(start := f"{folder.as_posix()}/"):
            return f"{prefix}{name.removeprefix(start)}"
    return name


def earlier_record(path: Path) -> dict[str, Any] | None:
    """An earlier manifest; None where there is none, or a damaged one, which is as good as none."""
    try:
        record = read_json(path)
    except DataError:
        return None
    return record if isinstance(record, dict) else None


def record_path(stage: Stage, plan: Plan, instance: str) -> Path:
    """The manifest the cache goes by: of a shared stage it lies in the lake, else in the run's folder."""
    folder = plan.root.stage_records() if stage.shared else plan.root.run(plan.run_id)
    return folder / f"{instance}.json"


def key_of(
    stage: Stage, plan: Plan, partition: str, *, files: FileHashes, code: CodeHashes, versions: Mapping[str, str]
) -> tuple[Key, Mapping[Path, str | None]]:
    """The key of one stage instance as everything is now, and the hashes of its input files by their paths."""
    inputs = files.of(stage.inputs(plan, partition))
    functions = (stage.run, stage.inputs, stage.partitions, stage.parameters, stage.spec)
    modules = {getattr(function, "__module__", None) for function in functions}
    key = Key(
        stage=stage.name,
        partition=partition,
        parameters=stage.parameters(plan, partition),
        spec_hash=stage.spec(plan, partition),
        code=code.of(module for module in modules if module),
        inputs={name_of(plan, path): digest for path, digest in inputs.items()},
        versions=versions,
    )
    return key, inputs


def tells_the_same(manifest: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> bool:
    """Whether two stage manifests differ in nothing but when they were made."""
    return earlier is not None and {**manifest, **dict.fromkeys(_TIMING)} == {**earlier, **dict.fromkeys(_TIMING)}


@dataclass(frozen=True)
class InstanceReport:
    """How one stage instance went."""

    stage: Stage
    partition: str
    run_id: str
    status: InstanceStatus
    started_at: datetime
    finished_at: datetime
    duration_seconds: float
    reason: str
    log: str
    key: Key | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    summary: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str | None = None
    traceback: str | None = None
    exit_code: int = 0
    computed: Mapping[str, Any] | None = None

    @property
    def instance(self) -> str:
        return self.stage.instance(self.partition)

    @property
    def is_done(self) -> bool:
        return self.status in DONE

    @functools.cached_property
    def manifest(self) -> Mapping[str, Any]:
        """The stage manifest, which is also the record the cache goes by."""
        timing = {
            "started_at": utc_text(self.started_at),
            "finished_at": utc_text(self.finished_at),
            "duration_seconds": round(self.duration_seconds, 3),
        }
        key = self.key
        return {
            "instance": self.instance,
            "stage": self.stage.name,
            "partition": self.partition or None,
            "title": self.stage.title,
            "run_id": self.run_id,
            "status": self.status,
            **timing,
            "computed": self.computed or {"run_id": self.run_id, **timing},
            "reason": self.reason,
            "log": self.log,
            "cache_key": key.digest if key else None,
            "input_hash": key.input_hash if key else None,
            "code_hash": canonical_hash(key.code) if key else None,
            **(key.record() if key else {}),
            "outputs": dict(self.outputs),
            "summary": json.loads(json.dumps(self.summary, allow_nan=False)),
            "warnings": list(self.warnings),
            "error": self.error,
            "traceback": self.traceback.splitlines()[-TRACEBACK_LINES:] if self.traceback else None,
        }

    def entry(self) -> dict[str, Any]:
        """The line about it in the run manifest."""
        manifest = self.manifest
        # Data enters a run as the input files of a stage, or as what a stage without inputs brought in.
        if self.stage.reads:
            data_hash = self.key.input_hash if self.key else canonical_hash({})
        else:
            data_hash = canonical_hash(self.outputs)
        return {
            **{name: manifest[name] for name in ("stage", "partition", "status", "started_at", "finished_at")},
            **{name: manifest[name] for name in ("duration_seconds", "reason", "input_hash", "error")},
            "reads": sorted(self.stage.reads),
            "writes": sorted(self.stage.writes),
            "data_hash": data_hash,
        }


class RunManifest:
    """The run manifest, kept on disk from start to end.

    It describes the run's folder: what an earlier call under the same RUN_ID made, and this call does not make anew,
    stays in it; symbols and the discovery window then cover both.
    """

    def __init__(self, path: Path, plan: Plan, facts: Mapping[str, Json], header: Mapping[str, Any]) -> None:
        self._path = path
        self._plan = plan
        self._earlier = earlier_record(path) or {}
        kept = self._earlier.get("stages")
        self._kept: dict[str, dict[str, Any]] = dict(kept) if isinstance(kept, dict) else {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._planned: list[str] = []
        self._header = dict(header)
        self._facts: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.update_facts(facts)

    def update_facts(self, facts: Mapping[str, Json]) -> None:
        """Take facts about the run, later ones over earlier ones; one named like another field is refused."""
        for name, value in facts.items():
            if name in self._header or name in _OWN_FIELDS:
                self.warnings.append(
                    f"the fact {name!r} is left out of the run manifest: that field has its own meaning"
                )
            else:
                self._facts[name] = json.loads(json.dumps(value, allow_nan=False))

    def plan_stage(self, placeholder: str, instances: list[str] | None = None) -> None:
        """A stage is to run; once its instances are known, they take the place of its name."""
        if instances is None:
            self._planned.append(placeholder)
            return
        at = self._planned.index(placeholder)
        self._planned[at : at + 1] = instances
        for instance in instances:
            self._kept.pop(instance, None)

    def enter(self, instance: str, entry: Mapping[str, Any]) -> None:
        self._entries[instance] = dict(entry)

    def write(self, status: RunStatus, now: datetime, failed_stage: str | None, error: str | None) -> None:
        started = self._header["started_at"]
        write_json(
            self._path,
            {
                **self._header,
                **self._merged_facts(),
                "run_id": self._plan.run_id,
                "status": status,
                "started_at": utc_text(started),
                "finished_at": None if status == "running" else utc_text(now),
                "duration_seconds": round((now - started).total_seconds(), 3),
                "failed_stage": failed_stage,
                "error": error,
                "planned": list(self._planned),
                "finished": [name for name in self._planned if self._entries.get(name, {}).get("status") in DONE],
                "stages": self._stages("planned" if status == "running" else "not_started"),
                "symbols": self._symbols(),
                "start": self._plan.start.isoformat() if self._plan.start else None,
                "end": self._plan.end.isoformat() if self._plan.end else None,
                "parameters": dict(self._plan.parameters),
                "data_hash": self._data_hash(),
                "warnings": list(self.warnings),
            },
            flush=status != "running",  # a loss of power ends the run anyway
        )

    def _stages(self, waiting_status: str = "planned") -> dict[str, dict[str, Any]]:
        waiting = {name: {"status": waiting_status} for name in self._planned if name not in self._entries}
        return {**self._kept, **waiting, **self._entries}

    def _symbols(self) -> list[str]:
        earlier = self._earlier.get("symbols") if self._kept else None
        return list(dict.fromkeys([*self._plan.symbols, *(earlier or [])]))

    def _merged_facts(self) -> dict[str, Any]:
        known = {name: self._facts.get(name, self._earlier.get(name)) for name in KNOWN_FACTS}
        kept = SEARCH_FACTS if self._kept else ()
        merged = {**known, **{name: self._earlier[name] for name in kept if name in self._earlier}, **self._facts}
        # A later call on a part of the run must not make the window look smaller than what the rest was found in.
        for name, widest in (("discovery_start", min), ("discovery_end", max)):
            both = [value for value in (merged[name], self._earlier.get(name)) if isinstance(value, str)]
            if self._kept and both:
                merged[name] = widest(both)
        return merged

    def _data_hash(self) -> str | None:
        """Hash over the data that entered the run: what its first stages read, or brought in."""
        entries = [entry for entry in self._stages().values() if entry.get("status") in DONE]
        made = {dataset for entry in entries for dataset in entry.get("writes", ())}
        first = [entry["data_hash"] for entry in entries if made.isdisjoint(entry.get("reads", ()))]
        return canonical_hash(sorted(first)) if first else None


_OWN_FIELDS: Final = frozenset(
    {
        "run_id",
        "status",
        "started_at",
        "finished_at",
        "duration_seconds",
        "failed_stage",
        "error",
        "planned",
        "finished",
        "stages",
        "symbols",
        "start",
        "end",
        "parameters",
        "data_hash",
        "warnings",
    }
)
