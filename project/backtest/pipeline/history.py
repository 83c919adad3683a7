"""The runs of a data root as their manifests tell them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError, MisuseError, RunError, did_you_mean
from backtest.lake.files import read_json, read_parquet
from backtest.lake.paths import DataRoot, checked_run_id
from backtest.pipeline.lock import LOCK_FILE, run_is_held
from backtest.pipeline.manifests import earlier_record

if TYPE_CHECKING:
    import polars as pl

    from backtest.monitoring.run_changes import RunFacts

LOG_END_BYTES: Final = 1 << 16


def run_ids(root: DataRoot) -> list[str]:
    """Every RUN_ID that has a manifest, sorted."""
    return sorted(path.parent.name for path in root.path.glob("runs/*/run_manifest.json"))


def manifest_of(root: DataRoot, run_id: str) -> Mapping[str, Any]:
    """The run manifest.

    Raises
    ------
    MisuseError
        No data root, or a RUN_ID that cannot be one.
    RunError
        No such run.
    DataError
        An unreadable manifest.
    """
    path = root.run_manifest(run_id)
    root.require()
    if not path.is_file():
        known = run_ids(root)
        raise RunError(
            f"there is no run {run_id} in {root.path}.{did_you_mean(run_id, known)} "
            f"Runs: {', '.join(known[-10:]) or 'none'}. List them: backtest runs"
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise DataError(f"{path} is not a run manifest: it holds a {type(manifest).__name__}.")
    return manifest


# -- one run in a line --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunSummary:
    """A run in a line; what its manifest does not tell is None.

    ``crashed`` is a run whose manifest says running while no process holds its lock; ``unreadable`` one without a
    sound manifest.
    """

    run_id: str
    status: str
    started_at: str | None = None
    window: tuple[str, str] | None = None
    symbols: tuple[str, ...] = ()
    n_hypotheses: int | None = None
    n_passed: int | None = None
    duration_seconds: float | None = None
    failed_stage: str | None = None


def run_summaries(root: DataRoot) -> list[RunSummary]:
    """Every run of the data root, the latest last; MisuseError where it is none."""
    root.require()
    folders = [path for path in sorted((root.path / "runs").glob("*")) if path.is_dir()]
    found = [summary_of(root, path.name) for path in folders if _is_run(path)]
    return sorted(found, key=lambda run: (run.started_at or "", run.run_id))


def summary_of(root: DataRoot, run_id: str) -> RunSummary:
    """One run of the data root in a line."""
    is_held = run_is_held(root, run_id)
    try:
        manifest = manifest_of(root, run_id)
    except (DataError, RunError):
        return RunSummary(run_id, "running" if is_held else "unreadable")
    status = str(manifest.get("status"))
    if is_held:
        status = "running"
    elif status == "running":
        status = "crashed"
    return RunSummary(
        run_id=run_id,
        status=status,
        started_at=_text(manifest.get("started_at")),
        window=_window(manifest),
        symbols=tuple(str(symbol) for symbol in _sequence(manifest.get("symbols"))),
        n_hypotheses=_count(manifest.get("n_hypotheses")),
        n_passed=_passed(root, run_id),
        duration_seconds=_number(manifest.get("duration_seconds")),
        failed_stage=_text(manifest.get("failed_stage")),
    )


def _is_run(folder: Path) -> bool:
    try:
        checked_run_id(folder.name)
    except MisuseError:
        return False
    return (folder / "run_manifest.json").exists() or (folder / LOCK_FILE).exists()


def _passed(root: DataRoot, run_id: str) -> int | None:
    """Candidates that passed every gate, as the stage that tested them counted."""
    record = earlier_record(root.run(run_id) / "candidates.json") or {}
    return _count(_mapping(_mapping(record.get("summary")).get("passed")).get("gate_phase2_final"))


def _window(manifest: Mapping[str, Any]) -> tuple[str, str] | None:
    """First and last day (inclusive) of the searched window, or of the one asked for."""
    for names in (("discovery_start", "discovery_end"), ("start", "end")):
        try:
            start, end = (dt.datetime.fromisoformat(manifest[name]) for name in names)
        except (KeyError, TypeError, ValueError):
            continue
        return f"{start:%Y-%m-%d}", f"{end - dt.timedelta(microseconds=1):%Y-%m-%d}"
    return None


# -- one run with its stages --------------------------------------------------------------------------------


@dataclass(frozen=True)
class InstanceLine:
    """One stage instance of a run, with the warnings of its manifest."""

    instance: str
    status: str
    started_at: str | None
    duration_seconds: float | None
    reason: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RunDetails:
    """A run with its stages in the order they started; of a run that did not finish also where it stopped.

    ``stopped_at`` are the failed instances, or those a crashed run had begun; ``log_ends`` the last lines of their logs.
    """

    summary: RunSummary
    command: str | None
    error: str | None
    instances: tuple[InstanceLine, ...]
    warnings: tuple[str, ...]
    stopped_at: tuple[str, ...]
    log_ends: Mapping[str, tuple[str, ...]]


def run_details(root: DataRoot, run_id: str) -> RunDetails:
    """A run with its stages; raises as `manifest_of`."""
    manifest = manifest_of(root, run_id)
    summary = summary_of(root, run_id)
    instances = [
        _line(root, run_id, str(name), _mapping(entry)) for name, entry in _mapping(manifest.get("stages")).items()
    ]
    stopped = [line.instance for line in instances if line.status in ("failed", "interrupted")]
    if summary.status == "crashed":
        stopped = [
            line.instance
            for line in instances
            if line.status == "planned" and _log_is_of_this_call(root, run_id, line.instance, summary.started_at)
        ]
    return RunDetails(
        summary=summary,
        command=_text(manifest.get("command")),
        error=_text(manifest.get("error")),
        instances=tuple(sorted(instances, key=lambda line: (line.started_at is None, line.started_at or ""))),
        warnings=tuple(str(warning) for warning in _sequence(manifest.get("warnings"))),
        stopped_at=tuple(stopped),
        log_ends={name: log_end(root, run_id, name) for name in stopped},
    )


def log_end(root: DataRoot, run_id: str, instance: str, lines: int = 20) -> tuple[str, ...]:
    """The last lines of a stage instance's log, control characters replaced; empty where there is none."""
    path = _file_of(root, run_id, instance, ".log")
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_END_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple("".join(map(_shown, line)) for line in text.splitlines()[-lines:])


def _shown(character: str) -> str:
    """A character of a log as it may reach a terminal: no control sequences."""
    return character if character.isprintable() or character == "\t" else "\N{REPLACEMENT CHARACTER}"


def _line(root: DataRoot, run_id: str, instance: str, entry: Mapping[str, Any]) -> InstanceLine:
    record = earlier_record(_file_of(root, run_id, instance, ".json")) or {}
    return InstanceLine(
        instance=instance,
        status=str(entry.get("status")),
        started_at=_text(entry.get("started_at")),
        duration_seconds=_number(entry.get("duration_seconds")),
        reason=_text(entry.get("reason")),
        warnings=tuple(str(warning) for warning in _sequence(record.get("warnings"))),
    )


def _log_is_of_this_call(root: DataRoot, run_id: str, instance: str, started_at: str | None) -> bool:
    try:
        changed = _file_of(root, run_id, instance, ".log").stat().st_mtime
        return started_at is not None and changed >= dt.datetime.fromisoformat(started_at).timestamp() - 1.0
    except (OSError, ValueError):
        return False


def _file_of(root: DataRoot, run_id: str, instance: str, suffix: str) -> Path:
    """A stage instance's file; the name comes from a manifest and must stay inside the run's folder."""
    name = f"{instance}{suffix}"
    if Path(name).name != name or "\0" in name:
        raise DataError(f"{root.run_manifest(run_id)} names a stage instance {instance[:60]!r}, which cannot be one.")
    return root.run(run_id) / name


# -- what a run was made from -------------------------------------------------------------------------------


def run_facts(root: DataRoot, run_id: str) -> RunFacts:
    """What a run's manifests record about its data, spec, code, libraries and parameters; raises as `manifest_of`."""
    from backtest.monitoring.run_changes import RunFacts

    manifest = manifest_of(root, run_id)
    records = {
        str(name): earlier_record(_file_of(root, run_id, str(name), ".json")) or {}
        for name in _mapping(manifest.get("stages"))
    }
    parameters = {
        name: manifest.get(name) for name in ("symbols", "start", "end", "discovery_start", "discovery_end")
    } | {f"parameters.{name}": value for name, value in _mapping(manifest.get("parameters")).items()}
    return RunFacts(
        run_id=run_id,
        files={
            name: digest for record in records.values() for name, digest in _mapping(record.get("input_files")).items()
        },
        modules={stage: _mapping(record.get("code")) for stage, record in records.items()},
        spec={stage: _text(record.get("spec_hash")) or "" for stage, record in records.items()},
        ontology_hash=_text(manifest.get("ontology_spec_hash")),
        parameters=parameters,
        libraries={**_mapping(manifest.get("package_versions")), "python": manifest.get("python")},
        commit=_text(manifest.get("git_commit")),
    )


def candidates_of(root: DataRoot, run_id: str) -> pl.DataFrame:
    """Every tested hypothesis of a run with its verdict; RunError where it has none, DataError where one is damaged."""
    import polars as pl

    from backtest.monitoring.run_changes import VERDICT_COLUMNS

    manifest_of(root, run_id)
    files = sorted(root.reports("phase2", run_id).glob("*/candidates.parquet"))
    if not files:
        raise RunError(f"run {run_id} has no candidates. Finish its discovery: make discover-edges RUN_ID={run_id}")
    return pl.concat([read_parquet(path, VERDICT_COLUMNS).select(list(VERDICT_COLUMNS)) for path in files])


# -- values of a manifest, whatever it holds ----------------------------------------------------------------


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def shown_symbols(symbols: object) -> str:
    """The symbols of a manifest as text, also where it is a damaged one."""
    return ", ".join(map(str, symbols)) if isinstance(symbols, list) and symbols else repr(symbols)[:60]
