"""A checksum inside a Parquet file, where readers of the format pass it over: between the last page and the footer.

Parquet has none that Polars writes or asks for. Without one a changed byte is a changed price that nobody notices, and some
make Polars end the process.
"""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path
from typing import Final

import xxhash

MARK: Final = b"backtest-xxh"
_SUM_BYTES: Final = 8
FORMER_MARK: Final = b"backtest-crc"
"""Of files that earlier versions wrote, with a CRC-32."""
_FORMER_SUM_BYTES: Final = 4
_TAIL_BYTES: Final = 8
"""Length of the footer and the format's name."""


def with_checksum(encoded: memoryview) -> bytes:
    """A Parquet file's bytes with their XXH3-64 in them."""
    footer = _footer(encoded)
    return b"".join((encoded[:footer], MARK, xxhash.xxh3_64_digest(encoded), encoded[footer:]))


def is_whole(path: Path) -> bool:
    """Whether a file is what its checksum was made of; one without a checksum, written by another program, is whole.

    OSError where it cannot be read.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) < _TAIL_BYTES:
            return True
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as content:
            return _has_its_checksum(content)


def _has_its_checksum(content: memoryview) -> bool:
    footer = _footer(content)
    for mark, size, checksum in ((MARK, _SUM_BYTES, _xxh3), (FORMER_MARK, _FORMER_SUM_BYTES, _crc)):
        start = footer - len(mark) - size
        if start >= 0 and content[start : footer - size] == mark:
            return checksum(content[:start], content[footer:]) == content[footer - size : footer]
    return True


def _xxh3(pages: memoryview, footer: memoryview) -> bytes:
    checksum = xxhash.xxh3_64(pages)
    checksum.update(footer)
    return checksum.digest()


def _crc(pages: memoryview, footer: memoryview) -> bytes:
    return zlib.crc32(footer, zlib.crc32(pages)).to_bytes(_FORMER_SUM_BYTES, "little")


def _footer(content: memoryview) -> int:
    """Where the footer of a Parquet file starts; below 0 where its length is none that fits."""
    return len(content) - _TAIL_BYTES - int.from_bytes(content[-_TAIL_BYTES:-4], "little")
