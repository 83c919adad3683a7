"""Joint day sign-flips of a whole search: family-wise adjusted p-values, and how many independent tests it amounts to.

References
----------
Romano & Wolf (2005), Econometrica 73; Wallace (1959), Annals of Mathematical Statistics 30.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.discovery.skewness import adjusted_t
from backtest.expressions.compiling import machine_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Singles = NDArray[np.float32]

DRAWS_AT_ONCE: Final = 128
"""So many that their signs on all days stay in a processor's cache."""
THREADS: Final = 2


@dataclass(frozen=True)
class Clusters:
    """Day clusters of m hypotheses.

    Attributes
    ----------
    pointer : (m + 1,) where the clusters of each hypothesis begin in the others.
    day : (c,) 0 … n_days−1, the day whose sign the cluster takes.
    sums, counts : (c,) S and N.
    """

    pointer: Integers
    day: NDArray[np.int32]
    sums: Singles
    counts: Singles

    def __len__(self) -> int:
        return len(self.pointer) - 1


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
    does not grow with hypotheses × draws. Single precision: draws are compared with one another only, the observed one
    among them, and every draw is worked on in the same order whatever the number of threads.
    """
    m = len(clusters)
    if m == 0:
        return StepDown(np.zeros(0), np.zeros(0))
    sums = _sums(clusters.pointer, clusters.sums, clusters.counts)
    groups = np.diff(clusters.pointer).astype(np.float64)
    scales = (
        sums[0].astype(np.float32),
        sums[2].astype(np.float32),
        sums[4].astype(np.float32),
        (groups / (groups - 1.0)).astype(np.float32),
        degrees_of_freedom.astype(np.float32),
    )
    parts = (clusters.pointer, clusters.day, clusters.sums, clusters.sums * clusters.counts)
    observed = _observed(sums, groups, degrees_of_freedom, skewness, one_sided)
    order = np.argsort(observed, kind="stable")
    signs = (rng.integers(0, 2, size=(draws, n_days)) * 2 - 1).astype(np.float32)

    def chunk(first: int) -> tuple[Integers, Singles]:
        flips = np.ascontiguousarray(signs[first : first + DRAWS_AT_ONCE].T)
        return _exceedances(*parts, *scales, one_sided, flips, order, observed)

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
def _sums(pointer: Integers, sums: Singles, counts: Singles) -> Floats:
    """(5, m) ΣN, ΣS, ΣS², ΣSN and ΣN² of each hypothesis."""
    found = np.zeros((5, len(pointer) - 1))
    for h in range(len(pointer) - 1):
        for row in range(pointer[h], pointer[h + 1]):
            s, n = np.float64(sums[row]), np.float64(counts[row])
            found[0, h] += n
            found[1, h] += s
            found[2, h] += s * s
            found[3, h] += s * n
            found[4, h] += n * n
    return found


@machine_code
def _flipped_sums(
    first: int,
    last: int,
    day: NDArray[np.int32],
    sums: Singles,
    crosses: Singles,
    flips: Singles,
    a: Singles,
    c: Singles,
) -> None:
    """Σ and Σ of the products with counts of the rows first … last−1 under each column of `flips`, into `a` and `c`.

    Four rows at a time, so that `a` and `c` are read and written a quarter as often; each is added on its own, in order.
    """
    width = flips.shape[1]
    a[:] = np.float32(0.0)
    c[:] = np.float32(0.0)
    in_fours = last - (last - first) % 4
    for row in range(first, in_fours, 4):
        s0, s1, s2, s3 = sums[row], sums[row + 1], sums[row + 2], sums[row + 3]
        k0, k1, k2, k3 = crosses[row], crosses[row + 1], crosses[row + 2], crosses[row + 3]
        f0, f1, f2, f3 = flips[day[row]], flips[day[row + 1]], flips[day[row + 2]], flips[day[row + 3]]
        for b in range(width):
            a[b] = (((a[b] + s0 * f0[b]) + s1 * f1[b]) + s2 * f2[b]) + s3 * f3[b]
            c[b] = (((c[b] + k0 * f0[b]) + k1 * f1[b]) + k2 * f2[b]) + k3 * f3[b]
    for row in range(in_fours, last):
        s, k, signs = sums[row], crosses[row], flips[day[row]]
        for b in range(width):
            a[b] += s * signs[b]
            c[b] += k * signs[b]


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
    pointer: Integers, day: NDArray[np.int32], sums: Singles, crosses: Singles, n: Singles, squares: Singles,
    count_squares: Singles, correction: Singles, freedom: Singles, one_sided: Booleans, flips: Singles,
    order: Integers, observed: Singles,
) -> tuple[Integers, Singles]:  # fmt: skip
    """For each hypothesis in how many draws some at most as strong reaches its own ζ; and each draw's largest ζ."""
    width = flips.shape[1]
    means, variances = np.empty(width, np.float32), np.empty(width, np.float32)
    largest = np.full(width, -np.inf, np.float32)
    # A ζ lies below its t: where t² is smaller than this, ζ is not the largest.
    beaten = np.zeros(width, np.float32)
    exceed = np.zeros(len(order), np.int64)
    for h in order:
        _flipped_sums(pointer[h], pointer[h + 1], day, sums, crosses, flips, means, variances)
        size, scale = n[h], correction[h] / (n[h] * n[h])
        for b in range(width):
            mean = means[b] / size
            means[b] = mean
            variances[b] = (squares[h] - np.float32(2.0) * mean * variances[b] + mean * mean * count_squares[h]) * scale
        for b in range(width):
            if means[b] * means[b] < beaten[b] * variances[b]:
                continue
            zeta = _zeta(means[b], variances[b], freedom[h], one_sided[h])
            if zeta > largest[b]:
                largest[b] = zeta
                if zeta > 0.0:
                    beaten[b] = np.float32(0.9999) * zeta * zeta
        counted = 0
        for b in range(width):
            counted += largest[b] >= observed[h]
        exceed[h] = counted
    return exceed, largest
