"""The three requirements files say the same, and the check would notice if they did not."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = ("pyproject.toml", "requirements.lock", "requirements.txt", "requirements-dev.txt")


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "requirements_script", REPOSITORY / "project" / "scripts" / "requirements.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


script = _load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_files_agree() -> None:
    assert script.disagreements(REPOSITORY) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("requirements.txt", "polars==2.1.0\n", "", "polars==2.1.0 is in requirements.lock and in neither"),
        ("requirements.txt", "polars==2.1.0", "polars==2.0.0", "polars==2.0.0 of requirements.txt is not in"),
        ("requirements.txt", "polars==2.1.0", "polars>=2.1.0", "requirements.txt has no exact version for polars>="),
        ("requirements-dev.txt", "ruff==", "ruff==9", "of requirements-dev.txt is not in requirements.lock"),
        ("requirements.txt", "-e .\n", "", "requirements.txt lacks the line -e ."),
        ("requirements.txt", "# ", "# https://index.example.org ", "requirements.txt names a package index"),
        ("requirements.lock", "    --hash=sha256:", "    --hash=md5:", ""),
        ("pyproject.toml", '"polars>=', '"polars>=99.', "pyproject.toml asks for polars>=99."),
        ("pyproject.toml", '"polars>=', '"nowhere>=', "pyproject.toml asks for nowhere>="),
    ],
)
def test_a_contradiction_is_told(copy: Path, file: str, old: str, new: str, told: str) -> None:
    _replace(copy / file, old, new)
    faults = script.disagreements(copy)
    assert any(told in fault for fault in faults) if told else faults == []


def test_an_entry_without_hash_is_told(copy: Path) -> None:
    (copy / "requirements.lock").write_text((copy / "requirements.lock").read_text() + "six==1.0.0\n")
    assert "requirements.lock has no hash for six==1.0.0" in script.disagreements(copy)


def test_pins_keep_markers_and_leave_out_hashes_and_options() -> None:
    text = "# a\n-e .\nb==1 ; python_version < '3.12' \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\nc==2  # why\n"
    assert script.pins(text) == ["b==1 ; python_version < '3.12'", "c==2"]


def test_an_environment_is_compared_package_by_package(tmp_path: Path) -> None:
    pytest_version = pytest.__version__
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        f"pytest=={pytest_version}\npluggy==0.0.1\nnot-there==1\nnot-there-either==1 ; sys_platform == 'nowhere'\n"
    )
    told = script.differences(tmp_path)
    assert [line.split()[0] for line in told] == ["pluggy", "not-there", "backtest"]
    assert told[0].endswith("locked is 0.0.1")
    assert told[2] == f"backtest is not installed from {tmp_path}"
