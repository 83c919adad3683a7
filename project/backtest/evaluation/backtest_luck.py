"""How much of a backtest's result choosing it from many would make: deflated Sharpe ratio and probability of overfitting.

References
----------
Bailey & López de Prado (2014), J. Portfolio Management 40; Bailey, Borwein, López de Prado & Zhu (2017), J. Computational
Finance 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.overfitting import deflated_sharpe
from backtest.evaluation.account_metrics import DAYS_PER_YEAR
from backtest.evaluation.cross_validation import Overfitting, block_sums, overfitting

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds

Floats = NDArray[np.float64]
MIN_BLOCK_DAYS: Final = 5
"""Days of a block, those purged left out, below which its Sharpe ratios are not compared."""


@dataclass(frozen=True)
class Trials:
    """What a search tried.

    Attributes
    ----------
    n : independent trials on the window, as the ledger counts them (``n_trials`` of the candidates); None: not known.
    spread : standard deviation of the trials' Sharpe ratios × √periods; at least 1, which it is where none has an edge.
    """

    n: float | None
    spread: float = 1.0

    @property
    def none_tried(self) -> Trials:
        """For days that nothing was chosen on."""
        return Trials(1.0)


def trials_of(candidates: pl.DataFrame, folds: Folds) -> Trials:
    """The trials behind a run's candidates (`candidates.CANDIDATE_SCHEMA`), with the spread that deflates them there."""
    tested = candidates.filter(pl.col("gate_eligible") & pl.col("n_trials").is_finite())
    if tested.is_empty():
        return Trials(None)
    days = (folds.discovery_end - folds.discovery_start).days
    ratios = tested.select(pl.col("sharpe_ratio") * pl.col("direction")).to_series().to_numpy()
    ratios = ratios[np.isfinite(ratios)] * np.sqrt(days / DAYS_PER_YEAR)
    spread = float(ratios.std(ddof=1)) if len(ratios) > 1 else 1.0
    n = tested["n_trials"].max()
    return Trials(float(n), max(1.0, spread))  # type: ignore[arg-type]


def deflated_sharpe_ratio(returns: Floats, trials: Trials) -> float | None:
    """Probability that the true Sharpe ratio of (d,) daily returns exceeds what the best of `trials` shows by luck.

    None where the returns do not vary or the number of trials is not known.
    """
    if trials.n is None or len(returns) < 3 or not returns.std() > 1e-15:
        return None
    z = (returns - returns.mean()) / returns.std()
    values = (returns.mean() / returns.std(ddof=1), (z**3).mean(), (z**4).mean(), float(len(returns)))
    made = deflated_sharpe(*(np.array([value]) for value in values), n_trials=trials.n, spread=trials.spread)
    return float(made[0]) if np.isfinite(made[0]) else None


def strategies_overfitting(returns: pl.DataFrame, n_blocks: int, purge: int) -> Overfitting | None:
    """The probability that choosing the best of the strategies by its Sharpe ratio overfits; by days, each alone.

    Parameters
    ----------
    returns : ``day``, ``strategy``, ``return``, as many days of each.
    n_blocks : even number of blocks of the window.
    purge : days left out at the start of each block but the first.

    Returns
    -------
    Overfitting
        None for fewer than two strategies, or a window whose blocks are shorter than `MIN_BLOCK_DAYS`.
    """
    names = returns["strategy"].unique(maintain_order=True).to_list()
    if len(names) < 2:
        return None
    days = returns["day"].dt.epoch("d").to_numpy().astype(np.int64)
    first, end = int(days.min()), int(days.max()) + 1
    if (end - first) // n_blocks - purge < MIN_BLOCK_DAYS:
        return None
    number = {name: place for place, name in enumerate(names)}
    trial = np.array([number[name] for name in returns["strategy"]], dtype=np.int64)
    values = returns["return"].to_numpy()
    sums = block_sums(values, days, trial, n_trials=len(names), first=first, end=end, n_blocks=n_blocks, purge=purge)
    return overfitting(*sums)
