"""Features against second, slow computations: estimators on series whose truth is known, ranks over stamps, copulas."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import stats

from backtest.features.bar_columns import with_all_columns
from backtest.features.build import build_features
from backtest.spec.compiled import CompiledFeature
from backtest.spec.loader import load_spec

SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
Floats = NDArray[np.float64]


def needed(names: set[str]) -> list[CompiledFeature]:
    """The features and what they are made of, in building order."""
    wanted, found = set(names), []
    for name, feature in reversed(SPEC.features.items()):
        if name in wanted:
            wanted |= feature.expression.inputs & SPEC.features.keys()
            found.append(feature)
    return found[::-1]


def built(columns: dict[str, object], *names: str) -> pl.DataFrame:
    """Features of made-up bars, one row a bar."""
    n = max(len(values) for values in columns.values() if hasattr(values, "__len__"))
    stamps = pl.Series([START + dt.timedelta(minutes=5 * row) for row in range(n)], dtype=pl.Datetime("ms", "UTC"))
    bars = pl.DataFrame({"timestamp": stamps, **columns})
    bars = with_all_columns(bars, SPEC.columns, SPEC.calendars.values())
    return build_features(bars, needed(set(names))).select(names)


def quoted_market(spread: float, n_bars: int = 6000, trades: int = 60) -> dict[str, object]:
    """Bars of a random walk traded at bid or ask at random."""
    rng = np.random.default_rng(1)
    middle = np.cumsum(rng.normal(0, 2e-4, (n_bars, trades)).ravel()).reshape(n_bars, trades)
    log_price = middle + rng.choice([-0.5, 0.5], middle.shape) * spread
    price = 1000 * np.exp(log_price)
    return {"open": price[:, 0], "high": price.max(axis=1), "low": price.min(axis=1), "close": price[:, -1]}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("estimated_spread_edge_24h_bps", 0.05),
        ("estimated_spread_abdi_ranaldo_24h_bps", 0.15),
        ("estimated_spread_roll_24h_bps", 0.35),
        ("estimated_spread_corwin_schultz_24h_bps", 0.35),
    ],
)
def test_a_spread_estimator_finds_the_spread_that_was_put_in(name: str, tolerance: float) -> None:
    estimates = built(quoted_market(40e-4), name)[name].drop_nulls()
    assert len(estimates) > 5000
    assert math.sqrt((estimates**2).mean()) == pytest.approx(40.0, rel=tolerance)


def corwin_schultz(high: Floats, low: Floats) -> Floats:
    """The two-bar estimate as the paper writes it."""
    found = []
    for t in range(1, len(high)):
        beta = math.log(high[t] / low[t]) ** 2 + math.log(high[t - 1] / low[t - 1]) ** 2
        gamma = math.log(max(high[t], high[t - 1]) / min(low[t], low[t - 1])) ** 2
        k = 3 - 2 * math.sqrt(2)
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
        found.append(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)))
    return np.array(found)


def test_corwin_schultz_is_the_formula_of_the_paper() -> None:
    bars = quoted_market(10e-4, 400)
    found = built(bars, "estimated_spread_corwin_schultz_bar").to_series().to_numpy()[1:]
    assert found == pytest.approx(corwin_schultz(bars["high"], bars["low"]), rel=1e-9)


def test_kyles_lambda_is_the_slope_on_signed_value() -> None:
    rng = np.random.default_rng(2)
    n = 400
    share, volume = rng.uniform(0.2, 0.8, n), np.exp(rng.normal(3, 0.4, n))
    signed = (2 * share - 1) * volume * 100 * 1e-6
    close = 100 * np.exp(np.cumsum(signed * 0.5 + rng.normal(0, 1e-6, n)))
    bars = {"close": close, "volume": volume, "taker_buy_volume": volume * share, "quote_volume": volume * 100}
    found = built(bars, "kyle_lambda_24h").to_series().drop_nulls()
    assert found.to_numpy() == pytest.approx(0.5, rel=0.01)


def test_vpin_and_taker_imbalance_are_shares_of_volume() -> None:
    bars = {"volume": [10.0] * 120, "taker_buy_volume": [8.0, 3.0] * 60}
    found = built(bars, "vpin_8h", "taker_imbalance_1h", "taker_imbalance")
    assert found["vpin_8h"][-1] == pytest.approx(0.5)
    assert found["taker_imbalance_1h"][-1] == pytest.approx(0.1)
    assert found["taker_imbalance"].to_list()[:2] == pytest.approx([0.6, -0.4])


def test_funding_ranks_are_over_stamps_and_do_not_change_between_them() -> None:
    rng = np.random.default_rng(4)
    rates = rng.normal(0, 1e-4, 110)
    stamped: list[float | None] = [None] * (96 * 110)
    stamped[::96] = list(rates)
    found = built({"funding_stamp_rate": pl.Series(stamped, dtype=pl.Float64)}, "funding_size_rank_30d")
    for stamp in (95, 100, 109):
        window = np.abs(rates[stamp - 89 : stamp + 1])
        expected = stats.percentileofscore(window, abs(rates[stamp]), "mean") / 100 + 0.5 / len(window)
        day = found.to_series()[96 * stamp : 96 * (stamp + 1)]
        assert day.n_unique() == 1
        assert day[0] == pytest.approx(expected)


def pair(link: Callable[[Floats, Floats], Floats]) -> pl.DataFrame:
    rng = np.random.default_rng(6)
    btc, noise = rng.normal(0, 1e-3, (2, 9000))
    own = link(btc, noise)
    close = 100 * np.exp(np.cumsum(own))
    bars = {"close": close, "btc_return": np.expm1(btc), "market_return": np.expm1((btc + own) / 2)}
    return built(bars, "copula_probability", "copula_correlation", "pair_return")


def test_the_copula_probability_of_a_stable_pair_is_uniform_and_its_parameter_the_correlation() -> None:
    found = pair(lambda btc, noise: 0.8 * btc + 0.6 * noise)
    probability = found["copula_probability"].drop_nulls().to_numpy()
    assert np.quantile(probability, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.06)
    assert found["copula_correlation"].drop_nulls().mean() == pytest.approx(0.8, abs=0.06)


def test_bitcoins_own_pair_is_the_market_and_it_has_no_lead_over_itself() -> None:
    rng = np.random.default_rng(7)
    own, market = rng.normal(0, 1e-3, (2, 700))
    close = 100 * np.cumprod(1 + own)
    bars = {"close": close, "btc_return": pl.Series(close).pct_change(), "market_return": market}
    found = built(bars, "pair_return", "lead_lag_btc_24h")
    assert found["pair_return"].drop_nulls().to_list() == pytest.approx(market[288:].tolist())
    assert found["lead_lag_btc_24h"].null_count() == len(found)


def test_a_lead_of_bitcoin_is_positive() -> None:
    rng = np.random.default_rng(8)
    btc, noise = rng.normal(0, 1e-3, (2, 900))
    own = 0.5 * np.concatenate([[0.0], btc[:-1]]) + noise
    found = built({"close": 100 * np.cumprod(1 + own), "btc_return": btc}, "lead_lag_btc_24h")
    assert found.to_series().drop_nulls().mean() == pytest.approx(0.45, abs=0.1)


def test_estimators_name_their_paper_and_spreads_from_bars_say_that_they_are_estimated() -> None:
    estimators = ("edge", "corwin_schultz", "abdi_ranaldo", "roll_24h", "amihud", "kyle", "vpin", "parkinson", "garman")
    for name, feature in SPEC.features.items():
        assert feature.model.description.endswith("."), name
        assert feature.model.unit, name
        if any(word in name for word in estimators):
            assert feature.model.source, name
        if "spread" in name and not feature.columns & {"mean_spread_bps", "max_spread_bps"}:
            assert name.startswith("estimated_"), name
