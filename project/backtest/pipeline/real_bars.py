"""Null worlds made of the real bars of the lake: every bar's return with a random sign, or events moved by whole days."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from backtest.errors import DataError
from backtest.lake.paths import DataRoot

if TYPE_CHECKING:
    import polars as pl

    from backtest.pipeline.worlds import Prepared

LEAST_SHIFT_DAYS: Final = 7
"""Events are moved at least so far from where they were, on either side."""


@dataclass(frozen=True)
class RealSpan:
    """Which cleaned bars of which data root the copies are made of; the ends are those of the bars, end exclusive."""

    root: Path
    symbols: tuple[str, ...]
    start: dt.datetime
    end: dt.datetime
    data_hash: str

    @property
    def days(self) -> int:
        return (self.end - self.start).days


def real_span(root: DataRoot, symbols: tuple[str, ...], start: dt.datetime | None, end: dt.datetime | None) -> RealSpan:
    """The cleaned bars of the lake inside [start, end); of all symbols where none are named.

    Raises DataError, naming the command that mends it, where there are none.
    """
    import hashlib

    from backtest.lake.files import blake2b_hash
    from backtest.lake.months import month_files
    from backtest.pipeline.frames import cleaned_extent, cleaned_symbols, clipped

    root.require()
    names = symbols or tuple(cleaned_symbols(root))
    if not names:
        raise DataError(
            f"{root.lake} holds no cleaned bars to make copies of. Make some: make discover-edges-from-raw, from raw bars "
            "that make run or backtest import-raw brought in."
        )
    spans, digest = [], hashlib.blake2b(digest_size=16)
    for symbol in names:
        extent = cleaned_extent(root, symbol)
        span = None if extent is None else clipped(extent, start, end)
        if span is None:
            raise DataError(
                f"the lake has no cleaned bars of {symbol} in the window asked for. Make some: make discover-edges-from-raw "
                f"SYMBOLS={symbol}, or leave out START and END."
            )
        spans.append(span)
        for market in ("perp", "spot"):
            for path in month_files(root.cleaned_bars(market, symbol), *span):
                digest.update(f"{symbol}/{market}/{blake2b_hash(path)}\n".encode())
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    return RealSpan(root.path, names, first, last, digest.hexdigest())


@functools.lru_cache(maxsize=1)
def real_bars(span: RealSpan) -> Mapping[str, pl.DataFrame]:
    """Each symbol's cleaned bars with the spot bars beside them."""
    from backtest.pipeline.frames import bars_with_spot

    return {symbol: bars_with_spot(DataRoot(span.root), symbol, span.start, span.end) for symbol in span.symbols}


def copy_with_random_signs(span: RealSpan, seed: int) -> dict[str, pl.DataFrame]:
    """The real bars, each bar's return with a random sign that is the same on all symbols."""
    from backtest.evaluation.random_signs import with_random_signs
    from backtest.pipeline.worlds import BAR, with_returns_across

    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (span.end - span.start) // BAR)
    copies = {}
    for symbol, bars in real_bars(span).items():
        first = (bars["timestamp"][0] - span.start) // BAR
        copies[symbol] = with_random_signs(bars, signs[first : first + len(bars)])
    return with_returns_across(copies)


@functools.lru_cache(maxsize=1)
def prepared_real_bars(span: RealSpan, spec_root: Path) -> Mapping[str, Prepared]:
    """The real bars up to their events, prepared once a process."""
    from backtest.pipeline.worlds import prepare, with_returns_across
    from backtest.spec.loader import load_spec

    return prepare(with_returns_across(real_bars(span)), load_spec(spec_root))


def drawn_shift(span: RealSpan, seed: int) -> int:
    """By how many whole days the events of a copy are moved round the span."""
    return int(np.random.default_rng(seed).integers(LEAST_SHIFT_DAYS, span.days - LEAST_SHIFT_DAYS + 1))
