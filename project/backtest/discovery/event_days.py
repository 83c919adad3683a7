"""Day scores of one event type as arrays, and which runs of rows each hypothesis is made of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.spec.models import POOLED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SERIES: Final = ("policy", "horizon", "state_id")
"""What tells the series of one symbol's day scores apart."""


class Series(NamedTuple):
    """One run of rows: the days of one policy, horizon and state on one symbol."""

    symbol: str
    start: int
    stop: int


class Parts(NamedTuple):
    """The runs of m hypotheses: those of the i-th are pointer[i] … pointer[i+1]−1 of the (k,) first and end rows."""

    pointer: Integers
    start: Integers
    stop: Integers


@dataclass(frozen=True)
class EventDays:
    """Rows of all symbols of one event type.

    Attributes
    ----------
    day : (r,) days since 1970-01-01, ascending within a series.
    columns : names of the k columns of the day scores that are numbers, ``n`` among them.
    table : (k, r) their values.
    series : by policy, horizon and state id the runs of rows, in the order of the symbols.
    """

    day: Integers
    columns: tuple[str, ...]
    table: Floats
    series: Mapping[tuple[str, str, str], tuple[Series, ...]]

    @functools.cached_property
    def values(self) -> Mapping[str, Floats]:
        """(r,) arrays by column."""
        return dict(zip(self.columns, self.table, strict=True))

    def parts(self, register: pl.DataFrame, *, without: str = "") -> Parts:
        """The runs of each registered hypothesis of the event: those of its symbol, or of all where it is pooled.

        Parameters
        ----------
        register : (m,) `hypotheses.REGISTER_SCHEMA`, of the event.
        without : begins the state ids of the runs that are looked for, such as `day_scores.WITHOUT`.
        """
        pointer, starts, stops = [0], [], []
        for policy, horizon, state_id, symbol in register.select(*SERIES, "symbol").iter_rows():
            for run in self.series.get((policy, horizon, without + state_id), ()):
                if symbol in (run.symbol, POOLED):
                    starts.append(run.start)
                    stops.append(run.stop)
            pointer.append(len(starts))
        return Parts(*(np.array(part, dtype=np.int64) for part in (pointer, starts, stops)))


def event_days(scores: Mapping[str, pl.DataFrame]) -> EventDays:
    """Arrays of one event type's day scores by symbol (`day_scores.SCORE_SCHEMA`, in any order)."""
    series: dict[tuple[str, str, str], list[Series]] = {}
    frames, offset = [], 0
    for symbol in sorted(scores):
        frame, starts, keys = _runs(scores[symbol])
        edges = (offset + np.append(starts, len(frame))).tolist()
        for key, start, stop in zip(keys, edges, edges[1:], strict=False):
            series.setdefault(key, []).append(Series(symbol, start, stop))
        frames.append(frame)
        offset += len(frame)
    schema = frames[0].schema if frames else SCORE_SCHEMA
    numbers = tuple(name for name, dtype in schema.items() if dtype.is_numeric() and name != "day")
    day, table = np.empty(offset, np.int64), np.empty((len(numbers), offset))
    last = 0
    for frame in frames:
        first, last = last, last + len(frame)
        day[first:last] = frame["day"].to_numpy()
        for column, name in enumerate(numbers):
            table[column, first:last] = frame[name].to_numpy()
    return EventDays(day, numbers, table, {key: tuple(runs) for key, runs in series.items()})


def _runs(frame: pl.DataFrame) -> tuple[pl.DataFrame, Integers, list[tuple[str, str, str]]]:
    """The rows by series and day, and the first row and the name of each series."""
    starts = _starts(frame)
    keys = _keys(frame, starts)
    day = frame["day"].to_numpy()
    falls = np.zeros(len(day), dtype=bool)
    falls[1:] = day[1:] <= day[:-1]
    falls[starts] = False
    if falls.any() or len(set(keys)) < len(keys):
        frame = frame.sort(*SERIES, "day")
        starts = _starts(frame)
        keys = _keys(frame, starts)
    return frame, starts, keys


def _keys(frame: pl.DataFrame, starts: Integers) -> list[tuple[str, str, str]]:
    columns = [frame[name].gather(starts).to_list() for name in SERIES]
    return list(zip(*columns, strict=True))


def _starts(frame: pl.DataFrame) -> Integers:
    if frame.is_empty():
        return np.zeros(0, np.int64)
    changes = frame.select(pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in SERIES))
    changed = changes.to_series().to_numpy().copy()
    changed[0] = True
    return np.flatnonzero(changed)
