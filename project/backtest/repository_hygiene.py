"""What does not belong into a checkout: tracked run artifacts, Windows sidecar files, large files, caches."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backtest.errors import MisuseError
from backtest.lake.cleanup import Removal, removed
from backtest.lake.paths import ENVIRONMENT_VARIABLE, MARKER

ARTIFACT_FOLDERS: Final = ("data/runs", "data/reports", "data/lake/cleaned")
LARGEST_TRACKED_BYTES: Final = 5 * 1024 * 1024
SIDECAR_ENDING: Final = "Zone.Identifier"
CACHE_FOLDERS: Final = frozenset(
    {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"}
)
SUBMODULE_MODE: Final = b"160000"


@dataclass(frozen=True)
class Offence:
    """A file that breaks a rule, the rule, and the command that mends it."""

    path: str
    rule: str
    mend: str


def checkout() -> Path:
    """The checkout this program runs from; MisuseError where it was installed without one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "pyproject.toml").is_file() or not (folder / "project" / "backtest").is_dir():
        raise MisuseError(
            f"backtest is installed at {Path(__file__).resolve().parent}, not from a checkout, so there is no "
            "repository to look at. In a clone of it run: pip install -r requirements.txt -r requirements-dev.txt"
        )
    return folder


# -- the rules -------------------------------------------------------------------------------------------


def offences(repository: Path) -> list[Offence]:
    """Every breach of the three rules, by rule and path; empty where the checkout is clean.

    Raises MisuseError where `repository` is not the top folder of a git checkout.
    """
    tracked = _tracked_sizes(repository)
    return [*_artifacts(tracked), *_sidecars(repository, tracked), *_large_files(tracked)]


def _artifacts(tracked: dict[str, int]) -> list[Offence]:
    return [
        Offence(path, "run artifact tracked in git", _untrack(path))
        for path in tracked
        if any(path == folder or path.startswith(f"{folder}/") for folder in ARTIFACT_FOLDERS)
    ]


def _sidecars(repository: Path, tracked: dict[str, int]) -> list[Offence]:
    present = {os.fspath(path.relative_to(repository)) for path in sidecars(repository)}
    recorded = {path for path in tracked if path.endswith(SIDECAR_ENDING)}
    return [
        Offence(path, "Zone.Identifier file", _untrack(path, delete=True) if path in recorded else "make clean-hygiene")
        for path in sorted(present | recorded)
    ]


def _large_files(tracked: dict[str, int]) -> list[Offence]:
    return [
        Offence(path, f"tracked file of {size:,} bytes, allowed are {LARGEST_TRACKED_BYTES:,} (5 MB)", _untrack(path))
        for path, size in tracked.items()
        if size > LARGEST_TRACKED_BYTES
    ]


def _untrack(path: str, *, delete: bool = False) -> str:
    magic = "--literal-pathspecs " if path.startswith(":") or set(path) & set("*?[\\") else ""
    return f"git {magic}rm {'-f' if delete else '--cached'} -- {shell_word(path)}"


def _tracked_sizes(repository: Path) -> dict[str, int]:
    """Path of each tracked file to its size in bytes: in the index or in the working tree, whichever is larger."""
    top = os.fsdecode(_git(repository, "rev-parse", "--show-toplevel").removesuffix(b"\n"))
    if Path(top).resolve() != repository.resolve():
        raise MisuseError(f"{repository} is not the top folder of a git checkout; the one around it is {top}.")
    objects: dict[str, bytes] = {}
    for entry in _git(repository, "ls-files", "-z", "--stage").split(b"\0")[:-1]:
        description, _, path = entry.partition(b"\t")
        mode, name, _ = description.split(b" ")
        if mode != SUBMODULE_MODE:
            objects[os.fsdecode(path)] = name
    sizes = _object_sizes(repository, sorted(set(objects.values())))
    return {path: max(sizes[name], _size_on_disk(repository / path)) for path, name in sorted(objects.items())}


def _object_sizes(repository: Path, names: list[bytes]) -> dict[bytes, int]:
    form = "--batch-check=%(objectname) %(objectsize)"
    answer = _git(repository, "cat-file", form, given=b"".join(name + b"\n" for name in names))
    found = dict.fromkeys(names, 0)
    for line in answer.splitlines():
        name, _, size = line.partition(b" ")
        found[name] = int(size) if size.isdigit() else 0
    return found


def _size_on_disk(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    surroundings = {name: value for name, value in os.environ.items() if name not in {"GIT_DIR", "GIT_WORK_TREE"}}
    command = ["git", "-C", os.fspath(repository), *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, env=surroundings)
    except FileNotFoundError:
        raise MisuseError("git is not installed, so tracked files cannot be listed. Install git.") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise MisuseError(f"git cannot list the files tracked in {repository}: {reason}")
    return done.stdout


# -- what can be removed without loss ----------------------------------------------------------------------


def sidecars(repository: Path) -> list[Path]:
    """Files named ``*Zone.Identifier``, which Windows leaves beside downloads; none of data roots and environments."""
    return list(_found(repository, lambda entry: entry.name.endswith(SIDECAR_ENDING) and not _is_folder(entry)))


def clutter(repository: Path) -> list[Path]:
    """Byte code, caches and sidecar files of the checkout; none of data roots, ``.git`` and environments."""
    return list(_found(repository, _is_clutter))


def remove(paths: list[Path]) -> list[Removal]:
    """Remove each path; a link is removed itself, never what it points to. Raises DataError where that is refused."""
    return [removed(path) for path in paths]


def _is_clutter(entry: os.DirEntry[str]) -> bool:
    if entry.name in CACHE_FOLDERS:
        return _is_folder(entry) or entry.is_symlink()
    return entry.name.endswith((SIDECAR_ENDING, ".pyc")) and not _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _found(repository: Path, is_wanted: Callable[[os.DirEntry[str]], bool]) -> Iterator[Path]:
    """Entries wanted, in the order of their names; folders found are not entered."""
    pending = [repository]
    while pending:
        with os.scandir(pending.pop()) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        yield from (Path(entry.path) for entry in ordered if is_wanted(entry))
        inner = [Path(entry.path) for entry in ordered if _is_folder(entry) and not is_wanted(entry)]
        pending.extend(folder for folder in reversed(inner) if not _is_foreign(folder, repository))


def _is_foreign(folder: Path, repository: Path) -> bool:
    """Whether a folder is none of the checkout's own: git's, an environment, another repository, a data root."""
    data_root = Path(os.environ.get(ENVIRONMENT_VARIABLE) or "data").absolute()
    return (
        folder.name in {".git", ".venv"}
        or folder == repository / "data"
        or folder.resolve() == data_root.resolve()
        or any((folder / sign).exists() for sign in (MARKER, "pyvenv.cfg", ".git"))
    )


def shell_word(path: str) -> str:
    """A file name as one word for a shell (bash, zsh), on one line and free of control characters."""
    if path.isprintable():
        return shlex.quote(path)
    letters = []
    for character in path:
        if character in "\\'":
            letters.append("\\" + character)
        elif character.isprintable():
            letters.append(character)
        else:
            letters.extend(f"\\x{byte:02x}" for byte in os.fsencode(character))
    return "$'" + "".join(letters) + "'"
