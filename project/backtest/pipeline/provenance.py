"""What produced a result: code revision, libraries, interpreter, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import backtest

RECORDED_PACKAGES: Final = (
    "distributed",
    "httpx",
    "numba",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "scipy",
)
GIT_TIMEOUT_SECONDS: Final = 20
_NO_COMMIT: Final = "(initial)"
"""What git calls the commit of a repository without any."""


@dataclass(frozen=True)
class Revision:
    """State of the code: the commit and whether files differ from it; both None where git does not know the code."""

    commit: str | None
    is_dirty: bool | None


def code_revision(folder: Path | None = None) -> Revision:
    """Revision of the repository that tracks the package; an ignored copy inside some other repository has none."""
    folder = folder or Path(backtest.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return Revision(None, None)
    # Both in one call: a run waits for this before it starts its first worker.
    status = _git(folder, "status", "--porcelain=v2", "--branch")
    if status is None:
        return Revision(_git(folder, "rev-parse", "HEAD"), None)
    lines = status.splitlines()
    named = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), _NO_COMMIT)
    return Revision(None if named == _NO_COMMIT else named, any(not line.startswith("# ") for line in lines))


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each package that is installed."""
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def platform_name() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where there is no git, no repository, or no answer in time."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
