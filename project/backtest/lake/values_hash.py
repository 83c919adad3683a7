"""A hash of what a table says, whatever bytes a file has it in: the same after another compression or version of a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import xxhash

from backtest.lake.files import parquet_metadata, read_parquet

if TYPE_CHECKING:
    import polars as pl

VALUES_HASH: Final = "values"
"""Name of the hash in a file's metadata."""


def values_hash(frame: pl.DataFrame) -> str:
    """XXH3-128 of names, types, nulls and values in their order, 32 hex digits.

    Columns are numbers, truths or times; TypeError for others. Floats count by their bits.
    """
    import polars as pl

    header = json.dumps([len(frame), *((name, str(kind)) for name, kind in frame.schema.items())])
    digest = xxhash.xxh3_128(header.encode())
    for name, kind in frame.schema.items():
        if not (kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean):
            raise TypeError(f"column {name} holds {kind}: neither numbers nor truths nor times")
    # Of all columns at once: asked for one by one, each is a query of its own.
    nulls = frame.select(pl.all().is_null().cast(pl.UInt8))
    values = frame.select(pl.col(pl.Boolean).cast(pl.UInt8), pl.exclude(pl.Boolean).to_physical()).fill_null(0)
    for name in frame.columns:
        if frame[name].null_count():
            digest.update(nulls[name].to_numpy().data)
        digest.update(values[name].to_numpy().data)
    return digest.hexdigest()


def values_hash_of(path: Path) -> str:
    """The values hash of a Parquet file, from its metadata or, where an earlier version wrote it, from its values.

    Raises DataError where it is missing or damaged.
    """
    return parquet_metadata(path).get(VALUES_HASH) or values_hash(read_parquet(path))
