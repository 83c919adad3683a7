"""For every event a constructed case at which it occurs at exactly one bar, and its nearest non-event.

A case is a table of the columns the rule reads: each at rest, then changed at a few bars around an anchor bar. The
non-event changes as little more as turns the occurrence off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backtest.spec.compiled import CompiledEvent

Floats = NDArray[np.float64]
ANCHOR_BARS = 60
"""Bars after the rule's look-back at which the anchor lies."""
AFTER_BARS = 60
SLOPE = 1e-5


@dataclass(frozen=True)
class Ramp:
    """A column at rest that changes by the slope a bar: a falling one never reaches its own past."""

    start: float
    slope: float

    def values(self, n: int) -> Floats:
        return self.start + self.slope * np.arange(n)


@dataclass(frozen=True)
class Shift:
    """A value so much above (or below) the column's rest at that bar."""

    by: float


Rest = float | Ramp | None
Place = int | range
"""Bars relative to the anchor."""
Value = float | Shift | None
Changes = Mapping[str, Mapping[Place, Value]]


@dataclass(frozen=True)
class Case:
    rest: Mapping[str, Rest]
    fires: Changes
    near: Changes
    direction: int
    at: int = 0
    """Bar relative to the anchor at which the event is known."""
    also: Mapping[int, int] = field(default_factory=dict)
    """Further occurrences of the same type, bar to direction, for rules that fire at every mark."""


FALLING = Ramp(2.0, -SLOPE)
RISING = Ramp(1.0, SLOPE)


def columns_of(event: CompiledEvent, case: Case, *changes: Changes) -> dict[str, list[float | None]]:
    """The rule's columns with the changes laid over the rest, later ones over earlier ones."""
    anchor = event.lookback_bars + ANCHOR_BARS
    n = anchor + AFTER_BARS
    columns: dict[str, list[float | None]] = {}
    for name, rest in case.rest.items():
        columns[name] = rest.values(n).tolist() if isinstance(rest, Ramp) else [rest] * n
    for change in changes:
        for name, places in change.items():
            rest = case.rest[name]
            at_rest = rest.values(n) if isinstance(rest, Ramp) else np.full(n, np.nan if rest is None else rest)
            for place, value in places.items():
                for offset in place if isinstance(place, range) else (place,):
                    row = anchor + offset
                    columns[name][row] = float(at_rest[row] + value.by) if isinstance(value, Shift) else value
    return columns


def above(quantile: float, window: int, by: float = 1e-8) -> Shift:
    """Just above (or with a negative `by` below) the trailing quantile of a column that falls by SLOPE a bar."""
    return Shift(SLOPE * (1 + quantile * (window - 1)) + by)


def below(quantile: float, window: int, by: float = 1e-8) -> Shift:
    """Just below the trailing quantile of a column that rises by SLOPE a bar."""
    return Shift(-SLOPE * (window - quantile * (window - 1)) - by)


def crossing(
    column: str,
    level: float,
    direction: int,
    *,
    others: Mapping[str, Rest] | None = None,
    rest: float = 0.0,
    sign: int = 1,
) -> Case:
    """A rule on one column that crosses a level; the non-event stays on it."""
    return Case(
        rest={column: rest, **(others or {})},
        fires={column: {0: sign * (level + 1e-6)}},
        near={column: {0: sign * level}},
        direction=direction,
    )


def breakout(
    others: Mapping[str, Rest] | None = None, extra: Changes | None = None, near: Changes | None = None
) -> list[Case]:
    """A close beyond the extreme of the bars before; the non-event closes on it (or has `near` besides)."""
    rest: dict[str, Rest] = {"close": 100.0, "high": 101.0, "low": 99.0, **(others or {})}
    return [
        Case(rest, {"close": {0: 101.01}, **(extra or {})}, near or {"close": {0: 101.0}}, 1),
        Case(rest, {"close": {0: 98.99}, **(extra or {})}, near or {"close": {0: 99.0}}, -1),
    ]


LIQUIDITY_DISLOCATION: dict[str, list[Case]] = {
    "LIQUIDITY_VACUUM": [
        Case(
            rest={"turnover_time_of_day_ratio": 1.0, "bar_range": 0.001, "log_return": 0.0, "realized_vol_24h": 0.001},
            fires={
                "log_return": {0: sign * 0.0041},
                "turnover_time_of_day_ratio": {3: 0.49},
                "bar_range": {3: 0.0011},
            },
            near=near,
            direction=sign,
            at=3,
        )
        for sign, near in (
            (1, {"turnover_time_of_day_ratio": {3: 0.5}}),
            (-1, {"bar_range": {3: 0.001}}),
            (1, {"log_return": {0: 0.004}}),
            (1, {"log_return": {0: 0.0, -9: 0.0041}}),
        )
    ],
    "DEPTH_COLLAPSE": [
        Case(
            {"depth_1pct_usd": RISING, "depth_imbalance_1pct": 0.0},
            {"depth_1pct_usd": {0: below(0.05, 2016)}, "depth_imbalance_1pct": {0: sign * 0.2}},
            {"depth_1pct_usd": {0: below(0.05, 2016, -1e-8)}},
            sign,
        )
        for sign in (1, -1)
    ],
    "SPREAD_BLOWOUT": [
        Case(
            {"mean_spread_bps": 1.0, "return_1h": -0.01},
            {"mean_spread_bps": {0: 2.01}},
            {"mean_spread_bps": {0: 2.0}},
            -1,
        ),
        # Twice the median is not enough where spreads as wide were seen in more than three per cent of the week.
        Case(
            {"mean_spread_bps": 1.0, "return_1h": 0.01},
            {"mean_spread_bps": {range(-30, -20): 2.0, 0: 2.01}},
            {"mean_spread_bps": {range(-100, -1): 2.5}},
            1,
        ),
    ],
    "ORDERFLOW_IMBALANCE_SHOCK": [
        Case(
            {"taker_imbalance": Ramp(-0.5 * sign, 5e-6 * sign), "turnover_time_of_day_ratio": 1.0},
            {"taker_imbalance": {0: -0.9 * sign}, "turnover_time_of_day_ratio": {0: 1.01}},
            near,
            -sign,
        )
        for sign, near in (
            (1, {"turnover_time_of_day_ratio": {0: 1.0}}),
            (-1, {"taker_imbalance": {0: Shift(1e-6)}}),
        )
    ],
    "SWEEP_STOPRUN": [
        Case(
            rest={
                "high": 101.0,
                "low": 99.0,
                "close": 100.0,
                "average_true_range": 2.0,
                "upper_wick_share": 0.2,
                "lower_wick_share": 0.2,
            },
            fires=fires,
            near=near,
            direction=direction,
        )
        for direction, fires, near in (
            (1, {"high": {0: 101.21}, "upper_wick_share": {0: 0.5}}, {"high": {0: 101.2}}),
            (1, {"high": {0: 101.21}, "upper_wick_share": {0: 0.5}}, {"close": {0: 101.0}}),
            (-1, {"low": {0: 98.79}, "lower_wick_share": {0: 0.5}}, {"lower_wick_share": {0: 0.49}}),
        )
    ],
    "ABSORPTION_EVENT": [
        Case(
            {"taker_imbalance": FALLING, "turnover_time_of_day_ratio": 1.0, "log_return": RISING},
            {
                "taker_imbalance": {0: sign * 2.5},
                "turnover_time_of_day_ratio": {0: 1.5},
                "log_return": {0: below(0.35, 2016)},
            },
            near,
            sign,
        )
        for sign, near in (
            (1, {"log_return": {0: below(0.35, 2016, -1e-8)}}),
            (-1, {"turnover_time_of_day_ratio": {0: 1.49}}),
            (1, {"taker_imbalance": {0: above(0.95, 2016, -1e-8)}}),
        )
    ],
    "LIQUIDITY_GAP_PRINT": [
        Case(
            {"opening_gap": 0.0, "bar_range": 0.002, "no_trade_bars_15m": 0.0, "close": 100.0, "volume": 1.0},
            {"opening_gap": {0: 0.00101}, "close": {range(0, 60): 100.15}},
            {"opening_gap": {0: 0.00099}},
            1,
        ),
        # Two bars without a trade, then a jump.
        Case(
            {"opening_gap": 0.0, "bar_range": 0.002, "no_trade_bars_15m": 0.0, "close": 100.0, "volume": 1.0},
            {
                "close": {-2: None, -1: None, range(0, 60): 99.79},
                "volume": {-2: None, -1: None},
                "no_trade_bars_15m": {-2: 1.0, -1: 2.0, 0: 2.0, 1: 1.0},
            },
            {"close": {range(0, 60): 99.81}},
            -1,
        ),
    ],
    "LIQUIDITY_SHOCK": [
        Case(
            {"amihud_illiquidity_1h": FALLING, "return_1h": 0.01},
            {"amihud_illiquidity_1h": {0: above(0.99, 2016)}},
            {"amihud_illiquidity_1h": {0: above(0.99, 2016, -1e-8)}},
            1,
        )
    ],
}

VOLATILITY_TRANSITION: dict[str, list[Case]] = {
    "VOL_SHOCK": [
        crossing("realized_vol_1h_ratio", 3.0, -1, others={"return_1h": -0.01}, rest=1.0),
        # Not a crossing: it was above already.
        Case(
            {"realized_vol_1h_ratio": 1.0, "return_1h": 0.01},
            {"realized_vol_1h_ratio": {range(0, 20): 3.5}},
            {"realized_vol_1h_ratio": {0: None}},
            1,
        ),
    ],
    "VOL_SPIKE": [
        crossing("realized_vol_1h_zscore", 2.0, 1, others={"return_1h": 0.01}),
        Case(
            {"realized_vol_1h_zscore": Ramp(3.0, -SLOPE), "return_1h": -0.01},
            {"realized_vol_1h_zscore": {0: above(0.97, 2016)}},
            {"realized_vol_1h_zscore": {0: above(0.97, 2016, -1e-8)}},
            -1,
        ),
    ],
    "VOL_RELAXATION_START": [
        Case(
            {"realized_vol_1h": 1.0, "realized_vol_1h_ratio": 1.0, "return_8h": -0.02},
            {"realized_vol_1h_ratio": {-40: 3.1}, "realized_vol_1h": {range(-40, 0): 3.0, range(0, 60): 0.9}},
            {"realized_vol_1h_ratio": {-40: 3.0}},
            -1,
        ),
        Case(
            {"realized_vol_1h": 1.0, "realized_vol_1h_ratio": 1.0, "return_8h": 0.02},
            {"realized_vol_1h_ratio": {-40: 3.1}, "realized_vol_1h": {range(-40, 0): 3.0, range(0, 60): 0.9}},
            {"realized_vol_1h": {range(0, 60): 1.0}},
            1,
        ),
    ],
    "VOL_CLUSTER_SHIFT": [
        # The change over an hour rises by a jump and falls back to rest when the jump leaves the hour.
        Case(
            {"realized_vol_1h_zscore": 0.0, "return_1h": sign * 0.01},
            {"realized_vol_1h_zscore": {range(0, 60): jump}},
            {"realized_vol_1h_zscore": {range(0, 60): 0.0}},
            sign,
        )
        for sign, jump in ((1, 1.5), (-1, -1.5))
    ],
    "RANGE_COMPRESSION_END": [
        Case(
            {"range_compression_ratio": 0.9, "return_1h": -0.01},
            {"range_compression_ratio": {-23: 0.8, 0: 0.96}},
            near,
            -1,
        )
        for near in (
            {"range_compression_ratio": {0: 0.95}},
            {"range_compression_ratio": {-23: 0.81}},
            {"range_compression_ratio": {-24: 0.8, -23: 0.9}},
        )
    ],
    "BREAKOUT_TRIGGER": [
        *breakout({"range_compression_ratio": 1.0}, {"range_compression_ratio": {-5: 0.8}}),
        *breakout(
            {"range_compression_ratio": 1.0},
            {"range_compression_ratio": {-5: 0.8}},
            {"range_compression_ratio": {-5: 0.81}},
        ),
    ],
}


def stamps(rates: list[float]) -> dict[Place, Value]:
    """Rates at the last stamps up to the anchor, eight hours apart."""
    return {-96 * age: rate for age, rate in enumerate(reversed(rates))}


def persistence(ranks: list[float], rates: list[float], near: list[float]) -> Case:
    return Case(
        {"funding_stamp_rate": None, "funding_stamp_size_rank_30d": None},
        {"funding_stamp_rate": stamps(rates), "funding_stamp_size_rank_30d": stamps(ranks)},
        {"funding_stamp_size_rank_30d": stamps(near)},
        1 if rates[-1] > 0 else -1,
    )


POSITIONING_EXTREMES: dict[str, list[Case]] = {
    "FUNDING_EXTREME_ONSET": [
        Case(
            {"funding_size_rank_30d": 0.5, "funding_rate": 1e-4},
            {"funding_size_rank_30d": {range(0, 60): 0.96}, "funding_rate": {range(0, 60): -5e-4}},
            {"funding_size_rank_30d": {range(0, 60): 0.95}},
            -1,
        )
    ],
    "FUNDING_FLIP": [
        Case(
            {"funding_stamp_rate": None, "funding_rate": 1e-4},
            {"funding_stamp_rate": {0: -2e-5}, "funding_rate": {range(0, 60): -2e-5}},
            {"funding_stamp_rate": {0: -1e-5}, "funding_rate": {range(0, 60): -1e-5}},
            -1,
        ),
        # A sign that changes between stamps, as where a stamp is missing, is no flip at this bar.
        Case(
            {"funding_stamp_rate": None, "funding_rate": -1e-4},
            {"funding_stamp_rate": {0: 2e-5}, "funding_rate": {range(0, 60): 2e-5}},
            {"funding_stamp_rate": {0: None}},
            1,
        ),
    ],
    "FUNDING_PERSISTENCE_TRIGGER": [
        persistence([0.5, 0.8, 0.9, 0.85], [1e-4, 3e-4, 4e-4, 3e-4], [0.5, 0.8, 0.79, 0.85]),
        persistence([0.9, 0.8, 0.9, 0.85], [1e-4, -3e-4, -4e-4, -3e-4], [0.9, 0.8, 0.9, 0.79]),
        # Three extremes of both signs are no persistence.
        Case(
            {"funding_stamp_rate": None, "funding_stamp_size_rank_30d": None},
            {
                "funding_stamp_rate": stamps([1e-4, -3e-4, -4e-4, -3e-4]),
                "funding_stamp_size_rank_30d": stamps([0.1, 0.9, 0.9, 0.9]),
            },
            {"funding_stamp_rate": stamps([1e-4, 3e-4, -4e-4, -3e-4])},
            -1,
        ),
    ],
    "FUNDING_NORMALIZATION_TRIGGER": [
        Case(
            {"funding_size_rank_30d": 0.6, "funding_rate": -3e-4},
            {"funding_size_rank_30d": {range(-200, -100): 0.95, range(0, 60): 0.49}},
            near,
            -1,
        )
        for near in (
            {"funding_size_rank_30d": {range(0, 60): 0.5}},
            {"funding_size_rank_30d": {range(-200, -100): 0.94}},
        )
    ],
    "OI_SPIKE_POSITIVE": [crossing("open_interest_change_1h_zscore", 2.5, -1, others={"return_1h": -0.01})],
    "OI_SPIKE_NEGATIVE": [crossing("open_interest_change_1h_zscore", 2.5, 1, others={"return_1h": 0.01}, sign=-1)],
    "OI_FLUSH": [
        Case(
            {"open_interest_change_1h": RISING, "return_1h": 0.0, "realized_vol_24h": 0.001},
            {"open_interest_change_1h": {0: below(0.01, 2016)}, "return_1h": {0: sign * 0.0035}},
            near,
            sign,
        )
        for sign, near in (
            (-1, {"open_interest_change_1h": {0: below(0.01, 2016, -1e-8)}}),
            (1, {"return_1h": {0: 0.00346}}),
        )
    ],
    "LIQUIDATION_CASCADE": [
        Case(
            {"liquidation_usd_1h": 1000.0, "open_interest_change_1h": 0.01, "return_1h": -0.01},
            {"liquidation_usd_1h": {0: 3001.0}, "open_interest_change_1h": {0: -0.001}},
            near,
            -1,
        )
        for near in (
            {"liquidation_usd_1h": {0: 3000.0}},
            {"open_interest_change_1h": {0: 0.0}},
        )
    ]
    + [
        # No norm, no cascade: the first liquidation after a week without any is none.
        Case(
            {"liquidation_usd_1h": 0.0, "open_interest_change_1h": -0.01, "return_1h": 0.01},
            {"liquidation_usd_1h": {range(-50, -40): 5.0, 0: 5000.0}},
            {"liquidation_usd_1h": {range(-50, -40): 0.0}},
            1,
        )
    ],
    "DELEVERAGING_WAVE": [
        Case(
            {
                "open_interest_change_1h": 0.0,
                "realized_vol_24h_rank_30d": 0.5,
                "open_interest": 100.0,
                "return_4h": -0.01,
            },
            {
                "open_interest_change_1h": {-24: -0.01, -12: -0.01, 0: -0.01},
                "realized_vol_24h_rank_30d": {0: 0.67},
                "open_interest": {0: 97.9},
            },
            near,
            -1,
        )
        for near in (
            {"open_interest_change_1h": {-24: 0.0}},
            {"realized_vol_24h_rank_30d": {0: 0.66}},
            {"open_interest": {0: 98.1}},
        )
    ],
    "FND_DISLOC": [
        crossing("funding_rate_bps", 2.0, 1, others={"funding_rate": 2e-4}, rest=1.0),
        crossing("funding_rate_bps", 2.0, -1, others={"funding_rate": -2e-4}, rest=1.0, sign=-1),
    ],
}

FORCED_FLOW_AND_EXHAUSTION: dict[str, list[Case]] = {
    "FORCED_FLOW_EXHAUSTION": [
        # The extreme of the anchor bar must stand for 32 bars; it is matched, not passed.
        Case(
            {"forced_flow_direction": 0.0, "high": 101.0, "low": 99.0},
            {"forced_flow_direction": {0: 1.0}, "high": {0: 105.0, 5: 105.0}},
            {"high": {32: 105.01}},
            1,
            at=32,
        ),
        Case(
            {"forced_flow_direction": 0.0, "high": 101.0, "low": 99.0},
            {"forced_flow_direction": {0: -1.0}, "low": {0: 95.0, 33: 94.0}},
            {"low": {1: 94.99}},
            -1,
            at=32,
        ),
    ],
    "TREND_EXHAUSTION_TRIGGER": [
        Case(
            {"efficiency_ratio_4h": 0.2, "rsi_14": 50.0, "return_4h": 0.02},
            {"efficiency_ratio_4h": {-1: 0.35}, "rsi_14": {-1: 71.0, 0: 69.9}},
            near,
            1,
        )
        for near in ({"rsi_14": {0: 70.0}}, {"efficiency_ratio_4h": {-1: 0.34}}, {"return_4h": {-1: -0.02}})
    ]
    + [
        Case(
            {"efficiency_ratio_4h": 0.2, "rsi_14": 50.0, "return_4h": -0.02},
            {"efficiency_ratio_4h": {-1: 0.35}, "rsi_14": {-1: 29.0, 0: 30.1}},
            {"rsi_14": {0: 30.0}},
            -1,
        )
    ],
    "MOMENTUM_DIVERGENCE_TRIGGER": [
        Case(
            {"close": 100.0, "rsi_14": 50.0},
            {"close": {0: 100.0 + sign}, "rsi_14": {-40: 50.0 + sign * 25.0, 0: 50.0 + sign * 14.9}},
            near,
            sign,
        )
        for sign, near in ((1, {"rsi_14": {0: 65.0}}), (-1, {"rsi_14": {0: 35.0}}), (1, {"close": {0: 100.0}}))
    ],
    "CLIMAX_VOLUME_BAR": [
        Case(
            {"turnover": FALLING, "bar_range": FALLING, "open": 100.0, "close": 100.0},
            {
                "turnover": {0: above(0.99, 2016)},
                "bar_range": {0: above(0.99, 2016)},
                "close": {0: 100.0 + sign},
            },
            near,
            sign,
        )
        for sign, near in (
            (1, {"turnover": {0: above(0.99, 2016, -1e-8)}}),
            (-1, {"bar_range": {0: above(0.99, 2016, -1e-8)}}),
        )
    ],
    "FAILED_CONTINUATION": [
        Case(
            {"impulse_direction_1h": None, "impulse_open_1h": None, "close": 100.0},
            {
                "impulse_direction_1h": {range(0, 13): float(sign)},
                "impulse_open_1h": {range(0, 13): 100.0},
                "close": {range(0, 6): 100.0 + sign, range(6, 60): 100.0 - sign * 0.1},
            },
            {"close": {range(6, 60): 100.0}},
            sign,
            at=6,
        )
        for sign in (1, -1)
    ],
}

LEVELS: dict[str, Rest] = {"resistance_visits_24h": 1.0, "support_visits_24h": 1.0}

TREND_STRUCTURE: dict[str, list[Case]] = {
    "RANGE_BREAKOUT": breakout(),
    "FALSE_BREAKOUT": [
        Case(
            {"close": 100.0, "high": 101.0, "low": 99.0},
            {
                "close": {range(-6, 0): 100.0 + sign * 1.1},
                "high": {range(-6, 0): 102.0} if sign > 0 else {},
                "low": {range(-6, 0): 98.0} if sign < 0 else {},
            },
            near,
            sign,
        )
        for sign, near in (
            (1, {"close": {range(-6, 0): 101.0}}),
            (-1, {"close": {range(-6, 0): 99.0}}),
            (1, {"close": {range(0, 60): 101.0}}),
        )
    ],
    "TREND_ACCELERATION": [
        Case(
            {"return_1h": 0.001, "return_4h": 0.01 * sign, "efficiency_ratio_4h": 0.3},
            {"return_1h": {0: 0.00501 * sign}},
            near,
            sign,
        )
        for sign, near in (
            (1, {"return_1h": {0: 0.005}}),
            (-1, {"efficiency_ratio_4h": {-12: 0.24}}),
            (1, {"return_1h": {0: -0.00501}}),
        )
    ],
    "TREND_DECELERATION": [
        Case(
            {"return_1h": 0.002, "return_4h": 0.016 * sign, "efficiency_ratio_4h": 0.3},
            {"return_1h": {0: 0.00099}},
            near,
            sign,
        )
        for sign, near in ((1, {"return_1h": {0: 0.001}}), (-1, {"efficiency_ratio_4h": {-12: 0.29}}))
    ],
    "PULLBACK_PIVOT": [
        Case(
            {"close": 100.0, "high": 100.2, "low": 99.8, "trend_zscore_24h": 1.0 * sign, "average_true_range": 1.0},
            {
                "low": {-30: 97.0, range(-9, -6): 98.0} if sign > 0 else {},
                "high": {-30: 103.0, range(-9, -6): 102.0} if sign < 0 else {},
                "close": {0: 100.0 + 0.21 * sign},
            },
            near,
            sign,
        )
        for sign, near in (
            (1, {"close": {0: 100.2}}),
            (1, {"low": {range(-9, -6): 98.21}}),
            (-1, {"high": {range(-9, -6): 101.79}}),
            (-1, {"trend_zscore_24h": {0: -0.99}}),
        )
    ],
    "SUPPORT_RESISTANCE_BREAK": [
        *breakout({"resistance_visits_24h": 2.0, "support_visits_24h": 2.0}),
        *breakout(
            LEVELS,
            {"resistance_visits_24h": {0: 2.0}, "support_visits_24h": {0: 2.0}},
            {"resistance_visits_24h": {0: 1.0}, "support_visits_24h": {0: 1.0}},
        ),
    ],
}

STATISTICAL_DISLOCATION: dict[str, list[Case]] = {
    "ZSCORE_STRETCH": [crossing("close_zscore_24h", 3.0, 1), crossing("close_zscore_24h", 3.0, -1, sign=-1)],
    "BAND_BREAK": [crossing("bollinger_position", 1.25, 1), crossing("bollinger_position", 1.25, -1, sign=-1)],
    "OVERSHOOT_AFTER_SHOCK": [
        Case(
            {"close_zscore_24h": 0.0, "realized_vol_1h_ratio": 1.0},
            {"realized_vol_1h_ratio": {-24: 3.1}, "close_zscore_24h": {0: sign * 2.6}},
            near,
            sign,
        )
        for sign, near in (
            (1, {"realized_vol_1h_ratio": {-24: 1.0, -25: 3.1}}),
            (-1, {"close_zscore_24h": {0: -2.5}}),
        )
    ],
    "GAP_OVERSHOOT": [
        Case(
            {"log_return": 0.0, "realized_vol_24h": 0.001, "close_zscore_24h": 0.0},
            {"log_return": {0: sign * 0.004}, "close_zscore_24h": {0: sign * 2.5}},
            near,
            sign,
        )
        for sign, near in (
            (1, {"log_return": {0: 0.0039}}),
            (-1, {"close_zscore_24h": {0: -2.49}}),
            (1, {"close_zscore_24h": {0: -2.5}}),
        )
    ],
    "BASIS_DISLOC": [crossing("basis_zscore_24h", 4.0, 1), crossing("basis_zscore_24h", 4.0, -1, sign=-1)],
    "COPULA_PAIRS_TRADING": [
        crossing("copula_probability", 0.99, 1, rest=0.5),
        Case({"copula_probability": 0.5}, {"copula_probability": {0: 0.0099}}, {"copula_probability": {0: 0.0101}}, -1),
    ],
}

REGIME_TRANSITION: dict[str, list[Case]] = {
    "VOL_REGIME_SHIFT_EVENT": [
        crossing("realized_vol_24h_rank_30d", 0.66, 1, others={"return_24h": 0.01}, rest=0.5),
        Case(
            {"realized_vol_24h_rank_30d": 0.5, "return_24h": -0.01},
            {"realized_vol_24h_rank_30d": {range(0, 60): 0.32}},
            {"realized_vol_24h_rank_30d": {range(0, 60): 0.33}},
            -1,
        ),
    ],
    "TREND_TO_CHOP_SHIFT": [
        Case(
            {"efficiency_ratio_4h": 0.2, "return_8h": 0.02},
            {"efficiency_ratio_4h": {-47: 0.4, 0: 0.09}},
            near,
            1,
        )
        for near in ({"efficiency_ratio_4h": {-47: 0.39}}, {"efficiency_ratio_4h": {0: 0.1}})
    ],
    "CHOP_TO_TREND_SHIFT": [
        Case(
            {"efficiency_ratio_4h": 0.2, "return_4h": -0.02},
            {"efficiency_ratio_4h": {-50: 0.1, 0: 0.41}},
            near,
            -1,
        )
        for near in ({"efficiency_ratio_4h": {-50: 0.11}}, {"efficiency_ratio_4h": {0: 0.4}})
    ],
    "CORRELATION_BREAKDOWN_EVENT": [
        Case(
            {"correlation_to_market_8h": Ramp(0.5, SLOPE), "return_8h": -0.01},
            {"correlation_to_market_8h": {0: below(0.05, 8640)}},
            {"correlation_to_market_8h": {0: below(0.05, 8640, -1e-8)}},
            -1,
        )
    ],
    "BETA_SPIKE_EVENT": [
        Case(
            {"beta_to_market_24h": FALLING, "return_8h": 0.01},
            {"beta_to_market_24h": {0: above(0.97, 8640)}},
            {"beta_to_market_24h": {0: above(0.97, 8640, -1e-8)}},
            1,
        )
    ],
}

INFORMATION_DESYNC: dict[str, list[Case]] = {
    "CROSS_VENUE_DESYNC": [
        # Six bars on one side; five, or six of both sides, are not enough.
        Case(
            {"basis_zscore_24h": 0.0},
            {"basis_zscore_24h": {range(0, 9): sign * 2.6}},
            near,
            sign,
            at=5,
        )
        for sign, near in (
            (1, {"basis_zscore_24h": {range(5, 9): 2.5}}),
            (-1, {"basis_zscore_24h": {range(5, 9): 0.0}}),
            (1, {"basis_zscore_24h": {4: -2.6}, **{}}),
        )
    ],
    "INDEX_COMPONENT_DIVERGENCE": [
        crossing("index_basis_zscore_24h", 4.0, 1),
        crossing("index_basis_zscore_24h", 4.0, -1, sign=-1),
    ],
    "SPOT_PERP_BASIS_SHOCK": [
        # A step of the basis; it stays there, so that the change is over with the bar.
        Case(
            {"basis_bps": 0.0},
            {"basis_bps": {range(0, 60): sign * 3.0}},
            {"basis_bps": {range(0, 60): 0.0}},
            sign,
        )
        for sign in (1, -1)
    ],
    "LEAD_LAG_BREAK": [
        Case(
            {"lead_lag_btc_24h": 0.0, "btc_return": 0.001},
            {"lead_lag_btc_24h": {-30: -0.06, 0: 0.051}},
            near,
            1,
        )
        for near in ({"lead_lag_btc_24h": {0: 0.05}}, {"lead_lag_btc_24h": {-30: -0.05}})
    ]
    + [
        Case(
            {"lead_lag_btc_24h": 0.0, "btc_return": -0.001},
            {"lead_lag_btc_24h": {-30: 0.06, 0: -0.051}},
            {"lead_lag_btc_24h": {-30: 0.05}},
            -1,
        )
    ],
}

TEMPORAL_STRUCTURE: dict[str, list[Case]] = {
    "SESSION_OPEN_EVENT": [
        Case({"session_open": 0.0, "log_return": -0.001}, {"session_open": {0: 1.0}}, {"session_open": {0: 0.0}}, -1)
    ],
    "SESSION_CLOSE_EVENT": [
        Case({"session_close": 0.0, "return_1h": 0.001}, {"session_close": {0: 1.0}}, {"session_close": {0: 0.0}}, 1)
    ],
    "FUNDING_TIMESTAMP_EVENT": [
        Case(
            {"funding_stamp_rate": None, "funding_rate": 1e-4},
            {"funding_stamp_rate": {0: 1e-4, 12: -2e-4}, "funding_rate": {range(12, 60): -2e-4}},
            {"funding_stamp_rate": {0: None, 12: None}},
            1,
            also={12: -1},
        )
    ],
    "SCHEDULED_NEWS_WINDOW_EVENT": [
        Case(
            {"scheduled_news": 0.0, "log_return": -0.004},
            {"scheduled_news": {0: 1.0}},
            {"scheduled_news": {0: None}},
            -1,
        )
    ],
}

EXECUTION_FRICTION: dict[str, list[Case]] = {
    "SPREAD_REGIME_WIDENING_EVENT": [
        crossing("quoted_spread_24h_bps", 1.25, -1, others={"return_24h": -0.01}, rest=1.0)
    ],
    "SLIPPAGE_SPIKE_EVENT": [
        Case(
            {"impact_15m": FALLING, "return_1h": 0.01},
            {"impact_15m": {0: above(0.97, 2016)}},
            {"impact_15m": {0: above(0.97, 2016, -1e-8)}},
            1,
        )
    ],
    "FEE_REGIME_CHANGE_EVENT": [
        Case({"fee_change": 0.0, "return_24h": 0.01}, {"fee_change": {0: 1.0}}, {"fee_change": {0: 0.0}}, 1)
    ],
}

CASES: dict[str, list[Case]] = {
    **LIQUIDITY_DISLOCATION,
    **VOLATILITY_TRANSITION,
    **POSITIONING_EXTREMES,
    **FORCED_FLOW_AND_EXHAUSTION,
    **TREND_STRUCTURE,
    **STATISTICAL_DISLOCATION,
    **REGIME_TRANSITION,
    **INFORMATION_DESYNC,
    **TEMPORAL_STRUCTURE,
    **EXECUTION_FRICTION,
}
