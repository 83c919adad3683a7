"""Sums per hypothesis and UTC day: the only input of the statistics.

The days of one policy, horizon and state on one symbol are a series. In the lake the names of the series and their totals are
one table and the days, series after series, another (`DayScores`): tests read few columns of the days, and totals of the rest.
Of some columns nothing but the totals is ever read, and these have no days there (`TOTALS_ONLY`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.forward_returns import Booleans, Floats, Integers
from backtest.expressions.compiling import machine_code

SCORE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "policy": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "day": pl.Int32(),
    "n": pl.Int32(),
    "n_tainted": pl.Int32(),
    "sum_z": pl.Float64(),
    "sum_z2": pl.Float64(),
    "sum_y": pl.Float64(),
    "sum_y2": pl.Float64(),
    "sum_cost": pl.Float64(),
    "sum_impact": pl.Float64(),
    "sum_log_turnover": pl.Float64(),
    "sum_funding": pl.Float64(),
    "sum_favourable": pl.Float64(),
    "sum_adverse": pl.Float64(),
}
"""``day`` counts days since 1970-01-01. ``y`` is the abnormal return of a trade in the event's direction (fraction), ``z``
the same in units of its expected volatility; ``cost`` is what either side pays (fraction), ``impact`` the part of it that
grows with the order, ``log_turnover`` of the usual bar in USD, ``funding`` what a position in the event's direction pays at
stamps; ``favourable`` and ``adverse`` are the largest gain and the largest loss of such a position while it was held
(fraction, both ≥ 0). ``n_tainted`` of the ``n`` trades rest on a bar that cannot be trusted. Rows whose ``state_id`` starts
with ``atom:`` are the disjoint cells that effect sizes are estimated on; of a filter there are rows of the trades that it
holds for, under its verb, and of those that it is known not to hold for, under its verb after ``not:``."""

SUM_TRUTH: Final = "sum_truth"
"""A further column in simulated markets: what the trades earn on average because of what was planted (fraction)."""

WITHOUT: Final = "not:"
"""Begins the ``state_id`` of the trades that a filter does not hold for."""

SUM_COLUMNS: Final = tuple(name for name in SCORE_SCHEMA if name.startswith("sum_"))
SERIES: Final = ("policy", "horizon", "state_id")
"""What tells the series of one symbol's day scores apart."""
SUMMED: Final = tuple(name for name in SCORE_SCHEMA if name not in {*SERIES, "day"})
TOTALS_ONLY: Final = ("n_tainted", "sum_impact", "sum_log_turnover", "sum_favourable", "sum_adverse")
ROW_SCHEMA: Final = {name: dtype for name, dtype in SCORE_SCHEMA.items() if name not in {*SERIES, *TOTALS_ONLY}}
LATER: Final = "confirmation_"
"""Begins the name of a total over the confirmation fold; that over the discovery fold is named as its column."""
SERIES_SCHEMA: Final[dict[str, pl.DataType]] = {
    **{name: SCORE_SCHEMA[name] for name in SERIES},
    "rows": pl.Int64(),
    **{before + name: pl.Float64() for before in ("", LATER) for name in SUMMED},
}


class DayScores(NamedTuple):
    """Day scores of one event type on one symbol.

    ``series`` (`SERIES_SCHEMA`) has of each series the number of its rows and the totals of each column; ``days``
    (`ROW_SCHEMA`, or some of it) has the rows of all series one after the other, days ascending within each.
    """

    series: pl.DataFrame
    days: pl.DataFrame


@dataclass(frozen=True)
class TradeScores:
    """One row a trade: the day of its event and what is summed over the days."""

    day: Integers
    z: Floats
    y: Floats
    cost: Floats
    impact: Floats
    log_turnover: Floats
    funding: Floats
    favourable: Floats
    adverse: Floats
    truth: Floats | None = None
    """Known in simulated markets only."""

    def summed(self) -> Floats:
        """(columns, n) what is summed, in the order of `SUM_COLUMNS`, and the truth where it is known."""
        columns = [
            self.z,
            self.z**2,
            self.y,
            self.y**2,
            self.cost,
            self.impact,
            self.log_turnover,
            self.funding,
            self.favourable,
            self.adverse,
        ]
        return np.stack(columns if self.truth is None else [*columns, self.truth])


def abnormal_returns(gross: Floats, direction: Floats, bars_held: Integers, mean_bar_return: Floats) -> Floats:
    """Return of a trade less what the symbol's mean bar return gives any position of that side and length (fraction)."""
    return gross - direction * bars_held * mean_bar_return


def standardised(abnormal: Floats, volatility: Floats, horizon_bars: int) -> Floats:
    """Abnormal returns in units of their expected standard deviation over the *planned* horizon.

    The planned horizon, not the bars held: dividing by the realised length of a trade that may stop early would weigh
    its losses and gains differently and give a mean although there is none.
    """
    return np.asarray(abnormal / (volatility * np.sqrt(horizon_bars)))


@dataclass(frozen=True)
class DaySums:
    """Sums of trades for each condition and day that has any, conditions in order and days ascending within them.

    ``condition`` indexes the conditions; ``sums`` is (columns, rows) in the order of `TradeScores.summed`.
    """

    condition: Integers
    day: Integers
    n: Integers
    n_tainted: Integers
    sums: Floats


class Held(NamedTuple):
    """Which of `size` conditions hold at each of n events: those of event i are conditions[pointer[i]:pointer[i + 1]]."""

    pointer: Integers
    conditions: Integers
    size: int

    @classmethod
    def of(cls, members: Booleans) -> Held:
        """From (n, size) whether each holds."""
        event, conditions = np.nonzero(members)
        return cls(np.searchsorted(event, np.arange(len(members) + 1)), conditions, members.shape[1])


def sum_by_day(trades: TradeScores, event: Integers, held: Held, tainted: Booleans) -> DaySums:
    """Sum trades over days for many conditions at once.

    Parameters
    ----------
    trades : TradeScores
        n trades in ascending order of day.
    event : (n,) which event each trade follows.
    held : Held
        The conditions at the events.
    tainted : (n,) bool
        Trades that rest on a bar that cannot be trusted.
    """
    return DaySums(*_sum_by_day(trades.day.astype(np.int64), event, *held, tainted, trades.summed()))


@machine_code
def _sum_by_day(
    day: Integers, event: Integers, pointer: Integers, conditions: Integers, n_conditions: int, tainted: Booleans,
    values: Floats,
) -> tuple[Integers, Integers, Integers, Integers, Floats]:  # fmt: skip
    """The arrays of `DaySums`: the rows are counted first, so that nothing is kept for days without a trade."""
    n_columns, n_trades = values.shape
    rows, last = np.zeros(n_conditions + 1, np.int64), np.full(n_conditions, -(2**62), np.int64)
    for trade in range(n_trades):
        for condition in conditions[pointer[event[trade]] : pointer[event[trade] + 1]]:
            if last[condition] != day[trade]:
                last[condition] = day[trade]
                rows[condition + 1] += 1
    ends = np.cumsum(rows)
    n_rows = ends[n_conditions]
    owner, days = np.empty(n_rows, np.int64), np.empty(n_rows, np.int64)
    counts, suspect = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
    sums = np.zeros((n_rows, n_columns))
    at = ends[:-1] - 1
    last[:] = -(2**62)
    each = np.empty(n_columns)
    for trade in range(n_trades):
        each[:] = values[:, trade]
        for condition in conditions[pointer[event[trade]] : pointer[event[trade] + 1]]:
            if last[condition] != day[trade]:
                last[condition] = day[trade]
                at[condition] += 1
                owner[at[condition]], days[at[condition]] = condition, day[trade]
            row = at[condition]
            counts[row] += 1
            if tainted[trade]:
                suspect[row] += 1
            for column in range(n_columns):
                sums[row, column] += each[column]
    return owner, days, counts, suspect, np.ascontiguousarray(sums.T)


def score_frame(trials: Sequence[tuple[str, str, DaySums]], state_ids: Sequence[str]) -> pl.DataFrame:
    """The day scores of trials in long form (`SCORE_SCHEMA`, and the truth where it is known), in their order.

    Parameters
    ----------
    trials : policy, horizon and sums of each.
    state_ids : the conditions that the sums were made for.
    """
    return long_form(DayScores(_names(trials, state_ids), _rows(trials, {"day", *SUMMED, SUM_TRUTH})))


def trial_scores(
    trials: Sequence[tuple[str, str, DaySums]], state_ids: Sequence[str], first_confirmation_day: int
) -> DayScores:
    """`score_frame` as series and days; `first_confirmation_day` is where the totals of the two folds part."""
    names = _names(trials, state_ids)
    if not trials:
        return DayScores(_with_totals(names, SUMMED, np.zeros((len(SUMMED), 0, 2))), _rows(trials, ROW_SCHEMA))
    size, found = len(state_ids), []
    for _, _, own in trials:
        counts = np.stack([own.n, own.n_tainted]).astype(np.float64)
        begins = _folds_begin(own.condition, own.day, size, first_confirmation_day)
        totals = np.concatenate([_totals(begins, counts), _totals(begins, own.sums)])
        found.append(totals[:, np.bincount(own.condition, minlength=size) > 0])
    columns = (*SUMMED, SUM_TRUTH)[: len(found[0])]
    return DayScores(
        _with_totals(names, columns, np.concatenate(found, axis=1)), _rows(trials, {*ROW_SCHEMA, SUM_TRUTH})
    )


def long_form(scores: DayScores) -> pl.DataFrame:
    """Each row with the names of its series: of `SCORE_SCHEMA` what the days have."""
    of_row = np.repeat(np.arange(len(scores.series)), scores.series["rows"].to_numpy())
    return pl.concat([scores.series.select(pl.col(SERIES).gather(of_row)), scores.days], how="horizontal")


def in_series(frame: pl.DataFrame, first_confirmation_day: int) -> DayScores:
    """Day scores of one event type on one symbol from their long form, in any order; columns that are no numbers are left
    out."""
    begins = _begins(frame)
    day = frame["day"].to_numpy()
    falls = np.zeros(len(day), dtype=bool)
    falls[1:] = day[1:] <= day[:-1]
    falls[begins] = False
    names = frame.select(pl.col(SERIES).gather(begins))
    if falls.any() or names.is_duplicated().any():
        frame = frame.sort(*SERIES, "day")
        begins = _begins(frame)
        names = frame.select(pl.col(SERIES).gather(begins))
    rows = np.diff(np.append(begins, len(frame)))
    days = frame.select(pl.selectors.numeric())
    columns = [name for name in days.columns if name != "day"]
    values = days.select(pl.col(columns).cast(pl.Float64)).to_numpy().T
    own = np.repeat(np.arange(len(rows)), rows)
    folds = _folds_begin(own, days["day"].to_numpy(), len(rows), first_confirmation_day)
    totals = _totals(folds, np.ascontiguousarray(values))
    return DayScores(_with_totals(names.with_columns(pl.Series("rows", rows, pl.Int64)), columns, totals), days)


def _begins(frame: pl.DataFrame) -> Integers:
    """The first row of each run of rows of one series."""
    if frame.is_empty():
        return np.zeros(0, np.int64)
    changes = frame.select(pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in SERIES))
    changed = changes.to_series().to_numpy().copy()
    changed[0] = True
    return np.flatnonzero(changed)


def _names(trials: Sequence[tuple[str, str, DaySums]], state_ids: Sequence[str]) -> pl.DataFrame:
    """The series of trials with the number of their rows."""
    counts = [np.bincount(sums.condition, minlength=len(state_ids)) for _, _, sums in trials]
    rows = np.stack(counts) if trials else np.zeros((0, len(state_ids)), np.int64)
    of_trial, conditions = np.nonzero(rows)

    def names(known: Sequence[str], which: Integers) -> pl.Series:
        return pl.Series(known, dtype=pl.String).gather(which)

    return pl.DataFrame(
        {
            "policy": names([policy for policy, _, _ in trials], of_trial),
            "horizon": names([horizon for _, horizon, _ in trials], of_trial),
            "state_id": names(state_ids, conditions),
            "rows": rows[of_trial, conditions],
        }
    )


def _rows(trials: Sequence[tuple[str, str, DaySums]], names: Collection[str]) -> pl.DataFrame:
    """The rows of trials, one after the other: of their columns those of `names`."""
    if not trials:
        return pl.DataFrame(schema={name: dtype for name, dtype in SCORE_SCHEMA.items() if name in names})

    def joined(values: Iterable[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(list(values))

    counts = {
        name: joined(getattr(own, name) for _, _, own in trials).astype(np.int32)
        for name in ("day", "n", "n_tainted")
        if name in names
    }
    sums = {
        name: joined(own.sums[column] for _, _, own in trials)
        for column, name in enumerate((*SUM_COLUMNS, SUM_TRUTH)[: len(trials[0][2].sums)])
        if name in names
    }
    return pl.DataFrame(counts | sums)


def _with_totals(series: pl.DataFrame, columns: Sequence[str], totals: Floats) -> pl.DataFrame:
    """The series with (columns, series, 2) totals over the discovery and the confirmation fold beside their names."""
    return series.with_columns(
        pl.Series(before + name, totals[column, :, fold], pl.Float64)
        for fold, before in enumerate(("", LATER))
        for column, name in enumerate(columns)
    )


def _folds_begin(owner: Integers, day: Integers, size: int, first_confirmation_day: int) -> Integers:
    """(2·size + 1,) first row of each owner's discovery fold, then of its confirmation fold; rows are sorted by both."""
    return np.searchsorted(2 * owner + (day >= first_confirmation_day), np.arange(2 * size + 1))


@machine_code
def _totals(begins: Integers, values: Floats) -> Floats:
    """(columns, size, 2) sums of (columns, rows) values over the rows from each of `begins` to the next, in their order."""
    totals = np.zeros((len(values), len(begins) // 2, 2))
    for column in range(len(values)):
        for part in range(len(begins) - 1):
            total = 0.0
            for row in range(begins[part], begins[part + 1]):
                total += values[column, row]
            totals[column, part // 2, part % 2] = total
    return totals
