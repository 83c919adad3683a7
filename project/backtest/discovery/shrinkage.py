"""Effect sizes after selection: hierarchical adaptive shrinkage of the returns of an event's atoms.

A block is an event, policy and horizon; its atoms are the disjoint cells symbol × states. With y the raw means of the
observed atoms and Σ their covariance,

    y | θ ~ N(θ_observed, Σ)        θ ~ Σ_k π_k N(0, τ²_{e,k}·11ᵀ + τ²_{a,k}·I)

where component 0 is a point mass at zero and π is fitted to all blocks of a horizon. Every hypothesis is an n-weighted
mean of atoms, so that numbers for all states, for one state, for a symbol and pooled agree.

References
----------
Smyth (2004), Statistical Applications in Genetics and Molecular Biology 3; Stephens (2017), Biostatistics 18;
Urbut, Wang, Carbonetto & Stephens (2019), Nature Genetics 51; jackknife scores: Cameron & Miller (2015), J. Human
Resources 50.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.discovery.inference import segment_sums
from backtest.expressions.compiling import machine_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MIN_EVENTS: Final = 8
MIN_DAYS: Final = 5
VARIANCE_PRIOR_DAYS: Final = 4.0
"""A block's pooled variance counts as much as this many days of an atom's own."""
CORRELATION_KEPT: Final = 0.6
"""Estimated correlations between atoms are shrunk 40 % towards zero."""
GRID_BPS: Final = (0.0, 0.35, 0.7, 1.4, 2.8, 5.6, 11.0)
"""Standard deviations of effects over one bar; over H bars they are √H times as large."""
NULL_PSEUDO_COUNTS: Final = 20.0
EM_MAX_STEPS: Final = 2000
EM_TOLERANCE: Final = 1e-7
BISECTIONS: Final = 30
NEGLIGIBLE_WEIGHT: Final = 1e-9


@dataclass(frozen=True)
class BlockMeans:
    """Raw means of b blocks with up to a atoms each; slots without an observed atom hold zeros and an identity row.

    `RotatedMeans` is what the functions below read.

    Attributes
    ----------
    mean : (b, a) bps per trade.
    covariance : (b, a, a) bps².
    is_observed : (b, a)
    """

    mean: Floats
    covariance: Floats
    is_observed: Booleans


@dataclass(frozen=True)
class Posterior:
    """Posterior of m effects, each a mixture of k Gaussians; a component of standard deviation 0 is a point mass.

    Attributes
    ----------
    weight, component_mean, component_sd : (m, k); means and standard deviations in bps per trade.
    """

    weight: Floats
    component_mean: Floats
    component_sd: Floats

    @property
    def mean(self) -> Floats:
        mean: Floats = (self.weight * self.component_mean).sum(axis=1)
        return mean

    @property
    def standard_deviation(self) -> Floats:
        spread = self.component_sd**2 + (self.component_mean - self.mean[:, None]) ** 2
        return np.asarray(np.sqrt((self.weight * spread).sum(axis=1)))

    @property
    def null_weight(self) -> Floats:
        """P that the whole block has no effect: the weight of component 0."""
        return self.weight[:, 0]

    def turned(self, sign: Floats) -> Posterior:
        """The posterior of sign × effect, for signs ±1."""
        return Posterior(self.weight, self.component_mean * sign[:, None], self.component_sd)

    def probability_above(self, threshold: Floats) -> Floats:
        """P(effect > threshold) for (m,) thresholds in bps; a point mass that lies on the threshold is not above it."""
        from scipy.special import ndtr

        row, weight, mean, deviation = self._heavy
        distance = mean - threshold[row]
        with np.errstate(divide="ignore", invalid="ignore"):
            above = np.where(deviation == 0.0, distance > 0.0, ndtr(distance / deviation))
        return segment_sums(weight * above, row, len(self.weight))

    @functools.cached_property
    def _heavy(self) -> tuple[Integers, Floats, Floats, Floats]:
        """Row, weight, mean and standard deviation of the components whose weight can be seen; most have none."""
        at = np.nonzero(self.weight > NEGLIGIBLE_WEIGHT)
        return at[0], self.weight[at], self.component_mean[at], self.component_sd[at]

    def local_false_sign_rate(self) -> Floats:
        """P(effect ≤ 0): that the sign taken for positive is not."""
        # Weights sum to 1 but for rounding, so the difference may lie a hair below zero.
        return np.maximum(1.0 - self.probability_above(np.zeros(len(self.weight))), 0.0)

    def quantile(self, share: float) -> Floats:
        """The smallest value with P(effect ≤ value) ≥ share, to a billionth of the mixture's width."""
        reach = 8.0 * self.component_sd
        low = (self.component_mean - reach).min(axis=1) - 1e-9
        high = (self.component_mean + reach).max(axis=1)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = 1.0 - self.probability_above(middle) < share
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        # A point mass at zero is a quantile that bisection only approaches.
        return np.where((low < 0.0) & (high >= 0.0) & (np.abs(high) < 1e-6), 0.0, high)


def block_means(
    day_sums: Floats, day_counts: Integers, day: Integers, block: Integers, slot: Integers, shape: tuple[int, int]
) -> BlockMeans:
    """Raw means of atoms and their covariance from day-cluster jackknife scores.

    Parameters
    ----------
    day_sums, day_counts : (r,) Σy in bps and count of one atom on one day (or cluster of days).
    day : (r,) the day or cluster; atoms of a block share days, which is where their covariance comes from.
    block, slot : (r,) which atom: the block, and the atom's place in it.
    shape : (b, a)

    Notes
    -----
    δ_ig = (S_ig − ȳ_i N_ig)/(n_i − N_ig); Σ_ij = √((G_i−1)/G_i · (G_j−1)/G_j) Σ_g δ_ig δ_jg; correlations times 0.6.
    Of a few days some atoms seem precise by chance, and a Gaussian likelihood would believe them; so n_i Σ_ii is averaged
    with its mean over the block, weights ν = G−1 and 4 (Smyth 2004), then times ν/(ν−2) with ν = G+3. An atom with fewer
    than 8 events or 5 days, or without variation, is unobserved.
    """
    blocks, atoms = shape
    cell, size = block * atoms + slot, blocks * atoms
    order = slice(None) if (np.diff(cell) >= 0).all() else np.argsort(cell, kind="stable")
    cell, day, counts = cell[order], np.asarray(day)[order], day_counts[order].astype(np.float64)
    edges = np.searchsorted(cell, np.arange(size + 1))
    n, mean, variance, scale, delta = _jackknives(day_sums[order], counts, edges)
    groups = np.diff(edges).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (n >= MIN_EVENTS) & (groups >= MIN_DAYS) & (np.sqrt(variance) > 1e-12 * scale)
        corrected = np.where(observed, np.sqrt(_moderated(variance, n, groups, observed, shape)), 0.0).reshape(shape)
        unit = np.where(observed[cell], delta / np.sqrt(variance)[cell], 0.0)
    correlation = CORRELATION_KEPT * _grams(unit, day, edges, blocks, atoms)
    diagonal = np.arange(atoms)
    correlation[:, diagonal, diagonal] = 1.0
    covariance = correlation * corrected[:, :, None] * corrected[:, None, :]
    is_observed = observed.reshape(shape)
    covariance[:, diagonal, diagonal] = np.where(is_observed, corrected**2, 1.0)
    return BlockMeans(np.where(is_observed, mean.reshape(shape), 0.0), covariance, is_observed)


def _moderated(variance: Floats, n: Floats, groups: Floats, observed: Booleans, shape: tuple[int, int]) -> Floats:
    """Variances of atoms' means, drawn towards their block's variance of a single event, and corrected for their ν."""
    known = np.where(observed, groups - 1.0, 0.0)
    per_event = np.where(observed, variance * n, 0.0)
    pooled = (known * per_event).reshape(shape).sum(axis=1) / known.reshape(shape).sum(axis=1)
    freedom = groups - 1.0 + VARIANCE_PRIOR_DAYS
    moderated = (known * per_event + VARIANCE_PRIOR_DAYS * np.repeat(pooled, shape[1])) / freedom
    return np.asarray(moderated / n * freedom / (freedom - 2.0))


@machine_code
def _jackknives(sums: Floats, counts: Floats, edges: Integers) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of each atom (rows edges[i] … edges[i+1]−1): n, mean, variance of the mean, Σ|S|/n; and each row's δ·√((G−1)/G)."""
    size = len(edges) - 1
    n, mean, variance, scale = np.zeros(size), np.full(size, np.nan), np.zeros(size), np.zeros(size)
    delta = np.zeros(len(sums))
    for atom in range(size):
        first, last = edges[atom], edges[atom + 1]
        total, width = 0.0, 0.0
        for row in range(first, last):
            n[atom] += counts[row]
            total += sums[row]
            width += abs(sums[row])
        if last - first < 2:
            continue
        mean[atom], scale[atom] = total / n[atom], width / n[atom]
        correction = np.sqrt((last - first - 1.0) / (last - first))
        for row in range(first, last):
            delta[row] = (sums[row] - mean[atom] * counts[row]) / (n[atom] - counts[row]) * correction
            variance[atom] += delta[row] * delta[row]
    return n, mean, variance, scale, delta


@machine_code
def _grams(unit: Floats, day: Integers, edges: Integers, blocks: int, atoms: int) -> Floats:
    """(b, a, a) sums over days of the products of two atoms' scores."""
    grams = np.zeros((blocks, atoms, atoms))
    if len(day) == 0:
        return grams
    earliest = day.min()
    # Of each day the scores of a block, one after another, and which atoms they are of.
    size = day.max() - earliest + 1
    scores, owner, filled = np.zeros((size, atoms)), np.zeros((size, atoms), np.int64), np.zeros(size, np.int64)
    for block in range(blocks):
        low, high = size, 0
        for slot in range(atoms):
            for row in range(edges[block * atoms + slot], edges[block * atoms + slot + 1]):
                at = day[row] - earliest
                if filled[at] == 0 or owner[at, filled[at] - 1] != slot:
                    filled[at] += 1
                scores[at, filled[at] - 1], owner[at, filled[at] - 1] = unit[row], slot
                low, high = min(low, at), max(high, at + 1)
        for at in range(low, high):
            for i in range(filled[at]):
                for j in range(i + 1):
                    grams[block, owner[at, i], owner[at, j]] += scores[at, i] * scores[at, j]
            filled[at] = 0
        for i in range(atoms):
            for j in range(i):
                grams[block, j, i] = grams[block, i, j]
    return grams


def variance_grid(horizon_bars: int) -> tuple[Floats, Floats]:
    """(k,) τ²_e and τ²_a in bps²: the null first, then all τ_a ≤ τ_e > 0, then effects of single atoms alone."""
    grid = np.array(GRID_BPS) * np.sqrt(horizon_bars)
    pairs = [(0.0, 0.0)]
    pairs += [(common, own) for common in grid[1:] for own in grid[grid <= common]]
    pairs += [(0.0, own) for own in grid[1:]]
    common, own = np.array(pairs).T
    return common**2, own**2


@dataclass(frozen=True)
class RotatedMeans:
    """The observed atoms of b blocks in the basis of their covariance's eigenvectors, where τ²_a·I adds to the eigenvalues.

    Blocks have as many entries as they have observed atoms, one block after the other: most have few of the many that some
    have.

    Attributes
    ----------
    pointer : (b + 1,) where the entries of each block begin in the next four.
    slot : the place of each observed atom among all of its block.
    eigenvalue, mean, ones : bps², and the raw means (bps) and a vector of ones in that basis.
    vectors : each block's matrix of eigenvectors, row after row.
    """

    pointer: Integers
    slot: Integers
    eigenvalue: Floats
    mean: Floats
    ones: Floats
    vectors: Floats

    def __len__(self) -> int:
        return len(self.pointer) - 1

    @property
    def n_observed(self) -> Integers:
        """(b,) observed atoms of each block."""
        return np.diff(self.pointer)

    @classmethod
    def of(cls, blocks: BlockMeans) -> RotatedMeans:
        count = blocks.is_observed.sum(axis=1)
        pointer = np.concatenate([[0], np.cumsum(count)])
        first_vector = np.concatenate([[0], np.cumsum(count**2)])
        eigenvalue, mean, ones = (np.zeros(pointer[-1]) for _ in range(3))
        vectors = np.zeros(first_vector[-1])
        slot = np.flatnonzero(blocks.is_observed) % max(blocks.is_observed.shape[1], 1)
        for size in np.unique(count[count > 0]):
            at = np.flatnonzero(count == size)
            own = pointer[at, None] + np.arange(size)
            seen = slot[own]
            values, basis = np.linalg.eigh(blocks.covariance[at[:, None, None], seen[:, :, None], seen[:, None, :]])
            eigenvalue[own], ones[own] = values, basis.sum(axis=1)
            mean[own] = np.einsum("bij,bi->bj", basis, blocks.mean[at[:, None], seen])
            vectors[first_vector[at, None] + np.arange(size**2)] = basis.reshape(len(at), -1)
        return cls(pointer, slot, eigenvalue, mean, ones, vectors)

    @classmethod
    def joined(cls, parts: Sequence[RotatedMeans]) -> RotatedMeans:
        """The blocks of several, one after the other."""
        counts = np.concatenate([part.n_observed for part in parts])
        names = ("slot", "eigenvalue", "mean", "ones", "vectors")
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
        return cls(np.concatenate([[0], np.cumsum(counts)]), *joined)


def log_likelihoods(blocks: RotatedMeans, at: Integers, common: Floats, own: Floats) -> Floats:
    """(c, k) log density of the means of the blocks `at` under each component, by Sherman–Morrison in the eigenbasis.

    A block without observed atoms has 0 everywhere.
    """
    return np.asarray(_log_densities(blocks.pointer, blocks.eigenvalue, blocks.mean, blocks.ones, at, common, own))


@machine_code
def _log_densities(
    pointer: Integers, eigenvalue: Floats, mean: Floats, ones: Floats, at: Integers, common: Floats, own: Floats
) -> Floats:
    density = np.zeros((len(at), len(own)))
    for row in range(len(at)):
        first, last = pointer[at[row]], pointer[at[row] + 1]
        constant = (last - first) * np.log(2.0 * np.pi)
        for k in range(len(own)):
            log_det, ones2, cross, mean2 = 0.0, 0.0, 0.0, 0.0
            for entry in range(first, last):
                variance = eigenvalue[entry] + own[k]
                log_det += np.log(variance)
                ones2 += ones[entry] * ones[entry] / variance
                cross += ones[entry] * mean[entry] / variance
                mean2 += mean[entry] * mean[entry] / variance
            ratio = 1.0 + common[k] * ones2
            density[row, k] = -0.5 * (log_det + np.log(ratio) + mean2 - common[k] / ratio * cross * cross + constant)
    return density


def mixture_weights(log_likelihood: Floats) -> Floats:
    """(k,) π by EM over (b, k) blocks, with 20 pseudo-counts on component 0."""
    blocks, components = log_likelihood.shape
    prior = np.zeros(components)
    prior[0] = NULL_PSEUDO_COUNTS
    scaled = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True, initial=-np.inf))
    weights = np.full(components, 1.0 / components)
    for _ in range(EM_MAX_STEPS):
        joint = scaled * weights
        responsible = (joint / joint.sum(axis=1, keepdims=True)).sum(axis=0)
        updated = (responsible + prior) / (blocks + NULL_PSEUDO_COUNTS)
        change = np.abs(updated - weights).max()
        weights = updated
        if change < EM_TOLERANCE:
            break
    return weights


def responsibilities(log_likelihood: Floats, weights: Floats) -> Floats:
    """(b, k) posterior probability of each component."""
    with np.errstate(divide="ignore"):
        joint = log_likelihood + np.log(weights)
    joint = np.exp(joint - joint.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def posterior(
    blocks: RotatedMeans, component_weights: Floats, common: Floats, own: Floats, block: Integers, share: Floats
) -> Posterior:
    """Posterior of linear functions of atoms, in closed form.

    Parameters
    ----------
    blocks : of b blocks with up to a atoms each.
    component_weights : (m, k) from `responsibilities`, of each function's block.
    common, own : (k,) τ²_e and τ²_a.
    block : (m,) which block each function is of.
    share : (m, a) weights of the atoms, each row sums to 1; unobserved atoms may have weight.

    Notes
    -----
    With e = τ²_e, t = τ²_a, inner products ⟨·,·⟩ in (Σ + tI)⁻¹, κ = e/(1 + e⟨1,1⟩) and w the shares of observed atoms:
    mean = κ⟨1,y⟩(1 − t⟨w,1⟩) + t⟨w,y⟩; variance = κ(1 − t⟨w,1⟩)² + t Σᵢ w̃ᵢ²λᵢ/(λᵢ + t) + t|w_unobserved|².
    """
    mean, variance = _conditionals(
        blocks.pointer, np.concatenate([[0], np.cumsum(blocks.n_observed**2)]), blocks.slot, blocks.eigenvalue,
        blocks.mean, blocks.ones, blocks.vectors, common, own, block, share,
    )  # fmt: skip
    return Posterior(component_weights, mean, np.sqrt(variance))


@machine_code
def _conditionals(
    pointer: Integers, first_vector: Integers, slot: Integers, eigenvalue: Floats, mean: Floats, ones: Floats,
    vectors: Floats, common: Floats, own: Floats, block: Integers, share: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """(m, k) mean and variance of each function under each component."""
    means, variances = np.zeros((len(block), len(own))), np.zeros((len(block), len(own)))
    turned = np.zeros(share.shape[1])
    for row in range(len(block)):
        first, last, vector = pointer[block[row]], pointer[block[row] + 1], first_vector[block[row]]
        size, unseen2 = last - first, 0.0
        for weight in share[row]:
            unseen2 += weight * weight
        turned[:size] = 0.0
        for i in range(size):
            weight = share[row, slot[first + i]]
            if weight != 0.0:
                unseen2 -= weight * weight
                for j in range(size):
                    turned[j] += weight * vectors[vector + i * size + j]
        unseen2 = max(unseen2, 0.0)
        for k in range(len(own)):
            ones2, cross, with_ones, with_mean, spread = 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(size):
                inverse = 1.0 / (eigenvalue[first + j] + own[k])
                ones2 += ones[first + j] * ones[first + j] * inverse
                cross += ones[first + j] * mean[first + j] * inverse
                with_ones += turned[j] * ones[first + j] * inverse
                with_mean += turned[j] * mean[first + j] * inverse
                spread += turned[j] * turned[j] * eigenvalue[first + j] * inverse
            remaining = 1.0 - own[k] * with_ones
            kappa = common[k] / (1.0 + common[k] * ones2)
            means[row, k] = kappa * cross * remaining + own[k] * with_mean
            variances[row, k] = kappa * remaining * remaining + own[k] * (spread + unseen2)
    return means, variances
