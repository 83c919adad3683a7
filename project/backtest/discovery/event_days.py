"""Day scores of one event type as arrays, and which runs of rows each hypothesis is made of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_scores import LATER, ROW_SCHEMA, SERIES, SERIES_SCHEMA, DayScores
from backtest.spec.models import POOLED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
    begins : (s,) the first row of each run, ascending.
    series_totals : by column (s, 2) the sums of each run over the discovery and the confirmation fold.
    """

    day: Integers
    columns: tuple[str, ...]
    table: Floats
    series: Mapping[tuple[str, str, str], tuple[Series, ...]]
    begins: Integers
    series_totals: Mapping[str, Floats]

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
        names = (register[name].to_list() for name in (*SERIES, "symbol"))
        for policy, horizon, state_id, symbol in zip(*names, strict=True):
            for run in self.series.get((policy, horizon, without + state_id), ()):
                if symbol in (run.symbol, POOLED):
                    starts.append(run.start)
                    stops.append(run.stop)
            pointer.append(len(starts))
        return Parts(*(np.array(part, dtype=np.int64) for part in (pointer, starts, stops)))

    def totals(self, parts: Parts) -> dict[str, Floats]:
        """By column (m, 2) sums over the discovery and the confirmation fold of the runs of each of m hypotheses."""
        run = np.searchsorted(self.begins, parts.start)
        owner = np.repeat(np.arange(len(parts.pointer) - 1), np.diff(parts.pointer))
        found = {}
        for name, totals in self.series_totals.items():
            found[name] = np.zeros((len(parts.pointer) - 1, 2))
            np.add.at(found[name], owner, totals[run])
        return found


def event_days(scores: Mapping[str, DayScores]) -> EventDays:
    """Arrays of one event type's day scores by symbol."""
    series: dict[tuple[str, str, str], list[Series]] = {}
    symbols, begins, offset = sorted(scores), [], 0
    for symbol in symbols:
        *names, lengths = (scores[symbol].series[name].to_list() for name in (*SERIES, "rows"))
        for key, rows in zip(zip(*names, strict=True), lengths, strict=True):
            series.setdefault(key, []).append(Series(symbol, offset, offset + rows))
            begins.append(offset)
            offset += rows
    columns = tuple(name for name in (scores[symbols[0]].days.columns if symbols else ROW_SCHEMA) if name != "day")
    day, table = np.empty(offset, np.int64), np.empty((len(columns), offset))
    last = 0
    for symbol in symbols:
        days = scores[symbol].days
        first, last = last, last + len(days)
        day[first:last] = days["day"].to_numpy()
        for column, name in enumerate(columns):
            table[column, first:last] = days[name].to_numpy()
    every = [scores[symbol].series for symbol in symbols] or [pl.DataFrame(schema=SERIES_SCHEMA)]
    totals = {
        name: np.column_stack([np.concatenate([one[fold + name].to_numpy() for one in every]) for fold in ("", LATER)])
        for name in every[0].columns
        if LATER + name in every[0].columns
    }
    runs = {key: tuple(found) for key, found in series.items()}
    return EventDays(day, columns, table, runs, np.array(begins, dtype=np.int64), totals)
