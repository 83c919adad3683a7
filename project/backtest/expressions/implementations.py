"""Every function of the language with what computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import polars as pl

from backtest.expressions.distributions import DISTRIBUTION_SERIES
from backtest.expressions.runs import RUN_SERIES
from backtest.expressions.series import FUNCTION_SERIES
from backtest.expressions.spreads import SPREAD_SERIES

IMPLEMENTATIONS: Final[Mapping[str, Callable[..., pl.Series]]] = MappingProxyType(
    {**FUNCTION_SERIES, **DISTRIBUTION_SERIES, **RUN_SERIES, **SPREAD_SERIES}
)
