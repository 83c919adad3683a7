"""Which changes make a stage run again, one by one, and that leaving it out changes no byte."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import pytest
import toy_stages
from toy_lake import ToyLake, make_toy_lake

from backtest.lake.files import content_hash, read_json, write_json
from backtest.lake.months import month_files, month_folder
from backtest.pipeline import runner
from backtest.pipeline.cache import SETTLED_NS, FileHashes, Key, canonical_hash
from backtest.pipeline.executors import ProcessWorkers, SerialWorkers
from backtest.pipeline.stage import Outcome, Plan, Stage

ALL = ["clean__AAA", "clean__BBB", "clean__CCC", "report", "total"]


def _ran(report) -> list[str]:
    return sorted(entry.instance for entry in report.instances if entry.status == "finished")


def _reason(lake: ToyLake, instance: str) -> str:
    return lake.manifest(instance)["reason"]


@pytest.fixture
def ran(lake: ToyLake) -> ToyLake:
    assert _ran(lake.run(cache=True)) == ALL
    assert {_reason(lake, name) for name in ALL} == {"no earlier result"}
    return lake


def test_nothing_runs_again_where_nothing_changed(ran: ToyLake):
    results = ran.results()
    again = ran.run(cache=True)
    assert _ran(again) == []
    assert {entry.status for entry in again.instances} == {"cached"}
    assert [ran.n_calls(name) for name in ALL] == [1] * 5
    assert ran.results() == results
    assert _ran(ran.run(cache=True)) == []  # a record of a cached instance is as good as the first one


def test_without_the_cache_everything_runs_and_says_so(ran: ToyLake):
    assert _ran(ran.run()) == ALL
    assert _reason(ran, "total") == "the stage cache is off"


def test_a_changed_input_is_named_and_its_effect_goes_as_far_as_its_content(ran: ToyLake):
    write_json(ran.root.lake / "raw" / "BBB.json", [5, 6])
    assert _ran(ran.run(cache=True)) == ["clean__BBB", "report", "total"]
    assert _reason(ran, "clean__BBB") == "input changed: lake/raw/BBB.json"
    assert _reason(ran, "total") == "input changed: lake/cleaned/BBB.json"


def test_the_effect_of_a_change_ends_where_the_content_is_the_same(ran: ToyLake):
    write_json(ran.root.lake / "raw" / "BBB.json", [3, 2])  # another order, the same sum
    assert _ran(ran.run(cache=True)) == ["clean__BBB", "total"]


def test_a_touched_file_with_the_same_content_is_no_change(ran: ToyLake):
    os.utime(ran.root.lake / "raw" / "BBB.json", (1, 1))
    assert _ran(ran.run(cache=True)) == []


def test_a_removed_input_is_a_change(ran: ToyLake):
    (ran.root.lake / "raw" / "BBB.json").unlink()
    report = ran.run(cache=True)
    assert report.failed_stage == "clean__BBB"
    assert _reason(ran, "clean__BBB") == "input changed: lake/raw/BBB.json"


def test_a_changed_parameter_is_named_with_both_values(ran: ToyLake):
    assert _ran(ran.run(cache=True, parameters={"scale": 3})) == ALL
    assert _reason(ran, "clean__AAA") == "parameters changed: scale 2 → 3"


def test_a_parameter_the_stage_does_not_use_is_no_change(ran: ToyLake):
    assert _ran(ran.run(cache=True, parameters={"unused": 3})) == []


def test_a_changed_spec_is_a_change_only_for_stages_that_use_it(ran: ToyLake):
    (ran.plan.spec_root / "other.yaml").write_text("a: 1")
    assert _ran(ran.run(cache=True)) == ["report", "total"]  # these two use the whole spec
    assert _reason(ran, "total") == "spec changed"
    (ran.plan.spec_root / "gates.yaml").write_text("gates: 2")
    assert _ran(ran.run(cache=True)) == ALL


def test_a_changed_library_is_a_change(ran: ToyLake, monkeypatch: pytest.MonkeyPatch):
    versions = runner.package_versions
    monkeypatch.setattr(runner, "package_versions", lambda names: {**versions(names), "polars": "0.1"})
    assert _ran(ran.run(cache=True)) == ALL
    assert _reason(ran, "total").startswith('library changed: polars "')
    assert _reason(ran, "total").endswith('→ "0.1"')


def test_changed_code_is_named_by_its_module(lake: ToyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = Path(toy_stages.__file__).read_text(encoding="utf-8")
    module = tmp_path / "edited_stages.py"
    module.write_text(source, encoding="utf-8")
    stages = importlib.import_module("edited_stages").STAGES
    assert _ran(lake.run(stages, cache=True)) == ALL
    assert _ran(lake.run(stages, cache=True)) == []
    module.write_text(source + "\n# edited\n", encoding="utf-8")
    assert _ran(lake.run(stages, cache=True)) == ALL
    assert _reason(lake, "total") == "code changed: edited_stages"
    del sys.modules["edited_stages"]


def test_a_changed_output_is_made_again_even_where_size_and_time_are_as_before(ran: ToyLake):
    path = ran.root.lake / "cleaned" / "BBB.json"
    before, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(before.replace(b"4", b"5"))
    os.utime(path, ns=times)
    assert _ran(ran.run(cache=True)) == ["clean__BBB"]
    assert _reason(ran, "clean__BBB") == "output changed: lake/cleaned/BBB.json"
    assert path.read_bytes() == before


def test_a_missing_output_is_made_again(ran: ToyLake):
    toy_stages.total_file(ran.plan).unlink()
    assert _ran(ran.run(cache=True)) == ["total"]
    assert _reason(ran, "total") == "output missing: lake/runs/toy/totals.json"


def test_a_damaged_record_is_no_record(ran: ToyLake):
    (ran.root.run("toy") / "total.json").write_text('{"half')
    assert _ran(ran.run(cache=True)) == ["total"]


def test_a_failed_attempt_is_no_result(ran: ToyLake):
    ran.run(cache=False, parameters={"total_does": "raise a data error"})
    assert _ran(ran.run(cache=True)) == ["total"]
    assert _reason(ran, "total") == "the earlier attempt was failed"


def test_another_run_takes_shared_results_and_makes_its_own(ran: ToyLake):
    assert _ran(ran.run(cache=True, run_id="other")) == ["report", "total"]
    manifest = ran.manifest("clean__AAA", "other")
    assert (manifest["status"], manifest["computed"]["run_id"]) == ("cached", "toy")
    log = (ran.root.run("other") / "clean__AAA.log").read_text()
    assert log == "not run: unchanged since toy made its outputs\n"


def test_a_symbol_added_runs_only_what_is_new(lake: ToyLake):
    lake.run(cache=True, symbols=("AAA", "BBB"))
    assert _ran(lake.run(cache=True)) == ["clean__CCC", "report", "total"]


def test_a_result_left_out_is_byte_for_byte_that_of_a_recompute(tmp_path: Path):
    cached, computed = make_toy_lake(tmp_path / "cached"), make_toy_lake(tmp_path / "computed")
    cached.run(cache=True)
    for lake in (cached, computed):
        write_json(lake.root.lake / "raw" / "AAA.json", [7])
    assert "cached" in {entry.status for entry in cached.run(cache=True).instances}
    computed.run()
    assert cached.results() == computed.results()


def test_one_worker_two_workers_and_none_give_the_same_bytes(tmp_path: Path):
    results = []
    for name, factory, workers in (
        ("serial", SerialWorkers, 1),
        ("one", ProcessWorkers, 1),
        ("two", ProcessWorkers, 2),
    ):
        lake = make_toy_lake(tmp_path / name)
        assert lake.run(executor_factory=factory, workers=workers).status == "finished"
        keys = [lake.manifest(instance)["cache_key"] for instance in ALL]
        results.append((lake.results(), keys))
    assert results[0] == results[1] == results[2]


def test_a_data_root_that_was_moved_keeps_its_results(ran: ToyLake, tmp_path: Path):
    moved = tmp_path / "moved"
    ran.root.path.rename(moved)
    from dataclasses import replace

    from backtest.lake.paths import DataRoot

    lake = ToyLake(replace(ran.plan, root=DataRoot(moved), spec_root=moved / "spec"))
    assert _ran(lake.run(cache=True)) == []


def test_the_key_does_not_hang_on_the_order_of_names():
    one = Key("a", "", {"x": 1, "y": [1, 2]}, "s", {"m": "1", "n": "2"}, {"f": "1", "g": None}, {})
    two = Key("a", "", {"y": (1, 2), "x": 1}, "s", {"n": "2", "m": "1"}, {"g": None, "f": "1"}, {})
    assert one.digest == two.digest
    assert canonical_hash({"x": 1}) != canonical_hash({"x": "1"})


def test_each_file_is_read_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from backtest.pipeline import cache

    read = []
    content_hash = cache.content_hash
    monkeypatch.setattr(cache, "content_hash", lambda path: read.append(path) or content_hash(path))
    path = tmp_path / "a"
    path.write_text("1")
    hashes = FileHashes()
    assert hashes.of([path]) == hashes.of([path, path]) == {path: content_hash(path)}
    assert read == [path]
    assert hashes.of([tmp_path / "absent"]) == {tmp_path / "absent": None}


def test_hashes_that_an_earlier_version_kept_are_taken_anew(tmp_path: Path):
    path, index = tmp_path / "a", tmp_path / "index.json"
    path.write_text("1")
    settled = time.time_ns() - 2 * SETTLED_NS
    signature = _settled_signature(path, settled)
    for kept, expected in (("ab" * 16, content_hash(path)), ("xxh3:kept", "xxh3:kept")):
        index.write_text(json.dumps({str(path): [*signature, kept]}))
        assert FileHashes(index).of([path]) == {path: expected}


def test_stale_files_of_a_run_are_removed_when_no_longer_made(lake: ToyLake):
    import toy_parts

    lake.run([toy_parts.PARTS], parameters={"n": 3})
    lake.run([toy_parts.PARTS], parameters={"n": 1})
    assert [path.name for path in sorted(lake.root.run_lake("toy").iterdir())] == ["part0.json"]
    assert "parts no longer makes lake/runs/toy/part1.json" in lake.manifest()["warnings"][0]
    assert read_json(lake.root.run_lake("toy") / "part0.json") == 0


def test_a_manifest_that_names_files_outside_the_data_root_makes_nothing_there_go(ran: ToyLake, tmp_path: Path):
    precious = tmp_path / "precious.txt"
    precious.write_text("12345")
    (ran.root.path / "link").symlink_to(tmp_path, target_is_directory=True)
    path = ran.root.run("toy") / "total.json"
    record = read_json(path)
    names = (str(precious), f"{os.path.relpath(precious, ran.root.path)}", "link/precious.txt", "x" * 5_000, "a\0b")
    write_json(path, {**record, "outputs": {**record["outputs"], **dict.fromkeys(names, "ab")}})
    assert ran.run(cache=True).status == "finished"
    assert precious.read_text() == "12345"


def _months(plan: Plan, _month: str) -> list[Path]:
    return month_files(plan.root.lake / "months")


def _write_month(plan: Plan, month: str) -> Outcome:
    path = month_folder(plan.root.lake / "months", 2024, int(month)) / "part.parquet"
    write_json(path, month)
    return Outcome((path,))


def test_what_a_part_wrote_is_listed_for_the_next_one(lake: ToyLake):
    stage = Stage("months", "Writing months", (), ("months",), _write_month, lambda _plan: ("01", "02", "03"), _months)
    for _ in range(2):
        lake.run([stage], cache=True, executor_factory=SerialWorkers)
    written = [f"lake/months/year=2024/month={month}/part.parquet" for month in ("01", "02", "03")]
    assert [sorted(lake.manifest(f"months__{month}")["input_files"]) for month in ("01", "02", "03")] == [written] * 3
    (lake.root.path / written[1]).unlink()
    lake.run([stage], cache=True, executor_factory=SerialWorkers)
    assert [sorted(lake.manifest(f"months__{month}")["input_files"]) for month in ("01", "02", "03")] == [
        written[::2],
        written[::2],
        written,
    ]


def _raw_months(plan: Plan, symbol: str) -> list[Path]:
    return month_files(plan.root.raw("binance", "perp", symbol, "ohlcv_5m"))


def _read_months(plan: Plan, symbol: str) -> Outcome:
    path = plan.root.run_lake(plan.run_id) / f"{symbol}.json"
    write_json(path, [read_json(file) for file in _raw_months(plan, symbol)])
    return Outcome((path,))


def test_workers_start_early_for_each_symbol_with_a_raw_file_written_anew(lake: ToyLake):
    expected: list[int] = []

    class Watched(SerialWorkers):
        def __init__(self, workers: int) -> None:
            super().__init__()
            self.n_workers = workers

        def expect_tasks(self, at_least: int = 1) -> None:
            expected.append(at_least)

    stage = Stage("months", "Reading months", (), ("read",), _read_months, lambda plan: plan.symbols, _raw_months)
    files = {}
    long_ago = time.time_ns() - 2 * SETTLED_NS
    for symbol in lake.plan.symbols:
        files[symbol] = month_folder(lake.root.raw("binance", "perp", symbol, "ohlcv_5m"), 2024, 1) / "part.parquet"
        write_json(files[symbol], symbol)

    index = {str(path): [*_settled_signature(path, long_ago), content_hash(path)] for path in files.values()}

    def run(**changes) -> list[int]:
        lake.root.file_hashes().write_text(json.dumps(index))
        expected.clear()
        lake.run([stage], executor_factory=Watched, workers=2, **changes)
        return list(expected)

    assert run() == [1]  # everything runs, and nothing is known of how much that is
    assert run(cache=True) == []
    write_json(files["BBB"], "anew")
    assert run(cache=True, symbols=("AAA", "CCC")) == []  # nothing that this run reads
    assert run(cache=True) == [1]
    for path in files.values():
        write_json(path, "anew")
    assert run(cache=True) == [2]  # no more than there may be workers


def test_an_index_is_written_again_once_what_is_new_has_settled(tmp_path: Path, monkeypatch):
    now = time.time_ns() + 10 * SETTLED_NS
    monkeypatch.setattr(time, "time_ns", lambda: now)
    files = FileHashes(tmp_path / "index.json")
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
        files.of([tmp_path / name])
        files.keep()
        kept = json.loads((tmp_path / "index.json").read_text())
        assert list(kept) == [str(tmp_path / one) for one in ("a", "b", "c") if one == "a" or name == "c"]
        now += SETTLED_NS * 2 // 3


def test_an_index_with_names_that_no_file_can_have_fails_no_run(ran: ToyLake):
    folder = ran.root.raw("binance", "perp", "AAA", "ohlcv_5m") / "year=2024" / "month=01"
    folder.mkdir(parents=True)
    entry = [1, 1, 1, 1, 1, "xxh3:kept"]
    index = {f"{folder}/a\0": entry, f"{folder}/{'a' * 300}": entry}
    ran.root.file_hashes().write_text(json.dumps(index))
    assert _ran(ran.run(cache=True)) == []
    assert json.loads(ran.root.file_hashes().read_text()).keys().isdisjoint(index)


def _settled_signature(path: Path, moment: int) -> list[int]:
    os.utime(path, ns=(moment, moment))
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
