"""Shrinkage against a slow direct implementation, and on simulated blocks whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from backtest.discovery.shrinkage import (
    CORRELATION_KEPT,
    GRID_BPS,
    BlockMeans,
    Posterior,
    RotatedMeans,
    block_means,
    log_likelihoods,
    mixture_weights,
    posterior,
    responsibilities,
    variance_grid,
)


def made_blocks(rng: np.random.Generator, blocks: int, atoms: int) -> BlockMeans:
    roots = rng.normal(size=(blocks, atoms, atoms))
    covariance = roots @ roots.transpose(0, 2, 1) + np.eye(atoms)
    observed = rng.random((blocks, atoms)) < 0.75
    observed[:, 0] = True
    pairs = observed[:, :, None] & observed[:, None, :]
    covariance = np.where(pairs, covariance, np.eye(atoms))
    return BlockMeans(np.where(observed, rng.normal(0, 4, (blocks, atoms)), 0.0), covariance, observed)


def test_the_grid_holds_the_null_all_own_below_common_and_pure_own_effects() -> None:
    common, own = variance_grid(12)
    assert (common[0], own[0]) == (0.0, 0.0)
    assert len(common) == 1 + sum(range(2, 8)) + 6
    assert ((own <= common) | (common == 0)).all()
    assert common.max() == own.max() == pytest.approx((11.0 * np.sqrt(12)) ** 2)
    assert sorted({float(round(np.sqrt(value / 12), 9)) for value in common}) == list(GRID_BPS)


def some(blocks: BlockMeans, at: list[int]) -> BlockMeans:
    return BlockMeans(blocks.mean[at], blocks.covariance[at], blocks.is_observed[at])


def test_densities_and_posterior_agree_with_explicit_matrices() -> None:
    rng = np.random.default_rng(1)
    blocks = made_blocks(rng, 5, 4)
    common, own = variance_grid(3)
    rotated = RotatedMeans.joined([RotatedMeans.of(part) for part in (some(blocks, [0, 1]), some(blocks, [2, 3, 4]))])
    density = log_likelihoods(rotated, np.arange(5), common, own)
    assert log_likelihoods(rotated, np.array([3, 1]), common, own) == pytest.approx(density[[3, 1]])
    prior = rng.dirichlet(np.ones(len(common)))
    weights = responsibilities(density, prior)
    block = np.array([0, 0, 1, 2, 3, 4, 4])
    share = rng.dirichlet(np.ones(4), size=len(block))
    share[0] = [1.0, 0.0, 0.0, 0.0]
    found = posterior(rotated, weights[block], common, own, block, share)
    for b in range(5):
        seen = np.flatnonzero(blocks.is_observed[b])
        y, sigma = blocks.mean[b, seen], blocks.covariance[b][np.ix_(seen, seen)]
        joint = []
        for k in range(len(common)):
            total = sigma + common[k] * np.ones((len(seen), len(seen))) + own[k] * np.eye(len(seen))
            log_density = multivariate_normal(np.zeros(len(seen)), total).logpdf(y)
            assert density[b, k] == pytest.approx(log_density, rel=1e-9)
            joint.append(prior[k] * np.exp(log_density))
            tau = common[k] * np.ones((4, 4)) + own[k] * np.eye(4)
            gain = tau[:, seen] @ np.linalg.inv(total)
            mean, variance = gain @ y, tau - gain @ tau[seen]
            for row in np.flatnonzero(block == b):
                assert found.component_mean[row, k] == pytest.approx(share[row] @ mean, rel=1e-8, abs=1e-9)
                expected = share[row] @ variance @ share[row]
                assert found.component_sd[row, k] ** 2 == pytest.approx(expected, rel=1e-7, abs=1e-8)
        assert weights[b] == pytest.approx(np.array(joint) / sum(joint), rel=1e-8)


def test_mean_spread_probability_and_quantiles_of_a_mixture_agree_with_drawing_from_it() -> None:
    rng = np.random.default_rng(2)
    blocks = made_blocks(rng, 1, 3)
    common, own = variance_grid(1)
    rotated = RotatedMeans.of(blocks)
    density = log_likelihoods(rotated, np.zeros(1, np.int64), common, own)
    weights = responsibilities(density, np.full(len(common), 1 / len(common)))
    mixture = posterior(rotated, weights, common, own, np.zeros(1, np.int64), np.array([[0.5, 0.3, 0.2]]))
    component = rng.choice(len(common), size=400_000, p=mixture.weight[0])
    drawn = rng.normal(mixture.component_mean[0, component], mixture.component_sd[0, component])
    assert mixture.mean[0] == pytest.approx(drawn.mean(), abs=0.02)
    assert mixture.standard_deviation[0] == pytest.approx(drawn.std(), rel=0.01)
    assert mixture.probability_above(np.array([1.0]))[0] == pytest.approx((drawn > 1.0).mean(), abs=0.005)
    assert mixture.local_false_sign_rate()[0] == pytest.approx((drawn <= 0).mean(), abs=0.005)
    for share in (0.05, 0.5, 0.95):
        value = mixture.quantile(share)[0]
        assert (drawn <= value).mean() == pytest.approx(share, abs=0.005) or value == 0.0
    turned = mixture.turned(np.array([-1.0]))
    assert turned.mean[0] == -mixture.mean[0]
    assert turned.quantile(0.05)[0] == pytest.approx(-mixture.quantile(0.95)[0], abs=1e-6)


def test_em_agrees_with_explicit_steps_and_adds_to_the_likelihood() -> None:
    rng = np.random.default_rng(3)
    density = rng.normal(size=(40, 6)) * 3
    slow = np.full(6, 1 / 6)
    for _ in range(3000):
        counts = np.zeros(6)
        counts[0] = 20.0
        for row in np.exp(density):
            counts += row * slow / (row * slow).sum()
        slow = counts / counts.sum()
    assert mixture_weights(density) == pytest.approx(slow, abs=1e-4)


def test_a_search_without_blocks_is_all_null() -> None:
    assert mixture_weights(np.zeros((0, 4))).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_covariance_agrees_with_deleting_one_day_at_a_time() -> None:
    rng = np.random.default_rng(4)
    rows = [
        (day, slot, int(rng.integers(1, 4)))
        for day in range(30)
        for slot in range(3)
        if rng.random() < (0.9, 0.6, 0.1)[slot] and not (slot == 2 and day > 12)
    ]
    day, slot, count = np.array(rows).T
    sums = rng.normal(1.0, 5.0, len(rows)) * count
    found = block_means(sums, count, day, np.zeros(len(rows), np.int64), slot, (1, 3))
    assert found.is_observed.tolist() == [[True, True, False]]

    def left_out(atom: int, g: int) -> float:
        kept = (slot == atom) & (day != g)
        return float(sums[kept].sum() / count[kept].sum())

    whole = [sums[slot == atom].sum() / count[slot == atom].sum() for atom in range(2)]
    active = [set(day[slot == atom]) for atom in range(2)]
    scores = np.array([[left_out(a, g) - whole[a] if g in active[a] else 0.0 for g in range(30)] for a in range(2)])
    groups = np.array([len(days) for days in active])
    raw = scores @ scores.T * np.sqrt(np.outer((groups - 1) / groups, (groups - 1) / groups))
    n = np.array([count[slot == atom].sum() for atom in range(2)])
    per_event = np.diag(raw) * n
    block = np.average(per_event, weights=groups - 1)
    own = [np.average([one, block], weights=[g - 1, 4]) for one, g in zip(per_event, groups, strict=True)]
    sizes = np.sqrt(own / n * (groups + 3) / (groups + 1))
    correlation = raw[0, 1] / np.sqrt(raw[0, 0] * raw[1, 1])
    assert found.mean[0, :2] == pytest.approx(whole)
    assert np.sqrt(np.diag(found.covariance[0])[:2]) == pytest.approx(sizes)
    assert found.covariance[0, 0, 1] == pytest.approx(CORRELATION_KEPT * correlation * sizes[0] * sizes[1])
    assert found.covariance[0, 2].tolist() == [0.0, 0.0, 1.0]


def test_an_atom_that_seems_precise_by_chance_is_not_believed() -> None:
    rng = np.random.default_rng(8)
    day = np.concatenate([np.arange(100), np.arange(100), np.arange(9)])
    slot = np.repeat([0, 1, 2], [100, 100, 9])
    y = np.concatenate([rng.normal(0, 30, 200), 10 + rng.normal(0, 0.5, 9)])
    found = block_means(y, np.ones(209, np.int64), day, np.zeros(209, np.int64), slot, (1, 3))
    error = np.sqrt(np.diag(found.covariance[0]))
    assert error[2] > 5.0
    assert error[:2] == pytest.approx(3.0, rel=0.15)


def simulated(seed: int, null_share: float) -> tuple[np.ndarray, np.ndarray, BlockMeans]:
    """Truth, raw means and blocks: each block without effect, or with a common one of 4 bps and own ones of 1.5."""
    rng = np.random.default_rng(seed)
    blocks, atoms, days = 150, 6, 120
    has = rng.random(blocks) >= null_share
    truth = has[:, None] * (rng.normal(0, 4, (blocks, 1)) + rng.normal(0, 1.5, (blocks, atoms)))
    market = rng.normal(0, 10, (blocks, 1, days))
    values = truth[:, :, None] + market + rng.standard_t(5, (blocks, atoms, days)) * 18
    block, slot, day = (index.ravel() for index in np.indices(values.shape))
    means = block_means(values.ravel(), np.ones(values.size, np.int64), day, block, slot, (blocks, atoms))
    return truth, values.mean(axis=2), means


def shrunk(means: BlockMeans):
    common, own = variance_grid(4)
    blocks, atoms = means.mean.shape
    rotated = RotatedMeans.of(means)
    density = log_likelihoods(rotated, np.arange(blocks), common, own)
    weights = responsibilities(density, mixture_weights(density))
    block = np.repeat(np.arange(blocks), atoms)
    return posterior(rotated, weights[block], common, own, block, np.tile(np.eye(atoms), (blocks, 1)))


def test_intervals_cover_the_truth_and_errors_are_less_than_half_of_the_raw_means() -> None:
    truth, raw, means = simulated(5, null_share=0.7)
    found = shrunk(means)
    error = np.sqrt(np.mean((found.mean - truth.ravel()) ** 2))
    assert error < 0.5 * np.sqrt(np.mean((raw - truth) ** 2))
    low, high = found.quantile(0.05), found.quantile(0.95)
    covered = (low <= truth.ravel()) & (truth.ravel() <= high)
    assert 0.86 <= covered.mean() <= 0.99
    picked = raw.ravel() > 4.0
    assert covered[picked].mean() >= 0.8
    # The winner's curse: of what was picked for its size, the raw mean is too large and the shrunk one is not.
    assert raw.ravel()[picked].mean() > truth.ravel()[picked].mean() + 1.0
    assert found.mean[picked].mean() == pytest.approx(truth.ravel()[picked].mean(), abs=0.5)


def test_the_false_sign_rate_is_the_share_of_wrong_signs() -> None:
    truth, _, means = simulated(6, null_share=0.4)
    found = shrunk(means)
    turned = found.turned(np.where(found.mean < 0, -1.0, 1.0))
    rate = turned.local_false_sign_rate()
    sure = rate < 0.2
    wrong = np.sign(truth.ravel()) != np.sign(found.mean)
    assert sure.sum() > 50
    assert wrong[sure].mean() == pytest.approx(rate[sure].mean(), abs=0.06)


def test_a_rate_is_not_below_zero_where_weights_sum_to_a_hair_above_one() -> None:
    weight = np.array([[0.0, 0.5, 0.5 + 2.3e-16]])
    assert weight.sum() > 1.0
    surely_positive = Posterior(weight, np.full((1, 3), 100.0), np.ones((1, 3)))
    assert surely_positive.local_false_sign_rate() == 0.0


def test_a_world_without_effects_shrinks_to_about_nothing() -> None:
    _, raw, means = simulated(7, null_share=1.0)
    found = shrunk(means)
    assert np.abs(raw).max() > 5.0
    assert np.sqrt(np.mean(found.mean**2)) < 0.1 * np.sqrt(np.mean(raw**2))
    assert found.null_weight.mean() > 0.8


def test_one_gaussian_is_shrunk_as_the_textbook_says() -> None:
    blocks = BlockMeans(np.array([[6.0]]), np.array([[[4.0]]]), np.array([[True]]))
    found = posterior(
        RotatedMeans.of(blocks),
        np.ones((1, 1)),
        np.array([12.0]),
        np.array([0.0]),
        np.zeros(1, np.int64),
        np.ones((1, 1)),
    )
    assert found.mean[0] == pytest.approx(6.0 * 12 / 16)
    assert found.standard_deviation[0] == pytest.approx(np.sqrt(12 * 4 / 16))
    assert found.quantile(0.95)[0] == pytest.approx(norm(4.5, np.sqrt(3)).ppf(0.95), abs=1e-6)
