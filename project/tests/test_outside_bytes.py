"""JSON and Parquet of outside origin give a value or a ValueError: nothing deep, long or damaged ends the program."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from backtest.errors import BacktestError, DataError, MisuseError
from backtest.lake.files import read_json, read_parquet, read_parquet_files, write_parquet
from backtest.lake.ledger import searches
from backtest.lake.months import read_months
from backtest.lake.paths import DataRoot
from backtest.outside_bytes import MAX_JSON_DEPTH, arrow_table, nesting_depth, parsed_json
from backtest.pipeline.cache import FileHashes
from backtest.pipeline.lock import holding_run
from backtest.sources.files import read_file

NOW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
BOMBS = {
    "lists": b"[" * 100_000,
    "closed lists": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 50_000,
    "a number of 100,000 digits": b"1" * 100_000,
    "half of a surrogate pair": b'{"a": "\\ud800"}',
    "no text": b"\xff\xfe\x00",
    "an infinity in digits": b'{"entries": [1.5, -1e999]}',
    "not a number": b'{"entries": NaN}',
    "cut off": b'{"layout": 1',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_a_value_error(bomb: bytes) -> None:
    with pytest.raises(ValueError):
        parsed_json(bomb)


def test_what_is_sound_is_read_as_json_reads_it() -> None:
    assert parsed_json('{"a": [1, 2.5, null, "[[[\\"[[{", "\\ud83d\\ude00"]}') == {"a": [1, 2.5, None, '[[["[[{', "😀"]}
    deepest = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH
    assert nesting_depth(deepest) == MAX_JSON_DEPTH
    assert parsed_json(deepest)
    with pytest.raises(ValueError, match="nested 101 deep; at most 100 is read"):
        parsed_json(f"[{deepest}]")
    text = '{"a": "' + "[" * 1_000 + '"}'
    assert parsed_json(text) == {"a": "[" * 1_000}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_every_reader_of_state_names_the_file_and_what_mends_it(bomb: bytes, tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root")
    root.create()
    path = tmp_path / "state.json"
    path.write_bytes(bomb)
    with pytest.raises(DataError, match=r"state\.json is unreadable: .*remove it and repeat the command"):
        read_json(path)
    assert FileHashes(path).of([]) == {}
    lock = root.run("mine") / ".lock"
    lock.parent.mkdir(parents=True)
    lock.write_bytes(bomb)
    with holding_run(root, "mine", now=NOW, command="test") as left_by:
        assert left_by is None
    root.ledger.mkdir()
    root.ledger_searches.write_bytes(bomb + b"\n")
    with pytest.raises(DataError, match=r"the search ledger does not add up: line 1 of .* Restore .* from a backup"):
        searches(root)
    root.marker.write_bytes(bomb)
    with pytest.raises(MisuseError, match=r"\.backtest-data-root is unreadable .*it should hold"):
        root.require()


def _damage(path: Path, *, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def _readers(path: Path) -> dict[str, Callable[[], object]]:
    return {
        "read_parquet": lambda: read_parquet(path),
        "read_parquet_files": lambda: read_parquet_files([path, path]),
        "read_file": lambda: read_file(path, "perp", "ohlcv_5m"),
    }


def test_a_parquet_file_damaged_at_any_byte_is_read_or_refused(tmp_path: Path) -> None:
    """Among these are files at which Polars panics, which is no Exception."""
    path = tmp_path / "bars.parquet"
    stamps = [NOW + dt.timedelta(minutes=5 * number) for number in range(50)]
    frame = pl.DataFrame({"timestamp": stamps, "close": [float(number) for number in range(50)]})
    write_parquet(path, frame.with_columns(pl.col("timestamp").dt.cast_time_unit("ms")))
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refusals = []
    for at in range(footer, len(whole)):
        path.write_bytes(whole)
        _damage(path, at=at)
        for read in _readers(path).values():
            try:
                read()
            except BacktestError as fault:
                refusals.append(str(fault))
    assert len(refusals) > 100
    assert all("bars.parquet" in refusal for refusal in refusals)


def test_columns_of_other_types_are_named(tmp_path: Path) -> None:
    path = tmp_path / "year=2024" / "month=01" / "part.parquet"
    write_parquet(path, pl.DataFrame({"timestamp": ["2024-01-01"], "close": [1.0]}))
    with pytest.raises(
        DataError, match=r"part\.parquet has columns of other types:\n  - timestamp is String, not Datetime"
    ):
        read_parquet(path, {"timestamp": pl.Datetime("ms", "UTC"), "close": pl.Float64()})
    with pytest.raises(DataError, match="timestamp has the type String, not UTC time"):
        read_months(tmp_path, NOW, columns=["timestamp"])
    write_parquet(
        path, pl.DataFrame({"timestamp": [NOW], "close": ["x"]}).cast({"timestamp": pl.Datetime("ms", "UTC")})
    )
    with pytest.raises(DataError, match="close is String, not Float64"):
        read_months(tmp_path, schema={"timestamp": pl.Datetime("ms", "UTC"), "close": pl.Float64()})


def test_what_is_no_parquet_file_is_a_value_error(tmp_path: Path) -> None:
    for content in (
        b"",
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1" + b"\xff" * 8 + b"PAR1",
        b"ARROW1",
        b"ARROW1\0\0" + b"\xff" * 64,
    ):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError):
            arrow_table(tmp_path / "x")
