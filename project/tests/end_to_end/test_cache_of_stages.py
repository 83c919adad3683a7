"""The cache of the real stages: a key misses nothing its stage reads, and a change runs again exactly what depends on it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backtest.lake.paths import DataRoot
from backtest.pipeline.cache import RESULT_LIBRARIES, FileHashes
from backtest.pipeline.code_hash import CodeHashes
from backtest.pipeline.display import display_for
from backtest.pipeline.executors import SerialWorkers
from backtest.pipeline.graph import find_stages
from backtest.pipeline.manifests import earlier_record, key_of, record_path
from backtest.pipeline.provenance import package_versions
from backtest.pipeline.runner import run_stages
from backtest.pipeline.runs import BASELINE
from backtest.pipeline.stage import Plan, whole_spec
from backtest.spec.compiled import Spec

from .conftest import REPOSITORY, Desk

pytestmark = pytest.mark.slow

STAGES = tuple(stage for stage in find_stages() if stage.name in BASELINE and stage.name != "ingest")
PARTS = frozenset(field.name for field in dataclasses.fields(Spec)) - {"ontology_hash", "_part_hashes"}
ONTOLOGY = PARTS - {"strategies", "evaluation", "backtest", "simulation", "bar_expressions"}
PLAN = frozenset({"symbols", "start", "end", "parameters"})


class Reads:
    """What stages read of the spec and the plan, noted by stage: while they ran, and while their keys were made."""

    def __init__(self) -> None:
        self.of_run: dict[str, set[str]] = {}
        self.of_key: dict[str, set[str]] = {}
        self._noted: set[str] | None = None

    def noting(self, noted: set[str] | None) -> None:
        self._noted = noted

    def note(self, *names: str) -> None:
        if self._noted is not None:
            self._noted.update(names)


@dataclasses.dataclass
class Finished:
    """A data root with a run of every stage, and what those stages read."""

    plan: Plan
    reads: Reads
    code: CodeHashes
    files: FileHashes

    def stale(
        self,
        plan: Plan | None = None,
        *,
        code: CodeHashes | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> set[str]:
        """Instances that would be run again as everything is now."""
        plan, code, versions = plan or self.plan, code or self.code, versions or package_versions(RESULT_LIBRARIES)
        found = set()
        for stage in STAGES:
            for partition in stage.partitions(plan):
                instance = stage.instance(partition)
                _INSTANCES.add(instance)
                record = earlier_record(record_path(stage, plan, instance))
                key, _ = key_of(stage, plan, partition, files=self.files, code=code, versions=versions)
                if record is None or key.changes_since(record):
                    found.add(instance)
        return found

    def with_parameters(self, **changed: Any) -> Plan:
        return dataclasses.replace(self.plan, parameters={**self.plan.parameters, **changed})


@pytest.fixture(scope="module")
def finished(small: Desk, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Every stage, run in this process on a copy of the small run."""
    desk = small.copy(tmp_path_factory.mktemp("finished") / "data")
    reads = Reads()
    plan = Plan(
        root=DataRoot(desk.root),
        spec_root=desk.spec_root,
        run_id="first",
        symbols=("BTCUSDT", "ETHUSDT"),
        start=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        end=dt.datetime(2024, 9, 1, tzinfo=dt.UTC),
        parameters={"venue": None, "strategies": "vol_shock_mean_reversion_v1,compression_breakout_v1"},
    )

    class Noting(SerialWorkers):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            stage = args[0].instance.partition("__")[0]
            reads.noting(reads.of_run.setdefault(stage, set()))
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                reads.noting(None)

    with pytest.MonkeyPatch.context() as patch:
        _note_reads(patch, reads)
        report = run_stages(plan, STAGES, display=display_for(io.StringIO()), executor_factory=Noting)
        assert report.status == "finished", report.error
        for stage in STAGES:
            reads.noting(reads.of_key.setdefault(stage.name, set()))
            for partition in stage.partitions(plan):
                stage.parameters(plan, partition)
                stage.inputs(plan, partition)
                stage.spec(plan, partition)
            if stage.spec is whole_spec:
                reads.note(*PARTS)
        reads.noting(None)
    return Finished(plan, reads, CodeHashes(), FileHashes())


def _note_reads(patch: pytest.MonkeyPatch, reads: Reads) -> None:
    part_of_spec, part_hash, part_of_plan = Spec.__getattribute__, Spec.part_hash, Plan.__getattribute__

    def spec_read(spec: Spec, name: str) -> Any:
        if name == "ontology_hash":
            reads.note(*ONTOLOGY)
        elif name == "bar_expressions":
            reads.note("discovery")  # they are its expressions
        elif name in PARTS:
            reads.note(name)
        return part_of_spec(spec, name)

    def parts_hashed(spec: Spec, *parts: str) -> str:
        reads.note(*parts)
        return part_hash(spec, *parts)

    def plan_read(plan: Plan, name: str) -> Any:
        if name in PLAN:
            reads.note(f"plan.{name}")
        return part_of_plan(plan, name)

    patch.setattr(Spec, "__getattribute__", spec_read)
    patch.setattr(Spec, "part_hash", parts_hashed)
    patch.setattr(Plan, "__getattribute__", plan_read)


@pytest.mark.parametrize("stage", [stage.name for stage in STAGES])
def test_what_a_stage_reads_of_spec_and_plan_is_in_its_key(finished: Finished, stage: str) -> None:
    assert finished.reads.of_run[stage] - finished.reads.of_key[stage] <= KNOWN_OTHERWISE.get(stage, frozenset())


KNOWN_OTHERWISE: Mapping[str, frozenset[str]] = {
    # The design, which they read, names the symbols.
    "candidates": frozenset({"plan.symbols"}),
    "blueprints": frozenset({"plan.symbols"}),
    # It copies the spec with another of the parts that its key has.
    "variations": frozenset({"backtest", "gates", "known_defects", "simulation", "strategies"}),
}


def test_nothing_runs_again_where_nothing_has_changed(finished: Finished) -> None:
    assert finished.stale() == set()


EVERYTHING = frozenset(stage.name for stage in STAGES)
SCORED = frozenset({"scores", "walk_forward_scores", "variations", "placebo"})
FOUND = frozenset({"detect", "occurrences", "register", "signals", *SCORED})
SEARCHED = frozenset({"candidates", "walk_forward_folds", "blueprints", "backtest", "report"})
"""What tests, or tells by what definitions it was found (blueprints, backtest)."""


@pytest.mark.parametrize("library", RESULT_LIBRARIES)
def test_another_version_of_a_library_runs_everything_again(finished: Finished, library: str) -> None:
    versions = {**package_versions(RESULT_LIBRARIES), library: "another"}
    assert _stages(finished.stale(versions=versions)) == EVERYTHING


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"strategies": "vol_shock_mean_reversion_v1"}, {"signals", "backtest"}),
        ({"event_type": "VOL_SHOCK"}, {"scores", "candidates"}),
        ({"of no stage": 1}, set()),
    ],
)
def test_a_parameter_runs_again_the_stages_that_take_it(
    finished: Finished, changed: Mapping[str, Any], expected: set[str]
) -> None:
    assert _stages(finished.stale(finished.with_parameters(**changed))) == expected


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("events/VOL_SHOCK.yaml", "3.0", "3.1", FOUND | SEARCHED | {"walk_forward", "promotion"}),
        (
            "features/realized_vol_1h.yaml",
            "rolling_std(log_return, 12)",
            "rolling_std(log_return, 13)",
            {"features", "detect", "occurrences", "signals"} | SCORED | SEARCHED - {"walk_forward_folds"},
        ),
        ("gates.yaml", "min_events: 50", "min_events: 51", {"occurrences", "register", "promotion"} | SEARCHED),
        ("costs.yaml", "order_usd: 10000", "order_usd: 10001", SCORED | SEARCHED | {"signals"}),
        ("known_defects.yaml", "rows: 5", "rows: 6", {"clean", "cross_check", "blueprints", "backtest", "report"}),
        ("backtest.yaml", "max_leverage: 3.0", "max_leverage: 3.5", {"signals", "blueprints", "backtest", "report"}),
        ("simulation.yaml", "bps: 40", "bps: 41", {"report"}),
        (
            "evaluation.yaml", "max_candidates: 50", "max_candidates: 51",
            {"robustness", "variations", "walk_forward_folds", "walk_forward", "promotion", "backtest", "report"},
        ),
    ],
)  # fmt: skip
def test_a_line_of_the_spec_runs_again_the_stages_that_use_it(
    finished: Finished, tmp_path: Path, file: str, old: str, new: str, expected: set[str]
) -> None:
    root = Path(shutil.copytree(finished.plan.spec_root, tmp_path / "spec"))
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert _stages(finished.stale(dataclasses.replace(finished.plan, spec_root=root))) == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("lake/files.py", EVERYTHING),
        ("reports/html/terms.py", {"report"}),
        ("evaluation/robustness.py", {"robustness", "promotion", "variations", "blueprints", "report"}),
        ("monitoring/freshness.py", set()),
        ("commands/runs.py", set()),
    ],
)
def test_a_line_of_code_runs_again_the_stages_that_import_it(
    finished: Finished, program: Path, module: str, expected: set[str]
) -> None:
    path = program / module
    before = path.read_bytes()
    path.write_bytes(before + b"# changed\n")
    try:
        code = CodeHashes(folder=program, index=program.parent / "index.json")
        found = finished.stale(code=code)
    finally:
        path.write_bytes(before)
    assert _stages(found) == expected


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, and beside it what its sources import."""
    folder = Path(shutil.copytree(REPOSITORY / "project" / "backtest", tmp_path_factory.mktemp("code") / "backtest"))
    hashes = CodeHashes(folder=folder, index=folder.parent / "index.json")
    hashes.of(stage.run.__module__ for stage in STAGES)
    hashes.keep()
    return folder


ETH_SCORED = {"scores__BTCUSDT", "scores__ETHUSDT", "walk_forward_scores__BTCUSDT", "walk_forward_scores__ETHUSDT"}
"""Each symbol's trades of the pair are scored with the other symbol's bars."""


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("lake/raw/simulated/perp/BTCUSDT/ohlcv_5m/year=2024/month=02/*.parquet", {"clean__perp.BTCUSDT.2024Q1"}),
        (
            "lake/raw/simulated/perp/BTCUSDT/ohlcv_5m/year=2024/month=03/*.parquet",
            {"clean__perp.BTCUSDT.2024Q1", "clean__perp.BTCUSDT.2024Q2"},
        ),
        (
            "lake/features/perp/ETHUSDT/5m/features_v1/year=2024/month=03/part.parquet",
            {"detect__ETHUSDT.2024Q1", "detect__ETHUSDT.2024Q2", "signals__ETHUSDT", "placebo", "report"}
            | {"variations__BTCUSDT", "variations__ETHUSDT"} | ETH_SCORED,
        ),
        (
            "reports/phase2/first/VOL_SHOCK/candidates.parquet",
            {"backtest", "blueprints", "expectancy", "placebo", "promotion", "report", "robustness", "walk_forward"}
            | {"variations__BTCUSDT", "variations__ETHUSDT"},
        ),
        ("lake/runs/first/scores/VOL_SHOCK/ETHUSDT.parquet", {"candidates", "placebo", "robustness"}),
    ],
)  # fmt: skip
def test_a_file_runs_again_the_parts_that_read_it(finished: Finished, file: str, expected: set[str]) -> None:
    (path,) = finished.plan.root.path.glob(file)
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    try:
        found = finished.stale()
    finally:
        path.write_bytes(before)
    assert found == expected


@pytest.mark.parametrize("name", ["signals", "backtest"])
def test_the_few_that_are_traded_together_hang_on_what_their_days_earned(finished: Finished, name: str) -> None:
    stage = next(stage for stage in STAGES if stage.name == name)
    scores = finished.plan.root.scores("first", "VOL_SHOCK", "ETHUSDT")
    chosen = finished.with_parameters(strategies="portfolio")
    assert scores in stage.inputs(chosen, stage.partitions(chosen)[0])
    assert scores not in stage.inputs(finished.plan, stage.partitions(finished.plan)[0])


def _stages(instances: set[str]) -> set[str]:
    """The stages of which every instance is among `instances`; fails where one has only some of them."""
    stages = {instance.partition("__")[0] for instance in instances}
    assert {one for one in _INSTANCES if one.partition("__")[0] in stages} == instances
    return stages


_INSTANCES: set[str] = set()
