"""Bid-ask spreads estimated from open, high, low and close prices of a moving window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from backtest.expressions.arrays import Floats
from backtest.expressions.registry import min_samples

NOISE: Final = 1e-13
"""A variance below this share of the mean square it is taken from is rounding noise."""


def edge_spread(open_: Floats, high: Floats, low: Floats, close: Floats, window: int) -> Floats:
    """Efficient estimate (EDGE) of the bid-ask spread as a fraction of the price, from the last `window` bars.

    Each bar is taken with the one before it; bars of which either lacks a price are left out, and the result is null
    where too few are left (`min_samples`), where no price moved, or where the opens or closes never differ from the
    extremes. The root of the size of the estimated square, as the authors' default: never negative.

    References
    ----------
    Ardia, Guidotti, Kroencke (2024), Efficient estimation of bid-ask spreads from open, high, low, and close prices,
    Journal of Financial Economics 161, 103916.
    """
    from backtest.expressions.moments import window_sum

    o, h, l, c = (_log(price) for price in (open_, high, low, close))  # noqa: E741
    m = (h + l) / 2.0
    h1, l1, c1, m1 = (_before(values) for values in (h, l, c, m))
    r1, r2, r3, r4, r5 = m - o, o - m1, m - c1, c1 - m1, o - c1
    valid = np.isfinite(r1 + r2 + r3 + r4 + r5 + h1 + l1)
    moved = ((h != l) | (l != c1)).astype(np.float64)
    count = window_sum(valid.astype(np.float64), window, 1)

    def mean(values: Floats) -> Floats:
        return window_sum(np.where(valid, values, 0.0), window, 1) / count

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        p_moved = mean(moved)
        p_open = mean(moved * (o != h)) + mean(moved * (o != l))
        p_close = mean(moved * (c1 != h1)) + mean(moved * (c1 != l1))
        a, b = -4.0 / p_open, -4.0 / p_close
        k1, k3, k5 = mean(r1) / p_moved, mean(r3) / p_moved, mean(r5) / p_moved
        e1, q1 = _mean_and_square(mean, moved, (r1, k1, r2, a), (r3, k3, r4, b))
        e2, q2 = _mean_and_square(mean, moved, (r1, k1, r5, a), (r5, k5, r4, b))
        v1, v2 = _variance(q1, e1), _variance(q2, e2)
        total = v1 + v2
        squared = np.where(total > 0, (v2 * e1 + v1 * e2) / np.where(total > 0, total, 1.0), (e1 + e2) / 2.0)
        spread = np.sqrt(np.abs(squared))
    known = np.isfinite(spread) & (count >= min_samples(window))
    return np.where(known, spread, np.nan)


Term = tuple[Floats, Floats, Floats, Floats]
"""Of one term factor · (r - k · moved) · s: r, k, s and the factor; k and the factor are one number a window."""


def _mean_and_square(
    mean: Callable[[Floats], Floats], moved: Floats, first: Term, second: Term
) -> tuple[Floats, Floats]:
    """Mean and mean square of the sum of two terms; `moved` is 0 or 1, so that it equals its square."""
    (r, k, s, a), (u, j, t, b) = first, second
    product = a * (mean(r * s) - k * mean(moved * s)) + b * (mean(u * t) - j * mean(moved * t))
    square_first = mean((r * s) ** 2) - 2.0 * k * mean(r * moved * s * s) + k * k * mean(moved * s * s)
    square_second = mean((u * t) ** 2) - 2.0 * j * mean(u * moved * t * t) + j * j * mean(moved * t * t)
    mixed = (
        mean(r * s * u * t) - j * mean(r * s * moved * t) - k * mean(moved * s * u * t) + k * j * mean(moved * s * t)
    )
    return product, a * a * square_first + 2.0 * a * b * mixed + b * b * square_second


def _variance(square: Floats, mean: Floats) -> Floats:
    variance = square - mean**2
    return np.where(variance > NOISE * square, variance, 0.0)


def _log(price: Floats) -> Floats:
    """Natural logarithm; NaN where the price is null or not positive."""
    return np.log(np.where(price > 0, price, np.nan))


def _before(values: Floats) -> Floats:
    shifted = np.full_like(values, np.nan)
    shifted[1:] = values[:-1]
    return shifted


SPREAD_ARRAYS: Final[Mapping[str, Callable[..., Floats]]] = MappingProxyType({"edge_spread": edge_spread})
