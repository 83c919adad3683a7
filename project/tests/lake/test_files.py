"""Files are the old one or the new one, and faults say what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest

from backtest.errors import DataError
from backtest.lake.files import (
    TEMPORARY_PREFIX,
    blake2b_hash,
    content_hash,
    has_content,
    parquet_metadata,
    read_json,
    read_parquet,
    replacing,
    write_json,
    write_parquet,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError, match="in the middle"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in the middle")
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_a_full_disk_is_a_data_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frame.parquet"
    write_parquet(path, pl.DataFrame({"a": [1]}))
    before = content_hash(path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device.*Free space") as fault:
        write_parquet(path, pl.DataFrame({"a": [2]}))
    assert "Nothing was changed" in str(fault.value)
    assert content_hash(path) == before


def test_the_same_frame_gives_the_same_bytes_and_keeps_its_metadata(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
    for name in ("one", "two"):
        write_parquet(tmp_path / name, frame, {"made by": "test"})
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    assert parquet_metadata(tmp_path / "one")["made by"] == "test"
    assert read_parquet(tmp_path / "one").equals(frame)


def test_a_recorded_hash_is_compared_as_the_version_that_recorded_it_took_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12" * 1_000_000)
    recorded = [content_hash(path), blake2b_hash(path)]
    assert recorded[0].startswith("xxh3:")
    assert all(has_content(path, digest) for digest in recorded)
    path.write_bytes(b"13" * 1_000_000)
    assert not any(has_content(path, digest) for digest in [*recorded, None, 7])


def test_missing_damaged_and_incomplete_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_parquet(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"bad\.parquet is not a readable Parquet file"):
        read_parquet(tmp_path / "bad.parquet")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json is unreadable"):
        read_json(tmp_path / "bad.json")
    write_parquet(tmp_path / "few.parquet", pl.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="lacks the columns b; it has a"):
        read_parquet(tmp_path / "few.parquet", {"a": pl.Int64(), "b": pl.Int64()})


def test_temporary_names_are_recognisable(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as temporary:
        assert temporary.name.startswith(TEMPORARY_PREFIX)
        temporary.write_text("whole")


def test_what_a_stage_hands_another_is_read_as_one_array(tmp_path: Path):
    frame = pl.DataFrame({"x": pl.int_range(600_000, eager=True) * 0.5})
    write_parquet(tmp_path / "passing.parquet", frame, is_passing=True)
    assert read_parquet(tmp_path / "passing.parquet").n_chunks() == 1
    write_parquet(tmp_path / "nothing.parquet", frame.clear(), is_passing=True)
    assert read_parquet(tmp_path / "nothing.parquet").equals(frame.clear())
