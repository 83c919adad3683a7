"""How far the newest complete row of a data set lies behind now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Status = Literal["fresh", "stale", "missing", "future", "unreadable"]

REQUIRED_LAYER: Final = "cleaned"
REQUIRED_DATASET: Final = "perp bars_5m"
"""What events and trades are read from; every other data set is shown and decides nothing."""


@dataclass(frozen=True)
class Newest:
    """The newest row of one data set of one symbol that is complete, as it was found in the lake.

    Attributes
    ----------
    layer : ``cleaned``, ``features`` or ``raw/<venue>``.
    dataset : with its market, such as ``perp funding``.
    step : time a row stands for (a bar), or between two observations.
    stamp : the row's timestamp (UTC): open time of a bar, else time of the observation; None where there is no row.
    is_bar : whether the row is complete only one `step` after its stamp.
    latest_stamp : newest timestamp of all rows, complete or not; one after now means that a clock is wrong.
    fault : why the data set could not be read; None where it could.
    """

    symbol: str
    layer: str
    dataset: str
    step: dt.timedelta
    stamp: dt.datetime | None
    is_bar: bool = True
    latest_stamp: dt.datetime | None = None
    fault: str | None = None

    @property
    def is_required(self) -> bool:
        return self.layer == REQUIRED_LAYER and self.dataset == REQUIRED_DATASET


@dataclass(frozen=True)
class Freshness:
    """The verdict on one data set; `staleness_bars` counts steps that could be there and are not (None: no row)."""

    newest: Newest
    status: Status
    staleness_bars: int | None
    text: str

    @property
    def is_finding(self) -> bool:
        """Whether it makes the whole check fail."""
        return self.newest.is_required and self.status != "fresh"

    def row(self) -> dict[str, Any]:
        """The verdict for JSON."""
        return {
            "symbol": self.newest.symbol,
            "layer": self.newest.layer,
            "dataset": self.newest.dataset,
            "required": self.newest.is_required,
            "last_complete": None if self.newest.stamp is None else self.newest.stamp.isoformat(),
            "step_seconds": int(self.newest.step.total_seconds()),
            "staleness_bars": self.staleness_bars,
            "status": self.status,
            "text": self.text,
        }


def last_complete_stamp(now: dt.datetime, step: dt.timedelta, *, is_bar: bool = True) -> dt.datetime:
    """Stamp of the newest row that can be complete at `now`, on the grid of `step` from 1970-01-01 UTC.

    A bar [t, t + step) is complete at t + step; an observation at its stamp.
    """
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    on_grid = now - (now - epoch) % step
    return on_grid - step if is_bar else on_grid


def freshness(newest: Newest, now: dt.datetime, max_staleness_bars: int) -> Freshness:
    """Judge one data set: fresh where at most `max_staleness_bars` steps that could be complete at `now` are not there.

    No row is missing, a row of after `now` is a fault of a clock: neither is ever fresh.
    """
    if newest.fault is not None:
        return Freshness(newest, "unreadable", None, newest.fault)
    if newest.latest_stamp is not None and newest.latest_stamp > now:
        return Freshness(
            newest, "future", None, f"a row of {_minute(newest.latest_stamp)} lies after now, {_minute(now)} UTC"
        )
    if newest.stamp is None:
        return Freshness(newest, "missing", None, "no complete row")
    expected = last_complete_stamp(now, newest.step, is_bar=newest.is_bar)
    staleness = max(0, -((newest.stamp - expected) // newest.step))
    status: Status = "fresh" if staleness <= max_staleness_bars else "stale"
    return Freshness(newest, status, staleness, f"{staleness:,} behind, {max_staleness_bars:,} allowed")


def judged(rows: Sequence[Newest], now: dt.datetime, max_staleness_bars: int) -> list[Freshness]:
    """The verdict on each data set, what is required first within its symbol."""
    verdicts = [freshness(row, now, max_staleness_bars) for row in rows]
    return sorted(verdicts, key=lambda verdict: (verdict.newest.symbol, not verdict.newest.is_required))


def _minute(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
