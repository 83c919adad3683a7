"""The spec of a folder, read again where its files changed."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from backtest.errors import SpecError, listed
from backtest.spec.compiled import Spec

_Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]
HandedSpec: TypeAlias = tuple[_Fingerprint, bytes]
"""The files a spec was read from, and the spec."""
_read_once: dict[Path, tuple[_Fingerprint, Spec] | None] = {}
_packed: dict[tuple[Path, _Fingerprint], bytes] = {}


def load_spec(root: Path) -> Spec:
    """The spec of a folder as its files are now, or were when `reading_once` began; SpecError that lists every fault."""
    held = _read_once.get(root)
    if held is None:
        fingerprint = _fingerprint(root)
        held = fingerprint, _load(root.absolute(), fingerprint)
        if root in _read_once:
            _read_once[root] = held
    return held[1]


@contextlib.contextmanager
def reading_once(root: Path) -> Iterator[None]:
    """Let `load_spec` look at the files of a folder once only: one run has one spec, and is asked for it at every part."""
    if root in _read_once:
        yield
        return
    _read_once[root] = None
    try:
        yield
    finally:
        del _read_once[root]


def changed_since_read(root: Path) -> bool:
    """Whether files of a folder that is read once have changed since; False where it was not read yet."""
    held = _read_once.get(root)
    return held is not None and _fingerprint(root) != held[0]


def handed_over(root: Path) -> HandedSpec | None:
    """The spec of a folder that is read once, for other processes to `take_over`; None where it was not read yet."""
    held = _read_once.get(root)
    if held is None:
        return None
    fingerprint, spec = held
    key = root.absolute(), fingerprint
    if key not in _packed:
        _packed.clear()
        # Compressed, as it goes with each task, perhaps over a network.
        _packed[key] = zlib.compress(pickle.dumps(spec, protocol=pickle.HIGHEST_PROTOCOL), level=1)
    return fingerprint, _packed[key]


def take_over(root: Path, handed: HandedSpec) -> None:
    """Let `load_spec` unpack what another process of the run read, a twentieth of the work, while the files are the same."""
    fingerprint, packed = handed
    _packed.clear()
    _packed[root.absolute(), fingerprint] = packed


def _fingerprint(root: Path) -> _Fingerprint:
    if not root.is_dir():
        raise SpecError(f"there is no spec folder at {root}. Run from the checkout, or set BACKTEST_SPEC_ROOT to one.")
    return tuple(sorted(_yaml_files(str(root), "")))


def _yaml_files(folder: str, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Name below the root, time and size of each file; asked for at every part of a stage, so it must be quick."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _yaml_files(entry.path, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".yaml"):
                stat = entry.stat()
                yield prefix + entry.name, stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=8)
def _load(root: Path, fingerprint: _Fingerprint) -> Spec:
    packed = _packed.get((root, fingerprint))
    if packed is not None:
        unpacked: Spec = pickle.loads(zlib.decompress(packed))  # noqa: S301 - made by `handed_over`, it came with a task
        return unpacked
    from backtest.spec.reader import SpecReader

    reader = SpecReader(root, [name for name, _, _ in fingerprint])
    spec = reader.read()
    if reader.faults or spec is None:
        count = len(reader.faults)
        raise SpecError(f"{count} fault{'s' if count > 1 else ''} in {root}:\n{listed(reader.faults)}")
    return spec
