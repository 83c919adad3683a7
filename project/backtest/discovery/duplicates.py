"""Hypotheses whose day scores are equal: one hypothesis with several names, to be counted once.

A barrier that no close ever met makes a trade the plain one; a state that holds at every event is no condition; a pooled
scope with events on one symbol is that symbol. The spec cannot tell, the data can: where every day has the same number of
events and bit for bit the same sum, any statistic is the same.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_scores import WITHOUT
from backtest.discovery.event_days import EventDays
from backtest.expressions.compiling import machine_code
from backtest.spec.models import ALL_STATES, POOLED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Digests = NDArray[np.uint64]

NO_ALIAS: Final = -1


def series_digests(days: EventDays, register: pl.DataFrame, filters: Collection[str]) -> Digests:
    """(m, 2) 128-bit digests of each hypothesis's days, events and sums, of both groups where it tests a filter; 0 without
    events.

    Parameters
    ----------
    days, register : of one event.
    filters : the state ids that are filters.
    """
    n, z = days.values["n"], days.values["sum_z"]
    digests = _digests(*days.parts(register), days.day, n, z, z.view(np.uint64))
    is_filter = register["state_id"].is_in(list(filters))
    own, without = digests[is_filter.to_numpy()], days.parts(register.filter(is_filter), without=WITHOUT)
    others = _digests(*without, days.day, n, z, z.view(np.uint64))
    # A difference is no mean, even where the other group is empty; without any trade it is nothing.
    both = np.where((own | others) != 0, own * np.uint64(3) + others * np.uint64(5) + np.uint64(1), own)
    digests[is_filter.to_numpy()] = both
    return digests


def aliases(register: pl.DataFrame, digests: Digests) -> Integers:
    """(m,) the hypothesis that each is another name of; `NO_ALIAS` where it stands for itself.

    Of equal ones the plainest stands for all: two-sided before one-sided, ``all`` before a state, a symbol before the
    pooled scope, the shorter policy. A hypothesis with a side that this one has not stands for itself.
    """
    frame = (
        register.select(
            pl.col("with_verb").is_not_null().alias("with"),
            pl.col("against_verb").is_not_null().alias("against"),
            (pl.col("state_id") != ALL_STATES).alias("is_state"),
            (pl.col("symbol") == POOLED).alias("is_pooled"),
            pl.col("policy").str.len_chars().alias("length"),
            "event_type",
            "policy",
            "horizon",
            "state_id",
            "symbol",
        )
        .with_columns(pl.Series("first", digests[:, 0]), pl.Series("second", digests[:, 1]))
        .with_row_index("row")
        .filter((pl.col("first") != 0) | (pl.col("second") != 0))
        .sort(
            ~(pl.col("with") & pl.col("against")),
            "is_state",
            "is_pooled",
            "length",
            "event_type",
            "policy",
            "horizon",
            "state_id",
            "symbol",
        )
    )
    group = ("first", "second")
    leader = {name: pl.col(name).first().over(group) for name in ("row", "with", "against")}
    found = frame.filter(
        (pl.col("row") != leader["row"]) & (leader["with"] | ~pl.col("with")) & (leader["against"] | ~pl.col("against"))
    )
    named = frame.select("row", leader["row"].alias("leader")).join(found.select("row"), on="row")
    alias = np.full(len(register), NO_ALIAS, np.int64)
    alias[named["row"].to_numpy()] = named["leader"].to_numpy()
    return alias


@machine_code
def _mixed(value: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit of the argument decides on every bit of the result."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@machine_code
def _digests(
    pointer: Integers, start: Integers, stop: Integers, day: Integers, n: Floats, z: Floats, bits: Digests
) -> Digests:
    """Digests of the day sums of each hypothesis; `bits` are those of `z`."""
    size = len(pointer) - 1
    found = np.zeros((size, 2), np.uint64)
    low, high = 0, 1
    if len(day):
        low, high = day.min(), day.max() + 1
    day_n, day_z = np.zeros(high - low), np.zeros(high - low)
    day_bits = day_z.view(np.uint64)
    for h in range(size):
        parts = pointer[h + 1] - pointer[h]
        first, second = np.uint64(0), np.uint64(0)
        if parts == 1:
            part = pointer[h]
            for row in range(start[part], stop[part]):
                key = _mixed(np.uint64(day[row]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(n[row]))
                first += _mixed(bits[row] + key)
                second += _mixed(bits[row] ^ (key * np.uint64(0xD6E8FEB86659FD93)))
        elif parts > 1:
            for part in range(pointer[h], pointer[h + 1]):
                for row in range(start[part], stop[part]):
                    day_n[day[row] - low] += n[row]
                    day_z[day[row] - low] += z[row]
            for part in range(pointer[h], pointer[h + 1]):
                for row in range(start[part], stop[part]):
                    d = day[row] - low
                    if day_n[d] > 0.0:
                        key = _mixed(np.uint64(day[row]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(day_n[d]))
                        first += _mixed(day_bits[d] + key)
                        second += _mixed(day_bits[d] ^ (key * np.uint64(0xD6E8FEB86659FD93)))
                        day_n[d], day_z[d] = 0.0, 0.0
        found[h, 0], found[h, 1] = first, second
    return found
