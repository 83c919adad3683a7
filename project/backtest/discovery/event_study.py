"""What happens around the trades of one hypothesis: single trades, their mean path, and the path at placebo times.

References
----------
Kolari & Pynnönen (2010), Review of Financial Studies 23, on clustered event dates. The placebo times keep time of day,
direction and clustering of the events and move all of them together by whole days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.discovery.folds import BARS_PER_DAY
from backtest.discovery.forward_returns import Floats, Integers, opens_around
from backtest.discovery.inference import cluster_t
from backtest.discovery.scoring import DISCOVERY, SymbolMarket, tradable_events, trades_made
from backtest.discovery.second_legs import SecondLeg
from backtest.expressions.compiling import machine_code

if TYPE_CHECKING:
    from backtest.discovery.hypotheses import Trial
    from backtest.spec.compiled import Spec

TRADE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_bar": pl.Int64(),
    "entry_bar": pl.Int64(),
    "exit_bar": pl.Int64(),
    "event_direction": pl.Int8(),
    "fold": pl.Int8(),
    "day": pl.Int64(),
    "gross": pl.Float64(),
    "abnormal": pl.Float64(),
    "fees": pl.Float64(),
    "spread": pl.Float64(),
    "impact": pl.Float64(),
    "funding": pl.Float64(),
    "favourable": pl.Float64(),
    "adverse": pl.Float64(),
}
"""Bars are positions in the symbol's market; ``fold`` is 1 for discovery, 2 for confirmation; ``day`` counts from 1970-01-01.
``event_direction`` is the side it is measured in: the event's own, or that of the break it waited for. ``gross``,
``abnormal``, ``funding`` (paid) and the largest gain ``favourable`` and loss ``adverse`` while held (≥ 0) are fractions of a
position on that side. ``fees``, ``spread`` (with the interest of what is borrowed) and ``impact`` are what either side pays,
for both legs."""

PLACEBO_READS: Final = 800_000
"""Prices read for one placebo band: what bounds its time."""
MIN_PLACEBO_DRAWS, MAX_PLACEBO_DRAWS = 20, 100
LEVEL: Final = 0.95


def trades_of(market: SymbolMarket, trial: Trial, occurrences: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Every trade that the scores of one event, policy and horizon sum up on one symbol (`TRADE_SCHEMA`), in time order.

    Empty where the trades have a second leg that is not in the lake.

    Parameters
    ----------
    occurrences : ``timestamp`` and ``direction`` of the symbol's events of one type, in time order.
    """
    there = occurrences.filter(pl.col("timestamp") <= market.timestamp.max())
    _, at, direction = tradable_events(market, there)
    made = trades_made(market, trial, at, direction, spec)
    if made is None:
        return pl.DataFrame(schema=TRADE_SCHEMA)
    columns = {
        "event_bar": made.bar,
        "entry_bar": made.entry,
        "exit_bar": made.exit,
        "event_direction": made.side,
        "fold": market.fold[made.bar],
        "day": market.day[made.bar],
        "gross": made.gross,
        "abnormal": made.abnormal,
        "fees": made.cost.fees,
        "spread": made.cost.spread + made.cost.interest,
        "impact": made.cost.impact,
        "funding": made.funding,
        "favourable": made.favourable,
        "adverse": made.adverse,
    }
    return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in TRADE_SCHEMA.items())


@dataclass(frozen=True)
class MeanWithInterval:
    """Mean returns with the bounds of their 95 % day-cluster interval, (groups,); NaN where they cannot be estimated."""

    mean: Floats
    low: Floats
    high: Floats
    n_events: Integers
    n_days: Integers


def clusters(day: Integers, length: int, origin: int) -> Integers:
    """The first day of each day's cluster of `length` days, counted from `origin`."""
    return np.asarray(origin + (day - origin) // length * length)


def clustered_means(
    values: Floats, day: Integers, group: Integers, groups: int, *, cluster_days: int = 1, origin: int = 0
) -> MeanWithInterval:
    """Means of values per group 0 … groups−1 with cluster jackknife intervals; NaN values are left out.

    Clusters are of `cluster_days` days, counted from the day `origin`.
    """
    known = np.isfinite(values)
    values, day, group = values[known], clusters(day[known], cluster_days, origin), group[known]
    first = int(day.min(initial=0))
    span = int(day.max(initial=0)) - first + 1
    key, row = np.unique(group * span + (day - first), return_inverse=True)
    sums = np.bincount(row, weights=values, minlength=len(key)).astype(np.float64)
    counts = np.bincount(row, minlength=len(key)).astype(np.int64)
    return _interval(sums, counts, key // span, groups)


def _interval(sums: Floats, counts: Integers, owner: Integers, groups: int) -> MeanWithInterval:
    from scipy.special import stdtrit

    found = cluster_t(sums, counts, owner, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(owner, weights=sums, minlength=groups) / np.maximum(found.n_events, 1)
        reach = stdtrit(found.degrees_of_freedom, (1 + LEVEL) / 2) * found.standard_error
    return MeanWithInterval(
        np.where(found.n_events > 0, mean, np.nan), mean - reach, mean + reach, found.n_events, found.n_days
    )


@dataclass(frozen=True)
class EventStudy:
    """Mean path of the trades of one fold around their entries, (k,) fractions in the trade's direction.

    `path` has the 95 % day-cluster bounds of the mean; `placebo_low`, `placebo_high` hold 95 % of the mean paths at placebo
    times (empty where none were asked for).
    """

    offsets: Integers
    path: MeanWithInterval
    placebo_low: Floats
    placebo_high: Floats
    n_events: int
    n_days: int
    placebo_draws: int


def study_offsets(horizon_bars: int, most: int = 61) -> Integers:
    """Bars from one horizon before an entry (at least half an hour) to two after it, evenly spaced, with entry and exit."""
    before, after = max(6, horizon_bars), max(12, 2 * horizon_bars)
    step = max(1, -(-(before + after) // (most - 1)))
    while horizon_bars % step:
        step -= 1
    return np.arange(-(before // step), after // step + 1) * step


def event_study(
    markets: Mapping[str, SymbolMarket],
    trades: Mapping[str, pl.DataFrame],
    sign: int,
    offsets: Integers,
    *,
    fold: int = DISCOVERY,
    rng: np.random.Generator | None = None,
    legs: Mapping[str, SecondLeg] | None = None,
    cluster_days: int = 1,
    origin: int = 0,
) -> EventStudy:
    """The mean abnormal path around the trades of all symbols in one fold, and its placebo band where `rng` is given.

    Parameters
    ----------
    trades : `TRADE_SCHEMA` by symbol.
    sign : +1 for trades in their event's direction, −1 against it.
    legs : by symbol the second leg of trades that have one; the path is then the difference of both legs' returns.
    cluster_days : length of the clusters of the interval in days, counted from the day `origin`.
    """
    parts: list[_Part] = []
    for symbol, frame in trades.items():
        rows = frame.filter(pl.col("fold") == fold)
        side = sign * rows["event_direction"].to_numpy().astype(np.float64)
        leg = None if legs is None else legs[symbol]
        parts.append(_Part(markets[symbol], leg, rows["entry_bar"].to_numpy(), side, rows["day"].to_numpy()))
    n_offsets = len(offsets)
    paths = [_paths(part, part.entry, offsets) for part in parts]
    values = np.concatenate([np.zeros((0, n_offsets)), *paths])
    days = np.concatenate([np.zeros(0, np.int64), *(part.day for part in parts)])
    mean = _mean_path(values, clusters(days, cluster_days, origin), n_offsets)
    drawn = _placebo_means(parts, offsets, fold, rng) if rng is not None and len(days) else np.zeros((0, n_offsets))
    edges = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    low, high = np.quantile(drawn, edges, axis=0) if len(drawn) else (np.zeros(0), np.zeros(0))
    return EventStudy(offsets, mean, low, high, len(days), len(np.unique(days)), len(drawn))


@dataclass(frozen=True)
class _Part:
    """The trades of one symbol."""

    market: SymbolMarket
    leg: SecondLeg | None
    entry: Integers
    side: Floats
    day: Integers


def _paths(part: _Part, entry: Integers, offsets: Integers) -> Floats:
    """Returns relative to the entry's open less the mean drift, in the trade's direction; of two legs their difference."""
    moved = _moved(part.market.bars.open, part.market.mean_bar_return, entry, offsets)
    if part.leg is not None:
        moved = moved - _moved(part.leg.both.second.open, part.leg.mean_bar_return, entry, offsets)
    return np.asarray(part.side[..., None] * moved)


def _moved(opens: Floats, mean_bar_return: Floats, entry: Integers, offsets: Integers) -> Floats:
    return np.asarray(opens_around(opens, entry, offsets) - mean_bar_return[entry][..., None] * offsets)


def _mean_path(values: Floats, days: Integers, n_offsets: int) -> MeanWithInterval:
    """Mean over trades per offset; the entry's own is zero by definition and has no interval."""
    unique, day = np.unique(days, return_inverse=True)
    known = np.isfinite(values)
    sums = np.zeros((len(unique), n_offsets))
    counts = np.zeros((len(unique), n_offsets), dtype=np.int64)
    np.add.at(sums, day, np.where(known, values, 0.0))
    np.add.at(counts, day, known)
    owner = np.broadcast_to(np.arange(n_offsets), sums.shape)
    there = counts > 0
    return _interval(sums[there], counts[there], owner[there], n_offsets)


def _placebo_means(
    parts: Sequence[_Part],
    offsets: Integers,
    fold: int,
    rng: np.random.Generator,
) -> Floats:
    """Mean paths of the same trades moved by whole days round the fold, (draws, k)."""
    n_trades = sum(len(part.entry) for part in parts)
    draws = int(np.clip(PLACEBO_READS // (n_trades * len(offsets)), MIN_PLACEBO_DRAWS, MAX_PLACEBO_DRAWS))
    longest = max(np.count_nonzero(part.market.fold == fold) // BARS_PER_DAY for part in parts)
    if longest < 2:
        return np.zeros((0, len(offsets)))
    shifts = rng.integers(1, longest, draws) * BARS_PER_DAY
    sums, counts = np.zeros((draws, len(offsets))), np.zeros((draws, len(offsets)))
    for part in parts:
        inside = part.market.fold == fold
        first, length = int(inside.argmax()), np.count_nonzero(inside)
        moved = first + (part.entry - first + shifts[:, None]) % length
        opens, means = [part.market.bars.open], [part.market.mean_bar_return]
        if part.leg is not None:
            opens, means = [*opens, part.leg.both.second.open], [*means, part.leg.mean_bar_return]
        _add_paths(np.stack(opens), np.stack(means), moved, part.side, offsets, sums, counts)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


@machine_code
def _add_paths(
    opens: Floats, means: Floats, entries: Integers, side: Floats, offsets: Integers, sums: Floats, counts: Floats
) -> None:
    """Add what `_paths` gives, with how many of its values are known, to sums over the trades of each draw, (draws, k).

    `opens` and `means` have a row a leg, (legs, bars); `entries` is (draws, trades).
    """
    for draw in range(len(entries)):
        for trade in range(entries.shape[1]):
            entry = entries[draw, trade]
            for place in range(len(offsets)):
                at = entry + offsets[place]
                if at < 0 or at >= opens.shape[1]:
                    continue
                value = 0.0
                for leg in range(len(opens)):
                    moved = opens[leg, at] / opens[leg, entry] - 1.0 - means[leg, entry] * offsets[place]
                    value = moved if leg == 0 else value - moved
                if math.isfinite(value):
                    sums[draw, place] += side[trade] * value
                    counts[draw, place] += 1.0
