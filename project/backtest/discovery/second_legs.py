"""The other leg of relative-value trades: spot of the same symbol, or the perpetual of its pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.cleaning.taint import SPOT_BIT
from backtest.discovery.forward_returns import Bars, Booleans, Floats, Integers, TwoLegs
from backtest.discovery.truth import PLANTED_DRIFT, planted_truth
from backtest.engine.costs import BPS, RoundTrip, market_impact, round_trip_cost, taker_fees
from backtest.events.taint import counted_before

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec
    from backtest.spec.models import Costs

BARS_PER_DAY: Final = 288
SMALLEST_VOLATILITY: Final = 2e-5
"""Of the difference between the legs, per bar: prices in ticks are still for longer than their value is."""

MeanBarReturn = Callable[[Floats], Floats]
"""Each bar's mean open-to-open return in its fold, from opens."""


@dataclass(frozen=True)
class SecondLeg:
    """What the scores need of the second leg at each bar of the first, and of the difference between both."""

    symbol: str
    is_spot: bool
    both: TwoLegs
    mean_bar_return: Floats
    volatility: Floats
    """Expected per bar of this leg (fraction); of spot that of the perpetual, which it moves with."""
    difference_volatility: Floats
    """Expected per bar of the first leg's return less this one's: root of the mean square, exponentially over a day."""
    turnover_usd: Floats
    tainted_before: Integers
    planted_drift: Floats | None

    def is_known(self, bar: Integers) -> Booleans:
        """Whether a trade decided at these bars can be standardised and its cost told."""
        known = np.isfinite(self.difference_volatility[bar]) & np.isfinite(self.volatility[bar])
        return np.asarray(known & np.isfinite(self.turnover_usd[bar]) & (self.turnover_usd[bar] > 0))

    def round_trip_cost(
        self, spec: Spec, entry_days: Integers, exit_days: Integers, entry: Integers, exit_: Integers, bar: Integers
    ) -> RoundTrip:
        """Cost of each round trip of this leg without funding; of spot with interest on what is borrowed.

        `bar` is where each trade was decided, `entry` and `exit_` the bars it is held between.
        """
        if self.is_spot:
            impact = market_impact(spec.costs, self.volatility[bar], self.turnover_usd[bar])
            return spot_cost(spec.costs, self.symbol, entry_days, exit_days, exit_ - entry, impact)
        return round_trip_cost(
            spec.costs,
            spec.contract(self.symbol),
            self.symbol,
            entry_days,
            exit_days,
            self.both.second.open[entry],
            self.volatility[bar],
            self.turnover_usd[bar],
        )

    def truth(self, entry: Integers, exit_: Integers, side: Floats) -> Floats:
        """What this leg earns on average because of what was planted; NaN for spot, whose basis reverts of itself."""
        if self.is_spot or self.planted_drift is None:
            return np.full(len(entry), np.nan)
        return planted_truth(self.planted_drift, entry, exit_, side)


def spot_cost(
    costs: Costs, symbol: str, entry_days: Integers, exit_days: Integers, bars_held: Integers, impact: Floats
) -> RoundTrip:
    """Two fees, two half-spreads and the interest of a spot leg, (n,) trades, beside its impact."""
    spot = costs.spot
    half_spread = spot.half_spread_bps.get(symbol, spot.half_spread_bps["default"]) * BPS
    fees = taker_fees(spot, entry_days) + taker_fees(spot, exit_days)
    interest = spot.borrow_bps_per_day * BPS * bars_held / BARS_PER_DAY
    return RoundTrip(fees, np.full(len(fees), 2.0 * half_spread), impact, interest)


def spot_leg(
    symbol: str, bars: Bars, volatility: Floats, frame: pl.DataFrame, turnover_usd: Floats, mean_of: MeanBarReturn
) -> SecondLeg:
    """Spot as the second leg of trades of the perpetual `bars`; it pays no funding.

    `frame` has ``spot_open``, ``spot_close``, ``spot_volume`` and, where that is known, the spot bit of ``taint``. A bar
    without spot, or in which nobody traded spot, is not tradable and tainted.
    """
    opens, closes = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("spot_open", "spot_close"))
    traded = (frame["spot_open"].is_not_null() & (frame["spot_volume"] > 0)).fill_null(value=False).to_numpy()
    spot = Bars(opens, closes, closes, closes, traded, np.zeros(len(frame)))
    suspect = (frame["taint"].to_numpy() & SPOT_BIT) != 0 if "taint" in frame.columns else np.zeros(len(frame), bool)
    return SecondLeg(
        symbol=symbol,
        is_spot=True,
        both=TwoLegs(bars, spot),
        mean_bar_return=mean_of(opens),
        volatility=volatility,
        difference_volatility=difference_volatility(bars.close, closes),
        turnover_usd=turnover_usd,
        tainted_before=counted_before(suspect | ~traded),
        planted_drift=None,
    )


def pair_leg(
    symbol: str, bars: Bars, timestamp: pl.Series, frame: pl.DataFrame, spec: Spec, mean_of: MeanBarReturn
) -> SecondLeg:
    """The perpetual of `symbol`, whose bars and features are `frame`, as the second leg of trades of `bars`."""
    fields = ("expected_volatility", "bar_turnover_usd")
    values = frame.select(
        "timestamp",
        *(spec.bar_expressions[field].polars().cast(pl.Float64).alias(f"_{field}") for field in fields),
        (pl.col("open").is_not_null() & ~pl.col("is_zero_volume")).alias("_tradable"),
        *(pl.col(name).alias(f"_{name}") for name in ("open", "high", "low", "close")),
        pl.col("funding_stamp_rate").fill_null(0.0).alias("_funding"),
        (pl.col("is_tainted") if "is_tainted" in frame.columns else pl.lit(value=False)).alias("_suspect"),
        *(pl.col(name).alias(f"_{name}") for name in (PLANTED_DRIFT,) if name in frame.columns),
    )
    values = pl.DataFrame([timestamp.alias("timestamp")]).join(
        values, on="timestamp", how="left", maintain_order="left"
    )

    def array(name: str) -> Floats:
        return values[f"_{name}"].fill_null(np.nan).to_numpy()

    tradable = values["_tradable"].fill_null(value=False).to_numpy()
    second = Bars(array("open"), array("high"), array("low"), array("close"), tradable, np.nan_to_num(array("funding")))
    return SecondLeg(
        symbol=symbol,
        is_spot=False,
        both=TwoLegs(bars, second),
        mean_bar_return=mean_of(second.open),
        volatility=array("expected_volatility"),
        difference_volatility=difference_volatility(bars.close, second.close),
        turnover_usd=array("bar_turnover_usd"),
        tainted_before=counted_before(values["_suspect"].fill_null(value=True).to_numpy()),
        planted_drift=array(PLANTED_DRIFT) if PLANTED_DRIFT in frame.columns else None,
    )


def difference_volatility(closes: Floats, second_closes: Floats) -> Floats:
    """Root mean square of the difference of both close-to-close returns, exponentially weighted with a span of a day.

    At bar t from closes up to t; NaN before a day of them is known. At least `SMALLEST_VOLATILITY`.
    """
    difference = np.full(len(closes), np.nan)
    difference[1:] = closes[1:] / closes[:-1] - second_closes[1:] / second_closes[:-1]
    square = pl.Series(difference**2).fill_nan(None)
    mean = square.ewm_mean(span=BARS_PER_DAY, adjust=True, min_samples=BARS_PER_DAY, ignore_nulls=True)
    return np.asarray(
        np.maximum(np.sqrt(mean.forward_fill(BARS_PER_DAY).fill_null(np.nan).to_numpy()), SMALLEST_VOLATILITY)
    )
