from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import toy_stages
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import MisuseError, RunError
from backtest.pipeline.graph import chosen, find_stages, ordered, require_producers
from backtest.pipeline.stage import Outcome, Plan, Stage


def _run(_plan: Plan, _partition: str) -> Outcome:
    return Outcome(())


def _stage(name: str, reads: str = "", writes: str = "") -> Stage:
    return Stage(name, name, tuple(reads.split()), tuple(writes.split()), _run)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Makes a package of stage modules from their sources."""
    name = f"stage_package_{request.node.name}".replace("[", "_").replace("]", "_")
    monkeypatch.syspath_prepend(tmp_path)

    def make(**sources: str):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        for module, source in sources.items():
            (tmp_path / name / f"{module}.py").write_text(source)
        return importlib.import_module(name)

    return make


def test_every_order_of_declaration_gives_the_same_order_of_data():
    for stages in itertools.permutations(toy_stages.STAGES):
        assert [stage.name for stage in ordered(stages)] == ["clean", "total", "report"]


def test_stages_without_relation_come_by_name():
    assert [stage.name for stage in ordered([_stage("b"), _stage("c", writes="x"), _stage("a")])] == ["a", "b", "c"]


def test_a_data_set_nobody_writes_is_taken_from_the_lake():
    assert [stage.name for stage in ordered([toy_stages.REPORT])] == ["report"]


@given(st.data())
def test_every_stage_comes_after_those_that_write_what_it_reads(data: st.DataObject):
    n_stages = data.draw(st.integers(1, 8))
    reads = [data.draw(st.sets(st.integers(0, n - 1))) if n else set() for n in range(n_stages)]
    stages = [_stage(f"s{n}", " ".join(f"d{m}" for m in reads[n]), f"d{n}") for n in range(n_stages)]
    made: set[str] = set()
    for stage in ordered(data.draw(st.permutations(stages))):
        assert made.issuperset(stage.reads)
        made.update(stage.writes)
    assert len(made) == n_stages


def test_two_producers_of_a_data_set_are_named():
    with pytest.raises(RunError, match=r"data set x is written by 2 stages: one \(.*\) and two \(.*\)"):
        ordered([_stage("one", writes="x"), _stage("two", writes="x")])


def test_a_doubled_name_is_told_with_its_modules():
    with pytest.raises(RunError, match=r"stage total is declared 2 times: in toy_stages and toy_stages"):
        ordered([toy_stages.TOTAL, replace(toy_stages.TOTAL, writes=("other",))])


@pytest.mark.parametrize("name", ["run_manifest", "a__b", "A", "a/b", "", "_a"])
def test_names_that_cannot_be_files_of_a_run_are_refused(name: str):
    with pytest.raises(RunError, match=r"stage name .* is not allowed"):
        ordered([_stage(name)])


def test_a_cycle_names_the_stages_and_the_data_sets_between_them():
    with pytest.raises(RunError) as caught:
        ordered([_stage("a", "z", "x"), _stage("b", "x", "y"), _stage("c", "y", "z"), _stage("outsider")])
    assert all(step in str(caught.value) for step in ("a -(x)→ b", "b -(y)→ c", "c -(z)→ a"))
    assert "outsider" not in str(caught.value)


def test_a_stage_that_reads_what_it_writes_is_a_cycle():
    with pytest.raises(RunError, match=r"a -\(x\)→ a"):
        ordered([_stage("a", "x", "x")])


def test_a_misspelt_data_set_is_told_with_the_nearest_one():
    require_producers(toy_stages.STAGES)
    with pytest.raises(RunError, match=r"reads 'total', which no stage writes. Did you mean 'totals'"):
        require_producers([*toy_stages.STAGES, _stage("late", "total")])


def test_stages_are_chosen_by_name_in_running_order():
    assert [stage.name for stage in chosen(toy_stages.STAGES, ["report", "clean"])] == ["clean", "report"]
    with pytest.raises(MisuseError, match=r"no stage 'reprot'. Did you mean 'report'"):
        chosen(toy_stages.STAGES, ["reprot"])


def test_stage_modules_are_found_by_scanning(package):
    found = find_stages(package(add="from toy_stages import TOTAL as STAGE", _private="1 / 0"))
    assert found == (toy_stages.TOTAL,)


def test_modules_without_a_stage_and_broken_modules_are_named_together(package):
    made = package(empty="", broken="import no_such_module", fine="from toy_stages import TOTAL as STAGE")
    with pytest.raises(RunError) as caught:
        find_stages(made)
    assert f"{made.__name__}.empty defines no STAGE" in str(caught.value)
    assert f"{made.__name__}.broken cannot be imported: ModuleNotFoundError: No module named" in str(caught.value)


def test_the_stages_of_the_package_form_a_complete_graph():
    require_producers(find_stages())


def test_scanning_the_stages_imports_nothing_heavy():
    code = (
        "import sys, backtest.pipeline.runner; from backtest.pipeline.graph import find_stages; find_stages(); "
        "print([name for name in ('polars', 'numpy', 'scipy', 'pandas', 'pyarrow', 'rich', 'httpx', 'pydantic') "
        "if name in sys.modules])"
    )
    folder = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout == "[]\n"
