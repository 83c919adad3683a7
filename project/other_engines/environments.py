"""Environments of their own for the engines that ours is measured against and proved by; never among our dependencies.

An environment is made once, under the user's cache folder (``BACKTEST_OTHER_ENGINES`` names another), and found again by the
hash of what is installed in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent

PINS: Final[dict[str, tuple[str, ...]]] = {
    "vectorbt": ("vectorbt==1.1.0", "plotly==5.24.1", "numba==0.68.1", "numpy==2.4.6", "pandas==3.1.1"),
    "nautilus": ("nautilus_trader==1.221.0", "numpy==2.4.6", "pandas==2.3.3", "pyarrow==26.0.1"),
}
"""What each environment consists of; the rest follows from it."""
INSTALL_SECONDS: Final = 600


class NotInstallableError(Exception):
    """The environment could not be made: no network, no wheel for this platform or Python."""


def home_of(engine: str) -> Path:
    """The folder of the environment of `engine`, whether it exists or not."""
    key = hashlib.sha256(json.dumps([sys.version, *PINS[engine]]).encode()).hexdigest()[:12]
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backtest-other-engines"
    return Path(os.environ.get("BACKTEST_OTHER_ENGINES") or default) / f"{engine}-{key}"


def interpreter(engine: str) -> Path:
    """Python of the environment of `engine`, which is made where it does not exist yet; NotInstallableError with the reason."""
    home = home_of(engine)
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (home / "complete").is_file():
        return python
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(home)])
        # Most of what is installed is never imported: what is will be compiled then.
        _call([str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:", *PINS[engine]])
    except (OSError, subprocess.SubprocessError) as fault:
        shutil.rmtree(home, ignore_errors=True)
        raise NotInstallableError(f"{engine} cannot be installed here: {_last_line(fault)}") from fault
    (home / "complete").touch()
    return python


def run(engine: str, script: str, *cases: dict[str, Any], keep: bool = False) -> list[dict[str, Any]]:
    """What `script` of this folder prints, a line of JSON a case, when `engine`'s Python runs it on an ``.npz`` of each.

    Parameters
    ----------
    keep : whether an answer is kept beside the environment, and taken from there the next time the same script of the same
        environment is given the same bytes. For trades, which are then the same; not for measurements.
    """
    kept = home_of(engine) / "answers" / f"{_digest(script, cases)}.jsonl"
    if not (keep and kept.is_file()):
        answer = _answer(engine, script, cases)
        if not keep:
            return _rows(answer)
        kept.parent.mkdir(exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_text(answer, encoding="utf-8")
        aside.replace(kept)
    return _rows(kept.read_text(encoding="utf-8"))


def _answer(engine: str, script: str, cases: Sequence[dict[str, Any]]) -> str:
    """The lines that the script prints last, one a case."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        given = [Path(folder) / f"{number}.npz" for number in range(len(cases))]
        for path, arrays in zip(given, cases, strict=True):
            np.savez(path, **arrays)
        done = _call([str(interpreter(engine)), str(FOLDER / script), *map(str, given)])
    return "\n".join(done.strip().splitlines()[-len(cases) :])


def _rows(answer: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.splitlines()]


def _digest(script: str, cases: Sequence[dict[str, Any]]) -> str:
    """Of the script's text and of every array that it is given."""
    import numpy as np

    digest = hashlib.sha256((FOLDER / script).read_bytes())
    for number, arrays in enumerate(cases):
        for name, value in sorted(arrays.items()):
            array = np.ascontiguousarray(value)
            digest.update(f"{number} {name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:24]


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(done.stderr.strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def _last_line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[-1][:300]
