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


def interpreter(engine: str) -> Path:
    """Python of the environment of `engine`, which is made where it does not exist yet; NotInstallableError with the reason."""
    pins = PINS[engine]
    key = hashlib.sha256(json.dumps([sys.version, *pins]).encode()).hexdigest()[:12]
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backtest-other-engines"
    folder = Path(os.environ.get("BACKTEST_OTHER_ENGINES") or default)
    home = folder / f"{engine}-{key}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (home / "complete").is_file():
        return python
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(home)])
        _call([str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *pins])
    except (OSError, subprocess.SubprocessError) as fault:
        shutil.rmtree(home, ignore_errors=True)
        raise NotInstallableError(f"{engine} cannot be installed here: {_last_line(fault)}") from fault
    (home / "complete").touch()
    return python


def run(engine: str, script: str, *cases: dict[str, Any]) -> list[dict[str, Any]]:
    """What `script` of this folder prints, a line of JSON a case, when `engine`'s Python runs it on an ``.npz`` of each."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        given = [Path(folder) / f"{number}.npz" for number in range(len(cases))]
        for path, arrays in zip(given, cases, strict=True):
            np.savez(path, **arrays)
        done = _call([str(interpreter(engine)), str(FOLDER / script), *map(str, given)])
    return [json.loads(line) for line in done.strip().splitlines()[-len(cases) :]]


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(done.stderr.strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def _last_line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[-1][:300]
