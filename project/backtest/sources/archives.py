"""The one table inside a zip or gzip file, unpacked in memory within a limit."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final

from backtest.errors import DataError

MAX_UNPACKED_BYTES: Final = 1 << 30
_CHUNK_BYTES: Final = 1 << 20
_ENCRYPTED_FLAG: Final = 0x1


def unzipped(data: bytes, max_bytes: int = MAX_UNPACKED_BYTES) -> tuple[str, bytes]:
    """Name and content of the only member of a zip file.

    Nothing is written to disk. Raises DataError where the file is damaged, has not exactly one member, the member's
    name leads out of the folder, or it holds more than `max_bytes` (declared or actual).
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = _only_member(archive, max_bytes)
            with archive.open(member) as stream:
                return member.filename, _read_at_most(stream, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as fault:
        raise DataError(f"it is not a whole zip file ({fault})") from None
    except NotImplementedError as fault:
        raise DataError(f"it is packed in a way that is not supported ({fault})") from None


@contextlib.contextmanager
def opened_member(file: IO[bytes], max_bytes: int) -> Iterator[IO[bytes]]:
    """The only member of a zip file as a stream, for tables too large to be held; faults as in `unzipped`.

    The reader has to count what it reads: a member may hold more than it declares.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_only_member(archive, max_bytes)) as stream:
            yield stream
    except (zipfile.BadZipFile, zlib.error, EOFError) as fault:
        raise DataError(f"it is not a whole zip file ({fault})") from None
    except NotImplementedError as fault:
        raise DataError(f"it is packed in a way that is not supported ({fault})") from None


def gunzipped(data: bytes, max_bytes: int = MAX_UNPACKED_BYTES) -> bytes:
    """Content of a gzip file; DataError where it is damaged or holds more than `max_bytes`."""
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            return _read_at_most(stream, max_bytes)
    except (zlib.error, EOFError, OSError) as fault:
        raise DataError(f"it is not a whole gzip file ({fault})") from None


def _only_member(archive: zipfile.ZipFile, max_bytes: int) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:3]) or "nothing"
        raise DataError(f"it should hold one table, it holds {len(members)} members ({names})")
    member = members[0]
    if re.search(r"[/\\:]|^\.\.?$", member.filename) or not member.filename:
        raise DataError(f"its member {member.filename!r} names a path, which could lead outside the folder")
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise DataError(f"its member {member.filename!r} is encrypted")
    if member.file_size > max_bytes:
        raise DataError(f"it declares {member.file_size:,} bytes unpacked, allowed are {max_bytes:,}")
    return member


def _read_at_most(stream: IO[bytes] | gzip.GzipFile, max_bytes: int) -> bytes:
    unpacked = bytearray()
    while chunk := stream.read(_CHUNK_BYTES):
        unpacked += chunk
        if len(unpacked) > max_bytes:
            raise DataError(f"it unpacks to more than the allowed {max_bytes:,} bytes")
    return bytes(unpacked)
