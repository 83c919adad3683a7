"""Runs stages in order, each instance in a worker, and leaves manifests and logs of all it does."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
import shlex
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from backtest.errors import BacktestError, DataError, RunError, listed
from backtest.lake.files import json_text, write_text
from backtest.lake.leftovers import remove_of_dead, remove_of_processes, remove_of_run
from backtest.lake.months import Listings, listing_once
from backtest.pipeline.cache import RESULT_LIBRARIES, FileHashes, Key
from backtest.pipeline.capture import tail
from backtest.pipeline.code_hash import CodeHashes
from backtest.pipeline.display import Display
from backtest.pipeline.executors import ExecutorFactory, ProcessWorkers, WorkerDied, Workers, available_cores
from backtest.pipeline.graph import ordered
from backtest.pipeline.interruption import interruptible
from backtest.pipeline.lock import holding, holding_run
from backtest.pipeline.manifests import (
    DONE,
    InstanceReport,
    RunManifest,
    RunStatus,
    earlier_record,
    key_of,
    name_of,
    record_path,
    tells_the_same,
)
from backtest.pipeline.provenance import RECORDED_PACKAGES, code_revision, package_versions, platform_name
from backtest.pipeline.stage import Json, Plan, Stage
from backtest.pipeline.worker import Result, Task, execute

INTERRUPTED_EXIT_CODE: Final = 130
LOG_TAIL_LINES: Final = 15
STILL_RUNNING_SECONDS: Final = 0.5
"""How often the display is told what is running."""
_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}")


@dataclass(frozen=True)
class RunReport:
    """How a run went."""

    run_id: str
    status: RunStatus
    manifest: Path
    instances: tuple[InstanceReport, ...]
    failed_stage: str | None
    error: str | None
    warnings: tuple[str, ...]

    def raise_for_failure(self) -> None:
        """RunError with the exit code of what failed, exit code 130 where the run was interrupted."""
        if self.status == "interrupted":
            raise SystemExit(INTERRUPTED_EXIT_CODE)
        if self.status != "finished":
            failed = [report for report in self.instances if report.status == "failed"]
            names = ", ".join(report.instance for report in failed[:5])
            others = f" ({len(failed)} parts failed: {names})" if len(failed) > 1 else ""
            reason = (self.error or "").partition(":\n")[0]
            fault = RunError(f"run {self.run_id} failed in {self.failed_stage}{others}: {reason}\nSee {self.manifest}")
            fault.exit_code = next(
                (report.exit_code for report in failed if report.instance == self.failed_stage), fault.exit_code
            )
            raise fault


def utc_now() -> datetime:
    return datetime.now(UTC)


def run_stages(
    plan: Plan,
    stages: Sequence[Stage],
    *,
    display: Display,
    facts: Mapping[str, Json] | None = None,
    cache: bool = False,
    workers: int | None = None,
    executor_factory: ExecutorFactory = ProcessWorkers,
    now: Callable[[], datetime] = utc_now,
    command: str | None = None,
) -> RunReport:
    """Run `stages` as `plan` asks, in the order of their data sets, all instances of a stage before the next stage.

    Where an instance fails, the others of its stage and the stages that do not need its data sets still run; the
    report says so. Ctrl-C, SIGTERM and SIGHUP end the workers and give a report with the status interrupted.

    Parameters
    ----------
    facts : fields for the run manifest, e.g. discovery_start, discovery_end, ontology_spec_hash.
    cache : leave out instances whose key is unchanged and whose outputs are what their record says.
    workers : most instances that run at a time; the number of processors where None.
    now : current time, tz-aware UTC.
    command : how the operator called this, for messages; the process's own command line where None.

    Raises
    ------
    RunError : another process works on this run, or the stages contradict each other. Nothing was changed then.
    DataError : the run's folder cannot be written.
    MisuseError : the data root is none, or an executor is asked for that is not there.
    """
    from backtest.spec.loader import reading_once

    in_order = ordered(stages)
    plan.root.require()
    command = shlex.join(sys.orig_argv) if command is None else command
    n_workers = workers if workers is not None else available_cores()
    with (
        holding_run(plan.root, plan.run_id, now=now(), command=command) as left_by,
        interruptible() as signals,
        reading_once(plan.spec_root),
    ):
        executor: Workers | None = None
        run: _Run | None = None
        try:
            executor = executor_factory(n_workers)
            run = _Run(plan, in_order, executor, display, dict(facts or {}), cache, now, command, left_by)
            run.go()
        except BaseException as fault:
            with signals.held_back():
                if executor is not None:
                    executor.kill()
                    remove_of_processes(plan.root.path, executor.pids | {os.getpid()})
                if run is not None:
                    run.abandon(fault)
            if not isinstance(fault, KeyboardInterrupt):
                raise
            if run is None or executor is None:
                raise SystemExit(INTERRUPTED_EXIT_CODE) from None
        with signals.held_back():
            executor.shutdown(cancel_futures=True)
        return run.report()


@dataclass
class _Prepared:
    """An instance about to run: what decides its result, and what it will read."""

    stage: Stage
    partition: str
    started_at: datetime
    reason: str = ""
    key: Key | None = None
    inputs: Mapping[Path, str | None] = field(default_factory=dict)
    record: Mapping[str, Any] | None = None

    @property
    def instance(self) -> str:
        return self.stage.instance(self.partition)


class _Run:
    """State of one run while it goes on."""

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[Stage],
        executor: Workers,
        display: Display,
        facts: Mapping[str, Json],
        cache: bool,
        now: Callable[[], datetime],
        command: str,
        left_by: Mapping[str, Any] | None,
    ) -> None:
        self._plan = plan
        self._stages = stages
        self._executor = executor
        self._display = display
        self._cache = cache
        self._now = now
        self._command = command
        self._started_at = now()
        self._folder = plan.root.run(plan.run_id)
        self._files = FileHashes(plan.root.file_hashes())
        self._expect_tasks()
        self._code = CodeHashes(index=plan.root.source_imports())
        self._recorded_versions = package_versions(RECORDED_PACKAGES)
        self._versions = {
            name: version for name, version in self._recorded_versions.items() if name in RESULT_LIBRARIES
        }
        self._listings = Listings()
        self._reports: list[InstanceReport] = []
        self._noted: list[InstanceReport] = []
        self._instances_of_stage: list[str] = []
        self._running: dict[Future[Result], _Prepared] = {}
        self._left_by = left_by
        self._made_before: dict[str, tuple[str, ...]] = {}
        self._missing: dict[str, str] = {}
        self._current = "start"
        self._failure: tuple[str, str] | None = None
        self._status: RunStatus = "running"
        self._manifest = RunManifest(plan.root.run_manifest(plan.run_id), plan, facts, self._header(left_by))

    def _expect_tasks(self) -> None:
        """Let workers start while the run is made ready, where it is as good as sure that parts will run.

        With the cache on these are at least one for each market of a symbol that has a raw file which was written anew.
        """
        if not self._cache:
            self._executor.expect_tasks()
            return
        folders = [folder for symbol in self._plan.symbols for folder in self._plan.root.raw_symbol(symbol)]
        n_changed = len(list(itertools.islice(self._files.changed_folders(folders), self._executor.n_workers)))
        if n_changed:
            self._executor.expect_tasks(n_changed)

    def go(self) -> None:
        """Run every stage."""
        for stage in self._stages:
            self._manifest.plan_stage(stage.name)
        remove_of_run(self._plan.root, self._plan.run_id)
        remove_of_dead(self._plan.root.path, self._now())
        self._write()
        self._display.run_started(self._plan.run_id, len(self._stages), self._executor.n_workers)
        for stage in self._stages:
            self._stage(stage)
        self._end("failed" if self._failure else "finished")

    def abandon(self, fault: BaseException) -> None:
        """Leave a manifest that says the run was broken off."""
        is_interrupt = isinstance(fault, KeyboardInterrupt)
        for future, prepared in self._running.items():
            if future.cancelled() or prepared.instance in {report.instance for report in self._noted}:
                continue
            with contextlib.suppress(DataError):
                if future.done() and future.exception() is None:
                    self._settle(prepared, future.result())
                else:
                    text = "interrupted" if is_interrupt else f"broken off: {fault}"
                    self._note(self._report(prepared, "interrupted", error=text), record=None)
        self._conclude(self._instances_of_stage)
        if not is_interrupt and self._failure is None:
            self._failure = (self._current, f"{type(fault).__name__}: {fault}")
        # The fault itself may be a full disk; it is what the operator must hear of.
        with contextlib.suppress(DataError):
            self._end("interrupted" if is_interrupt else "failed")

    def report(self) -> RunReport:
        failed_stage, error = self._failure or (None, None)
        return RunReport(
            self._plan.run_id,
            self._status,
            self._plan.root.run_manifest(self._plan.run_id),
            tuple(self._reports),
            failed_stage,
            error,
            tuple(self._manifest.warnings),
        )

    # -- one stage ------------------------------------------------------------------------------------

    def _stage(self, stage: Stage) -> None:
        self._current = stage.name
        lacking = [read for read in stage.reads if read in self._missing]
        if lacking:
            self._leave_out(stage, f"needs {lacking[0]}, which {self._missing[lacking[0]]} did not make")
            return
        began = self._now()
        self._listings = Listings()
        try:
            with listing_once(self._listings):
                partitions = self._partitions(stage)
        except Exception as fault:  # noqa: BLE001 - a fault of the stage's code is reported like one of its run
            prepared = _Prepared(stage, "", began, "its parts could not be listed")
            self._manifest.plan_stage(stage.name, [stage.name])
            self._display.stage_started(stage.name, stage.title, 0)
            self._settle(prepared, self._refusal(prepared, fault))
            self._conclude([stage.name])
            self._give_up(stage)
            return
        self._instances_of_stage = [stage.instance(partition) for partition in partitions]
        self._manifest.plan_stage(stage.name, self._instances_of_stage)
        self._display.stage_started(stage.name, stage.title, len(partitions))
        if not partitions:
            self._warn(f"{stage.name} had nothing to do")
        with contextlib.ExitStack() as locks:
            if stage.shared:
                for partition in partitions:
                    locks.enter_context(self._holding_shared(stage.instance(partition)))
            reports = self._instances(stage, partitions)
            self._conclude(self._instances_of_stage)
            self._remove_superseded(stage, reports)
        if not all(report.is_done for report in reports):
            self._give_up(stage)
        self._display.stage_finished(stage.name, (self._now() - began).total_seconds())

    def _partitions(self, stage: Stage) -> list[str]:
        partitions = list(stage.partitions(self._plan))
        faults = [f"{key!r} is not allowed" for key in partitions if key and not _PARTITION.fullmatch(key)]
        faults += [f"{key!r} comes twice" for key in sorted({key for key in partitions if partitions.count(key) > 1})]
        if faults:
            raise ValueError(f"partitions of stage {stage.name}:\n{listed(faults)}")
        return partitions

    def _instances(self, stage: Stage, partitions: Sequence[str]) -> list[InstanceReport]:
        """Run what has to run; reports in the order of `partitions`."""
        from backtest.spec.loader import handed_over

        reports: dict[str, InstanceReport] = {}
        is_on_disk = False
        for partition in partitions:
            prepared = _Prepared(stage, partition, self._now())
            try:
                with listing_once(self._listings):
                    self._prepare(prepared)
            except Exception as fault:  # noqa: BLE001 - e.g. missing inputs; fails this instance alone
                reports[partition] = self._settle(prepared, self._refusal(prepared, fault))
                continue
            if self._cache and not prepared.reason:
                reports[partition] = self._reuse(prepared)
                continue
            prepared.reason = prepared.reason or "the stage cache is off"
            if not is_on_disk:  # what is planned, before anything of it runs
                self._write()
                is_on_disk = True
            spec = handed_over(self._plan.spec_root)
            task = Task(prepared.instance, stage.run, self._plan, partition, self._log(prepared.instance), spec)
            self._running[self._executor.submit(execute, task)] = prepared
            self._collect(reports)
        if stage is self._stages[-1]:
            self._executor.expect_none()  # each ends with its last part
            if self._running:
                self._files.keep()  # there is time now
        while self._running:
            wait(self._running, timeout=STILL_RUNNING_SECONDS, return_when=FIRST_COMPLETED)
            self._collect(reports)
            self._display.still_running([self._log(prepared.instance) for prepared in self._running.values()])
        return [reports[partition] for partition in partitions]

    def _collect(self, reports: dict[str, InstanceReport]) -> None:
        """Settle what has ended, in the order it was begun."""
        for future in [future for future in self._running if future.done()]:
            self._listings = Listings()  # it may have let files come or go
            prepared = self._running[future]
            reports[prepared.partition] = self._settle(prepared, self._result(future, prepared))
            del self._running[future]  # last, so that an interrupted settling is done again

    def _prepare(self, prepared: _Prepared) -> None:
        """Find the key of an instance and why it has to run: an empty reason where it has not."""
        stage, plan, partition = prepared.stage, self._plan, prepared.partition
        prepared.key, prepared.inputs = key_of(
            stage, plan, partition, files=self._files, code=self._code, versions=self._versions
        )
        prepared.record = earlier_record(record_path(stage, plan, prepared.instance))
        self._made_before[prepared.instance] = tuple((prepared.record or {}).get("outputs") or ())
        prepared.reason = "; ".join(self._changes(prepared.key, prepared.record))

    def _changes(self, key: Key, record: Mapping[str, Any] | None) -> list[str]:
        if record is None:
            return ["no earlier result"]
        if record.get("status") not in DONE:
            return [f"the earlier attempt was {record.get('status')}"]
        changes = key.changes_since(record)
        if changes or not self._cache:
            return changes
        outputs = record.get("outputs")
        if not isinstance(outputs, dict):
            return ["the earlier record is unreadable"]
        paths = {name: self._plan.root.path / name for name in outputs}
        try:
            found = self._files.of(paths.values())
        except (DataError, ValueError):
            return ["an earlier output is unreadable"]
        for name, digest in sorted(outputs.items()):
            actual = found[paths[name]]
            if actual != digest:
                changes.append(f"output {'missing' if actual is None else 'changed'}: {name}")
        return [*changes[:3], f"{len(changes) - 3} more outputs"] if len(changes) > 4 else changes

    def _refusal(self, prepared: _Prepared, fault: Exception) -> Result:
        """The result of an instance that could not even start; its log tells why."""
        if isinstance(fault, BacktestError):
            error, trace, exit_code = str(fault), None, fault.exit_code
        else:
            error = f"this is a fault of the program: {type(fault).__name__}: {fault}"
            trace, exit_code = "".join(traceback.format_exception(fault)), BacktestError.exit_code
        write_text(self._log(prepared.instance), trace or f"error: {error}\n")
        return Result(seconds=0.0, error=error, traceback=trace, exit_code=exit_code)

    def _result(self, future: Future[Result], prepared: _Prepared) -> Result:
        """What came of a task, whatever became of its worker."""
        try:
            return future.result()
        except WorkerDied as death:
            if death.pid is not None:
                remove_of_processes(self._plan.root.path, {death.pid})
            text = f"{death} while it ran {prepared.instance}. {death.hint}"
        except CancelledError:
            text = f"{prepared.instance} was cancelled by the scheduler"
        except Exception as fault:  # noqa: BLE001 - from the executor: a lost cluster worker, a task that cannot travel
            text = f"the worker gave no result for {prepared.instance}: {type(fault).__name__}: {fault}"
        with contextlib.suppress(OSError), self._log(prepared.instance).open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")
        return Result(seconds=(self._now() - prepared.started_at).total_seconds(), error=text)

    def _settle(self, prepared: _Prepared, result: Result) -> InstanceReport:
        """Note how an instance went, on disk and for the operator."""
        from backtest.spec.loader import changed_since_read

        outcome, error, trace = result.outcome, result.error, result.traceback
        if outcome is not None:
            moved = self._files_changed_meanwhile(prepared, result)
            if moved:
                names = ", ".join(name_of(self._plan, path) for path in moved[:3])
                outcome, error = (
                    None,
                    f"input files were changed while {prepared.instance} read them: {names}. Run it again",
                )
            elif changed_since_read(self._plan.spec_root):
                outcome, error = None, f"the spec was changed while {prepared.instance} ran. Run it again"
            else:
                self._files.remember(result.output_hashes)
        if outcome is None:
            report = self._report(
                prepared, "failed", result.seconds, error=error, traceback=trace, exit_code=result.exit_code
            )
        else:
            report = replace(
                self._report(prepared, "finished", result.seconds),
                outputs={name_of(self._plan, path): digest for path, digest in sorted(result.output_hashes.items())},
                summary=outcome.summary,
                warnings=outcome.warnings,
            )
        self._note(report, record_path(prepared.stage, self._plan, report.instance) if outcome is not None else None)
        return report

    def _files_changed_meanwhile(self, prepared: _Prepared, result: Result) -> list[Path]:
        return [path for path in self._files.changed(prepared.inputs) if path not in result.output_hashes]

    def _reuse(self, prepared: _Prepared) -> InstanceReport:
        record = prepared.record or {}
        report = replace(
            self._report(prepared, "cached", (self._now() - prepared.started_at).total_seconds()),
            reason="unchanged",
            outputs=record["outputs"],
            summary=record.get("summary", {}),
            warnings=tuple(record.get("warnings", ())),
            computed=record.get("computed"),
        )
        log = self._log(report.instance)
        if not log.exists():
            made_by = (report.computed or {}).get("run_id", "an earlier run")
            write_text(log, f"not run: unchanged since {made_by} made its outputs\n")
        self._note(report, None)
        return report

    def _note(self, report: InstanceReport, record: Path | None) -> None:
        manifest = report.manifest
        own = self._folder / f"{report.instance}.json"
        if report.status != "cached" or not tells_the_same(manifest, earlier_record(own)):
            text = json_text(manifest)
            for path in dict.fromkeys((own, record or own)):
                write_text(path, text, flush=False)
        self._noted.append(report)
        self._manifest.enter(report.instance, report.entry())
        for text in report.warnings:
            self._display.warning(f"{report.instance}: {text}")
        self._display.instance_finished(report.instance, report.status, report.duration_seconds, report.reason)
        if report.status == "failed":
            error = report.error or "failed without a reason"
            log = self._log(report.instance)
            self._display.instance_failed(
                report.instance, error, log, tail(log, LOG_TAIL_LINES), f"BACKTEST_STAGE_CACHE=1 {self._command}"
            )

    def _conclude(self, instances: Sequence[str]) -> None:
        """Take what the instances of a stage told into the run, in their order, whichever ended first."""
        for report in sorted(self._noted, key=lambda report: instances.index(report.instance)):
            self._reports.append(report)
            self._manifest.warnings.extend(f"{report.instance}: {text}" for text in report.warnings)
            facts = report.summary.get("facts")
            if isinstance(facts, Mapping):
                self._manifest.update_facts(facts)
            if report.status == "failed" and self._failure is None:
                self._failure = (report.instance, report.error or "failed without a reason")
        self._noted = []

    def _report(self, prepared: _Prepared, status: Any, seconds: float | None = None, **fields: Any) -> InstanceReport:
        finished_at = self._now()
        waited = (finished_at - prepared.started_at).total_seconds()
        seconds = waited if seconds is None else seconds
        return InstanceReport(
            stage=prepared.stage,
            partition=prepared.partition,
            run_id=self._plan.run_id,
            status=status,
            started_at=finished_at - timedelta(seconds=seconds),
            finished_at=finished_at,
            duration_seconds=seconds,
            reason=prepared.reason,
            log=name_of(self._plan, self._log(prepared.instance)),
            key=prepared.key,
            **fields,
        )

    # -- what a stage leaves to others ------------------------------------------------------------------

    def _leave_out(self, stage: Stage, because: str) -> None:
        entry = {"stage": stage.name, "partition": None, "status": "not_started", "reason": because}
        self._manifest.plan_stage(stage.name, [stage.name])
        self._manifest.enter(stage.name, entry)
        self._warn(f"{stage.name} was not started: it {because}")
        cause = next(self._missing[read] for read in stage.reads if read in self._missing)
        self._missing.update(dict.fromkeys(stage.writes, cause))

    def _give_up(self, stage: Stage) -> None:
        failed = next(report.instance for report in self._reports if report.stage is stage and not report.is_done)
        self._missing.update(dict.fromkeys(stage.writes, failed))

    def _remove_superseded(self, stage: Stage, reports: Sequence[InstanceReport]) -> None:
        """Remove this run's files that an instance made before and no longer makes, so that nothing reads them on."""
        made = {name for report in self._reports for name in report.outputs}
        for report in reports:
            if stage.shared or not report.is_done:
                continue
            superseded = [name for name in self._made_before.get(report.instance, ()) if name not in made]
            superseded = [name for name in superseded if self._is_inside(name)]
            for name in superseded:
                with contextlib.suppress(OSError, ValueError):  # a name that no file can have
                    (self._plan.root.path / name).unlink(missing_ok=True)
            if superseded:
                self._warn(f"{report.instance} no longer makes {', '.join(superseded[:3])}: removed {len(superseded)}")

    def _is_inside(self, name: str) -> bool:
        """Whether a file that a manifest names, which may be a damaged one, lies in the data root."""
        root = self._plan.root.path.resolve()
        try:
            return (root / name).parent.resolve().is_relative_to(root)
        except (OSError, ValueError):
            return False

    @contextlib.contextmanager
    def _holding_shared(self, instance: str) -> Iterator[None]:
        """Keep other runs from writing the same files of the lake; wait for one that does."""

        def announce(holder: Mapping[str, Any]) -> None:
            self._warn(f"waiting for process {holder.get('pid')} on {holder.get('host')}, which is at {instance} too")

        path = self._plan.root.stage_records() / f"{instance}.lock"
        with holding(path, now=self._now(), command=self._command, when_held=announce):
            yield

    # -- the run --------------------------------------------------------------------------------------

    def _header(self, left_by: Mapping[str, Any] | None) -> dict[str, Any]:
        revision = code_revision()
        return {
            "started_at": self._started_at,
            "git_commit": revision.commit,
            "git_dirty": revision.is_dirty,
            "package_versions": self._recorded_versions,
            "python": platform.python_version(),
            "platform": platform_name(),
            "workers": self._executor.n_workers,
            "process": {"pid": os.getpid(), "host": socket.gethostname()},
            "command": self._command,
            "stage_cache": self._cache,
            "lock_left_by": dict(left_by) if left_by else None,
        }

    def _log(self, instance: str) -> Path:
        return self._folder / f"{instance}.log"

    def _warn(self, text: str) -> None:
        self._manifest.warnings.append(text)
        self._display.warning(text)

    def _write(self) -> None:
        failed_stage, error = self._failure or (None, None)
        self._manifest.write(self._status, self._now(), failed_stage, error)

    def _end(self, status: RunStatus) -> None:
        self._status = status
        if self._left_by:  # its workers may have lived a moment longer, and have been writing when this run began
            remove_of_dead(self._plan.root.path, self._now())
        self._files.keep()
        self._code.keep()
        try:
            self._write()
        finally:
            seconds = (self._now() - self._started_at).total_seconds()
            self._display.run_finished(status, seconds, self._plan.root.run_manifest(self._plan.run_id))
