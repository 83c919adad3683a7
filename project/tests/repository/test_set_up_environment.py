"""Which Python is taken for `.venv`, and when an environment counts as good."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TOOLS = ("bash", "cat", "dirname", "mktemp", "rm", "sh")


def _executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that asks for nothing but pytest, and a PATH without any Python."""
    folder = tmp_path / "a checkout"
    (folder / "project" / "scripts").mkdir(parents=True)
    (folder / "project" / "backtest").mkdir()
    (folder / "project" / "backtest" / "__init__.py").touch()
    for name in ("set_up_environment.sh", "requirements.py"):
        shutil.copy(REPOSITORY / "project" / "scripts" / name, folder / "project" / "scripts")
    (folder / "requirements.lock").write_text(f"pytest=={pytest.__version__}\n")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return folder


def _set_up(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    surroundings = {
        "PATH": str(checkout.parent / "bin"), "HOME": str(checkout), "PYTHONPATH": str(checkout / "project")
    }  # fmt: skip
    command = ["bash", str(checkout / "project" / "scripts" / "set_up_environment.sh"), *arguments]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)


def _hand_made_environment(checkout: Path) -> None:
    _executable(checkout / ".venv" / "bin" / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    _executable(checkout / ".venv" / "bin" / "backtest", "#!/bin/sh\nexit 0\n")


def test_an_environment_made_by_hand_is_recognised(checkout: Path) -> None:
    _hand_made_environment(checkout)
    done = _set_up(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (checkout / ".venv" / ".installed").read_text() == f"{checkout.resolve()}\n"


@pytest.mark.parametrize("cause", ["other version", "no command", "broken command", "moved"])
def test_an_environment_that_differs_is_not_taken_for_good(checkout: Path, cause: str) -> None:
    _hand_made_environment(checkout)
    if cause == "other version":
        (checkout / "requirements.lock").write_text("pytest==0.1\n")
    elif cause == "no command":
        (checkout / ".venv" / "bin" / "backtest").unlink()
    elif cause == "broken command":
        _executable(checkout / ".venv" / "bin" / "backtest", "#!/nowhere/python\n")
    else:
        (checkout / ".venv" / ".installed").write_text("/somewhere/else\n")
    # Without a network nothing is installed; that it tries, and fails, is what is looked at.
    _executable(checkout / ".venv" / "bin" / "python", _python_whose_pip_fails())
    if cause == "moved":
        _executable(
            checkout.parent / "bin" / "python3", _python_whose_pip_fails().replace("pip install", "venv --clear")
        )
    done = _set_up(checkout)
    assert done.returncode == 1
    assert "setting up .venv with Python 3." in done.stderr


def _python_whose_pip_fails() -> str:
    return (
        '#!/bin/sh\nif [ "$1 $2 $3" = "-m pip install" ]; then echo no network here; exit 1; fi\n'
        f'exec "{sys.executable}" "$@"\n'
    )


def test_a_failing_installation_shows_its_output_and_leaves_no_stamp(checkout: Path) -> None:
    _hand_made_environment(checkout)
    (checkout / "requirements.lock").write_text("pytest==0.1\n")
    _executable(checkout / ".venv" / "bin" / "python", _python_whose_pip_fails())
    done = _set_up(checkout)
    assert done.returncode == 1
    assert "setting up .venv with Python 3." in done.stderr
    assert "no network here" in done.stderr
    assert "error: setting up .venv failed at: .venv/bin/python -m pip install --require-hashes" in done.stderr
    assert not (checkout / ".venv" / ".installed").exists()


def test_without_a_python_it_says_what_was_tried(checkout: Path) -> None:
    folder = checkout.parent / "bin"
    _executable(folder / "python3", "#!/bin/sh\necho pyenv: command not found >&2\nexit 127\n")
    _executable(folder / "python3.13", '#!/bin/sh\ncase "$2" in *platform*) echo 3.9.1;; *) exit 1;; esac\n')
    done = _set_up(checkout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[:5] == [
        "error: no Python from 3.11 to 3.13 was found. Tried:",
        "  - python3: does not run",
        "  - python3.13: is 3.9.1, or lacks the modules venv and ensurepip",
        "  - python3.12: not there",
        "  - python3.11: not there",
    ]
    assert not (checkout / ".venv").exists()


def test_a_python_that_does_not_run_is_passed_over(checkout: Path) -> None:
    folder = checkout.parent / "bin"
    _executable(folder / "python3", "#!/bin/sh\nexit 127\n")
    _executable(
        folder / "python3.11",
        '#!/bin/sh\n[ "$2" != venv ] || { echo "venv called: $*"; exit 1; }\n' + f'exec "{sys.executable}" "$@"\n',
    )
    done = _set_up(checkout)
    assert done.returncode == 1
    assert "venv called: -m venv --clear .venv" in done.stderr


def test_the_scripts_are_executable() -> None:
    for name in (".ci/run", "project/scripts/set_up_environment.sh"):
        assert os.access(REPOSITORY / name, os.X_OK), name
