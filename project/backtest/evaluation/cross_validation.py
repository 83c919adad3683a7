"""Probability of backtest overfitting by combinatorially symmetric cross-validation with purged blocks.

References
----------
Bailey, Borwein, López de Prado & Zhu (2017), The probability of backtest overfitting, J. Computational Finance 20;
purging: López de Prado (2018), Advances in Financial Machine Learning, ch. 7 and 12.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.discovery.inference import segment_sums

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HALVES_PER_CHUNK: Final = 64


@dataclass(frozen=True)
class Overfitting:
    """What the best trial of one half of the blocks does in the other half, over all ways to halve them.

    Attributes
    ----------
    probability : share of halvings in which the best is at or below the median of the other half; None without trials.
    loss_probability : share in which its Sharpe ratio in the other half is not positive.
    n_trials, n_halvings : trials compared, ways to halve.
    logits : (h,) ln ω/(1 − ω) of its relative rank ω in the other half; ≤ 0 is overfitting.
    """

    probability: float | None
    loss_probability: float | None
    n_trials: int
    n_halvings: int
    logits: Floats


def block_sums(
    returns: Floats, day: Integers, trial: Integers, *, n_trials: int, first: int, end: int, n_blocks: int, purge: int
) -> tuple[Floats, Floats, Floats]:
    """Sums of daily returns in equal blocks of the days [first, end), without the days that reach over from the block before.

    Parameters
    ----------
    returns, day, trial : (r,) return of a trial on a day; at most one row for each of both, absent ones are 0.
    purge : days at the start of every block but the first that are left out: trades of the block before may still run.

    Returns
    -------
    (b, m) Σr, (b, m) Σr², (b,) number of days.
    """
    block, used = blocks_of(np.arange(first, end), first, end, n_blocks, purge)
    n_days = np.bincount(block[used], minlength=n_blocks).astype(np.float64)
    inside = (day >= first) & (day < end)
    place, kept = block[day[inside] - first], used[day[inside] - first]
    cell = (place * n_trials + trial[inside])[kept]
    values = returns[inside][kept]
    shape = (n_blocks, n_trials)
    sums = segment_sums(values, cell, n_blocks * n_trials).reshape(shape)
    squares = segment_sums(values**2, cell, n_blocks * n_trials).reshape(shape)
    return sums, squares, n_days


def blocks_of(day: Integers, first: int, end: int, n_blocks: int, purge: int) -> tuple[Integers, NDArray[np.bool_]]:
    """The block of each day, and whether it is used: not one of the first `purge` days of a block after the first."""
    block = (day - first) * n_blocks // (end - first)
    starts = first - (-np.arange(n_blocks) * (end - first) // n_blocks)
    return block, (block == 0) | (day - starts[block] >= purge)


def overfitting(sums: Floats, squares: Floats, n_days: Floats) -> Overfitting:
    """The probability of backtest overfitting of m trials by their daily Sharpe ratio in halves of b blocks.

    Parameters
    ----------
    sums, squares : (b, m) Σr and Σr² of each trial in each block, b even.
    n_days : (b,)

    Notes
    -----
    For each of the C(b, b/2) halves: the trial with the highest Sharpe ratio inside, its rank r among all m outside (1 the
    worst; of equal ones their middle), ω = r/(m + 1), λ = ln ω/(1 − ω). A trial that does not vary inside cannot be the
    best there; one that does not vary outside has a Sharpe ratio of 0.
    """
    n_blocks, n_trials = sums.shape
    halves = np.array(list(itertools.combinations(range(n_blocks), n_blocks // 2)))
    if n_trials < 2:
        return Overfitting(None, None, n_trials, len(halves), np.zeros(0))
    logits, losses = [], []
    for first in range(0, len(halves), HALVES_PER_CHUNK):
        chosen = halves[first : first + HALVES_PER_CHUNK]
        inside = np.zeros((len(chosen), n_blocks))
        inside[np.arange(len(chosen))[:, None], chosen] = 1.0
        in_sample = _sharpe(inside, sums, squares, n_days)
        out = np.nan_to_num(_sharpe(1.0 - inside, sums, squares, n_days))
        known = np.where(np.isnan(in_sample), -np.inf, in_sample)
        best = known.argmax(axis=1)
        usable = np.isfinite(known.max(axis=1))
        of_best = out[np.arange(len(chosen)), best][:, None]
        rank = (out < of_best).sum(axis=1) + ((out == of_best).sum(axis=1) + 1.0) / 2.0
        share = rank / (n_trials + 1.0)
        logits.append(np.log(share / (1.0 - share))[usable])
        losses.append((of_best[:, 0] <= 0.0)[usable])
    every, lost = np.concatenate(logits), np.concatenate(losses)
    if not len(every):
        return Overfitting(None, None, n_trials, len(halves), every)
    return Overfitting(float((every <= 0.0).mean()), float(lost.mean()), n_trials, len(halves), every)


def _sharpe(weights: Floats, sums: Floats, squares: Floats, n_days: Floats) -> Floats:
    """(h, m) daily mean over daily standard deviation in the blocks that each row of weights picks; NaN without variation."""
    days = (weights @ n_days)[:, None]
    mean = weights @ sums / days
    second = weights @ squares / days
    variance = second - mean**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 1e-12 * second, mean / np.sqrt(variance), np.nan)
