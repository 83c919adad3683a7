"""Mirrored bars by hand; whatever the signs, sizes, values in USD and distances of other prices stay what they were."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtest.evaluation.random_signs import with_random_signs


def bars() -> pl.DataFrame:
    """Four bars, the third missing; the fourth opens away from the last close."""
    return pl.DataFrame(
        {
            "open": [100.0, 101.0, None, 99.0],
            "high": [102.0, 103.0, None, 99.0],
            "low": [99.0, 100.0, None, 97.02],
            "close": [101.0, 100.0, None, 97.02],
            "volume": [10.0, 20.0, None, 30.0],
            "taker_buy_volume": [6.0, 15.0, None, 10.0],
            "spot_close": [100.5, 99.0, None, 97.0],
            "premium_index": [1e-4, 2e-4, None, 3e-4],
            "taker_volume_ratio": [1.5, 3.0, None, 0.5],
            "book_imbalance": [0.2, -0.1, None, 0.3],
            "long_liquidation_usd": [1.0, 2.0, None, 3.0],
            "short_liquidation_usd": [4.0, 5.0, None, 6.0],
        }
    )


def test_signs_of_one_change_nothing() -> None:
    turned = with_random_signs(bars(), np.ones(4))
    assert_frame_equal(turned, bars(), rel_tol=1e-12)


def test_a_mirrored_bar_goes_the_other_way_from_where_the_path_is() -> None:
    turned = with_random_signs(bars(), np.array([-1.0, 1.0, 1.0, -1.0]))
    # Bar 0: +1 % becomes −1 %, high +2 % becomes low −2 %, low −1 % becomes high +1 %.
    assert turned.row(0)[:4] == pytest.approx((100.0, 101.0, 98.0, 99.0))
    # Bar 1 keeps its way from the new close of 99: −1/101.
    assert turned["open"][1] == pytest.approx(99.0)
    assert turned["close"][1] == pytest.approx(99.0 * 100 / 101)
    assert turned.row(2)[:4] == (None, None, None, None)
    # Bar 3: the step of −1 % from the last close and the way of −2 % are both turned.
    assert turned["open"][3] == pytest.approx(turned["close"][1] * 1.01)
    assert turned["close"][3] == pytest.approx(turned["open"][3] * 1.02)
    assert turned["high"][3] == pytest.approx(turned["close"][3])
    assert turned["low"][3] == pytest.approx(turned["open"][3])


def test_what_belongs_to_one_side_is_told_of_the_other_and_the_rest_stays() -> None:
    turned = with_random_signs(bars(), np.array([-1.0, 1.0, 1.0, -1.0]))
    value = turned["volume"] * turned["close"]
    assert value.to_list() == pytest.approx((bars()["volume"] * bars()["close"]).to_list())
    bought = turned["taker_buy_volume"] / turned["volume"]
    assert bought.to_list() == pytest.approx([0.4, 0.75, None, 20 / 30])
    premium = turned["spot_close"] / turned["close"]
    assert premium.to_list() == pytest.approx((bars()["spot_close"] / bars()["close"]).to_list())
    assert turned["premium_index"].to_list() == bars()["premium_index"].to_list()
    assert turned["taker_volume_ratio"].to_list() == pytest.approx([1 / 1.5, 3.0, None, 2.0])
    assert turned["book_imbalance"].to_list() == pytest.approx([-0.2, -0.1, None, -0.3])
    assert turned["long_liquidation_usd"].to_list() == [4.0, 2.0, None, 6.0]
    assert turned["short_liquidation_usd"].to_list() == [1.0, 5.0, None, 3.0]


def test_no_past_tells_the_mean_of_a_later_return() -> None:
    """Real-looking returns with momentum: their copies have none, and a mean of zero."""
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1e-3, 20_001)
    returns = noise[1:] + 0.5 * noise[:-1] + 2e-4
    closes = 100 * np.cumprod(1 + returns)
    opens = np.concatenate(([100.0], closes[:-1]))
    frame = pl.DataFrame(
        {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes}
    )
    turned = with_random_signs(frame, rng.choice(np.array([-1.0, 1.0]), len(frame)))
    copied = (turned["close"] / turned["open"] - 1).to_numpy()
    assert np.abs(copied) == pytest.approx(np.abs(returns), rel=1e-9)
    assert np.corrcoef(returns[:-1], returns[1:])[0, 1] > 0.3
    assert abs(np.corrcoef(copied[:-1], copied[1:])[0, 1]) < 4 / np.sqrt(len(frame))
    assert abs(copied.mean()) < 4 * copied.std() / np.sqrt(len(frame))
    assert (turned["high"] >= turned["low"]).all()
