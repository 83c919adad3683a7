"""What decides a stage instance's result, and whether an earlier result still stands."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from backtest.errors import DataError
from backtest.lake.files import CONTENT_HASH, content_hash, write_text
from backtest.outside_bytes import parsed_json
from backtest.pipeline.stage import Json

# Libraries whose version may change the digits of a result.
RESULT_LIBRARIES: Final = ("numba", "numpy", "polars", "pyarrow", "scipy")
MAX_NAMED_CHANGES: Final = 3
SETTLED_NS: Final = 2_000_000_000
"""A file changed less than this ago could change again within the same tick of the file system's clock."""

_Signature: TypeAlias = tuple[int, int, int, int, int]


def canonical_hash(value: Json) -> str:
    """BLAKE2b of a JSON value, whatever the order of its keys, 32 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Key:
    """Everything that decides the result of one stage instance. An input file that does not exist has the hash None."""

    stage: str
    partition: str
    parameters: Mapping[str, Json]
    spec_hash: str
    code: Mapping[str, str]
    inputs: Mapping[str, str | None]
    versions: Mapping[str, str]

    @functools.cached_property
    def input_hash(self) -> str:
        return canonical_hash(self.inputs)

    @functools.cached_property
    def digest(self) -> str:
        return canonical_hash([self.stage, self.partition, self.record()])

    def record(self) -> dict[str, Any]:
        """The parts as they are kept in a stage manifest."""
        return {
            "parameters": json.loads(json.dumps(self.parameters, allow_nan=False)),
            "spec_hash": self.spec_hash,
            "code": dict(self.code),
            "input_files": dict(self.inputs),
            "library_versions": dict(self.versions),
        }

    def changes_since(self, record: Mapping[str, Any]) -> list[str]:
        """Why an earlier result does not stand, in the operator's terms; empty where its key is the same."""
        if record.get("cache_key") == self.digest:
            return []
        now = self.record()
        changes = _differences("input", record, now, "input_files")
        changes += _differences("code", record, now, "code")
        changes += _differences("parameters", record, now, "parameters", show=True)
        if record.get("spec_hash") != self.spec_hash:
            changes.append("spec changed")
        changes += _differences("library", record, now, "library_versions", show=True)
        return changes or ["the earlier record is unreadable"]


def _differences(
    what: str, record: Mapping[str, Any], now: Mapping[str, Any], part: str, *, show: bool = False
) -> list[str]:
    earlier = record.get(part)
    if not isinstance(earlier, dict):
        return [f"{what} changed"]
    current: Mapping[str, Any] = now[part]
    absent = object()
    names = [name for name in sorted({*earlier, *current}) if earlier.get(name, absent) != current.get(name, absent)]
    shown = [
        f"{what} changed: {name}" + (f" {_value(earlier, name)} → {_value(current, name)}" if show else "")
        for name in names
    ]
    if len(shown) > MAX_NAMED_CHANGES:
        shown = [*shown[:MAX_NAMED_CHANGES], f"{what} changed: {len(names) - MAX_NAMED_CHANGES} more"]
    return shown


def _value(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "(absent)"


class FileHashes:
    """Content hashes of files, each read once as long as it is the same file to the file system.

    With `index`, a file, also across runs: hashes of files that had not changed for `SETTLED_NS` when they were kept are
    believed as long as device, inode, size and both times of a file are the same.
    """

    def __init__(self, index: Path | None = None) -> None:
        self._index = index
        # By their texts: there are thousands, and paths are slow to make and to compare.
        self._known: dict[str, tuple[_Signature, str]] = _kept(index) if index is not None else {}
        self._loaded = dict(self._known)
        self._kept_ns = 0
        self._readers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="hash")

    def keep(self) -> None:
        """Write the index, without files that are gone; what cannot be written is read again next time.

        What was written since the last call is not settled where that was less than `SETTLED_NS` ago: nothing is done then.
        """
        settled = time.time_ns() - SETTLED_NS
        if self._index is None or self._known == self._loaded or self._kept_ns > settled:
            return
        self._kept_ns = time.time_ns()
        entries = {
            path: [*signature, digest]
            for path, (signature, digest) in self._known.items()
            if max(signature[3:]) < settled and _is_still(path, signature)
        }
        with contextlib.suppress(DataError):
            write_text(self._index, json.dumps(entries, separators=(",", ":")), flush=False)

    def of(self, paths: Iterable[Path]) -> dict[Path, str | None]:
        """Hash of each file, None for one that does not exist; DataError for one that cannot be read."""
        hashes = {path: self._known_hash(str(path)) for path in dict.fromkeys(paths)}
        unread = [path for path, digest in hashes.items() if digest is None]
        read = self._readers.map(self._hash, unread) if len(unread) > 1 else map(self._hash, unread)
        return {**hashes, **dict(zip(unread, read, strict=True))}

    def remember(self, hashes: Mapping[Path, str]) -> None:
        """Take hashes of files just written, so that they are not read again as inputs."""
        for path, digest in hashes.items():
            signature = _signature(str(path))
            if signature is not None:
                self._known[str(path)] = (signature, digest)

    def changed_folders(self, folders: Collection[Path]) -> Iterator[Path]:
        """Those of `folders` with data sets in months that have a file which is no longer what it was when it was hashed.

        Each comes as soon as such a file is found; files that are new are not looked for.
        """
        waiting = {str(folder): folder for folder in folders}
        for path, (signature, _) in self._known.items():
            folder = path.rsplit("/", 4)[0]  # <folder>/<data set>/year=…/month=…/<file>
            if folder in waiting and not _is_still(path, signature):
                yield waiting.pop(folder)

    def changed(self, hashes: Mapping[Path, str | None]) -> list[Path]:
        """Those files that are no longer what they were when these hashes were taken."""
        return [path for path, digest in hashes.items() if self._has_changed(path, digest)]

    def _has_changed(self, path: Path, digest: str | None) -> bool:
        signature = _signature(str(path))
        if signature is None or digest is None:
            return (signature is None) != (digest is None)
        return self._known.get(str(path)) != (signature, digest)

    def _known_hash(self, path: str) -> str | None:
        """The hash of a file that is still the one it was taken of; None of any other, be there one or not."""
        known = self._known.get(path)
        return known[1] if known is not None and known[0] == _signature(path) else None

    def _hash(self, path: Path) -> str | None:
        signature = _signature(str(path))
        if signature is None:
            return None
        try:
            digest = content_hash(path)
        except OSError as fault:
            raise DataError(f"cannot read {path}: {fault.strerror or fault}.") from None
        self._known[str(path)] = (signature, digest)
        return digest


def _kept(index: Path) -> dict[str, tuple[_Signature, str]]:
    """An index as it was kept, without hashes of an earlier kind; nothing where there is none, or a damaged one."""
    try:
        entries = parsed_json(index.read_bytes())
        return {
            name: ((int(a), int(b), int(c), int(d), int(e)), str(digest))
            for name, (a, b, c, d, e, digest) in entries.items()
            if str(digest).startswith(CONTENT_HASH)
        }
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return {}


def _is_still(path: str, signature: _Signature) -> bool:
    """Whether a file is what it was; False of one that cannot be looked at, such as an impossible name in a damaged index."""
    try:
        return _signature(path) == signature
    except (DataError, ValueError):
        return False


def _signature(path: str) -> _Signature | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise DataError(f"cannot read {path}: {fault.strerror or fault}.") from None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
