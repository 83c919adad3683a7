"""Probability that a search is overfitted: of all its tested trades, and of those that passed every gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.day_scores import in_series
from backtest.discovery.event_days import EventDays, event_days
from backtest.evaluation.cross_validation import Overfitting, block_sums, overfitting

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds

Floats = NDArray[np.float64]
TRIALS_AT_ONCE: Final = 500
"""Whose days are in memory together."""


def search_overfitting(
    candidates: pl.DataFrame, scores_of: Callable[[str], Mapping[str, pl.DataFrame]], folds: Folds, n_blocks: int
) -> dict[str, dict[str, Any]]:
    """Overfitting of the whole search (every tested hypothesis, on both sides where it has both) and of what passed.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, all of a search.
    scores_of : the `drift_free.DRIFT_FREE_SCHEMA` of an event type by symbol, over the whole window; of one at a time.
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
    scores_of: Callable[[str], Mapping[str, pl.DataFrame]],
    folds: Folds,
    n_blocks: int,
    *,
    after_costs: bool,
) -> tuple[Floats, Floats, Floats]:
    """`cross_validation.block_sums` of what each trial's trades made on a day; events are read one after another."""
    shape = (n_blocks, len(trials))
    sums, squares, n_days = np.zeros(shape), np.zeros(shape), np.zeros(n_blocks)
    first, end = folds.first_discovery_day, folds.confirmation_end_day
    for (event_type,), own in trials.with_row_index("place").group_by("event_type", maintain_order=True):
        scores = scores_of(str(event_type)).items()
        days = event_days({symbol: in_series(frame, folds.first_confirmation_day) for symbol, frame in scores})
        for some in own.iter_slices(TRIALS_AT_ONCE):
            earned = _earned(some, days, first, end, after_costs=after_costs)
            day, trial = np.tile(np.arange(first, end), len(some)), np.repeat(np.arange(len(some)), end - first)
            at = some["place"].to_numpy()
            sums[:, at], squares[:, at], n_days = block_sums(
                earned.ravel(),
                day,
                trial,
                n_trials=len(some),
                first=first,
                end=end,
                n_blocks=n_blocks,
                purge=folds.embargo_days,
            )
    return sums, squares, n_days


def _earned(trials: pl.DataFrame, days: EventDays, first: int, end: int, *, after_costs: bool) -> Floats:
    """(m, end − first) what each trial's trades of one event type made on each day, all its symbols together."""
    pointer, start, stop = days.parts(trials)
    owner = np.repeat(np.arange(len(trials)), np.diff(pointer))
    length = stop - start
    trial = np.repeat(owner, length)
    rows = np.arange(length.sum()) + np.repeat(start - np.cumsum(length) + length, length)
    side = trials["direction"].to_numpy().astype(np.float64)[trial]
    made = side * days.values["sum_y"][rows]
    if after_costs:
        made -= side * days.values["sum_funding"][rows] + days.values["sum_cost"][rows]
    day = days.day[rows]
    inside = (day >= first) & (day < end)
    cell = trial * (end - first) + day - first
    size = len(trials) * (end - first)
    totals = np.asarray(np.bincount(cell[inside], made[inside], size), dtype=np.float64)
    return totals.reshape(len(trials), end - first)


def as_json(found: Overfitting) -> dict[str, Any]:
    """The figures of an overfitting without its single logits."""
    return {
        "probability": found.probability,
        "loss_probability": found.loss_probability,
        "n_trials": found.n_trials,
        "n_halvings": found.n_halvings,
        "median_logit": float(np.median(found.logits)) if len(found.logits) else None,
    }
