"""Every function of the language with what computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from backtest.expressions.arrays import FUNCTION_ARRAYS, Values
from backtest.expressions.distributions import DISTRIBUTION_ARRAYS
from backtest.expressions.runs import RUN_ARRAYS
from backtest.expressions.spreads import SPREAD_ARRAYS

IMPLEMENTATIONS: Final[Mapping[str, Callable[..., Values]]] = MappingProxyType(
    {**FUNCTION_ARRAYS, **DISTRIBUTION_ARRAYS, **RUN_ARRAYS, **SPREAD_ARRAYS}
)
