"""The same trade at placebo times: bars of the same symbol, hour and volatility without an event near them.

Says how much of a mean return comes from the hour and the volatility at which events happen to occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_rows import horizon_cluster_days
from backtest.discovery.day_scores import in_series
from backtest.discovery.day_statistics import DayStatistics, day_statistics
from backtest.discovery.event_days import event_days
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import KEY
from backtest.discovery.inference import ClusterT
from backtest.discovery.scoring import DISCOVERY, SymbolMarket

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

PER_EVENT: Final = 5
"""Placebo bars drawn for each event: the error of their mean is then about half of the events' own."""
VOLATILITY_BUCKETS: Final = 10
HOURS: Final = 24
COVERAGE: Final = 0.90
PLACEBO_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "placebo_n_events": pl.Int64(),
    "placebo_mean": pl.Float64(),
    "placebo_low": pl.Float64(),
    "placebo_high": pl.Float64(),
    "placebo_difference": pl.Float64(),
    "placebo_difference_standard_error": pl.Float64(),
    "placebo_p": pl.Float64(),
}
"""Fractions per trade in the candidate's own direction, of the discovery fold; the bounds are of a 90 % interval. The
difference is raw mean less placebo mean; ``placebo_p`` is one-sided, of standardised returns. Of a filter both means are
differences between the trades it holds for and the others."""


def placebo_occurrences(
    market: SymbolMarket, occurrences: pl.DataFrame, *, guard_bars: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Placebo times of one event type on one symbol, for the events of the discovery fold.

    For each event up to `PER_EVENT` bars of the same hour of day and tenth of expected volatility, at which a trade could
    be made and from which no event is nearer than `guard_bars`; each takes the direction of the event it stands for.

    Parameters
    ----------
    market : SymbolMarket
    occurrences : ``timestamp`` and ``direction`` of the events.
    guard_bars : int
        At least the longest trade, so that no placebo trade is held while an event's is.
    rng : Generator

    Returns
    -------
    ``timestamp`` and ``direction`` in time order, no bar twice.
    """
    at = np.searchsorted(market.timestamp.to_numpy(), occurrences["timestamp"].to_numpy())
    stated = occurrences["direction"].to_numpy().astype(np.float64)
    direction = np.where(stated != 0, stated, market.fallback_direction[at])
    can_trade = (
        (market.fold == DISCOVERY)
        & market.bars.tradable
        & np.isfinite(market.volatility)
        & np.isfinite(market.turnover_usd)
        & (market.turnover_usd > 0)
    )
    kept = can_trade[at] & (np.abs(direction) == 1.0)
    cell = _cells(market, can_trade)
    pool = np.flatnonzero(can_trade & ~_near(at, len(cell), guard_bars))
    pool = pool[np.argsort(cell[pool], kind="stable")]
    edges = np.searchsorted(cell[pool], np.arange(HOURS * VOLATILITY_BUCKETS + 1))
    own = cell[at[kept]]
    first, size = edges[own], edges[own + 1] - edges[own]
    drawn = first[:, None] + np.floor(rng.random((len(own), PER_EVENT)) * size[:, None]).astype(np.int64)
    has_any = np.repeat(size > 0, PER_EVENT)
    bars = pool[drawn.ravel()[has_any]]
    sides = np.repeat(direction[kept], PER_EVENT)[has_any]
    bars, index = np.unique(bars, return_index=True)
    return pl.DataFrame(
        {"timestamp": market.timestamp[bars.tolist()], "direction": sides[index].astype(np.int8)},
        schema={"timestamp": market.timestamp.dtype, "direction": pl.Int8()},
    )


def _cells(market: SymbolMarket, can_trade: Booleans) -> Integers:
    """Hour of day and tenth of expected volatility of each bar; the tenths are those of the bars that can be traded."""
    hour = market.timestamp.dt.hour().to_numpy().astype(np.int64)
    known = market.volatility[can_trade]
    inner = np.arange(1, VOLATILITY_BUCKETS) / VOLATILITY_BUCKETS
    bounds = np.quantile(known, inner) if len(known) else np.zeros(len(inner))
    return np.asarray(hour * VOLATILITY_BUCKETS + np.searchsorted(bounds, np.nan_to_num(market.volatility)))


def _near(at: Integers, n_bars: int, guard_bars: int) -> Booleans:
    """Bars with an event at most `guard_bars` before or after."""
    change = np.zeros(n_bars + 1, np.int64)
    np.add.at(change, np.maximum(at - guard_bars, 0), 1)
    np.add.at(change, np.minimum(at + guard_bars + 1, n_bars), -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)


def placebo_comparison(
    candidates: pl.DataFrame,
    register: pl.DataFrame,
    scores: Mapping[str, pl.DataFrame],
    placebo: Mapping[str, pl.DataFrame],
    folds: Folds,
    spec: Spec,
) -> pl.DataFrame:
    """Candidates of one event beside the same trades at placebo times (`PLACEBO_SCHEMA`).

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, those to be compared.
    register : `hypotheses.REGISTER_SCHEMA`, with them.
    scores, placebo : day scores of the event and of its placebo times by symbol (`day_scores.SCORE_SCHEMA`).
    """
    rows = candidates.join(register, on=KEY, how="inner", maintain_order="left")
    chosen = rows.select(register.columns)
    event, other = (_statistics(each, chosen, folds, spec) for each in (scores, placebo))
    sign = rows["direction"].to_numpy().astype(np.float64)
    difference, error, _ = _welch(event.y, other.y, sign)
    _, _, p = _welch(event.z, other.z, sign)
    reach = _student(other.y) * other.y.standard_error
    mean = sign * other.y.mean
    return rows.select("candidate_id").with_columns(
        pl.Series("placebo_n_events", other.y.n_events),
        *(
            pl.Series(name, values).fill_nan(None)
            for name, values in (
                ("placebo_mean", mean),
                ("placebo_low", mean - reach),
                ("placebo_high", mean + reach),
                ("placebo_difference", difference),
                ("placebo_difference_standard_error", error),
                ("placebo_p", p),
            )
        ),
    )


def _statistics(scores: Mapping[str, pl.DataFrame], chosen: pl.DataFrame, folds: Folds, spec: Spec) -> DayStatistics:
    spans = np.ones(len(chosen), np.int64)
    by_symbol = {symbol: in_series(frame, folds.first_confirmation_day) for symbol, frame in scores.items()}
    return day_statistics(event_days(by_symbol), chosen, folds, horizon_cluster_days(chosen), spans, spec.filters)


def _welch(event: ClusterT, other: ClusterT, sign: Floats) -> tuple[Floats, Floats, Floats]:
    """Difference of means towards `sign`, its error, and the one-sided p by Welch's degrees of freedom."""
    from scipy.special import stdtr

    one, two = event.standard_error**2, other.standard_error**2
    difference = sign * (event.mean - other.mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (one + two) ** 2 / (one**2 / event.degrees_of_freedom + two**2 / other.degrees_of_freedom)
        error = np.sqrt(one + two)
        return difference, error, np.asarray(stdtr(freedom, -difference / error))


def _student(test: ClusterT) -> Floats:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(test.degrees_of_freedom, 0.5 + COVERAGE / 2.0))
