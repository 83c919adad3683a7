"""Values that change when the future is cut off: each is a definition that looked at it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

PART: Final = ": "
"""Stands between a definition and one of its parts in the name of a column."""
NULL_BITS: Final = np.uint64(0x7FF8_DEAD_0000_0001)
"""A NaN that no computation makes."""

Frames = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Offence:
    """The first value of a definition that the future changed."""

    symbol: str
    column: str
    timestamp: dt.datetime
    cut: dt.datetime
    with_future: float | bool | None
    without_future: float | bool | None


@dataclass(frozen=True)
class Check:
    """A definition, how many of its values were compared, how many differ, and the first one that does."""

    definition: str
    checked: int
    mismatches: int
    first: Offence | None = None


def look_ahead(
    sources: Frames, compute: Callable[[Frames], pl.DataFrame], cut: dt.datetime, symbol: str = ""
) -> list[Check]:
    """Compare what `compute` makes of all rows with what it makes of those before `cut`, bit for bit, at every bar before.

    Both computations begin at the same bar, so a value that is accumulated from the beginning (expanding, recursive) is
    the same in both. What differs depends on rows at or after the cut. Rows should reach some way behind the cut: what a
    definition could see there and did not is no proof.

    Parameters
    ----------
    sources : frames with a ``timestamp``, in time order.
    compute : from frames like them to one with ``timestamp`` and numeric or Boolean columns. A column is a definition, or
        ``definition: part``. Where the cut frame ends earlier (in a gap before the cut), the rows both have are compared.
    cut : the first instant that is not known yet.
    symbol : for the report.

    Returns
    -------
    A `Check` for each definition, in the order of the columns. Nulls on both sides are not counted as checked.
    """
    before = pl.col("timestamp") < cut
    with_future = compute(sources).filter(before)
    without_future = compute({name: frame.filter(before) for name, frame in sources.items()}).filter(before)
    n_rows = min(len(with_future), len(without_future))
    if not n_rows and len(with_future):
        raise ValueError("with the future cut off there is no row before the cut, so nothing can be compared")
    stamps = without_future["timestamp"].head(n_rows)
    if not stamps.equals(with_future["timestamp"].head(n_rows)):
        raise ValueError("the two computations begin at different bars, so they cannot be compared")
    checks = []
    for column in with_future.columns:
        if column == "timestamp":
            continue
        one, other = with_future[column].head(n_rows), without_future[column].head(n_rows)
        bits, other_bits = _bits(one), _bits(other)
        known = int(np.count_nonzero((bits != NULL_BITS) | (other_bits != NULL_BITS)))
        differs = np.flatnonzero(bits != other_bits)
        first = None
        if len(differs):
            row = int(differs[0])
            first = Offence(symbol, column, stamps[row], cut, one[row], other[row])
        checks.append(Check(column.partition(PART)[0], known, len(differs), first))
    return merged(checks)


def merged(checks: Iterable[Check]) -> list[Check]:
    """One check a definition, with the earliest offence, in the order in which definitions first appear."""
    found: dict[str, Check] = {}
    for check in checks:
        other = found.get(check.definition)
        if other is None:
            found[check.definition] = check
            continue
        offences = [offence for offence in (other.first, check.first) if offence is not None]
        first = min(offences, key=lambda offence: (offence.timestamp, offence.symbol, offence.column), default=None)
        checked, mismatches = other.checked + check.checked, other.mismatches + check.mismatches
        found[check.definition] = Check(check.definition, checked, mismatches, first)
    return list(found.values())


def _bits(values: pl.Series) -> NDArray[np.uint64]:
    """The bits of each value, `NULL_BITS` for null; 0.0 and -0.0 differ."""
    numbers = values.cast(pl.Float64).to_numpy(writable=True)
    bits: NDArray[np.uint64] = numbers.view(np.uint64)
    bits[values.is_null().to_numpy()] = NULL_BITS
    return bits
