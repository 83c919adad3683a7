"""Files that are either the old one or the new one, never half of either.

Everything is written beside its target under a temporary name, flushed to disk (but for what is made again from other files)
and renamed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import xxhash

from backtest.errors import DataError, listed
from backtest.lake.checksums import is_whole, with_checksum
from backtest.outside_bytes import parsed_json

if TYPE_CHECKING:
    import polars as pl

TEMPORARY_PREFIX: Final = ".writing-"
HASH_CHUNK_BYTES: Final = 1 << 20
CONTENT_HASH: Final = "xxh3:"
"""How a content hash begins; those that earlier versions recorded are BLAKE2b, without a name before it."""
RESTORE: Final = (
    "restore it from a backup, or remove it and repeat the command that made it. "
    "backtest doctor --deep names every such file."
)
MEND: Final = f"It was damaged after it was written, or is no file of this program: {RESTORE}"


@functools.cache
def this_host() -> str:
    """8 hex digits for where process ids mean what they mean here: this host, since it was started, this container."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        known.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - no path
    return hashlib.blake2b("\0".join(known).encode(), digest_size=4).hexdigest()


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path`, on any fault it is removed.

    Without `flush` a loss of power may leave an empty file, though the death of a process never does: for what is made
    again where it is unreadable. Raises DataError where the disk is full, read-only or otherwise refuses the write.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{this_host()}-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flush:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as fault:
        raise DataError(
            f"cannot write {path}: {fault.strerror or fault}. Nothing was changed there. "
            "Free space or mend permissions on the data root, then run the same command again."
        ) from fault
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write UTF-8 text, atomically; `flush` as of `replacing`."""
    with replacing(path, flush=flush) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, flush: bool = True) -> None:
    """Write JSON with sorted keys, atomically; the same value gives the same bytes. `flush` as of `replacing`."""
    write_text(path, json_text(value), flush=flush)


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The value in a JSON file; DataError where it is missing or damaged."""
    try:
        return parsed_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (OSError, ValueError) as fault:
        raise DataError(f"{path} is unreadable: {fault}. {MEND}") from None


def write_parquet(
    path: Path,
    frame: pl.DataFrame,
    metadata: dict[str, str] | None = None,
    *,
    is_derived: bool = False,
    is_passing: bool = False,
) -> None:
    """Write one Parquet file with `metadata` in its footer, atomically; the same frame gives the same bytes.

    It is packed well (zstd); quickly (lz4: a tenth larger, read in a third of the time) and without flushing where
    `is_derived`, what the lake makes of its raw data and stages read again and again: what a loss of power leaves of it is
    told by its recorded hash, and made again; and without statistics and in one row group too where `is_passing`, what one
    stage of a run hands another: each column is then read as one array. It has a checksum in it, which `read_parquet` asks
    for. It is encoded in memory: Polars reports a full disk as a fault of the file's format.
    """
    encoded = io.BytesIO()
    is_quick = is_derived or is_passing
    frame.write_parquet(
        encoded,
        compression="lz4" if is_quick else "zstd",
        compression_level=None if is_quick else 1,
        statistics=not is_passing,
        row_group_size=max(len(frame), 1) if is_passing else None,
        metadata=metadata,
    )
    with replacing(path, flush=not is_quick) as temporary:
        temporary.write_bytes(with_checksum(encoded.getbuffer()))


def parquet_metadata(path: Path) -> dict[str, str]:
    """The metadata in a Parquet file's footer; DataError where it is missing or damaged."""
    import polars as pl

    with _naming_parquet(path):
        _check(path)
        return dict(pl.read_parquet_metadata(path))


def read_parquet(
    path: Path, schema: Mapping[str, pl.DataType] | None = None, columns: list[str] | None = None
) -> pl.DataFrame:
    """A Parquet file's rows; DataError where it is missing, damaged, or has not the columns and types of `schema` or `columns`.

    With `columns` nothing else is read.
    """
    import polars as pl

    with _naming_parquet(path):
        _check(path)
        frame = pl.read_parquet(path, columns=columns, glob=False)
    if schema is not None:
        require_schema(path, frame, schema)
    return frame


def require_schema(path: Path, frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> None:
    """DataError where a frame read from `path` lacks a column of `schema` or has it in another type; others may be there."""
    found = frame.schema
    missing = [name for name in schema if name not in found]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(found)[:500]}.")
    other = [f"{name} is {found[name]}, not {kind}" for name, kind in schema.items() if found[name] != kind]
    if other:
        raise DataError(f"{path} has columns of other types:\n{listed(other)}\n{MEND}")


def read_parquet_files(
    paths: Sequence[Path],
    columns: list[str] | None = None,
    schema: Mapping[str, pl.DataType] | None = None,
    *,
    relaxed: bool = False,
) -> pl.DataFrame:
    """Rows of files one after another, in one go where all are alike and sound, else one by one.

    With `relaxed` columns may differ in their types; `schema` as of `read_parquet`. Raises DataError, which names the file
    that is at fault.
    """
    import polars as pl

    with contextlib.suppress(OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException, DataError):
        for path in paths:
            _check(path)
        frame = pl.read_parquet(list(paths), columns=columns, glob=False)
        require_schema(paths[0], frame, schema or {})
        return frame
    frames = [read_parquet(path, schema, columns) for path in paths]
    try:
        return pl.concat(frames, how="vertical_relaxed" if relaxed else "vertical")
    except pl.exceptions.PolarsError as fault:
        raise DataError(
            f"{paths[0].parent} and files beside it differ in columns or types: {_first_line(fault)}."
        ) from None


def _check(path: Path) -> None:
    if not is_whole(path):
        raise DataError(f"{path} was damaged after it was written, as its checksum says: {RESTORE}")


@contextlib.contextmanager
def _naming_parquet(path: Path) -> Iterator[None]:
    """Faults of reading a Parquet file as DataError. A panic in Polars is no Exception, so it is caught by its name."""
    import polars as pl

    try:
        yield
    except pl.exceptions.ColumnNotFoundError as fault:
        raise DataError(f"{path} lacks a column: {_first_line(fault)}.") from None
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except OSError as fault:
        raise DataError(f"{path} is unreadable: {fault.strerror or fault}. {MEND}") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as fault:
        raise DataError(f"{path} is not a readable Parquet file: {_first_line(fault)}. {MEND}") from None


def _first_line(fault: BaseException) -> str:
    return (str(fault).strip() or repr(fault)).splitlines()[0][:200]


def content_hash(path: Path) -> str:
    """XXH3-128 of a file's bytes, ``xxh3:`` and 32 hex digits: it tells a change and damage, but no forgery."""
    return f"{CONTENT_HASH}{_digest(path, xxhash.xxh3_128())}"


def blake2b_hash(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hex digits: for what is kept for good, or vouches for the file."""
    return _digest(path, hashlib.blake2b(digest_size=16))


def has_content(path: Path, recorded: object) -> bool:
    """Whether a file has the content hash that was recorded for it, by this version or an earlier one."""
    is_current = isinstance(recorded, str) and recorded.startswith(CONTENT_HASH)
    return (content_hash if is_current else blake2b_hash)(path) == recorded


class _Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _digest(path: Path, digest: _Digest) -> str:
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
