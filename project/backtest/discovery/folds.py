"""The split of a window into a discovery fold and an untouched confirmation fold."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from backtest.errors import DataError

BARS_PER_DAY: Final = 288
MIN_DAYS: Final = 10


@dataclass(frozen=True)
class Folds:
    """Two spans of whole UTC days with an embargo between them; ends are exclusive.

    No forward window of the discovery fold reaches the confirmation fold: the embargo is at least as long as the
    longest one.
    """

    discovery_start: dt.date
    discovery_end: dt.date
    confirmation_start: dt.date
    confirmation_end: dt.date

    @classmethod
    def from_json(cls, dates: Mapping[str, Any]) -> Folds:
        """Folds from a mapping that holds the four ISO dates (among other things)."""
        return cls(*(dt.date.fromisoformat(dates[field.name]) for field in fields(cls)))

    @property
    def first_confirmation_day(self) -> int:
        """Days from 1970-01-01 to the first day of the confirmation fold."""
        return (self.confirmation_start - dt.date(1970, 1, 1)).days

    @property
    def first_discovery_day(self) -> int:
        """Days from 1970-01-01 to the first day of the discovery fold."""
        return (self.discovery_start - dt.date(1970, 1, 1)).days

    @property
    def discovery_end_day(self) -> int:
        """Days from 1970-01-01 to the end (exclusive) of the discovery fold."""
        return (self.discovery_end - dt.date(1970, 1, 1)).days

    @property
    def confirmation_end_day(self) -> int:
        """Days from 1970-01-01 to the end (exclusive) of the confirmation fold."""
        return (self.confirmation_end - dt.date(1970, 1, 1)).days

    @property
    def embargo_days(self) -> int:
        return (self.confirmation_start - self.discovery_end).days


def split(start: dt.datetime, end: dt.datetime, *, discovery_share: float, longest_window_bars: int) -> Folds:
    """Split the days of [start, end) in time; the embargo is taken from the confirmation side.

    Parameters
    ----------
    start, end : datetime
        First bar and end (exclusive) of the data, UTC.
    discovery_share : float
        Share of the days in the discovery fold.
    longest_window_bars : int
        Bars from an event to the last price any of its trades may use.

    Raises
    ------
    DataError
        Where the window is too short to be split.
    """
    first, last = start.date(), (end - dt.timedelta(microseconds=1)).date() + dt.timedelta(days=1)
    days = (last - first).days
    embargo = max(1, math.ceil(longest_window_bars / BARS_PER_DAY))
    cut = first + dt.timedelta(days=math.floor(days * discovery_share))
    confirmation = cut + dt.timedelta(days=embargo)
    if days < MIN_DAYS or confirmation >= last:
        raise DataError(
            f"the window {first} … {last - dt.timedelta(days=1)} has {days} days: too short for a discovery fold, "
            f"an embargo of {embargo} day(s) and a confirmation fold (at least {MIN_DAYS} days). Give an earlier START "
            "or a later END."
        )
    return Folds(first, cut, confirmation, last)
