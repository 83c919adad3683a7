"""Probability and quantile of the standard normal distribution, for scores made of ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri


def normal_probability(x: pl.Series) -> pl.Series:
    """P(Z <= x) of a standard normal Z, 0 to 1; null where x is."""
    return pl.Series(ndtr(x.fill_null(np.nan).to_numpy()), dtype=pl.Float64).fill_nan(None)


def normal_quantile(p: pl.Series) -> pl.Series:
    """The z with P(Z <= z) = p; null where p is null or not strictly between 0 and 1."""
    values = p.fill_null(np.nan).to_numpy()
    inside = (values > 0.0) & (values < 1.0)
    return pl.Series(np.where(inside, ndtri(np.where(inside, values, 0.5)), np.nan), dtype=pl.Float64).fill_nan(None)


DISTRIBUTION_SERIES: Final[Mapping[str, Callable[..., pl.Series]]] = MappingProxyType(
    {"normal_probability": normal_probability, "normal_quantile": normal_quantile}
)
