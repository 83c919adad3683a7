"""The shipped spec, and a blueprint made on it."""

from __future__ import annotations

import pytest

from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec
from backtest.strategies.blueprints import Blueprint
from tests.strategies.cases import SHIPPED, blueprints_from, passed


@pytest.fixture(scope="session")
def spec() -> Spec:
    """The shipped spec."""
    return load_spec(SHIPPED)


@pytest.fixture(scope="session")
def blueprint(spec: Spec) -> Blueprint:
    """A trade against a volatility shock, in quiet markets only."""
    (made,) = blueprints_from(spec, passed("mean_reversion", "lag1", -1, state_id="vol_regime_low"))
    return made
