"""The three rules of the repository, and what clean-up may remove of a checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from backtest import repository_hygiene
from backtest.errors import MisuseError
from backtest.lake.paths import DataRoot
from backtest.repository_hygiene import LARGEST_TRACKED_BYTES, clutter, offences, remove, shell_word, sidecars

AWKWARD_NAMES = (
    "two words",
    "line\nbreak",
    'quo"te',
    "it's",
    "-dash",
    "$(touch pwned)",
    "st*r",
    "back\\slash",
    "ü",
    "\x1b[31m",
)


def _git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


def _write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("GIT_", "BACKTEST_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "checkout"
    folder.mkdir()
    _git(folder, "init", "--quiet")
    _write(folder / "README.md")
    _git(folder, "add", "--all")
    return folder


def test_a_clean_checkout_has_no_offences(repository: Path) -> None:
    _write(repository / "data" / "runs" / "r1" / "run_manifest.json")  # there, but not tracked
    assert offences(repository) == []


@pytest.mark.parametrize("folder", ["data/runs", "data/reports", "data/lake/cleaned"])
@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_tracked_artifact_is_found_and_its_command_mends_it(repository: Path, folder: str, name: str) -> None:
    _write(repository / folder / "r1" / name)
    _git(repository, "add", "--all")
    (offence,) = offences(repository)
    assert offence.path == f"{folder}/r1/{name}"
    assert offence.rule == "run artifact tracked in git"
    assert offence.mend.startswith("git ")
    assert offence.mend.isprintable()
    subprocess.run(["bash", "-c", offence.mend], cwd=repository, check=True, capture_output=True)
    assert offences(repository) == []
    assert (repository / offence.path).is_file()
    assert not (repository / "pwned").exists()


def test_files_whose_folder_only_begins_alike_are_no_artifacts(repository: Path) -> None:
    for name in ("data/runs_of_old/a", "docs/data/runs/a", "data/lake/raw/a"):
        _write(repository / name)
    _git(repository, "add", "--all")
    assert offences(repository) == []


def test_a_file_of_five_megabytes_is_allowed_and_one_more_byte_is_not(repository: Path) -> None:
    _write(repository / "allowed.bin", "x" * LARGEST_TRACKED_BYTES)
    _write(repository / "-large one.bin", "x" * (LARGEST_TRACKED_BYTES + 1))
    _write(repository / "untracked.bin", "x")
    _git(repository, "add", "--all")
    _write(repository / "untracked.bin", "x" * (LARGEST_TRACKED_BYTES + 1))
    found = {offence.path: offence for offence in offences(repository)}
    assert set(found) == {"-large one.bin", "untracked.bin"}
    assert found["-large one.bin"].rule == "tracked file of 5,242,881 bytes, allowed are 5,242,880 (5 MB)"
    assert found["-large one.bin"].mend == "git rm --cached -- '-large one.bin'"


def test_a_large_file_that_is_tracked_but_deleted_is_still_found(repository: Path) -> None:
    large = _write(repository / "large.bin", "x" * (LARGEST_TRACKED_BYTES + 1))
    _git(repository, "add", "--all")
    large.unlink()
    assert [offence.path for offence in offences(repository)] == ["large.bin"]


def test_sidecar_files_are_found_tracked_or_not(repository: Path) -> None:
    _write(repository / "a.csv:Zone.Identifier")
    _write(repository / "docs" / "tracked b.pdf:Zone.Identifier")
    _git(repository, "add", "docs")
    found = {offence.path: offence.mend for offence in offences(repository)}
    assert found == {
        "a.csv:Zone.Identifier": "make clean-hygiene",
        "docs/tracked b.pdf:Zone.Identifier": "git rm -f -- 'docs/tracked b.pdf:Zone.Identifier'",
    }
    remove(sidecars(repository))
    (left,) = offences(repository)
    subprocess.run(["bash", "-c", left.mend], cwd=repository, check=True, capture_output=True)
    assert offences(repository) == []


def test_a_submodule_has_no_size(repository: Path) -> None:
    commit = "1" * 40
    _git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    assert offences(repository) == []


def test_a_folder_inside_a_checkout_is_refused(repository: Path) -> None:
    (repository / "inner").mkdir()
    with pytest.raises(MisuseError, match="not the top folder of a git checkout"):
        offences(repository / "inner")


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="git cannot list the files tracked in"):
        offences(tmp_path)


def test_clutter_is_byte_code_caches_and_sidecars_only(repository: Path) -> None:
    wanted = {
        "project/__pycache__/a.cpython-311.pyc", "project/stray.pyc", ".pytest_cache/v/x", ".mypy_cache/x",
        ".ruff_cache/x", "deep/er/.hypothesis/x", ".import_linter_cache/x", "a b.csv:Zone.Identifier",
    }  # fmt: skip
    kept = {
        ".venv/lib/__pycache__/a.pyc", "environment/pyvenv.cfg", "environment/lib/a.pyc", ".git/a.pyc",
        "data/lake/raw/a.csv:Zone.Identifier", "data/x.pyc", "other/.git/HEAD", "other/a.pyc", "project/a.py",
    }  # fmt: skip
    for name in wanted | kept:
        _write(repository / name)
    root = DataRoot(repository / "my data")
    root.create()
    _write(root.path / "lake" / "b.csv:Zone.Identifier")
    remove(clutter(repository))
    assert not [name for name in wanted if (repository / name).exists()]
    assert [name for name in kept if not (repository / name).exists()] == []
    assert (root.path / "lake" / "b.csv:Zone.Identifier").exists()
    assert clutter(repository) == []


def test_a_data_root_without_marker_yet_is_not_entered(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = _write(repository / "elsewhere" / "a.pyc")
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(repository / "elsewhere"))
    assert clutter(repository) == []
    monkeypatch.delenv("BACKTEST_DATA_ROOT")
    assert clutter(repository) == [stray]


def test_a_linked_cache_loses_only_the_link(repository: Path, tmp_path: Path) -> None:
    precious = _write(tmp_path / "outside" / "precious")
    (repository / ".mypy_cache").symlink_to(precious.parent)
    (repository / "linked").symlink_to(precious.parent)
    remove(clutter(repository))
    assert not (repository / ".mypy_cache").is_symlink()
    assert (repository / "linked").is_symlink()
    assert precious.is_file()


@pytest.mark.parametrize("name", [*AWKWARD_NAMES, "\udcff", "tab\t'\\x"])
def test_a_shell_reads_the_word_as_the_name(name: str) -> None:
    word = shell_word(name)
    assert word.isprintable()
    read = subprocess.run(["bash", "-c", f"printf %s {word}"], check=True, capture_output=True).stdout
    assert os.fsdecode(read) == name


def test_an_installation_without_checkout_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(repository_hygiene, "__file__", str(tmp_path / "lib" / "backtest" / "repository_hygiene.py"))
    with pytest.raises(MisuseError, match="not from a checkout"):
        repository_hygiene.checkout()
