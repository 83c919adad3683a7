"""Joint day sign-flips of a whole search: family-wise adjusted p-values, and how many independent tests it amounts to.

References
----------
Romano & Wolf (2005), Econometrica 73; Wallace (1959), Annals of Mathematical Statistics 30.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtest.discovery.skewness import adjusted_t
from backtest.expressions.compiling import machine_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Singles = NDArray[np.float32]
Days = NDArray[np.int32]
Signs = NDArray[np.int8]

DRAWS_AT_ONCE: Final = 128
"""So many that their signs on all days stay in a processor's cache."""
THREADS: Final = 2
MARGIN: Final = 1e-5
"""Of the terms of a bound, for what single precision loses in them: some fifty times as much as it can."""
EPSILON: Final = 2.0**-23
"""Of single precision."""


class Clusters(NamedTuple):
    """Day clusters of m hypotheses.

    Attributes
    ----------
    start, stop : (m,) first and end row of each hypothesis's clusters in `day`, `sums` and `counts`.
    side : (m,) ±1, by which its sums are turned.
    day : (c,) below n_days, the day whose sign the cluster takes; one before day 0 takes that of day 0.
    sums, counts : (c,) S, not turned, and N.
    """

    start: Integers
    stop: Integers
    side: Singles
    day: Days
    sums: Singles
    counts: Singles


class _Scales(NamedTuple):
    """(m,) what se*² is made of besides the flipped sums: n, ΣS², ΣN², G/(G−1); and the degrees of freedom."""

    n: Singles
    squares: Singles
    count_squares: Singles
    correction: Singles
    freedom: Singles


@dataclass(frozen=True)
class StepDown:
    """What the flips say of m hypotheses.

    Attributes
    ----------
    adjusted_p : (m,) p̃₍ⱼ₎ = max_{k≤j} (1 + #{b : max_{l≥k} |ζ*₍ₗ₎| ≥ |ζ₍ₖ₎|})/(B+1).
    largest : (B,) max |ζ*| of each draw over all hypotheses; empty without any.
    """

    adjusted_p: Floats
    largest: Floats


def step_down(
    clusters: Clusters,
    degrees_of_freedom: Floats,
    skewness: Floats,
    *,
    one_sided: Booleans,
    n_days: int,
    draws: int,
    rng: np.random.Generator,
) -> StepDown:
    """Family-wise adjusted p-values by joint day sign-flips and Romano–Wolf step-down.

    All hypotheses of a day share its sign, so that every dependence between them is kept.

    Parameters
    ----------
    clusters : Clusters
        At least two of each hypothesis.
    degrees_of_freedom : (m,)
    skewness : (m,) of each mean; flips are symmetric, so the observed t is compared with them as `skewness.adjusted_t` has it.
    one_sided : (m,) bool
        Hypotheses that only a positive mean would support.
    n_days : int
    draws : int
        Number B of sign vectors besides the observed one.
    rng : Generator

    Notes
    -----
    With θ* = ΣwS/n: se*² = (ΣS² − 2θ*·ΣwSN + θ*²·ΣN²)·G/(G−1)/n², t* = θ*/se*, and ζ Wallace's transform of it to the normal
    scale. Hypotheses are taken from the weakest to the strongest, keeping only each draw's largest ζ* so far, so that memory
    does not grow with hypotheses × draws. ΣwSN is summed only where se*² may be so small that some draw's ζ* is the
    largest, which is rare (`_bounds`). Single precision: draws are compared with one another only, the observed one
    among them, and every draw is worked on in the same order whatever the number of threads.
    """
    m = len(clusters.start)
    if m == 0:
        return StepDown(np.zeros(0), np.zeros(0))
    sums = _sums(clusters)
    groups = (clusters.stop - clusters.start).astype(np.float64)
    scales = _Scales(
        *(
            values.astype(np.float32)
            for values in (sums[0], sums[2], sums[4], groups / (groups - 1.0), degrees_of_freedom)
        )
    )
    bounds = _bounds(clusters).astype(np.float32)
    observed = _observed(sums, groups, degrees_of_freedom, skewness, one_sided)
    order = np.argsort(observed, kind="stable")
    signs = (rng.integers(0, 2, size=(draws, n_days)) * 2 - 1).astype(np.int8)

    def chunk(first: int) -> tuple[Integers, Singles]:
        flips = np.ascontiguousarray(signs[first : first + DRAWS_AT_ONCE].T)
        return _exceedances(clusters, scales, bounds, one_sided, flips, order, observed)

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(chunk, range(0, draws, DRAWS_AT_ONCE)))
    exceed = np.sum([counted for counted, _ in found], axis=0)
    # From the strongest down, no p-value is smaller than one before it.
    adjusted = np.empty(m)
    adjusted[order[::-1]] = np.maximum.accumulate((1.0 + exceed[order[::-1]]) / (draws + 1.0))
    return StepDown(adjusted, np.concatenate([largest for _, largest in found]).astype(np.float64))


def effective_tests(largest: Floats) -> float:
    """Number of independent two-sided tests whose largest |ζ| has the same 95 % quantile as that of the draws.

    N = ln(.95)/ln(1 − 2Φ(−q₉₅)); NaN without draws.
    """
    from scipy.special import ndtr

    if len(largest) == 0:
        return float("nan")
    tail = 2.0 * float(ndtr(-np.quantile(largest, 0.95)))
    return float(np.log(0.95) / np.log1p(-tail)) if tail > 0.0 else float("inf")


@machine_code
def _sums(clusters: Clusters) -> Floats:
    """(5, m) ΣN, ΣS, ΣS², ΣSN and ΣN² of each hypothesis, turned to its side."""
    found = np.zeros((5, len(clusters.start)))
    for h in range(len(clusters.start)):
        for row in range(clusters.start[h], clusters.stop[h]):
            s, n = np.float64(clusters.sums[row]), np.float64(clusters.counts[row])
            found[0, h] += n
            found[1, h] += s
            found[2, h] += s * s
            found[3, h] += s * n
            found[4, h] += n * n
        found[1, h] *= clusters.side[h]
        found[3, h] *= clusters.side[h]
    return found


@machine_code
def _bounds(clusters: Clusters) -> Floats:
    """(3, m) p, q and r of p − |θ*|·(q + |θ*|·r) ≤ ΣS² − 2θ*·ΣwSN + θ*²·ΣN², whatever the signs w.

    With κ the mean of N and θ*n = ΣwS: |ΣwSN| ≤ κ|ΣwS| + Σ|S(N − κ)| = κn|θ*| + Σ|S(N − κ)|. Loosened so far that it holds
    for the right side in single precision too: ΣwS and ΣwSN are off by at most an epsilon of Σ|S| and Σ|SN| for each
    addition.
    """
    found = np.zeros((3, len(clusters.start)))
    for h in range(len(clusters.start)):
        first, last = clusters.start[h], clusters.stop[h]
        groups, total = last - first, 0.0
        for row in range(first, last):
            total += clusters.counts[row]
        usual = total / groups
        squares, count_squares, size, crosses, apart = 0.0, 0.0, 0.0, 0.0, 0.0
        for row in range(first, last):
            s, n = abs(np.float64(clusters.sums[row])), np.float64(clusters.counts[row])
            squares += s * s
            count_squares += n * n
            size += s
            crosses += s * n
            apart += s * abs(n - usual)
        apart += (groups + 2) * EPSILON * (usual * size + crosses)
        found[0, h] = (1.0 - MARGIN) * squares
        found[1, h] = (1.0 + MARGIN) * 2.0 * apart
        found[2, h] = (1.0 + MARGIN) * 2.0 * usual * total - (1.0 - MARGIN) * count_squares
    return found


@machine_code
def _flipped_sums(day: Days, values: Singles, flips: Signs, total: Singles) -> None:
    """Σ of the values under each column of `flips`, into `total`.

    Four rows at a time, so that `total` is read and written a quarter as often; each is added on its own, in order.
    """
    width = flips.shape[1]
    total[:] = np.float32(0.0)
    in_fours = len(day) - len(day) % 4
    for row in range(0, in_fours, 4):
        v0, v1, v2, v3 = values[row], values[row + 1], values[row + 2], values[row + 3]
        f0, f1 = flips[max(day[row], 0)], flips[max(day[row + 1], 0)]
        f2, f3 = flips[max(day[row + 2], 0)], flips[max(day[row + 3], 0)]
        for b in range(width):
            both = (total[b] + v0 * np.float32(f0[b])) + v1 * np.float32(f1[b])
            total[b] = (both + v2 * np.float32(f2[b])) + v3 * np.float32(f3[b])
    for row in range(in_fours, len(day)):
        v, signs = values[row], flips[max(day[row], 0)]
        for b in range(width):
            total[b] += v * np.float32(signs[b])


@machine_code
def _zeta(mean: np.float32, variance: np.float32, freedom: np.float32, one_sided: bool) -> np.float32:
    """Wallace's transform of mean/√variance, negative where only a positive mean counts."""
    if variance > 0.0:
        wallace = (np.float32(8.0) * freedom + np.float32(1.0)) / (np.float32(8.0) * freedom + np.float32(3.0))
        zeta = np.sqrt(freedom * np.log1p(mean * mean / (variance * freedom))) * wallace
        return np.float32(zeta if mean > 0.0 or not one_sided else -zeta)
    return np.float32(np.inf if mean != 0.0 and (mean > 0.0 or not one_sided) else -np.inf)


def _observed(sums: Floats, groups: Floats, freedom: Floats, skewness: Floats, one_sided: Booleans) -> Singles:
    """(m,) ζ of each hypothesis as it is: what `_zeta` gives for signs of one, without the part that skewness has in it."""
    n, total, squares, crosses, count_squares = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        variance = (squares - 2.0 * mean * crosses + mean**2 * count_squares) * groups / (groups - 1.0) / n**2
        t = mean / np.sqrt(np.maximum(variance, 0.0))
        adjusted = np.where(np.isinf(t), t, adjusted_t(t, skewness))
        size = np.sqrt(freedom * np.log1p(adjusted**2 / freedom)) * (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    size = np.where(np.isnan(t), -np.inf, size)
    return np.where(one_sided & (adjusted <= 0.0), -size, size).astype(np.float32)


@machine_code
def _exceedances(
    clusters: Clusters, scales: _Scales, bounds: Singles, one_sided: Booleans, flips: Signs, order: Integers,
    observed: Singles,
) -> tuple[Integers, Singles]:  # fmt: skip
    """For each hypothesis in how many draws some at most as strong reaches its own ζ; and each draw's largest ζ."""
    side, day, sums, counts = clusters.side, clusters.day, clusters.sums, clusters.counts
    n, squares, count_squares, correction, freedom = scales
    width = flips.shape[1]
    means, crosses = np.empty(width, np.float32), np.empty(width, np.float32)
    largest = np.full(width, -np.inf, np.float32)
    # A ζ lies below its t: where t² is smaller than this, ζ is not the largest.
    beaten = np.zeros(width, np.float32)
    exceed = np.zeros(len(order), np.int64)
    for h in order:
        first, last = clusters.start[h], clusters.stop[h]
        size, scale = side[h] * n[h], correction[h] / (n[h] * n[h])
        _flipped_sums(day[first:last], sums[first:last], flips, means)
        lowest = np.float32(0.0 if one_sided[h] else -np.inf)
        n_near = 0
        for b in range(width):
            mean = means[b] / size
            means[b] = mean
            reach = abs(max(mean, lowest))
            least = (bounds[0, h] - reach * (bounds[1, h] + reach * bounds[2, h])) * scale
            n_near += not reach * reach < beaten[b] * least
        if n_near > 0:
            _flipped_sums(day[first:last], sums[first:last] * counts[first:last], flips, crosses)
            for b in range(width):
                mean, cross = means[b], side[h] * crosses[b]
                variance = (squares[h] - np.float32(2.0) * mean * cross + mean * mean * count_squares[h]) * scale
                if mean * mean < beaten[b] * variance:
                    continue
                zeta = _zeta(mean, variance, freedom[h], one_sided[h])
                if zeta > largest[b]:
                    largest[b] = zeta
                    if zeta > 0.0:
                        beaten[b] = np.float32(0.9999) * zeta * zeta
        counted = 0
        for b in range(width):
            counted += largest[b] >= observed[h]
        exceed[h] = counted
    return exceed, largest
