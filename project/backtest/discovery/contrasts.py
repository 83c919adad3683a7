"""Filters: whether a trade earns more where a condition holds than where it does not, as clusters of one mean.

With S and N the day sums and counts of the trades for which the condition holds (1) and for which it does not (0), n their
totals in a fold and n = n₁ + n₀, the difference of the two means θ = S₁/n₁ − S₀/n₀ is the mean of the day contributions::

    S′_g = n·[(S₁g − θ̄·N₁g)/n₁ − (S₀g − θ̄·N₀g)/n₀]      θ̄ = (S₁ + S₀)/n
    N′_g = n₀·N₁g/n₁ + n₁·N₀g/n₀                             ΣN′ = n

because ΣS′/ΣN′ = θ and S′_g − θ·N′_g = n·[(S₁g − θ₁·N₁g)/n₁ − (S₀g − θ₀·N₀g)/n₀], the residuals of the regression on the
two groups. So the jackknife, its degrees of freedom (of the smaller group where one is small), joint sign-flips and the
confirmation fold take S′ and N′ as they take S and N: under the null that both groups share the mean θ̄, whatever it is,
the S′ are centred. θ̄ must be taken out: a day with many trades of one group would otherwise contribute θ̄ times their number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_scores import WITHOUT
from backtest.discovery.day_statistics import DayStatistics, day_statistics
from backtest.discovery.event_days import EventDays
from backtest.discovery.folds import Folds
from backtest.discovery.inference import ClusterT
from backtest.expressions.compiling import machine_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class _OwnRuns(EventDays):
    """Rows in which each hypothesis has one run of its own."""

    pointer: Integers

    def parts(self, register: pl.DataFrame) -> tuple[Integers, Integers, Integers]:  # noqa: ARG002 - runs are in its order
        return np.arange(len(self.pointer)), self.pointer[:-1], self.pointer[1:]


def with_contrasts(
    plain: DayStatistics,
    days: EventDays,
    register: pl.DataFrame,
    is_filter: Booleans,
    folds: Folds,
    own_days: Integers,
    n_spans: Integers,
    least: tuple[Floats, Floats, Floats],
) -> DayStatistics:
    """The figures of an event's hypotheses, those that test a filter's difference in the place of a mean.

    Parameters
    ----------
    plain : of all (m,) hypotheses; those of filters are of the trades that the filter holds for.
    days, register, folds, own_days, n_spans : what `plain` was made of.
    is_filter : (m,)
    least : (m,) each: events and days of the discovery fold and days of the confirmation fold that *both* groups need.
        Where one has fewer there is no t.

    Returns
    -------
    DayStatistics
        `z` and `later` are of the difference, and with them clusters, sign-flips, spans and the largest day. Counts, `y`,
        `later_y`, years, blocks and totals stay those of the trades that would be made; ``sum_z2`` is such that
        `inference.effective_events` compares with two independent groups.
    """
    at = np.flatnonzero(is_filter)
    if not len(at):
        return plain
    filters = register[at.tolist()]
    first = int(np.datetime64(str(folds.discovery_start), "D").astype(np.int64))
    n_calendar = int(days.day.max(initial=first)) - first + 1
    pointer, day, n, z, spread, counts = _contrasts(
        *days.parts(filters),
        *days.parts(filters.with_columns(pl.concat_str(pl.lit(WITHOUT), "state_id").alias("state_id"))),
        days.day - first,
        days.values["n"],
        days.values["sum_z"],
        days.values["sum_z2"],
        folds.first_confirmation_day - first,
        n_calendar,
    )
    rows = _OwnRuns(day + first, {"n": n, "sum_z": z, "sum_y": z}, {}, pointer)
    found = day_statistics(rows, filters, folds, own_days[at], n_spans[at])
    enough = (
        (counts[:, 0] >= least[0][at])
        & (counts[:, 1] >= least[1][at])
        & (plain.z.n_events[at] >= least[0][at])
        & (plain.n_days[at] >= least[1][at])
        & (counts[:, 3] >= least[2][at])
        & (plain.later_days[at] >= least[2][at])
    )
    events = plain.z.n_events[at].astype(np.float64)
    squares = plain.totals["sum_z2"].copy()
    squares[at, 0] = events * (events - 1.0) * spread + events * found.z.mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = found.largest_day * events / found.z.n_events
    return replace(
        _with_flips(plain, found, at),
        z=_of_difference(plain.z, found.z, at, enough),
        later=_of_difference(plain.later, found.later, at, enough),
        cluster_days=_put(plain.cluster_days, at, found.cluster_days),
        standard_error_ratio=_put(plain.standard_error_ratio, at, found.standard_error_ratio),
        largest_day=_put(plain.largest_day, at, largest),
        cusum=_put(plain.cusum, at, found.cusum),
        by_span=_put(plain.by_span, at, _wide(found.by_span, plain.by_span.shape[1])),
        totals={**plain.totals, "sum_z2": squares},
    )


def _of_difference(plain: ClusterT, found: ClusterT, at: Integers, enough: Booleans) -> ClusterT:
    """Mean, error, t and freedom of the difference, without them where a group is too small; the counts as they are."""
    names = ("mean", "standard_error", "t", "degrees_of_freedom")
    known = {name: np.where(enough, getattr(found, name), np.nan) for name in names}
    return replace(plain, **{name: _put(getattr(plain, name), at, values) for name, values in known.items()})


def _with_flips(plain: DayStatistics, found: DayStatistics, at: Integers) -> DayStatistics:
    """The clusters of `found` in the place of those of the hypotheses `at`."""
    from_plain = np.ones(len(plain.flip_pointer) - 1, dtype=bool)
    from_plain[at] = False
    lengths = np.diff(plain.flip_pointer)
    lengths[at] = np.diff(found.flip_pointer)
    pointer = np.concatenate([[0], np.cumsum(lengths)])
    of_plain = np.repeat(from_plain, np.diff(plain.flip_pointer))
    into_plain = np.repeat(from_plain, lengths)

    def merged(name: str) -> Any:
        old, new = getattr(plain, name), getattr(found, name)
        values = np.empty(len(into_plain), old.dtype)
        values[into_plain], values[~into_plain] = old[of_plain], new
        return values

    names = ("flip_day", "flip_sum", "flip_count")
    return replace(plain, flip_pointer=pointer, **{name: merged(name) for name in names})


def _put(values: NDArray[Any], at: Integers, new: NDArray[Any]) -> NDArray[Any]:
    changed = values.copy()
    changed[at] = new
    return changed


def _wide(values: Floats, columns: int) -> Floats:
    return np.pad(values, [(0, 0), (0, columns - values.shape[1])])


@machine_code
def _contrasts(
    pointer: Integers,
    start: Integers,
    stop: Integers,
    pointer_without: Integers,
    start_without: Integers,
    stop_without: Integers,
    day: Integers,
    n: Floats,
    z: Floats,
    z2: Floats,
    cut: int,
    n_calendar: int,
) -> tuple[Integers, Integers, Floats, Floats, Floats, Integers]:
    """Day contributions of m differences, both folds one after the other.

    Returns
    -------
    pointer : (m + 1,) where the rows of each begin in the next three.
    day, n, z : days, N′ and S′; days of a fold in which either group has no trade are left out.
    spread : (m,) variance of the difference in the discovery fold if all trades were independent.
    counts : (m, 4) events and days of the group without, of the discovery and of the confirmation fold.
    """
    size = len(pointer) - 1
    room = 0
    for part in range(len(start)):
        room += stop[part] - start[part]
    for part in range(len(start_without)):
        room += stop_without[part] - start_without[part]
    ends, days = np.zeros(size + 1, np.int64), np.empty(room, np.int64)
    weights, sums = np.empty(room), np.empty(room)
    spread, counts = np.full(size, np.nan), np.zeros((size, 4), np.int64)
    day_n, day_z = np.zeros((2, n_calendar)), np.zeros((2, n_calendar))
    filled = 0
    for h in range(size):
        total_n, total_z, total_z2 = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2))
        low, high = n_calendar, 0
        for group in range(2):
            begins = pointer if group == 1 else pointer_without
            first, last = (start, stop) if group == 1 else (start_without, stop_without)
            for part in range(begins[h], begins[h + 1]):
                for row in range(first[part], last[part]):
                    d = day[row]
                    fold = 0 if d < cut else 1
                    day_n[group, d] += n[row]
                    day_z[group, d] += z[row]
                    total_n[group, fold] += n[row]
                    total_z[group, fold] += z[row]
                    total_z2[group, fold] += z2[row]
                    low, high = min(low, d), max(high, d + 1)
        for d in range(low, high):
            fold = 0 if d < cut else 1
            without, within = total_n[0, fold], total_n[1, fold]
            if day_n[0, d] > 0.0:
                counts[h, 2 * fold] += int(day_n[0, d])
                counts[h, 2 * fold + 1] += 1
            if without > 0.0 and within > 0.0 and day_n[0, d] + day_n[1, d] > 0.0:
                both = without + within
                mean = (total_z[0, fold] + total_z[1, fold]) / both
                days[filled] = d
                weights[filled] = without * day_n[1, d] / within + within * day_n[0, d] / without
                sums[filled] = both * (
                    (day_z[1, d] - mean * day_n[1, d]) / within - (day_z[0, d] - mean * day_n[0, d]) / without
                )
                filled += 1
            day_n[0, d], day_n[1, d], day_z[0, d], day_z[1, d] = 0.0, 0.0, 0.0, 0.0
        ends[h + 1] = filled
        variance = 0.0
        for group in range(2):
            count = total_n[group, 0]
            if count < 2.0:
                variance = np.nan
            else:
                centred = total_z2[group, 0] - total_z[group, 0] ** 2 / count
                variance += centred / (count - 1.0) / count
        spread[h] = variance
    return ends, days[:filled].copy(), weights[:filled].copy(), sums[:filled].copy(), spread, counts
