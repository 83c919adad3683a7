"""Bar columns that no data set holds: those of calendars and flags; and nulls for data sets that are not there."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backtest.spec.models import Calendar, Column, Release, Session

BAR: Final = dt.timedelta(minutes=5)
FARTHEST_MINUTES: Final = 7 * 1440
"""A release further away than this is not told: `minutes_to_…` and `minutes_since_…` are null."""

Milliseconds = NDArray[np.int64]


def with_all_columns(bars: pl.DataFrame, columns: Mapping[str, Column], calendars: Iterable[Calendar]) -> pl.DataFrame:
    """The bars with every column of the spec.

    Calendar columns are computed from the time alone, ``gap`` and ``zero_volume`` are the flags of the bars as 0 and 1;
    any other column that the bars lack is null (its data set is not there). Row t says nothing that is not known at the
    close of bar t: a date in a calendar is known beforehand.
    """
    made = calendar_columns(bars["timestamp"], calendars)
    flags = {"gap": "is_gap", "zero_volume": "is_zero_volume"}
    added = [made[name] for name in made.columns if name not in bars.columns]
    added += [
        bars[flag].cast(pl.Float64).alias(name)
        for name, flag in flags.items()
        if name in columns and name not in bars.columns and flag in bars.columns
    ]
    whole = bars.with_columns(added)
    return whole.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in columns if name not in whole.columns
    )


def calendar_columns(timestamp: pl.Series, calendars: Iterable[Calendar]) -> pl.DataFrame:
    """The calendars' columns, one row a bar, Float64.

    ``session_open`` is 1 in the first bar of an exchange's trading hours, ``session_close`` in their last bar, each
    known at that bar's close; 0 in all others. Of a calendar of releases, the column of its name is 1 in the bar
    ``[t, t + 5m)`` into which a release falls, so that it is first known at the close of the bar that holds the first
    reaction; 0 in all others, and null on days that not all its kinds of release cover. ``minutes_to_…`` counts from
    the bar's close to the next release (0: at the close), ``minutes_since_…`` from the last release to the bar's close.
    """
    opens = timestamp.dt.epoch("ms").to_numpy()
    made: dict[str, NDArray[np.float64]] = {}
    for calendar in calendars:
        if calendar.sessions:
            made["session_open"] = _holds_one(opens, _session_instants(opens, calendar.sessions, "opens"))
            made["session_close"] = _holds_one(opens, _session_instants(opens, calendar.sessions, "closes") - 1)
        else:
            made |= _release_columns(opens, calendar)
    return pl.DataFrame({name: pl.Series(values, nan_to_null=True) for name, values in made.items()})


def _release_columns(opens: Milliseconds, calendar: Calendar) -> dict[str, NDArray[np.float64]]:
    stamps = np.unique(np.concatenate([_release_instants(release) for release in calendar.releases]))
    first = max(_instant(release.covers_from, dt.time(), release.timezone) for release in calendar.releases)
    last = min(_instant(release.covers_until, dt.time(), release.timezone) for release in calendar.releases)
    covered = (opens >= first) & (opens < last)
    closes = opens + _milliseconds(BAR)
    following = np.searchsorted(stamps, closes, side="left")
    padded = np.concatenate([[np.nan], stamps.astype(np.float64), [np.nan]])
    ahead, since = (padded[following + 1] - closes) / 60_000.0, (closes - padded[following]) / 60_000.0
    return {
        calendar.name: np.where(covered, _holds_one(opens, stamps), np.nan),
        f"minutes_to_{calendar.name}": np.where(covered & (ahead <= FARTHEST_MINUTES), ahead, np.nan),
        f"minutes_since_{calendar.name}": np.where(covered & (since <= FARTHEST_MINUTES), since, np.nan),
    }


def _release_instants(release: Release) -> Milliseconds:
    dated = {**dict.fromkeys(release.dates, release.time), **release.also}
    return np.array([_instant(date, time, release.timezone) for date, time in dated.items()], dtype=np.int64)


def _session_instants(opens: Milliseconds, sessions: Iterable[Session], which: str) -> Milliseconds:
    """Opening or closing instants of all sessions on the days the bars touch."""
    if opens.size == 0:
        return np.empty(0, dtype=np.int64)
    first = dt.datetime.fromtimestamp(opens[0] / 1000, dt.UTC).date() - dt.timedelta(days=1)
    n_days = int((opens[-1] - opens[0]) // 86_400_000) + 3
    days = [first + dt.timedelta(days=day) for day in range(n_days)]
    found = [
        _instant(day, getattr(session, which), session.timezone)
        for session in sessions
        for day in days
        if day.weekday() in session.weekdays
        and (session.since is None or day >= session.since)
        and (session.until is None or day < session.until)
    ]
    return np.unique(np.array(found, dtype=np.int64))


@functools.lru_cache(maxsize=65_536)
def _instant(date: dt.date, time: dt.time, zone: str) -> int:
    """Milliseconds since 1970 of a local time, daylight saving included."""
    local = dt.datetime.combine(date, time, tzinfo=ZoneInfo(zone))
    return int(local.timestamp()) * 1000


def _holds_one(opens: Milliseconds, instants: Milliseconds) -> NDArray[np.float64]:
    """1 where an instant lies in [open, open + 5 minutes), else 0."""
    before = np.searchsorted(instants, opens, side="left")
    until = np.searchsorted(instants, opens + _milliseconds(BAR), side="left")
    return (until > before).astype(np.float64)


def _milliseconds(span: dt.timedelta) -> int:
    return int(span.total_seconds() * 1000)
