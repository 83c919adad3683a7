"""Live files come from outside: whatever their bytes, they are rows or a DataError."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from backtest.errors import DataError, MisuseError
from backtest.lake.live import live_file, read_live
from backtest.lake.paths import DataRoot

ROWS = pl.DataFrame({"timestamp": ["2025-01-01T00:00:00Z"] * 5, "symbol": ["BTCUSDT"] * 5, "price": [1.0] * 5})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_damaged_bytes_are_rows_or_a_data_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"fills{suffix}"
    write = {".csv": ROWS.write_csv, ".parquet": ROWS.write_parquet, ".jsonl": ROWS.write_ndjson}[suffix]
    write(path)
    sound = path.read_bytes()
    assert read_live(path).shape == ROWS.shape
    chance, refused = random.Random(7), 0
    for _ in range(300):
        damaged = bytearray(sound)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_live(path)
        except DataError:
            refused += 1
    assert refused > 0


def test_one_file_of_a_kind_is_taken_and_two_are_refused(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    assert live_file(root, "r1", "fills") is None
    root.live("r1").mkdir(parents=True)
    (root.live("r1") / "fills.csv").touch()
    assert live_file(root, "r1", "fills") == root.live("r1") / "fills.csv"
    (root.live("r1") / "fills.jsonl").touch()
    with pytest.raises(DataError, match="both there"):
        live_file(root, "r1", "fills")
    with pytest.raises(MisuseError):
        live_file(root, "../r1", "fills")
