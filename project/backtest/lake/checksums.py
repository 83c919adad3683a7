"""A checksum inside a Parquet file, where readers of the format pass it over: between the last page and the footer.

Parquet has none that Polars writes or asks for. Without one a changed byte is a changed price that nobody notices, and some
make Polars end the process.
"""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path
from typing import Final

MARK: Final = b"backtest-crc"
_SUM_BYTES: Final = 4
_TAIL_BYTES: Final = 8
"""Length of the footer and the format's name."""


def with_checksum(encoded: memoryview) -> bytes:
    """A Parquet file's bytes with their CRC-32 in them."""
    footer, checksum = _footer(encoded), zlib.crc32(encoded).to_bytes(_SUM_BYTES, "little")
    return b"".join((encoded[:footer], MARK, checksum, encoded[footer:]))


def is_whole(path: Path) -> bool:
    """Whether a file is what its checksum was made of; one without a checksum, written by another program, is whole.

    OSError where it cannot be read.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) < len(MARK) + _SUM_BYTES + _TAIL_BYTES:
            return True
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as content:
            return _has_its_checksum(content)


def _has_its_checksum(content: memoryview) -> bool:
    footer = _footer(content)
    start = footer - len(MARK) - _SUM_BYTES
    if start < 0 or bytes(content[start : start + len(MARK)]) != MARK:
        return True
    kept = int.from_bytes(content[footer - _SUM_BYTES : footer], "little")
    return zlib.crc32(content[footer:], zlib.crc32(content[:start])) == kept


def _footer(content: memoryview) -> int:
    """Where the footer of a Parquet file starts; below 0 where its length is none that fits."""
    return len(content) - _TAIL_BYTES - int.from_bytes(content[-_TAIL_BYTES:-4], "little")
