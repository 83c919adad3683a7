"""Hostile zips are refused before or while they are unpacked."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from types import SimpleNamespace

import pytest

from backtest.errors import DataError
from backtest.sources.archives import gunzipped, unzipped


def test_the_only_member_is_unpacked(make: SimpleNamespace) -> None:
    assert unzipped(make.zipped("abc", "a.csv")) == ("a.csv", b"abc")


@pytest.mark.parametrize("name", ["../a.csv", "/etc/a.csv", "a/b.csv", "..\\a.csv", "c:a.csv"])
def test_a_member_that_names_a_path_is_refused(make: SimpleNamespace, name: str) -> None:
    with pytest.raises(DataError, match="names a path"):
        unzipped(make.zipped("abc", name))


def test_two_members_are_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "2")
    with pytest.raises(DataError, match=r"holds 2 members \(a.csv, b.csv\)"):
        unzipped(packed.getvalue())


def test_no_member_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w"):
        pass
    with pytest.raises(DataError, match=r"holds 0 members \(nothing\)"):
        unzipped(packed.getvalue())


def test_a_size_declared_above_the_limit_is_refused(make: SimpleNamespace) -> None:
    with pytest.raises(DataError, match="declares 5,000 bytes unpacked, allowed are 4,999"):
        unzipped(make.zipped("x" * 5000), max_bytes=4999)
    assert unzipped(make.zipped("x" * 5000), max_bytes=5000)[1] == b"x" * 5000


def test_a_size_declared_too_small_does_not_get_more_bytes_out(make: SimpleNamespace) -> None:
    packed = bytearray(make.zipped("x" * 5000))
    central = packed.rindex(b"PK\x01\x02")
    struct.pack_into("<I", packed, central + 24, 10)
    with pytest.raises(DataError):
        unzipped(bytes(packed), max_bytes=100)


def test_a_truncated_zip_and_a_flipped_byte_are_refused(make: SimpleNamespace) -> None:
    packed = make.zipped("x,y\n" * 500)
    with pytest.raises(DataError, match="not a whole zip file"):
        unzipped(packed[:-30])
    flipped = bytearray(packed)
    flipped[45] ^= 0xFF
    with pytest.raises(DataError, match="not a whole zip file"):
        unzipped(bytes(flipped))


def test_a_gzip_file_is_held_to_the_same_limit() -> None:
    packed = gzip.compress(b"x" * 5000)
    assert gunzipped(packed) == b"x" * 5000
    with pytest.raises(DataError, match="more than the allowed 4,999"):
        gunzipped(packed, max_bytes=4999)
    with pytest.raises(DataError, match="not a whole gzip file"):
        gunzipped(packed[:-9])
