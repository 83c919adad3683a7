"""Parquet files of the lake know when they are not what was written."""

from __future__ import annotations

import zlib
from pathlib import Path

import polars as pl
import pyarrow.parquet
import pytest

from backtest.errors import DataError
from backtest.lake.checksums import FORMER_MARK, MARK
from backtest.lake.files import parquet_metadata, read_parquet, read_parquet_files, write_parquet

FRAME = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y", "z"], "c": [0.5, 1.5, 2.5]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "x.parquet", FRAME, {"made": "here"})
    return tmp_path / "x.parquet"


def test_every_changed_byte_is_noticed(path: Path) -> None:
    sound = path.read_bytes()
    mark = range(sound.index(MARK), sound.index(MARK) + len(MARK))
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        if place in mark:
            assert read_parquet(path).equals(FRAME)
            continue
        for read in (read_parquet, parquet_metadata, lambda one: read_parquet_files([one])):
            with pytest.raises(DataError, match=r"x\.parquet"):
                read(path)


@pytest.mark.parametrize("lost", [1, 8, 20, 100])
def test_a_file_that_was_cut_off_or_grew_is_noticed(path: Path, lost: int) -> None:
    sound = path.read_bytes()
    for other in (
        sound[:-lost],
        sound[lost:],
        sound[:200] + sound[200 + lost :],
        sound[:200] + bytes(lost) + sound[200:],
    ):
        path.write_bytes(other)
        with pytest.raises(DataError, match=r"x\.parquet"):
            read_parquet(path)


def test_other_programs_read_it(path: Path) -> None:
    table = pyarrow.parquet.read_table(path)
    assert table.to_pydict() == FRAME.to_dict(as_series=False)
    assert pl.read_parquet(path, columns=["b"]).equals(FRAME.select("b"))
    assert parquet_metadata(path)["made"] == "here"


def test_a_file_of_another_program_has_none_and_is_read(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "y.parquet")
    assert read_parquet(tmp_path / "y.parquet").equals(FRAME)


def test_a_file_of_an_earlier_version_is_checked_by_its_crc(path: Path) -> None:
    FRAME.write_parquet(path)
    plain = path.read_bytes()
    footer = len(plain) - 8 - int.from_bytes(plain[-8:-4], "little")
    sound = plain[:footer] + FORMER_MARK + zlib.crc32(plain).to_bytes(4, "little") + plain[footer:]
    path.write_bytes(sound)
    assert read_parquet(path).equals(FRAME)
    for place in (5, footer - 1, footer + len(FORMER_MARK), len(sound) - 9):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(DataError, match="as its checksum says"):
            read_parquet(path)


def test_one_of_many_files_is_named(path: Path) -> None:
    other = path.with_name("y.parquet")
    content = bytearray(path.read_bytes())
    content[6] ^= 1
    other.write_bytes(content)
    with pytest.raises(DataError, match=r"y\.parquet was damaged after it was written, as its checksum says"):
        read_parquet_files([path, other])
