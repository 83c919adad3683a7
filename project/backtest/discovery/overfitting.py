"""How much of a result the search itself would make: deflated Sharpe ratio, backtest overfitting, drift of the mean.

References
----------
Bailey & López de Prado (2014), J. Portfolio Management 40; Bailey, Borwein, López de Prado & Zhu (2017), J. Computational
Finance 20; Ploberger & Krämer (1992), Econometrica 60.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.expressions.compiling import machine_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

EULER_MASCHERONI: Final = 0.5772156649015329


def sharpe_moments(moments: Floats, periods: Floats, sign: Floats) -> tuple[Floats, Floats, Floats]:
    """Sharpe ratio per period, skewness and kurtosis of the summed returns of periods, those without a trade counted as 0.

    Parameters
    ----------
    moments : (m, 4) Σr, Σr², Σr³, Σr⁴ over the periods with trades, in the event's direction.
    periods : (m,) number of all periods.
    sign : (m,) ±1, the side of the trade.

    Returns
    -------
    (m,) each; NaN without variation. The standard deviation has periods − 1 in its denominator, skewness and kurtosis
    have the number of periods.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second, third, fourth = (moments / periods[:, None]).T
        variance = second - first**2
        variance = np.where(variance > 1e-12 * second, variance, np.nan)
        skewness = (third - 3.0 * first * second + 2.0 * first**3) / variance**1.5
        kurtosis = (fourth - 4.0 * first * third + 6.0 * first**2 * second - 3.0 * first**4) / variance**2
        sharpe = first / np.sqrt(variance * periods / (periods - 1.0))
    return sign * sharpe, sign * skewness, np.asarray(kurtosis)


def expected_largest(n_trials: float) -> float:
    """Expected largest of `n_trials` independent standard normals (False Strategy theorem); 0 for one or fewer."""
    from scipy.special import ndtri

    if not n_trials > 1.0:
        return 0.0
    return float((1.0 - EULER_MASCHERONI) * -ndtri(1.0 / n_trials) + EULER_MASCHERONI * -ndtri(1.0 / (n_trials * np.e)))


def deflated_sharpe(
    sharpe: Floats, skewness: Floats, kurtosis: Floats, periods: Floats, *, n_trials: float, spread: float
) -> Floats:
    """Probability that the true Sharpe ratio exceeds the best one that `n_trials` trials without an edge would show.

    Parameters
    ----------
    sharpe, skewness, kurtosis : (m,) per period, from `sharpe_moments`.
    periods : (m,)
    n_trials : float
        Independent trials behind the best one.
    spread : float
        Standard deviation of the trials' Sharpe ratios × √periods: 1 where none has an edge.

    Notes
    -----
    Φ((SR − SR₀)·√(T−1)/√(1 − γ₃·SR + (γ₄−1)/4·SR²)) with SR₀ = spread/√T × `expected_largest`.
    """
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = spread / np.sqrt(periods) * expected_largest(n_trials)
        variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
        return np.asarray(ndtr((sharpe - threshold) * np.sqrt((periods - 1.0) / variance)))


def overfitting_probability(by_block: Floats, can_with: Booleans, can_against: Booleans) -> float:
    """Share of ways to halve the time in which the best trade of one half loses in the other (CSCV).

    Parameters
    ----------
    by_block : (m, blocks, 2) Σ and Σ² of the day sums of each hypothesis in equal spans of time.
    can_with, can_against : (m,) whether the trade with, and the one against the event was there to be picked.

    Returns
    -------
    Probability of backtest overfitting; NaN where nothing varies in some half. A trade and its mirror are two trades, so
    that half of all trades lose in any half, and the median of all is zero.
    """
    n_blocks = by_block.shape[1]
    if not len(by_block):
        return float("nan")
    chosen = np.array(list(itertools.combinations(range(n_blocks), n_blocks // 2)), dtype=np.int64)
    is_inside = np.zeros((len(chosen), n_blocks), dtype=bool)
    is_inside[np.arange(len(chosen))[:, None], chosen] = True
    sums, squares = (np.ascontiguousarray(by_block[:, :, column].T) for column in range(2))
    return float(_share_of_losses(is_inside, sums, squares, can_with, can_against))


@machine_code
def _share_of_losses(
    is_inside: Booleans, sums: Floats, squares: Floats, can_with: Booleans, can_against: Booleans
) -> float:
    """Of the halvings (c, blocks) the share whose best trade of one half has no gain in the other; NaN where one has no best.

    `sums` and `squares` are (blocks, m). Of equally good trades the first is picked, one with the event before those against.
    """
    n_halvings, n_blocks = is_inside.shape
    size, lost = sums.shape[1], 0
    inside, inside2, outside, outside2 = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for halving in range(n_halvings):
        inside[:], inside2[:], outside[:], outside2[:] = 0.0, 0.0, 0.0, 0.0
        for block in range(n_blocks):
            total, total2 = (inside, inside2) if is_inside[halving, block] else (outside, outside2)
            for h in range(size):
                total[h] += sums[block, h]
                total2[h] += squares[block, h]
        best_with, best_against, with_event, against = -np.inf, -np.inf, -1, -1
        for h in range(size):
            if inside2[h] > 0.0:
                score = inside[h] / np.sqrt(inside2[h])
                if can_with[h] and score > best_with:
                    best_with, with_event = score, h
                if can_against[h] and -score > best_against:
                    best_against, against = -score, h
        if with_event < 0 and against < 0:
            return np.nan
        later = -outside[against] if best_against > best_with else outside[with_event]
        lost += not later > 0.0
    return float(lost / n_halvings)


def cusum_p(cusum: Floats) -> Floats:
    """P that the mean of independent days drifts as far from its overall mean as max|Σ U_g|/√ΣU_g² says (Brownian bridge)."""
    from scipy.special import kolmogorov

    return np.asarray(kolmogorov(cusum))
