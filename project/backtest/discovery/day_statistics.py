"""What the statistics need of every hypothesis of an event, in one pass over its day scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_scores import WITHOUT
from backtest.discovery.event_days import EventDays, Parts
from backtest.discovery.folds import Folds
from backtest.discovery.inference import WIDE_BLOCK_RATIO, ClusterT, wide_block_days
from backtest.errors import DataError
from backtest.expressions.compiling import machine_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Singles = NDArray[np.float32]

OVERFITTING_BLOCKS: Final = 12
"""Equal spans of the discovery fold that combinatorial cross-validation recombines (Bailey et al. 2017)."""


@dataclass(frozen=True)
class DayStatistics:
    """Figures of m hypotheses; of the discovery fold where not said otherwise, in the event's direction.

    Attributes
    ----------
    z, y : mean standardised and mean raw return per event with day-cluster errors.
    later, later_y : the same of the confirmation fold.
    n_days, later_days : (m,) active clusters of the horizon's own length.
    cluster_days : (m,) length of the clusters that `z` and the others rest on.
    standard_error_ratio : (m,) of blocks of at least five days to the horizon's own clusters.
    busiest_share, largest_share : (m,) largest share of a cluster in the events, and of its |Σz| in that of all.
    is_difference : (m,) whether it is a difference of means, between trades that a filter holds for and others.
    skewness : (m,) Σδ³/(Σδ²)^1.5 of the jackknife scores of Σz: the skewness of the mean, as its own sample has it.
    cusum : (m,) max|Σ_{g≤t} U_g|/√ΣU_g² over clusters in time.
    moments : (m, 4) sums of the first four powers of a cluster's Σy.
    totals : by column (m, 2) sums over the discovery and the confirmation fold.
    by_year : (m, years) Σy of each calendar year of `years`; NaN without events.
    by_span : (m, spans) Σz of each of the spans asked for, as many as the largest number of them.
    by_block : (m, 12, 2) Σz and Σ(Σz)² over the days of twelve equal spans.
    flip_pointer : (m + 1,) where the clusters of each hypothesis begin in the next three.
    flip_day, flip_sum, flip_count : (c,) first day of a cluster counted from the fold's, Σz and number of its events.
    """

    z: ClusterT
    y: ClusterT
    later: ClusterT
    later_y: ClusterT
    n_days: Integers
    later_days: Integers
    cluster_days: Integers
    standard_error_ratio: Floats
    busiest_share: Floats
    largest_share: Floats
    is_difference: Booleans
    skewness: Floats
    cusum: Floats
    moments: Floats
    totals: dict[str, Floats]
    years: tuple[int, ...]
    by_year: Floats
    by_span: Floats
    by_block: Floats
    flip_pointer: Integers
    flip_day: NDArray[np.int32]
    flip_sum: Singles
    flip_count: NDArray[np.float32]

    def mean_of(self, column: str) -> Floats:
        """(m,) mean per event of a column of the day scores over the discovery fold; NaN without events."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.totals[column][:, 0] / self.totals["n"][:, 0])


def day_statistics(
    days: EventDays,
    register: pl.DataFrame,
    folds: Folds,
    own_days: Integers,
    n_spans: Integers,
    filters: Collection[str] = (),
) -> DayStatistics:
    """Figures of the hypotheses of one event.

    Parameters
    ----------
    days : EventDays
    register : (m,) `hypotheses.REGISTER_SCHEMA`, of the event.
    folds : Folds
    own_days : (m,) length of the clusters of each hypothesis's horizon; counted from the first confirmation day, so that
        none has days of both folds.
    n_spans : (m,) into how many equal spans of the discovery fold the sums of `by_span` are divided.
    filters : state ids that are filters: the hypothesis is the difference between the mean where they hold and where not.

    Raises
    ------
    DataError
        Day scores outside both folds.

    Notes
    -----
    A difference of means is brought into the form of a mean: with n₁ and n₀ events where the filter holds and where
    not, n = n₁ + n₀ and μ the mean of all, S_g = n·((S₁_g − μN₁_g)/n₁ − (S₀_g − μN₀_g)/n₀) and
    N_g = N₁_g·n₀/n₁ + N₀_g·n₁/n₀, so that ΣS_g/n is the difference, ΣN_g is n, and U_g is each day's part in its error.
    Events and days of a difference are those of the side that has fewer; totals, moments and costs are those of the
    trades that the filter holds for.
    """
    size, cut = len(register), folds.first_confirmation_day
    parts = days.parts(register)
    is_difference = np.isin(register["state_id"].to_numpy().astype(str), sorted(filters))
    others = days.parts(register.filter(pl.Series(is_difference)), without=WITHOUT)
    other_pointer = np.zeros(size + 1, np.int64)
    other_pointer[1:][is_difference] = np.diff(others.pointer)
    others = Parts(np.cumsum(other_pointer), others.start, others.stop)
    first = _epoch_day(folds.discovery_start)
    n_first = max((folds.discovery_end - folds.discovery_start).days, 1)
    calendar = np.arange(first, max(_epoch_day(folds.confirmation_end), cut + 1))
    of_year = calendar.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    years = np.unique(of_year)
    if len(days.day) and not (first <= days.day.min() and days.day.max() < first + len(calendar)):
        raise DataError(
            f"there are day scores of {register['event_type'][0]} outside the run's folds ({folds.discovery_start} … "
            f"{folds.confirmation_end}); score again: make discover-edges"
        )
    n, z, y = (days.values[name] for name in ("n", "sum_z", "sum_y"))
    figures = np.full((size, len(_FIGURES)), np.nan)
    counts = np.zeros((size, len(_COUNTS)), np.int64)
    by_year, by_span = np.full((size, len(years)), np.nan), np.zeros((size, int(n_spans.max(initial=1))))
    by_block, moments = np.zeros((size, OVERFITTING_BLOCKS, 2)), np.zeros((size, 4))
    room = int((parts.stop - parts.start).sum() + (others.stop - others.start).sum())
    flip_day, flip_sum, flip_count = np.zeros(room, np.int32), np.zeros(room, np.float32), np.zeros(room, np.float32)
    flip_pointer = np.zeros(size + 1, np.int64)
    _reduce(
        *parts, *others, is_difference, days.day - first, n, z, y, own_days, wide_block_days(own_days), WIDE_BLOCK_RATIO,
        cut - first, n_first, len(calendar), np.searchsorted(years, of_year), n_spans,
        figures, counts, by_year, by_span, by_block, moments, flip_pointer, flip_day, flip_sum, flip_count,
    )  # fmt: skip
    figure = {name: figures[:, column] for column, name in enumerate(_FIGURES)}
    count = {name: counts[:, column] for column, name in enumerate(_COUNTS)}

    def test(name: str, fold: str) -> ClusterT:
        mean, error = figure[f"{name}_mean"], figure[f"{name}_error"]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = mean / error
        return ClusterT(mean, error, t, figure[f"{name}_freedom"], count[f"{fold}_events"], count[f"{fold}_clusters"])

    filled = int(flip_pointer[-1])
    return DayStatistics(
        z=test("z", "first"),
        y=test("y", "first"),
        later=test("later", "later"),
        later_y=test("later_y", "later"),
        n_days=count["first_days"],
        later_days=count["later_days"],
        cluster_days=count["cluster_days"],
        standard_error_ratio=figure["ratio"],
        busiest_share=figure["busiest"],
        largest_share=figure["largest"],
        is_difference=is_difference,
        skewness=figure["skewness"],
        cusum=figure["cusum"],
        moments=moments,
        totals=days.totals(parts),
        years=tuple(years.tolist()),
        by_year=by_year,
        by_span=by_span,
        by_block=by_block,
        flip_pointer=flip_pointer,
        flip_day=flip_day[:filled].copy(),
        flip_sum=flip_sum[:filled].copy(),
        flip_count=flip_count[:filled].copy(),
    )


def joined(parts: Sequence[DayStatistics]) -> DayStatistics:
    """The figures of several events one after the other; all of the same folds and the same number of columns."""
    offsets = np.cumsum([0, *(int(part.flip_pointer[-1]) for part in parts)])
    pointers = [part.flip_pointer[:-1] + offset for part, offset in zip(parts, offsets, strict=False)]

    def together(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if name == "years":
            return values[0]
        if name == "flip_pointer":
            return np.concatenate([*pointers, offsets[-1:]])
        if isinstance(values[0], ClusterT):
            return ClusterT(
                *(np.concatenate([getattr(value, field.name) for value in values]) for field in fields(ClusterT))
            )
        if isinstance(values[0], dict):
            known = [key for key in values[0] if all(key in value for value in values)]
            return {key: np.concatenate([value[key] for value in values]) for key in known}
        return np.concatenate(values)

    return DayStatistics(**{field.name: together(field.name) for field in fields(DayStatistics)})


def _epoch_day(date: object) -> int:
    return int(np.datetime64(str(date), "D").astype(np.int64))


_FIGURES: Final = (
    "z_mean", "z_error", "z_freedom", "y_mean", "y_error", "y_freedom", "later_mean", "later_error", "later_freedom",
    "later_y_mean", "later_y_error", "later_y_freedom", "ratio", "busiest", "largest", "cusum", "skewness",
)  # fmt: skip
_COUNTS: Final = (
    "first_events", "first_clusters", "first_days", "later_events", "later_clusters", "later_days", "cluster_days",
)  # fmt: skip


@machine_code
def _clusters(
    at: Integers, days: Floats, first: int, last: int, length: int, cut: int, starts: Integers, clusters: Floats
) -> int:
    """Clusters of the active days first … last−1 of (n, Σz, Σy, Σ return) into `starts` and `clusters`; how many they are."""
    if length == 1:
        starts[: last - first] = at[first:last]
        clusters[:, : last - first] = days[:, first:last]
        return last - first
    filled = 0
    end = -(1 << 60)
    for index in range(first, last):
        if at[index] >= end:
            start = cut + (at[index] - cut) // length * length
            starts[filled] = start
            clusters[:, filled] = 0.0
            filled += 1
            end = start + length
        for k in range(4):
            clusters[k, filled - 1] += days[k, index]
    return filled


@machine_code
def _difference(days: Floats, others: Floats, low: int, high: int) -> tuple[int, int]:
    """Put the difference of means between `days` and `others` into days' first three rows, in the form of a mean.

    Returns the events and the active days of the side that has fewer; where it has none, no day is left active.
    """
    n, m, active, other_active = 0.0, 0.0, 0, 0
    mean = np.zeros(3)
    for day in range(low, high):
        n += days[0, day]
        m += others[0, day]
        active += days[0, day] > 0.0
        other_active += others[0, day] > 0.0
        for k in range(1, 3):
            mean[k] += days[k, day] + others[k, day]
    mean /= max(n + m, 1.0)
    for day in range(low, high):
        inside, outside = days[0, day], others[0, day]
        if n == 0.0 or m == 0.0:
            days[:, day] = 0.0
            continue
        days[0, day] = inside * m / n + outside * n / m
        for k in range(1, 3):
            days[k, day] = (n + m) * ((days[k, day] - mean[k] * inside) / n - (others[k, day] - mean[k] * outside) / m)
    return int(min(n, m)), min(active, other_active)


@machine_code
def _jackknife(n: Floats, s: Floats, filled: int) -> tuple[float, float, float]:
    """Mean, CR3 error and degrees of freedom as `inference.cluster_t` has them; NaN without variation."""
    total_n, total, squares, size = 0.0, 0.0, 0.0, 0.0
    for g in range(filled):
        total_n += n[g]
        total += s[g]
        squares += n[g] * n[g]
        size += abs(s[g])
    if filled < 2:
        return np.nan, np.nan, np.nan
    mean = total / total_n
    variance = 0.0
    for g in range(filled):
        delta = (s[g] - mean * n[g]) / (total_n - n[g])
        variance += delta * delta
    error = np.sqrt((filled - 1.0) / filled * variance)
    if not error > 1e-12 * size / total_n:
        return np.nan, np.nan, np.nan
    return mean, error, max(1.0, min(float(filled), total_n * total_n / squares) - 1.0)


@machine_code
def _active_days(
    first: int, last: int, day: Integers, n: Floats, z: Floats, y: Floats, at: Integers, active: Floats
) -> int:
    """Days of the rows first … last−1 of one series as (n, Σz, Σy, Σ return), into `at` and `active`; how many they are."""
    filled = 0
    for row in range(first, last):
        if filled and at[filled - 1] == day[row]:
            filled -= 1
        else:
            active[:, filled] = 0.0
        at[filled] = day[row]
        active[0, filled] += n[row]
        active[1, filled] += z[row]
        active[2, filled] += y[row]
        active[3, filled] += y[row]
        filled += 1
    return filled


@machine_code
def _span_of(n_spans: int, n_first: int, n_days: int) -> Integers:
    """(n_days,) which of equal spans of the first n_first days each day lies in; the last one for days after those."""
    return np.minimum(np.arange(n_days) * n_spans // n_first, n_spans - 1)


@machine_code
def _reduce(
    pointer: Integers, start: Integers, stop: Integers, other_pointer: Integers, other_start: Integers,
    other_stop: Integers, is_difference: Booleans, day: Integers, n: Floats, z: Floats, y: Floats, own_days: Integers,
    wide_days: Integers, limit: float, cut: int, n_first: int, n_calendar: int, year: Integers,
    n_spans: Integers, figures: Floats, counts: Integers, by_year: Floats, by_span: Floats, by_block: Floats,
    moments: Floats, flip_pointer: Integers, flip_day: NDArray[np.int32], flip_sum: Singles, flip_count: Singles,
) -> None:  # fmt: skip
    """Fill the last ten arrays, one hypothesis after the other; `day` and `cut` are counted from the discovery fold's first."""
    # Clusters may begin before the fold's first day, and calendars end within one: days of the rows alone matter.
    days, others, active = np.zeros((4, n_calendar)), np.zeros((3, n_calendar)), np.zeros((4, n_calendar))
    own_clusters, wide_clusters = np.zeros((4, n_calendar)), np.zeros((4, n_calendar))
    at, own_at, wide_at = np.zeros(n_calendar, np.int64), np.zeros(n_calendar, np.int64), np.zeros(n_calendar, np.int64)
    n_blocks, filled_flips = by_block.shape[1], 0
    # Which span a day lies in is divided out once a day, not once a day of each hypothesis.
    block_of, span_of, spanned = _span_of(n_blocks, n_first, n_calendar), at, -1
    for h in range(len(pointer) - 1):
        first, last = pointer[h], pointer[h + 1]
        if last - first == 1 and not is_difference[h]:
            n_active = _active_days(start[first], stop[first], day, n, z, y, at, active)
        else:
            low, high = n_calendar, 0
            for part in range(first, last):
                for row in range(start[part], stop[part]):
                    d = day[row]
                    days[0, d] += n[row]
                    days[1, d] += z[row]
                    days[2, d] += y[row]
                    days[3, d] += y[row]
                    low, high = min(low, d), max(high, d + 1)
            for part in range(other_pointer[h], other_pointer[h + 1]):
                for row in range(other_start[part], other_stop[part]):
                    d = day[row]
                    others[0, d] += n[row]
                    others[1, d] += z[row]
                    others[2, d] += y[row]
                    low, high = min(low, d), max(high, d + 1)
            if is_difference[h]:
                middle = max(low, min(high, cut))
                counts[h, 0], counts[h, 2] = _difference(days, others, low, middle)
                counts[h, 3], counts[h, 5] = _difference(days, others, middle, high)
            n_active = 0
            for d in range(low, high):
                if days[0, d] != 0.0:
                    at[n_active] = d
                    for k in range(4):
                        active[k, n_active] = days[k, d]
                    n_active += 1
                for k in range(4):
                    days[k, d] = 0.0
                for k in range(3):
                    others[k, d] = 0.0
        split = 0
        while split < n_active and at[split] < cut:
            split += 1

        own, wide, events = own_days[h], wide_days[h], 0.0
        if n_spans[h] != spanned:
            spanned = n_spans[h]
            span_of = _span_of(spanned, n_first, n_calendar)
        for index in range(split):
            d, total_z = at[index], active[1, index]
            events += active[0, index]
            if np.isnan(by_year[h, year[d]]):
                by_year[h, year[d]] = 0.0
            by_year[h, year[d]] += active[2, index]
            by_span[h, span_of[d]] += total_z
            by_block[h, block_of[d], 0] += total_z
            by_block[h, block_of[d], 1] += total_z * total_z
        length, starts, clusters = own, own_at, own_clusters
        filled = _clusters(at, active, 0, split, own, cut, own_at, own_clusters)
        if not is_difference[h]:
            counts[h, 0], counts[h, 2] = round(events), filled
        busiest, largest, total_n, total_z = 0.0, 0.0, 0.0, 0.0
        for g in range(filled):
            busiest, largest = max(busiest, clusters[0, g]), max(largest, abs(clusters[1, g]))
            total_n += clusters[0, g]
            total_z += clusters[1, g]
        figures[h, 13] = busiest / total_n if total_n > 0.0 else 0.0
        figures[h, 14] = largest / abs(total_z) if total_z != 0.0 else np.nan
        tested = _jackknife(clusters[0], clusters[1], filled)
        n_wide = _clusters(at, active, 0, split, wide, cut, wide_at, wide_clusters)
        in_blocks = _jackknife(wide_clusters[0], wide_clusters[1], n_wide)
        figures[h, 12] = in_blocks[1] / tested[1]
        if figures[h, 12] > limit:
            tested, filled, length, starts, clusters = in_blocks, n_wide, wide, wide_at, wide_clusters
        counts[h, 1], counts[h, 6] = filled, length
        figures[h, 0], figures[h, 1], figures[h, 2] = tested
        figures[h, 3], figures[h, 4], figures[h, 5] = _jackknife(clusters[0], clusters[2], filled)
        reach, spread, running, squares, cubes = 0.0, 0.0, 0.0, 0.0, 0.0
        total_n = clusters[0, :filled].sum()
        for g in range(filled):
            deviation = clusters[1, g] - tested[0] * clusters[0, g]
            if filled > 1:
                score = deviation / (total_n - clusters[0, g])
                squares += score * score
                cubes += score * score * score
            running += deviation
            spread += deviation * deviation
            reach = max(reach, abs(running))
            power = 1.0
            for k in range(4):
                power *= clusters[3, g]
                moments[h, k] += power
            flip_day[filled_flips] = starts[g]
            flip_sum[filled_flips] = clusters[1, g]
            flip_count[filled_flips] = clusters[0, g]
            filled_flips += 1
        flip_pointer[h + 1] = filled_flips
        if spread > 0.0:
            figures[h, 15] = reach / np.sqrt(spread)
        if squares > 0.0:
            figures[h, 16] = cubes / squares**1.5

        filled = _clusters(at, active, split, n_active, length, cut, own_at, own_clusters)
        counts[h, 4] = filled
        figures[h, 6], figures[h, 7], figures[h, 8] = _jackknife(own_clusters[0], own_clusters[1], filled)
        figures[h, 9], figures[h, 10], figures[h, 11] = _jackknife(own_clusters[0], own_clusters[2], filled)
        if not is_difference[h]:
            if length != own:
                filled = _clusters(at, active, split, n_active, own, cut, own_at, own_clusters)
            counts[h, 3], counts[h, 5] = round(active[0, split:n_active].sum()), filled
