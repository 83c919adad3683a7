"""Probability that a search is overfitted: of all its tested trades, and of those that passed every gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.evaluation.cross_validation import Overfitting, block_sums, overfitting
from backtest.spec.models import POOLED

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds

Floats = NDArray[np.float64]
KEY = ("event_type", "policy", "horizon", "state_id")


def search_overfitting(
    candidates: pl.DataFrame, scores_of: Callable[[str], pl.DataFrame], folds: Folds, n_blocks: int
) -> dict[str, dict[str, Any]]:
    """Overfitting of the whole search (every tested hypothesis, on both sides where it has both) and of what passed.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, all of a search.
    scores_of : the `drift_free.DRIFT_FREE_SCHEMA` of an event type, over the whole window; of one at a time.
    folds : the run's; blocks are of all days of its window, purged of as many days as its embargo has.
    n_blocks : int

    Notes
    -----
    A trial's return of a day is the sum of its trades' returns before costs: with them every trial loses on average, those
    that trade most the most, and a rank tells of the number of trades. Candidates that passed are ranked after costs: they
    differ little in what they pay, and after costs is how one would choose among them.
    """
    tested = candidates.filter("gate_eligible")
    sums, squares, n_days = _blocks(tested, scores_of, folds, n_blocks, after_costs=False)
    # What the other side earns before costs is what this one does not.
    mirrored = tested.select(pl.col("mirror_verb").is_not_null()).to_series().to_numpy()
    both = np.hstack([sums, -sums[:, mirrored]]), np.hstack([squares, squares[:, mirrored]])
    passed = tested.filter("gate_phase2_final")
    return {
        "search": as_json(overfitting(*both, n_days)),
        "passed": as_json(overfitting(*_blocks(passed, scores_of, folds, n_blocks, after_costs=True))),
    }


def _blocks(
    trials: pl.DataFrame,
    scores_of: Callable[[str], pl.DataFrame],
    folds: Folds,
    n_blocks: int,
    *,
    after_costs: bool,
) -> tuple[Floats, Floats, Floats]:
    """`cross_validation.block_sums` of what each trial's trades made on a day; events are read one after another."""
    shape = (n_blocks, len(trials))
    sums, squares, n_days = np.zeros(shape), np.zeros(shape), np.zeros(n_blocks)
    for (event_type,), own in trials.with_row_index("place").group_by("event_type", maintain_order=True):
        days = _earned(own, scores_of(str(event_type)), after_costs=after_costs)
        at = own["place"].to_numpy()
        sums[:, at], squares[:, at], n_days = block_sums(
            days["earned"].to_numpy(),
            days["day"].to_numpy().astype(np.int64),
            days["trial"].to_numpy().astype(np.int64),
            n_trials=len(own),
            first=folds.first_discovery_day,
            end=folds.confirmation_end_day,
            n_blocks=n_blocks,
            purge=folds.embargo_days,
        )
    return sums, squares, n_days


def _earned(trials: pl.DataFrame, scores: pl.DataFrame, *, after_costs: bool) -> pl.DataFrame:
    """``trial`` (its row), ``day`` and ``earned``, by trial and day; symbols that are pooled are added from the least on."""
    owners = trials.select(pl.int_range(pl.len()).alias("trial"), *KEY, "direction", scope="symbol")
    side = pl.col("direction").cast(pl.Float64)
    earned = side * pl.col("sum_y")
    if after_costs:
        earned = earned - side * pl.col("sum_funding") - pl.col("sum_cost")
    rows = scores.join(owners, on=list(KEY), how="inner")
    return (
        rows.filter((pl.col("scope") == POOLED) | (pl.col("scope") == pl.col("symbol")))
        .select("trial", "day", earned.alias("earned"))
        .sort("trial", "day", "earned")
        .group_by("trial", "day", maintain_order=True)
        .agg(pl.col("earned").sum())
    )


def as_json(found: Overfitting) -> dict[str, Any]:
    """The figures of an overfitting without its single logits."""
    return {
        "probability": found.probability,
        "loss_probability": found.loss_probability,
        "n_trials": found.n_trials,
        "n_halvings": found.n_halvings,
        "median_logit": float(np.median(found.logits)) if len(found.logits) else None,
    }
