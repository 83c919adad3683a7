"""Where reports lie: whole files, nothing left over, and no run named like a folder beside them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from backtest.errors import DataError, MisuseError
from backtest.lake.paths import REPORT_KINDS, DataRoot, checked_run_id
from backtest.lake.report_folder import write_report

PACKAGE = Path(__file__).resolve().parents[3] / "project" / "backtest"


def test_a_report_replaces_the_one_before_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    folder = tmp_path / "report"
    write_report(folder, [("candidates/old.html", "old"), ("index.html", "first")])
    (folder / "link").symlink_to(outside)
    written = write_report(folder, [("events/new.html", "new"), ("index.html", "second")])
    assert written == [folder / "events" / "new.html", folder / "index.html"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "events/new.html",
        "index.html",
    ]
    assert not (folder / "candidates").exists()
    assert (folder / "index.html").read_text() == "second"
    assert (outside / "kept").read_text() == "mine"


@pytest.mark.parametrize("place", ["../escaped.html", "/tmp/escaped.html", "a/../../escaped.html"])
def test_no_file_is_written_outside_the_folder(tmp_path: Path, place: str) -> None:
    with pytest.raises(DataError, match="is no place in"):
        write_report(tmp_path / "report", [(place, "")])
    assert list(tmp_path.rglob("*.html")) == []


@pytest.mark.parametrize("name", [*sorted(REPORT_KINDS), "Phase2", "BACKTEST", "index.html"])
def test_a_run_named_like_a_folder_of_reports_is_refused_with_a_name_that_is_free(name: str) -> None:
    with pytest.raises(MisuseError, match=f"Give it another one. Example: RUN_ID={name}_1"):
        checked_run_id(name)
    assert checked_run_id(f"{name}_1") == f"{name}_1"


def test_a_runs_pages_lie_beside_the_kinds_and_never_inside_one() -> None:
    root = DataRoot(Path("/data"))
    assert root.report("first") == Path("/data/reports/first")
    assert root.reports("phase2", "first") == Path("/data/reports/phase2/first")


def test_every_kind_of_report_that_the_code_writes_is_a_reserved_name() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reports"
            )
            if is_call and node.args and isinstance(node.args[0], ast.Constant):  # type: ignore[union-attr, attr-defined]
                found.add(node.args[0].value)  # type: ignore[attr-defined]
    assert "phase2" in found
    assert found <= REPORT_KINDS, f"add {sorted(found - REPORT_KINDS)} to REPORT_KINDS in lake/paths.py"
