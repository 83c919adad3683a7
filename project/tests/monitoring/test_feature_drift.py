"""Drift is told from how much a feature moves by itself: slow ones raise no alarm, a planted shift does."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.errors import TooLittleDataError
from backtest.monitoring.feature_drift import (
    BARS_PER_DAY,
    DriftWindows,
    band_of,
    bin_edges,
    day_counts,
    drifted,
    feature_drifts,
    measured,
    mid_ranks,
    population_stability_index,
    windowed,
)

WINDOWS = DriftWindows(reference_days=30, live_days=7, history_days=180)
DAYS = WINDOWS.history_days + WINDOWS.live_days


def _autoregressive(half_life_days: float, seed: int, days: int = DAYS) -> np.ndarray:
    """A stationary Gaussian feature of mean 0 and standard deviation 1."""
    from scipy.signal import lfilter

    keep = 0.5 ** (1 / (half_life_days * BARS_PER_DAY))
    noise = np.random.default_rng(seed).standard_normal(days * BARS_PER_DAY) * np.sqrt(1 - keep**2)
    noise[0] /= np.sqrt(1 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], noise))


def _shifted(column: np.ndarray, by: float) -> np.ndarray:
    changed = column.copy()
    changed[-WINDOWS.live_days * BARS_PER_DAY :] += by
    return changed


def test_index_of_two_bins_by_hand() -> None:
    live, reference = np.array([30, 70]), np.array([50, 50])
    first, second = (30.5 / 101, 70.5 / 101), (0.5, 0.5)
    expected = sum((a - b) * np.log(a / b) for a, b in zip(first, second, strict=True))
    assert population_stability_index(live, reference) == pytest.approx(expected)
    assert population_stability_index(live, live) == 0
    assert population_stability_index(live, reference) == pytest.approx(population_stability_index(reference, live))


def test_index_of_a_shifted_normal_is_about_the_squared_shift() -> None:
    rng = np.random.default_rng(0)
    values, moved = rng.standard_normal(100 * BARS_PER_DAY), rng.standard_normal(100 * BARS_PER_DAY) + 0.5
    edges = bin_edges(values)
    index = population_stability_index(day_counts(moved, edges).sum(axis=0), day_counts(values, edges).sum(axis=0))
    assert index == pytest.approx(0.25, rel=0.1)


def test_bands_are_the_usual_ones() -> None:
    assert [band_of(index) for index in (0.0, 0.0999, 0.1, 0.25, 0.2501)] == [
        "stable", "stable", "moderate", "moderate", "large",
    ]  # fmt: skip


def test_bins_have_room_outside_what_was_seen_and_for_nulls_and_repeated_values() -> None:
    values = np.concatenate([np.zeros(200), np.arange(1.0, 89.0)])
    edges = bin_edges(values)
    day = np.array([-1.0, 0.0, 0.0, 1000.0, np.nan] + [0.0] * 283)
    counts = day_counts(day, edges)[0]
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (1, 285, 1, 1)
    assert counts.sum() == BARS_PER_DAY


def test_windows_are_those_of_a_slow_loop() -> None:
    windows = DriftWindows(reference_days=3, live_days=2, history_days=20)
    values = _autoregressive(0.5, 1, days=12)
    counts = day_counts(values, bin_edges(values))
    slow = [
        population_stability_index(counts[day + 3 : day + 5].sum(axis=0), counts[day : day + 3].sum(axis=0))
        for day in range(8)
    ]
    assert windowed(counts, windows, population_stability_index) == pytest.approx(slow)


def test_shift_of_mean_ranks_is_the_mann_whitney_effect() -> None:
    from scipy.stats import mannwhitneyu

    reference, live = np.repeat(np.arange(8.0), 36), np.repeat(np.arange(2.0, 10.0), 36)
    pooled = np.concatenate([reference, live])
    edges = np.unique(pooled)
    counts = day_counts(pooled, edges)
    ranks = mid_ranks(counts[:1])
    effect = mannwhitneyu(live, reference).statistic / (len(live) * len(reference)) - 0.5
    # ranks are those of the reference, on which its own mean is one half
    assert ranks.shift(counts[1], counts[0]) == pytest.approx(effect)


@pytest.mark.slow
def test_slow_features_cry_wolf_by_their_index_and_not_by_their_verdict() -> None:
    n_large = n_drift = 0
    for seed in range(40):
        (drift,) = feature_drifts({"slow": _autoregressive(1.0, seed)}, {"slow": "ratio"}, WINDOWS)
        n_large += drift.band == "large"
        n_drift += drift.status == "drift"
    assert n_large > 20
    assert n_drift <= 5


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_shift_of_one_standard_deviation_is_found_among_many_features(sign: float) -> None:
    values = {f"f{number}": _autoregressive(0.02, number) for number in range(30)}
    values["f7"] = _shifted(values["f7"], sign)
    found = feature_drifts(values, dict.fromkeys(values, "bps"), WINDOWS)
    assert [drift.feature for drift in drifted(found)] == ["f7"]
    assert found[0].feature == "f7"
    assert found[0].band == "large"
    assert found[0].shift_sd == pytest.approx(sign, abs=0.25)
    assert found[0].shift == pytest.approx(found[0].live_median - found[0].reference_median)  # type: ignore[operator]


def test_a_significant_shift_that_is_small_is_no_drift() -> None:
    drift = measured("f", "bps", _shifted(_autoregressive(0.005, 3), 0.2), WINDOWS)
    assert drift.p_value is not None
    assert drift.p_value < 1e-3
    assert drift.band == "stable"
    assert drifted(feature_drifts({"f": _shifted(_autoregressive(0.005, 3), 0.2)}, {"f": "bps"}, WINDOWS)) == []


def test_values_that_stop_coming_are_drift_and_values_that_never_came_are_no_data() -> None:
    stopped = _autoregressive(0.02, 4)
    stopped[-WINDOWS.live_days * BARS_PER_DAY :] = np.nan
    found = {
        drift.feature: drift
        for drift in feature_drifts(
            {"stopped": stopped, "never": np.full(len(stopped), np.nan)}, {"stopped": "bps", "never": "bps"}, WINDOWS
        )
    }
    assert found["stopped"].status == "drift"
    assert (found["stopped"].missing_live, found["stopped"].live_median) == (1.0, None)
    assert (found["never"].status, found["never"].p_value) == ("no data", None)


def test_a_constant_feature_that_changes_its_value_is_drift() -> None:
    constant = np.ones(DAYS * BARS_PER_DAY)
    assert not drifted(feature_drifts({"f": constant}, {"f": "1"}, WINDOWS))
    assert drifted(feature_drifts({"f": _shifted(constant, 1e-9)}, {"f": "1"}, WINDOWS))


def test_too_few_days_say_how_many_are_needed() -> None:
    with pytest.raises(TooLittleDataError, match=r"there are 90 whole days of features; .* needs 93"):
        feature_drifts({"f": np.ones(90 * BARS_PER_DAY)}, {"f": "1"}, WINDOWS)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    from statsmodels.stats.multitest import multipletests

    values = {f"f{number}": _autoregressive(0.3, number) for number in range(12)}
    found = feature_drifts(values, dict.fromkeys(values, "1"), WINDOWS)
    expected = multipletests([drift.p_value for drift in found], method="fdr_bh")[1]
    assert [drift.q_value for drift in found] == pytest.approx(list(expected))
