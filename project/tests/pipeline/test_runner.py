"""What a run does with its stages, and what its manifests say."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import toy_stages
from toy_lake import ToyLake

from backtest.errors import DataError, MisuseError, RunError
from backtest.lake.files import content_hash, read_json, this_host, write_json
from backtest.lake.paths import DataRoot
from backtest.pipeline.executors import ProcessWorkers, SerialWorkers
from backtest.pipeline.provenance import code_revision
from backtest.pipeline.stage import Outcome, Plan

RUN_FIELDS = {
    *("run_id", "status", "started_at", "finished_at", "duration_seconds", "failed_stage", "error", "planned"),
    *("finished", "stages", "symbols", "start", "end", "discovery_start", "discovery_end", "parameters", "git_commit"),
    *("git_dirty", "ontology_spec_hash", "data_hash", "package_versions", "python", "platform", "workers", "warnings"),
    *("process", "command", "stage_cache", "lock_left_by"),
}
STAGE_FIELDS = {
    *("instance", "stage", "partition", "title", "run_id", "status", "started_at", "finished_at", "duration_seconds"),
    *("computed", "reason", "log", "cache_key", "input_hash", "code_hash", "parameters", "spec_hash", "code"),
    *("input_files", "library_versions", "outputs", "summary", "warnings", "error", "traceback"),
}
DEAD = 2**22 + 1  # above the largest process id there can be
ALL = ["clean__AAA", "clean__BBB", "clean__CCC", "total", "report"]


def _statuses(lake: ToyLake) -> dict[str, str]:
    return {name: entry["status"] for name, entry in lake.manifest()["stages"].items()}


# -- a run that goes well ---------------------------------------------------------------------------------


def test_a_run_computes_what_its_stages_say(lake: ToyLake):
    report = lake.run()
    report.raise_for_failure()
    assert report.status == "finished"
    assert [entry.instance for entry in report.instances] == ALL
    # raw AAA = [1, 2], BBB = [2, 3], CCC = [3, 4], each times 2
    assert read_json(toy_stages.total_file(lake.plan)) == {"AAA": 6, "BBB": 10, "CCC": 14}
    assert read_json(lake.root.reports("toy", "toy") / "report.json") == {"text": "total 30"}


def test_the_run_manifest_tells_the_whole_run(lake: ToyLake):
    times = iter(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(1000))
    facts = {"discovery_start": "2020-06-01", "ontology_spec_hash": "abc"}
    lake.plan = replace(lake.plan, start=datetime(2020, 6, 1, tzinfo=UTC))
    lake.run(facts=facts, now=lambda: next(times))
    manifest = lake.manifest()
    assert set(manifest) == RUN_FIELDS
    assert list(manifest) == sorted(manifest)
    assert manifest["run_id"] == "toy"
    assert (manifest["status"], manifest["failed_stage"], manifest["error"]) == ("finished", None, None)
    assert manifest["planned"] == manifest["finished"] == ALL
    assert manifest["symbols"] == ["AAA", "BBB", "CCC"]
    assert manifest["parameters"] == {"scale": 2}
    assert (manifest["start"], manifest["end"]) == ("2020-06-01T00:00:00+00:00", None)
    assert (manifest["discovery_start"], manifest["ontology_spec_hash"]) == ("2020-06-01", "abc")
    assert manifest["discovery_end"] == "2021-01-01T00:00:00+00:00"  # told by the stage total
    assert manifest["package_versions"]["polars"]
    started, finished = (datetime.fromisoformat(manifest[name]) for name in ("started_at", "finished_at"))
    assert manifest["duration_seconds"] == (finished - started).total_seconds() > 0
    assert manifest["stages"]["total"]["reads"] == ["cleaned"]


def test_a_stage_manifest_tells_what_went_in_and_what_came_out(lake: ToyLake):
    lake.run()
    manifest = lake.manifest("clean__BBB")
    assert set(manifest) == STAGE_FIELDS
    assert (manifest["stage"], manifest["partition"], manifest["title"]) == ("clean", "BBB", "Cleaning")
    raw, cleaned = toy_stages.raw_file(lake.plan, "BBB"), toy_stages.cleaned_file(lake.plan, "BBB")
    assert manifest["input_files"] == {"lake/raw/BBB.json": content_hash(raw)}
    assert manifest["outputs"] == {"lake/cleaned/BBB.json": content_hash(cleaned)}
    assert manifest["summary"] == {"n_values": 2}
    assert manifest["parameters"] == {"scale": 2}
    assert (manifest["status"], manifest["error"], manifest["traceback"]) == ("finished", None, None)
    assert manifest["log"] == "runs/toy/clean__BBB.log"
    assert str(lake.root.path) not in (lake.root.run("toy") / "clean__BBB.json").read_text()
    assert lake.log("clean__BBB") == "cleaned 2 values of BBB\n"


def test_records_of_shared_stages_lie_in_the_lake_too(lake: ToyLake):
    lake.run()
    assert read_json(lake.root.stage_records() / "clean__AAA.json") == lake.manifest("clean__AAA")
    assert not (lake.root.stage_records() / "total.json").exists()


def test_warnings_of_stages_reach_the_run(lake: ToyLake):
    write_json(toy_stages.raw_file(lake.plan, "AAA"), [6.5])
    report = lake.run()
    assert report.warnings == ("clean__AAA: one value was doubtful",)
    assert lake.manifest()["warnings"] == ["clean__AAA: one value was doubtful"]


def test_the_data_hash_follows_the_data_and_nothing_else(lake: ToyLake):
    lake.run()
    first = lake.manifest()["data_hash"]
    lake.run(parameters={"scale": 5})
    assert lake.manifest()["data_hash"] == first
    write_json(toy_stages.raw_file(lake.plan, "AAA"), [100])
    lake.run()
    assert lake.manifest()["data_hash"] != first


def test_a_call_for_one_stage_keeps_the_rest_of_the_run(lake: ToyLake):
    lake.run(facts={"discovery_start": "2020-01-01", "discovery_end": "2020-12-31"})
    before = lake.manifest()
    narrower = {"discovery_start": "2020-03-01", "discovery_end": "2020-04-01"}
    lake.run([toy_stages.REPORT], symbols=("AAA",), facts=narrower)
    after = lake.manifest()
    assert after["planned"] == ["report"]
    assert after["data_hash"] == before["data_hash"]
    assert set(after["stages"]) == set(before["stages"])
    assert after["stages"]["total"] == before["stages"]["total"]
    assert after["stages"]["report"] != before["stages"]["report"]
    # the rest of the folder was found in the wider window, which the check of an evaluation window has to know
    assert (after["discovery_start"], after["discovery_end"]) == ("2020-01-01", before["discovery_end"])
    assert after["symbols"] == ["AAA", "BBB", "CCC"]


def test_a_new_call_for_everything_takes_its_own_window(lake: ToyLake):
    lake.run(facts={"discovery_start": "2020-01-01"})
    lake.run(facts={"discovery_start": "2020-03-01"})
    assert lake.manifest()["discovery_start"] == "2020-03-01"


def test_a_fact_cannot_overwrite_a_field_of_the_manifest(lake: ToyLake):
    report = lake.run(facts={"status": "wonderful", "git_commit": "mine", "n_events": 3})
    manifest = lake.manifest()
    assert (manifest["status"], manifest["n_events"]) == ("finished", 3)
    assert manifest["git_commit"] != "mine"
    assert [text.split("'")[1] for text in report.warnings] == ["status", "git_commit"]


def test_a_stage_with_nothing_to_do_says_so(lake: ToyLake):
    idle = replace(toy_stages.THREADS, partitions=_nothing)
    assert lake.run([idle]).warnings == ("threads had nothing to do",)


def _nothing(_plan: Plan) -> tuple[str, ...]:
    return ()


def test_the_git_commit_is_that_of_the_code(tmp_path: Path):
    (tmp_path / "__init__.py").write_text("")
    assert code_revision(tmp_path).commit is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run([*git, *arguments], check=True)
    before = code_revision(tmp_path)
    assert (before.commit, before.is_dirty) == (None, True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    revision = code_revision(tmp_path)
    assert revision.commit is not None
    assert (len(revision.commit), revision.is_dirty) == (40, False)
    (tmp_path / "new.py").write_text("")
    assert code_revision(tmp_path).is_dirty is True


# -- a run that does not --------------------------------------------------------------------------------


def test_one_failed_part_leaves_the_other_parts_and_stops_what_needs_it(lake: ToyLake):
    report = lake.run([*toy_stages.STAGES, toy_stages.THREADS], parameters={"clean_BBB_does": "raise a data error"})
    assert (report.status, report.failed_stage) == ("failed", "clean__BBB")
    assert _statuses(lake) == {
        "clean__AAA": "finished",
        "clean__BBB": "failed",
        "clean__CCC": "finished",
        "total": "not_started",
        "report": "not_started",
        **{f"threads__{symbol}": "finished" for symbol in lake.plan.symbols},
    }
    manifest = lake.manifest()
    assert (manifest["status"], manifest["failed_stage"]) == ("failed", "clean__BBB")
    assert manifest["error"] == "bars of BBB are damaged; run make clean-all-data"
    assert manifest["stages"]["report"]["reason"] == "needs totals, which clean__BBB did not make"
    assert lake.n_calls("total") == 0
    with pytest.raises(RunError, match=r"run toy failed in clean__BBB: bars of BBB are damaged; run make clean-all"):
        report.raise_for_failure()


def test_after_mending_the_run_goes_on_where_it_failed(lake: ToyLake):
    lake.run(parameters={"clean_BBB_does": "raise a data error"})
    assert lake.run(cache=True).status == "finished"
    assert [lake.n_calls(name) for name in ALL] == [1, 2, 1, 1, 1]


def test_a_fault_of_the_operator_has_no_traceback(lake: ToyLake):
    lake.run(parameters={"total_does": "raise a data error"})
    manifest = lake.manifest("total")
    assert (manifest["status"], manifest["traceback"]) == ("failed", None)
    assert lake.log("total") == "error: bars of  are damaged; run make clean-all-data\n"


def test_a_fault_of_the_program_leaves_its_traceback_in_log_and_manifest(lake: ToyLake):
    report = lake.run(parameters={"total_does": "divide by zero"})
    assert report.error == "this is a fault of the program: ZeroDivisionError: division by zero"
    log = lake.log("total")
    assert log.startswith("about to divide\nTraceback (most recent call last)")
    assert log.endswith("ZeroDivisionError: division by zero\n")
    assert lake.manifest("total")["traceback"][-1] == "ZeroDivisionError: division by zero"


def test_a_stage_that_exits_fails_alone(lake: ToyLake):
    report = lake.run(parameters={"clean_AAA_does": "exit"})
    assert report.error == "this is a fault of the program: SystemExit: 3"
    assert _statuses(lake)["clean__BBB"] == "finished"


def test_an_input_changed_under_the_stage_is_told(lake: ToyLake):
    report = lake.run(parameters={"clean_AAA_does": "change its input"})
    assert report.error == ("input files were changed while clean__AAA read them: lake/raw/AAA.json. Run it again")


def test_a_spec_changed_under_the_stages_is_told(lake: ToyLake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backtest.spec.loader.changed_since_read", lambda root: root == lake.plan.spec_root)
    report = lake.run()
    assert report.error == "the spec was changed while clean__AAA ran. Run it again"
    assert set(_statuses(lake).values()) == {"failed", "not_started"}


def test_missing_input_is_reported_by_the_stage(lake: ToyLake):
    toy_stages.raw_file(lake.plan, "CCC").unlink()
    report = lake.run()
    assert report.failed_stage == "clean__CCC"
    assert report.error is not None
    assert report.error.endswith("CCC.json does not exist.")
    assert lake.manifest("clean__CCC")["input_files"] == {"lake/raw/CCC.json": None}


def _raise(*_: object) -> tuple[str, ...]:
    raise DataError("there are no events; run make discover-edges")


@pytest.mark.parametrize("part", ["inputs", "parameters", "spec", "partitions"])
def test_a_fault_while_preparing_a_stage_fails_that_stage(lake: ToyLake, part: str):
    report = lake.run([toy_stages.CLEAN, replace(toy_stages.TOTAL, **{part: _raise}), toy_stages.REPORT])
    assert (report.failed_stage, report.error) == ("total", "there are no events; run make discover-edges")
    assert _statuses(lake)["report"] == "not_started"
    assert lake.manifest("total")["status"] == "failed"
    assert lake.log("total") == "error: there are no events; run make discover-edges\n"


@pytest.mark.parametrize(
    "keys, text",
    [(["a/b"], "'a/b' is not allowed"), (["A", "A"], "'A' comes twice"), (["../x"], "'../x' is not allowed")],
)
def test_partition_keys_must_be_safe_and_distinct(lake: ToyLake, keys: list[str], text: str):
    report = lake.run([replace(toy_stages.TOTAL, partitions=lambda _plan: keys)])
    assert report.error is not None
    assert text in report.error


@pytest.mark.parametrize(
    "outcome, text",
    [
        (None, "total returned NoneType; a stage returns an Outcome"),
        (Outcome((Path("/elsewhere/file"),)), "wrote /elsewhere/file, which is outside the data root"),
        (Outcome((), {"share": float("nan")}), "Out of range float values are not JSON compliant"),
    ],
)
def test_a_stage_that_breaks_its_contract_fails(lake: ToyLake, outcome: Outcome, text: str):
    report = lake.run([replace(toy_stages.TOTAL, run=lambda _plan, _partition: outcome)])
    assert report.error is not None
    assert text in report.error


def test_an_output_that_was_not_written_fails_the_stage(lake: ToyLake):
    absent = lake.root.path / "absent"
    report = lake.run([replace(toy_stages.TOTAL, run=lambda _plan, _partition: Outcome((absent,)))])
    assert report.error is not None
    assert f"names the output {absent}, which it did not write" in report.error


def test_a_folder_that_is_no_data_root_is_refused(lake: ToyLake, tmp_path: Path):
    lake.plan = replace(lake.plan, root=DataRoot(tmp_path / "none"))
    with pytest.raises(MisuseError, match="is not a data root"):
        lake.run()


def test_a_run_folder_that_cannot_be_made_is_told(lake: ToyLake):
    (lake.root.path / "runs").write_text("a file in the way")
    with pytest.raises(DataError, match=r"cannot write .*runs/toy/\.lock: .*BACKTEST_DATA_ROOT"):
        lake.run()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_run_folder_is_told(lake: ToyLake):
    folder = lake.root.run("toy")
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    with pytest.raises(DataError, match=r"cannot write .*runs/toy"):
        lake.run()


def test_a_manifest_that_cannot_be_written_ends_the_run_with_its_reason(lake: ToyLake):
    (lake.root.run_manifest("toy") / "in the way").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot write .*run_manifest\.json"):
        lake.run(executor_factory=ProcessWorkers, workers=1)


def test_instances_are_named_by_stage_and_partition():
    assert toy_stages.CLEAN.instance("BTCUSDT") == "clean__BTCUSDT"
    assert toy_stages.TOTAL.instance("") == "total"


def test_half_written_files_of_dead_processes_are_removed_wherever_they_lie(lake: ToyLake):
    mine, another_host = f".writing-{this_host()}", ".writing-00000000"
    left = lake.root.run("toy") / f"{another_host}-{DEAD}-total.json"  # who holds the run's lock is its only writer
    dead = [lake.root.lake / f"{mine}-{DEAD}-raw.json", lake.root.path / "reports" / f"{mine}-{DEAD}-index.html"]
    alive = lake.root.lake / f"{mine}-{os.getpid()}-raw.json"
    old, young = lake.root.lake / f"{another_host}-{DEAD}-old.json", lake.root.lake / f"{another_host}-1-young.json"
    for path in (left, *dead, alive, old, young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    os.utime(old, (0, 0))
    lake.run()
    assert not any(path.exists() for path in (left, *dead, old))
    assert young.exists()  # perhaps another host writes it just now
    assert alive.exists()


def test_what_a_worker_of_a_killed_call_left_after_it_is_removed_when_the_next_one_ends(lake: ToyLake):
    lake.run()
    lock = lake.root.run("toy") / ".lock"
    lock.write_text(json.dumps({"pid": DEAD, "host": "x", "command": "killed"}))
    orphan = subprocess.Popen(["sleep", "60"])
    half = lake.root.lake / f".writing-{this_host()}-{orphan.pid}-part.parquet"
    half.write_text("half")

    def run(plan: Plan, partition: str) -> Outcome:
        assert half.exists()  # its process was alive when this run began
        orphan.kill()
        orphan.wait()
        return toy_stages.total(plan, partition)

    lake.run([toy_stages.CLEAN, replace(toy_stages.TOTAL, run=run)], executor_factory=SerialWorkers)
    assert not half.exists()


def test_the_first_part_in_order_is_the_failed_stage_whichever_ends_first(lake: ToyLake):
    both = {"clean_CCC_does": "exit", "clean_AAA_does": "raise a data error"}
    for _ in range(2):
        report = lake.run([toy_stages.CLEAN], parameters=both, executor_factory=ProcessWorkers, workers=2)
        assert report.failed_stage == "clean__AAA"
        assert [entry.instance for entry in report.instances] == ALL[:3]
    with pytest.raises(RunError, match=r"failed in clean__AAA \(2 parts failed: clean__AAA, clean__CCC\)"):
        report.raise_for_failure()
