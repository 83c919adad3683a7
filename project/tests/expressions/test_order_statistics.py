"""Ranks and quantiles of moving windows against windows that are sorted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backtest.expressions.order_statistics import window_quantile, window_rank

SPECIAL = (0.0, -0.0, 5e-324, -5e-324, 1e-310, 1.7e308, -1.7e308, 1.0, -1.0, math.nan, math.nan)


@pytest.mark.parametrize("window", [1, 2, 63, 64, 65, 1_500, 5_000])
@pytest.mark.parametrize("kind", ["ties", "noise", "rising", "falling", "special", "null", "constant", "none"])
def test_ranks_and_quantiles_are_those_of_sorted_windows(kind: str, window: int) -> None:
    chance = np.random.default_rng([window, len(kind)])
    n = 3_000
    x = {
        "ties": np.round(chance.normal(size=n), 1),
        "noise": chance.normal(size=n) * 10.0 ** chance.integers(-200, 200, n),
        "rising": np.arange(n) - 1_000.0,
        "falling": 1_000.0 - np.arange(n),
        "special": chance.choice(SPECIAL, n),
        "null": np.where(chance.random(n) < 0.9, np.nan, chance.normal(size=n)),
        "constant": np.full(n, -2.5),
        "none": np.full(n, np.nan),
    }[kind]
    needed = max(1, window // 20)
    ranks = window_rank(x, window, needed)
    quantiles = {q: window_quantile(x, q, window, needed) for q in (0.0, 0.013, 0.5, 0.95, 1.0)}
    for row in [*range(0, n, 37), n - 1]:
        known = [one for one in x[max(0, row + 1 - window) : row + 1].tolist() if one == one]
        if len(known) < needed:
            assert np.isnan(ranks[row])
            assert all(np.isnan(found[row]) for found in quantiles.values())
            continue
        if x[row] == x[row]:
            assert ranks[row] == (sum(one < x[row] for one in known) + (known.count(x[row]) + 1) / 2) / len(known)
        else:
            assert np.isnan(ranks[row])
        ordered = sorted(known)
        for q, found in quantiles.items():
            beyond, k = math.modf(q * (len(known) - 1))
            expected = ordered[int(k)]
            if beyond:
                expected += (ordered[int(k) + 1] - expected) * beyond
            assert found[row] == expected if math.isfinite(expected) else np.isnan(found[row])
