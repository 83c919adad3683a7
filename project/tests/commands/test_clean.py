"""What the clean-up commands print and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest import repository_hygiene
from backtest.cli import main
from backtest.lake.paths import DataRoot


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    root = DataRoot(tmp_path / "data root")
    root.create()
    (root.path / "runs" / "r1").mkdir(parents=True)
    (root.path / "runs" / "r1" / "run_manifest.json").write_text("x" * 1234)
    (root.path / "lake" / "raw").mkdir(parents=True)
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(root.path))
    return root


def test_clean_runtime_prints_what_it_removed(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("clean-runtime") == 0
    assert capsys.readouterr().out.splitlines() == [
        "removed runs: 2 folders, 1 file, 1,234 bytes",
        "removed in all: 2 folders, 1 file, 1,234 bytes",
    ]
    assert (root.path / "lake" / "raw").is_dir()
    assert _run("clean-runtime") == 0
    assert capsys.readouterr().out == f"nothing to remove in {root.path}\n"


def test_clean_all_data_removes_the_raw_data_too(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("clean-all-data") == 0
    assert "removed lake: 2 folders, 0 files, 0 bytes" in capsys.readouterr().out
    assert not (root.path / "lake").exists()


@pytest.mark.parametrize("command", ["clean-runtime", "clean-all-data"])
def test_a_folder_that_is_no_data_root_ends_with_2(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path))
    assert _run(command) == 2
    assert "is not a data root" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(repository_hygiene, "checkout", lambda: tmp_path)
    (tmp_path / "a b.csv:Zone.Identifier").write_text("12")
    for number in range(25):
        (tmp_path / f"p{number:02d}" / "__pycache__").mkdir(parents=True)
    return tmp_path


def test_clean_hygiene_removes_sidecar_files_only(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("clean-hygiene") == 0
    assert capsys.readouterr().out.splitlines()[0] == "removed 'a b.csv:Zone.Identifier': 0 folders, 1 file, 2 bytes"
    assert (checkout / "p00" / "__pycache__").is_dir()


def test_clean_repo_lists_twenty_paths_and_sums_up_all(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("clean-repo") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[20:] == ["… and 6 more", "removed in all: 25 folders, 1 file, 2 bytes"]
    assert not list(checkout.rglob("__pycache__"))


def test_check_hygiene_lists_each_offender_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        repository_hygiene.Offence("data/runs/a b", "run artifact tracked in git", "git rm --cached -- 'data/runs/a b'")
    ]
    monkeypatch.setattr(repository_hygiene, "offences", lambda _: found)
    assert _run("check-hygiene") == 1
    assert capsys.readouterr().out.splitlines() == [
        "'data/runs/a b': run artifact tracked in git",
        "    mended by: git rm --cached -- 'data/runs/a b'",
    ]


def test_check_hygiene_of_a_clean_checkout_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repository_hygiene, "offences", lambda _: [])
    assert _run("check-hygiene") == 0
    assert capsys.readouterr().out.startswith("clean: ")
