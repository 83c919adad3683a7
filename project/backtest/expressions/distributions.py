"""Probability and quantile of the standard normal distribution, for scores made of ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from backtest.expressions.arrays import Floats


def normal_probability(x: Floats) -> Floats:
    """P(Z <= x) of a standard normal Z, 0 to 1; null where x is."""
    from scipy.special import ndtr

    return np.asarray(ndtr(x))


def normal_quantile(p: Floats) -> Floats:
    """The z with P(Z <= z) = p; null where p is null or not strictly between 0 and 1."""
    from scipy.special import ndtri

    inside = (p > 0.0) & (p < 1.0)
    return np.where(inside, ndtri(np.where(inside, p, 0.5)), np.nan)


DISTRIBUTION_ARRAYS: Final[Mapping[str, Callable[..., Floats]]] = MappingProxyType(
    {"normal_probability": normal_probability, "normal_quantile": normal_quantile}
)
