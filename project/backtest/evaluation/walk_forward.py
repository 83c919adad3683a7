"""Walk-forward: the discovery done again inside each training window, and what its finds earned in the test window after it.

References
----------
Pardo (2008), The Evaluation and Optimization of Trading Strategies; purging and embargo: López de Prado (2018), Advances
in Financial Machine Learning, ch. 7.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.discovery.folds import BARS_PER_DAY, Folds, split
from backtest.discovery.inference import cluster_t
from backtest.errors import DataError
from backtest.spec.models import POOLED

if TYPE_CHECKING:
    from backtest.spec.evaluation import WalkForward

EPOCH: Final = dt.date(1970, 1, 1)
HYPOTHESIS: Final = ("event_type", "policy", "horizon", "state_id")
EXPOSURES: Final[dict[str, pl.DataType]] = {"exposure_y": pl.Float64(), "exposure_z": pl.Float64()}
"""By how much Σy and Σz fall for each unit of the mean bar return: the bars held, in the event's direction."""
BAR_RETURN_SCHEMA: Final[dict[str, pl.DataType]] = {
    "symbol": pl.String(),
    "leg": pl.String(),
    "day": pl.Int32(),
    "n": pl.Int64(),
    "total": pl.Float64(),
    "last": pl.Float64(),
}
"""Open-to-open returns of a symbol's bars a day: their number, their sum, and that of the bar whose other end lies in the
next day (NaN where it is not known), which a window that ends with this day does not hold. ``leg`` is empty for the
perpetual itself."""

TEST_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "event_type": pl.String(),
    "template_verb": pl.String(),
    "policy": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "symbol": pl.String(),
    "direction": pl.Int8(),
    "fold": pl.Int64(),
    "p_value": pl.Float64(),
    "expected_net": pl.Float64(),
    "day": pl.Int64(),
    "n": pl.Int64(),
    "gross": pl.Float64(),
    "net": pl.Float64(),
}
"""One row a find of a training window and day of its test window: how many trades and the sums of their returns before and
after costs and funding (fractions). A find without a trade in its test window has one row without a day."""

FOLD_SCHEMA: Final[dict[str, pl.DataType]] = {
    "fold": pl.Int64(),
    "train_start": pl.Date(),
    "train_end": pl.Date(),
    "test_start": pl.Date(),
    "test_end": pl.Date(),
    "n_tested": pl.Int64(),
    "n_found": pl.Int64(),
    "n_book": pl.Int64(),
    "n_trades": pl.Int64(),
    "n_days": pl.Int64(),
    "expected_net": pl.Float64(),
    "net": pl.Float64(),
    "net_standard_error": pl.Float64(),
}
"""One row a fold, ends exclusive. The book holds one find an event, policy and horizon: that with the smallest p-value.
``expected_net`` and ``net`` are means per trade of the book (fraction): what the training window promised, and what came."""

RESULT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "n_folds": pl.Int64(),
    "n_found": pl.Int64(),
    "n_trades": pl.Int64(),
    "n_days": pl.Int64(),
    "gross": pl.Float64(),
    "net": pl.Float64(),
    "net_standard_error": pl.Float64(),
    "net_p": pl.Float64(),
}
"""One row a find of any training window: in how many it was found, and what it earned in the test windows after those, per
trade (fraction). ``net_p`` is the one-sided p-value of a net mean this high where it is zero."""


@dataclass(frozen=True)
class Fold:
    """A training window with its own two folds inside, and the test window after its embargo; ends are exclusive."""

    number: int
    train: Folds
    test_start: dt.date
    test_end: dt.date

    @property
    def train_days(self) -> tuple[int, int]:
        """First day and end of the training window, in days since 1970-01-01."""
        return day_number(self.train.discovery_start), day_number(self.train.confirmation_end)

    @property
    def test_days(self) -> tuple[int, int]:
        return day_number(self.test_start), day_number(self.test_end)


def day_number(date: dt.date) -> int:
    """Days since 1970-01-01."""
    return (date - EPOCH).days


def walk_forward_folds(
    start: dt.date, end: dt.date, settings: WalkForward, *, discovery_share: float, longest_window_bars: int
) -> list[Fold]:
    """Rolling training windows of one length, each followed by an embargo and a test window; tests tile the rest.

    Parameters
    ----------
    start, end : first day and end (exclusive) of the data.
    settings : number of folds, and the share of the days that the first training window takes.
    discovery_share : as in `folds.split`, inside each training window.
    longest_window_bars : bars from an event to the last price of its trade; the embargo covers them, in whole days, so
        that no trade of a training window reaches into the test window.

    Raises
    ------
    DataError
        Where the days do not suffice for a training window that can be split and test windows of a day.
    """
    days = (end - start).days
    embargo = max(1, math.ceil(longest_window_bars / BARS_PER_DAY))
    train = math.floor(days * settings.train_share)
    rest = days - train - embargo
    if rest < settings.folds:
        raise DataError(
            f"the window {start} … {end - dt.timedelta(days=1)} has {days} days: too short for a training window of "
            f"{settings.train_share:.0%}, an embargo of {embargo} day(s) and {settings.folds} test windows. Give an "
            "earlier START or a later END, or ask for fewer folds in spec/evaluation.yaml."
        )
    edges = [train + embargo + rest * number // settings.folds for number in range(settings.folds + 1)]
    made = []
    for number, (first, last) in enumerate(itertools.pairwise(edges), start=1):
        train_end = start + dt.timedelta(days=first - embargo)
        train_start = train_end - dt.timedelta(days=train)
        inside = split(
            _midnight(train_start),
            _midnight(train_end),
            discovery_share=discovery_share,
            longest_window_bars=longest_window_bars,
        )
        made.append(Fold(number, inside, start + dt.timedelta(days=first), start + dt.timedelta(days=last)))
    return made


def _midnight(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), dt.UTC)


def daily_bar_returns(opens: np.ndarray, day: np.ndarray, symbol: str, leg: str = "") -> pl.DataFrame:
    """`BAR_RETURN_SCHEMA` of one market, from its opens and days (since 1970-01-01) on the full grid; gaps are NaN."""
    returns = np.full(len(opens), np.nan)
    returns[:-1] = opens[1:] / opens[:-1] - 1.0
    is_last = np.append(day[1:] != day[:-1], True)
    frame = pl.DataFrame({"day": day, "r": returns, "is_last": is_last}).with_columns(pl.col("r").fill_nan(None))
    daily = frame.group_by("day", maintain_order=True).agg(
        pl.col("r").count().cast(pl.Int64).alias("n"),
        pl.col("r").sum().alias("total"),
        pl.col("r").filter("is_last").last().fill_null(float("nan")).alias("last"),
    )
    named = daily.with_columns(pl.lit(symbol).alias("symbol"), pl.lit(leg).alias("leg"))
    return named.select(pl.col(name).cast(kind) for name, kind in BAR_RETURN_SCHEMA.items())


def mean_bar_returns(daily: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
    """``symbol``, ``leg`` and ``b``: the mean of the returns whose both ends lie in the days [first, end); 0 without any."""
    inside = daily.filter(pl.col("day").is_between(first, end - 1)).sort("symbol", "leg", "day")
    last = pl.when(pl.col("day") == end - 1).then(pl.col("last")).fill_nan(None)
    sums = inside.group_by("symbol", "leg", maintain_order=True).agg(
        (pl.col("total").sum() - last.sum()).alias("sum"), (pl.col("n").sum() - last.count()).alias("count")
    )
    return sums.select(
        "symbol", "leg", pl.when(pl.col("count") > 0).then(pl.col("sum") / pl.col("count")).otherwise(0.0).alias("b")
    )


def training_scores(scores: pl.DataFrame, daily: pl.DataFrame, fold: Fold) -> pl.DataFrame:
    """The day scores of a training window, with the drift of its own two folds taken off.

    Parameters
    ----------
    scores : `day_scores.SCORE_SCHEMA` with ``event_type``, ``symbol``, ``leg`` and `EXPOSURES`, scored without drift over
        the whole window.
    daily : `BAR_RETURN_SCHEMA`.

    Notes
    -----
    Σy = Σ(gross) − b·Σ(direction × bars held) is linear in the mean bar return b, so b can be put in afterwards; likewise
    Σz. Of a trade with two legs b is the difference of theirs. Sums of squares stay those without drift.

    A trade whose exit may lie beyond its fold is in the embargo of `folds.split`, whose days are left out here.
    """
    parts = []
    train = fold.train
    for first, last in (
        (train.discovery_start, train.discovery_end),
        (train.confirmation_start, train.confirmation_end),
    ):
        bounds = day_number(first), day_number(last)
        drift = mean_bar_returns(daily, *bounds)
        own = drift.filter(pl.col("leg") == "").select("symbol", own="b")
        legs = drift.filter(pl.col("leg") != "").select("symbol", "leg", other="b")
        inside = scores.filter(pl.col("day").is_between(bounds[0], bounds[1] - 1))
        b = pl.col("own") - pl.col("other").fill_null(0.0)
        parts.append(
            inside.join(own, on="symbol", how="left", maintain_order="left")
            .join(legs, on=["symbol", "leg"], how="left", maintain_order="left")
            .with_columns(
                (pl.col("sum_y") - b * pl.col("exposure_y")).alias("sum_y"),
                (pl.col("sum_z") - b * pl.col("exposure_z")).alias("sum_z"),
            )
            .drop("own", "other")
        )
    return pl.concat(parts).drop("leg", *EXPOSURES)


def with_exposures(without_drift: pl.DataFrame, unit_drift: pl.DataFrame) -> pl.DataFrame:
    """Day scores made with no drift beside what a drift of one takes off them (`EXPOSURES`).

    Both are of the same trades in the same order, made with a mean bar return of 0 and of 1.
    """
    key = ["policy", "horizon", "state_id", "day", "n"]
    if not without_drift.select(key).equals(unit_drift.select(key)):
        raise ValueError("the two score other trades")
    return without_drift.with_columns(
        (without_drift["sum_y"] - unit_drift["sum_y"]).alias("exposure_y"),
        (without_drift["sum_z"] - unit_drift["sum_z"]).alias("exposure_z"),
    )


def found_in(candidates: pl.DataFrame, templates: Collection[str]) -> pl.DataFrame:
    """The finds of a training window: all trades that passed every gate there; what a filter tests is no trade."""
    return candidates.filter("gate_phase2_final", pl.col("template_verb").is_in(list(templates)))


def test_days(found: pl.DataFrame, scores: pl.DataFrame, fold: Fold) -> pl.DataFrame:
    """What a training window's finds earned on each day of the test window after it (`TEST_SCHEMA`).

    Parameters
    ----------
    found : rows of `candidates.CANDIDATE_SCHEMA`, assessed on the training window alone.
    scores : as in `training_scores`: without drift, so that Σy is what the trades earned.
    """
    first, end = fold.test_days
    own = found.select(
        "candidate_id", "template_verb", *HYPOTHESIS, "direction", "p_value", scope="symbol",
        expected_net="after_cost_expectancy",
    )  # fmt: skip
    rows = scores.filter(pl.col("day").is_between(first, end - 1)).join(own, on=list(HYPOTHESIS), how="inner")
    rows = rows.filter((pl.col("scope") == POOLED) | (pl.col("scope") == pl.col("symbol")))
    side = pl.col("direction").cast(pl.Float64)
    daily = (
        rows.with_columns(
            (side * pl.col("sum_y")).alias("gross"),
            (side * (pl.col("sum_y") - pl.col("sum_funding")) - pl.col("sum_cost")).alias("net"),
        )
        .group_by("candidate_id", pl.col("day").cast(pl.Int64))
        .agg(pl.col("n").cast(pl.Int64).sum(), pl.col("gross").sort().sum(), pl.col("net").sort().sum())
    )
    return (
        own.rename({"scope": "symbol"})
        .with_columns(pl.lit(fold.number).alias("fold"))
        .join(daily, on="candidate_id", how="left")
        .with_columns(pl.col("n").fill_null(0), pl.col("gross", "net").fill_null(0.0))
        .select(pl.col(name).cast(kind) for name, kind in TEST_SCHEMA.items())
        .sort("candidate_id", "day")
    )


def book(tests: pl.DataFrame) -> pl.DataFrame:
    """The rows of one find an event, policy, horizon and fold, that with the smallest p-value: states and symbols overlap."""
    kind = ("fold", "event_type", "policy", "horizon")
    chosen = (
        tests.select(*kind, "candidate_id", "p_value")
        .unique()
        .sort("p_value", "candidate_id")
        .unique(kind, keep="first", maintain_order=True)
    )
    return tests.join(chosen.select("fold", "candidate_id"), on=["fold", "candidate_id"], how="semi").sort(
        "fold", "candidate_id", "day"
    )


def fold_rows(folds: Sequence[Fold], n_tested: Sequence[int], tests: pl.DataFrame) -> pl.DataFrame:
    """`FOLD_SCHEMA` of all folds."""
    chosen = book(tests)
    rows = []
    for fold, tested in zip(folds, n_tested, strict=True):
        own = chosen.filter(pl.col("fold") == fold.number)
        days = (
            own.filter(pl.col("n") > 0).group_by("day").agg(pl.col("n").sum(), pl.col("net").sort().sum()).sort("day")
        )
        net, error, _ = _mean_of_days(days)
        n = int(days["n"].sum())
        promised = (own["expected_net"] * own["n"]).sum() / n if n else None
        rows.append(
            {
                "fold": fold.number,
                "train_start": fold.train.discovery_start,
                "train_end": fold.train.confirmation_end,
                "test_start": fold.test_start,
                "test_end": fold.test_end,
                "n_tested": tested,
                "n_found": tests.filter(pl.col("fold") == fold.number)["candidate_id"].n_unique(),
                "n_book": own["candidate_id"].n_unique(),
                "n_trades": n,
                "n_days": len(days),
                "expected_net": promised,
                "net": net,
                "net_standard_error": error,
            }
        )
    return pl.DataFrame(rows, schema=FOLD_SCHEMA)


def results(tests: pl.DataFrame, n_folds: int) -> pl.DataFrame:
    """`RESULT_SCHEMA`: every find over all test windows that follow a training window in which it was found."""
    rows = []
    for (name,), own in tests.group_by("candidate_id", maintain_order=True):
        days = own.filter(pl.col("n") > 0).sort("day")
        net, error, p = _mean_of_days(days)
        n = int(days["n"].sum())
        rows.append(
            {
                "candidate_id": name,
                "n_folds": n_folds,
                "n_found": own["fold"].n_unique(),
                "n_trades": n,
                "n_days": len(days),
                "gross": days["gross"].sum() / n if n else None,
                "net": net,
                "net_standard_error": error,
                "net_p": p,
            }
        )
    return pl.DataFrame(rows, schema=RESULT_SCHEMA).sort("candidate_id")


def _mean_of_days(days: pl.DataFrame) -> tuple[float | None, float | None, float | None]:
    """Net mean per trade, its day-cluster standard error and one-sided p; None where they cannot be computed."""
    n = int(days["n"].sum())
    if n == 0:
        return None, None, None
    found = cluster_t(days["net"].to_numpy(), days["n"].to_numpy().astype(np.int64), np.zeros(len(days), np.int64), 1)
    mean = float(days["net"].sum() / n)
    if not np.isfinite(found.t[0]):
        return mean, None, None
    return mean, float(found.standard_error[0]), float(found.one_sided_p(np.ones(1))[0])
