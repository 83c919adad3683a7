"""Whether a window of days is free of the days a search has seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backtest.errors import DataError, listed

DAY: Final = dt.timedelta(days=1)
LEAST_SHARE: Final = 0.01
"""A window whose next opening has less of a level left is used up: ten openings under a budget of two levels."""
_FOLD_DATES: Final = ("discovery_start", "discovery_end", "confirmation_start", "confirmation_end")


@dataclass(frozen=True)
class SearchedWindow:
    """The days a run has searched, confirmation fold included, as the half-open span [start, end) of UTC instants.

    Attributes
    ----------
    embargo : how far a trade's prices may reach beyond the window, and an evaluation's trades into it.
    """

    run_id: str
    start: dt.datetime
    end: dt.datetime
    embargo: dt.timedelta


@dataclass(frozen=True)
class Openings:
    """What has looked at an evaluation window before, as the search ledger records it.

    Attributes
    ----------
    earlier : openings of any of its days, as the confirmation fold of a search or as an evaluation's window.
    searches : searches of any run whose window holds any of its days.
    share_left : share of a level that the next opening is held to, by `Gates.share_of_level`.
    """

    earlier: int
    searches: int
    share_left: float


@dataclass(frozen=True)
class WindowVerdict:
    """Whether [start, end) may be used for evaluation; `distance` is the time between it and the searched window.

    The distance is zero where they touch or overlap. `obstacles` has a sentence for each thing against it.
    """

    start: dt.datetime
    end: dt.datetime
    searched: SearchedWindow
    distance: dt.timedelta
    is_before: bool
    obstacles: tuple[str, ...]
    openings: Openings | None = None

    @property
    def is_free(self) -> bool:
        return not self.obstacles

    def as_json(self) -> dict[str, Any]:
        return {
            "run_id": self.searched.run_id,
            "status": "free" if self.is_free else "used",
            "eval_start": self.start.isoformat(),
            "eval_end_exclusive": self.end.isoformat(),
            "discovery_start": self.searched.start.isoformat(),
            "discovery_end_exclusive": self.searched.end.isoformat(),
            "embargo_days": self.searched.embargo / DAY,
            "distance_days": self.distance / DAY,
            "lies_before_discovery": self.is_before,
            "earlier_openings": None if self.openings is None else self.openings.earlier,
            "searches_with_days_of_it": None if self.openings is None else self.openings.searches,
            "share_of_level_left": None if self.openings is None else self.openings.share_left,
            "obstacles": list(self.obstacles),
        }


def searched_window(manifest: Mapping[str, Any], run_id: str) -> SearchedWindow:
    """The searched window that a run manifest records.

    The embargo is the one between the run's folds: no trade of the search reaches further.

    Raises
    ------
    DataError
        The run has not finished, a date is missing or no UTC date, or two entries contradict each other; all at once.
    """
    faults = []
    if manifest.get("run_id") != run_id:
        faults.append(f"it is the manifest of run {manifest.get('run_id')!r}, not of {run_id}")
    if manifest.get("status") != "finished":
        faults.append(f"the run's status is {manifest.get('status')!r}, not 'finished'")
    start, end = (_instant(manifest, name, faults) for name in ("discovery_start", "discovery_end"))
    folds = manifest.get("folds")
    dates = [_date(folds, name, faults) for name in _FOLD_DATES] if isinstance(folds, Mapping) else []
    if not dates:
        faults.append("it has no folds, from which the embargo follows")
    if start is not None and end is not None and start >= end:
        faults.append(f"discovery_start {start:%Y-%m-%d} does not lie before discovery_end {end:%Y-%m-%d}")
    days = [date for date in dates if date is not None]
    if len(days) == len(_FOLD_DATES):
        if not days[0] < days[1] < days[2] < days[3]:
            faults.append(f"its folds are not in order: {', '.join(map(str, days))}")
        elif start is not None and end is not None and (days[0] < start.date() or _midnight(days[3]) - DAY >= end):
            faults.append(f"its folds {days[0]} … {days[3]} reach beyond its discovery window {start} … {end}")
    if faults or start is None or end is None:
        raise DataError(f"the manifest of run {run_id} cannot tell which days were searched:\n{listed(faults)}")
    return SearchedWindow(run_id, start, end, (days[2] - days[1]))


def judged_window(
    start: dt.datetime, end: dt.datetime, searched: SearchedWindow, openings: Openings | None = None
) -> WindowVerdict:
    """The verdict on the evaluation window [start, end) with regard to one search and to all that opened it before.

    The embargo holds on both sides: trades of the search reach past its end, trades of an evaluation that ends before
    the search reach into it. Without `openings` they are not judged.
    """
    is_before = end <= searched.start
    distance = max(searched.start - end, start - searched.end, dt.timedelta(0))
    obstacles = []
    overlap = min(end, searched.end) - max(start, searched.start)
    if overlap > dt.timedelta(0):
        obstacles.append(f"it shares {_days(overlap)} with the discovery window {_span(searched)}")
    elif distance < searched.embargo:
        side = "before" if is_before else "after"
        obstacles.append(
            f"it lies {_days(distance)} {side} the discovery window {_span(searched)}, inside its embargo of "
            f"{_days(searched.embargo)}"
        )
    if openings is not None and openings.share_left < LEAST_SHARE:
        obstacles.append(
            f"days of it were opened {openings.earlier:,} times before: the next opening would be held to "
            f"{openings.share_left:.2%} of a level, below {LEAST_SHARE:.0%} its budget is used up"
        )
    return WindowVerdict(start, end, searched, distance, is_before, tuple(obstacles), openings)


def first_free_day(searched: SearchedWindow) -> dt.date:
    """First whole day after the searched window and its embargo."""
    free = searched.end + searched.embargo
    return free.date() if free == _midnight(free.date()) else free.date() + DAY


def _days(length: dt.timedelta) -> str:
    days = length / DAY
    return f"{days:g} {'day' if days == 1 else 'days'}"


def _span(searched: SearchedWindow) -> str:
    return f"{searched.start:%Y-%m-%d} … {searched.end - dt.timedelta(microseconds=1):%Y-%m-%d}"


def _instant(manifest: Mapping[str, Any], name: str, faults: list[str]) -> dt.datetime | None:
    value = manifest.get(name)
    if value is None:
        faults.append(f"it has no {name}")
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        faults.append(f"{name} is {str(value)[:40]!r}, not a time")
        return None
    if moment.utcoffset() != dt.timedelta(0):
        faults.append(f"{name} is {str(value)[:40]!r}, not a time in UTC")
        return None
    return moment


def _date(folds: Mapping[str, Any], name: str, faults: list[str]) -> dt.date | None:
    try:
        return dt.date.fromisoformat(folds[name])
    except (KeyError, TypeError, ValueError):
        faults.append(f"folds.{name} is {str(folds.get(name))[:40]!r}, not a date")
        return None


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
