"""Whether an event type is fit to be tested: how often it occurs, whether it can be joined, whether it clusters.

Looks at occurrences only, never at returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from backtest.spec.models import EventQuality, Prevalence

_NO_BOUNDS: Final[Mapping[str, Prevalence]] = MappingProxyType({})
SYMBOL_QUALITY_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_type": pl.String(),
    "symbol": pl.String(),
    "needs": pl.String(),
    "n_bars": pl.Int64(),
    "n_events": pl.Int64(),
    "n_joinable": pl.Int64(),
    "n_joined": pl.Int64(),
    "n_clustered": pl.Int64(),
}
"""``needs`` names the missing data sets of an unavailable event, else it is null. ``n_bars`` are the bars that are there.
``n_joinable`` are the events at which the expected volatility could be known: outside the warm-up at the start of the
history and after a long gap; ``n_joined`` those of them at which it is known. ``n_clustered`` are events that follow
another within the clustering distance."""

MAX_MISSING_SHARE: Final = 0.1
"""A bar with a larger share of its look-back missing is in the warm-up after a gap."""


def symbol_quality(
    events: pl.DataFrame,
    volatility: pl.DataFrame,
    needs: Mapping[str, Sequence[str]],
    symbol: str,
    *,
    clustering_bars: int,
    reach_bars: int,
) -> pl.DataFrame:
    """Counts per event type on one symbol (`SYMBOL_QUALITY_SCHEMA`).

    Parameters
    ----------
    events : occurrences of the symbol, by type and time.
    volatility : ``timestamp``, ``expected_volatility`` and ``is_gap`` of every bar of the window.
    needs : missing data sets of every event type; empty where it is available.
    reach_bars : bars that the expected volatility looks back on.
    """
    known = volatility["expected_volatility"].is_not_null().to_numpy()
    first_known = int(known.argmax()) if known.any() else len(known)
    missing_share = volatility["is_gap"].cast(pl.Float64).rolling_mean(reach_bars + 1, min_samples=1).to_numpy()
    could_be_known = (np.arange(len(known)) >= first_known) & (missing_share <= MAX_MISSING_SHARE)
    stamps = volatility["timestamp"].to_numpy()
    n_bars = int((~volatility["is_gap"]).sum())
    at = np.searchsorted(stamps, events["timestamp"].to_numpy())
    is_joinable = could_be_known[at]
    has_same_type_before = np.diff(events["event_type"].rle_id().to_numpy(), prepend=-1) == 0
    follows = has_same_type_before & (np.diff(at, prepend=0) <= clustering_bars)
    counted = (
        events.select(
            "event_type",
            pl.lit(1).alias("event"),
            pl.Series("joinable", is_joinable),
            pl.Series("joined", is_joinable & known[at]),
            pl.Series("clustered", follows),
        )
        .group_by("event_type")
        .sum()
    )
    counts = {event_type: numbers for event_type, *numbers in counted.iter_rows()}
    rows = [
        (event_type, symbol, ", ".join(missing) or None, n_bars, *counts.get(event_type, (0, 0, 0, 0)))
        for event_type, missing in needs.items()
    ]
    return pl.DataFrame(rows, schema=SYMBOL_QUALITY_SCHEMA, orient="row")


def judge(quality: pl.DataFrame, gate: EventQuality, prevalence: Mapping[str, Prevalence] = _NO_BOUNDS) -> pl.DataFrame:
    """One row an event type over its available symbols, with ``verdict`` and ``is_tested``.

    `prevalence` holds the bounds of single event types, which go before those of the gate.

    A verdict is ``tested``, ``unavailable: needs …`` (on every symbol), or the bound that is missed.
    """
    available = pl.col("needs").is_null()
    totals = quality.group_by("event_type", maintain_order=True).agg(
        pl.col("symbol").filter(available).sort().str.join(",").alias("symbols"),
        pl.col("needs").drop_nulls().unique().sort().str.join("; ").alias("needs"),
        *(pl.col(name).filter(available).sum() for name in SYMBOL_QUALITY_SCHEMA if name.startswith("n_")),
    )
    rates = totals.with_columns(
        (pl.col("n_events") * 10_000 / pl.col("n_bars")).alias("per_10000_bars"),
        pl.when(pl.col("n_joinable") > 0).then(pl.col("n_joined") / pl.col("n_joinable")).alias("join_rate"),
        pl.when(pl.col("n_events") > 0).then(pl.col("n_clustered") / pl.col("n_events")).alias("clustered_share"),
    )
    fewest, most = (
        pl.col("event_type").replace_strict(own, default=bound, return_dtype=pl.Float64)
        for own, bound in (
            (_given(prevalence, "min_per_10000_bars"), gate.min_per_10000_bars),
            (_given(prevalence, "max_per_10000_bars"), gate.max_per_10000_bars),
        )
    )
    verdict = (
        pl.when(pl.col("symbols") == "")
        .then(pl.format("unavailable: needs {}", "needs"))
        .when(pl.col("n_events") == 0)
        .then(pl.lit("no occurrence"))
        .when(pl.col("per_10000_bars") < fewest)
        .then(pl.format("too rare: fewer than {} per 10,000 bars", _shown(fewest)))
        .when(pl.col("per_10000_bars") > most)
        .then(pl.format("too frequent: more than {} per 10,000 bars", _shown(most)))
        .when(pl.col("join_rate").fill_null(0.0) < gate.min_join_rate)
        .then(pl.lit(f"join rate below {gate.min_join_rate:g}"))
        .when(pl.col("clustered_share") > gate.max_clustered_share)
        .then(
            pl.lit(f"clustered: more than {gate.max_clustered_share:g} within {gate.clustering_bars} bars of another")
        )
        .otherwise(pl.lit("tested"))
    )
    return rates.with_columns(verdict.alias("verdict")).with_columns((pl.col("verdict") == "tested").alias("is_tested"))


def _given(prevalence: Mapping[str, Prevalence], field: str) -> dict[str, float]:
    return {name: bound for name, own in prevalence.items() if (bound := getattr(own, field)) is not None}


def _shown(bound: pl.Expr) -> pl.Expr:
    """A bound as text, without ``.0``."""
    return bound.cast(pl.String).str.strip_suffix(".0")
