"""Whether what an engine trades is what the search measured: the same entries, exits and returns, trade by trade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import polars as pl

from backtest.discovery.forward_returns import NO_BAR, Bars, TwoLegs, forward_trades
from backtest.strategies.compiled import INVALIDATION
from backtest.strategies.round_trips import Barriers, round_trips
from backtest.strategies.signals import TIME, Floats, Integers, SymbolRows

if TYPE_CHECKING:
    from backtest.strategies.compiled import CompiledRule

RETURN_TOLERANCE: Final = 1e-9
"""Largest difference of a trade's return before costs (fraction) that counts as equal."""

TESTED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_id": pl.String(),
    "strategy": pl.String(),
    "symbol": pl.String(),
    "entry_time": TIME,
    "exit_time": TIME,
    "gross_return": pl.Float64(),
}
"""Trades as the search measures them: ``gross_return`` is the fraction earned before costs and funding by the trade's side."""

CERTIFICATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "strategy": pl.String(),
    "symbol": pl.String(),
    "verdict": pl.String(),
    "n_tested": pl.Int64(),
    "n_traded": pl.Int64(),
    "n_equal": pl.Int64(),
    "n_only_tested": pl.Int64(),
    "n_only_traded": pl.Int64(),
    "n_different": pl.Int64(),
    "largest_difference": pl.Float64(),
    "note": pl.String(),
}
"""One row a strategy and symbol. ``verdict``: ``equal`` where both sides have the same trades, ``differs`` where not, ``not
comparable`` where neither has any. ``n_only_traded`` are trades whose exit the search could not have: it drops
those carried for more than a day, and those open at the end of the data. ``largest_difference`` of returns of one trade
(fraction)."""

EQUAL: Final = "equal"
DIFFERS: Final = "differs"
NOT_COMPARABLE: Final = "not comparable"
NO_TRADE: Final = "there is no trade to compare"
STUDIED: Final = "held against an event study of the same round trips: no search tests resting orders or invalidations"

_Measured: TypeAlias = tuple[Integers, Integers, Integers, Floats]
"""Rows of the events, entries and exits, and the fraction earned by the trade's side."""


def event_ids(strategy: str, symbol: str, event_times: pl.Series) -> pl.Series:
    """``strategy.symbol.20240131T0930`` for each occurrence."""
    return event_times.dt.strftime(f"{strategy}.{symbol}.%Y%m%dT%H%M")


def tested_trades(
    compiled: CompiledRule, rows: SymbolRows, at: Integers, direction: Floats, second: Bars | None
) -> pl.DataFrame:
    """The trades that the search makes of events at rows `at` with `direction` +1 or −1 (`TESTED_SCHEMA`).

    Those of a rule with orders that rest inside bars, or with an invalidation, are measured by `round_trips`: no search
    tests them. Events whose costs could not be known are left out, as the search does. `second` is what a rule of two legs
    trades against on the same bars (`bars_of` or `spot_bars_of`), None for one leg; returns of two are of both together.
    """
    rule = compiled.rule
    volatility = rows.values(compiled.expressions["expected_volatility"])[at]
    turnover = rows.values(compiled.expressions["bar_turnover_usd"])[at]
    usable = (np.abs(direction) == 1.0) & np.isfinite(volatility) & np.isfinite(turnover) & (turnover > 0)
    at, direction = at[usable], direction[usable]
    bars = bars_of(rows.frame)
    if rests_or_is_invalidated(compiled):
        event, entry, leave, gross = _studied(compiled, rows, at, direction, bars)
    else:
        made = forward_trades(
            bars if second is None else TwoLegs(bars, second),
            at,
            direction,
            rows.values(compiled.expressions["average_true_range" if second is None else "spot_gap"])[at],
            rows.values(compiled.expressions["event_move"])[at],
            rule.policy,
            rule.exits.horizon_bars,
        )
        event, entry, leave, gross = at[made.event], made.entry, made.exit, rule.direction * made.gross
    stamps = rows.frame["timestamp"]
    return pl.DataFrame(
        {
            "event_id": event_ids(compiled.name, rows.symbol, stamps[event]),
            "strategy": pl.repeat(compiled.name, len(event), dtype=pl.String, eager=True),
            "symbol": pl.repeat(rows.symbol, len(event), dtype=pl.String, eager=True),
            "entry_time": stamps[entry],
            "exit_time": stamps[leave],
            "gross_return": gross,
        },
        schema=TESTED_SCHEMA,
    )


def bars_of(frame: pl.DataFrame) -> Bars:
    """The bars of a perpetual as the search trades them, from the columns of the cleaned bars; nothing trades in null rows."""
    opens, highs, lows, closes = (frame[name].fill_null(np.nan).to_numpy() for name in ("open", "high", "low", "close"))
    tradable = (frame["open"].is_not_null() & ~frame["is_zero_volume"]).fill_null(value=False).to_numpy()
    return Bars(opens, highs, lows, closes, tradable, frame["funding_stamp_rate"].fill_null(0.0).to_numpy())


def spot_bars_of(frame: pl.DataFrame) -> Bars:
    """The spot market beside a perpetual's bars: opens and closes, without funding."""
    opens, closes = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("spot_open", "spot_close"))
    tradable = (frame["spot_open"].is_not_null() & (frame["spot_volume"] > 0)).fill_null(value=False).to_numpy()
    return Bars(opens, closes, closes, closes, tradable, np.zeros(len(frame)))


def rests_or_is_invalidated(compiled: CompiledRule) -> bool:
    """Whether a rule has what no search tests: orders that rest inside bars, or an invalidation."""
    exits = compiled.rule.exits
    return any(part is not None for part in (exits.intrabar_stop_atr, exits.intrabar_target_atr, exits.invalidation))


def _studied(compiled: CompiledRule, rows: SymbolRows, at: Integers, direction: Floats, bars: Bars) -> _Measured:
    """The same entries as of a search, and exits with what rests inside bars and what invalidates."""
    rule, exits = compiled.rule, compiled.rule.exits
    unit = rows.values(compiled.expressions["average_true_range"])[at]
    distances = (exits.close_target_atr, exits.close_stop_atr, exits.intrabar_target_atr, exits.intrabar_stop_atr)
    if any(distance is not None for distance in distances):
        known = np.isfinite(unit) & (unit > 0)
        at, direction, unit = at[known], direction[known], unit[known]
    free = rule.policy.model_copy(update={"upper_barrier_atr": None, "lower_barrier_atr": None})
    moves = rows.values(compiled.expressions["event_move"])[at]
    made = forward_trades(bars, at, direction, unit, moves, free, exits.horizon_bars)
    invalidated = np.zeros(len(bars), dtype=bool)
    if INVALIDATION in compiled.expressions:
        invalidated = rows.holds(compiled.expressions[INVALIDATION])
    close_target, close_stop, target, stop = ((distance or np.nan) * unit[made.event] for distance in distances)
    barriers = Barriers(close_target, close_stop, target, stop, invalidated)
    side = rule.direction * made.side
    leave, price = round_trips(bars, made.entry, side, barriers, exits.horizon_bars)
    left = leave != NO_BAR
    gross = side * (price / bars.open[made.entry] - 1.0)
    return at[made.event[left]], made.entry[left], leave[left], gross[left]


def certificates(tested: pl.DataFrame, traded: pl.DataFrame, rules: Sequence[CompiledRule]) -> pl.DataFrame:
    """A certificate for each strategy and symbol (`CERTIFICATE_SCHEMA`).

    Parameters
    ----------
    tested : `TESTED_SCHEMA`.
    traded : the same columns of the engine's trades on an account without limits and costs, every signal a trade;
        ``exit_time`` null while open.
    rules : all strategies.
    """
    both = tested.join(traded, on="event_id", how="full", suffix="_traded", coalesce=True).with_columns(
        pl.coalesce("strategy", "strategy_traded"), pl.coalesce("symbol", "symbol_traded")
    )
    in_both = pl.col("entry_time").is_not_null() & pl.col("entry_time_traded").is_not_null()
    difference = (pl.col("gross_return") - pl.col("gross_return_traded")).abs()
    same = (
        in_both
        & (pl.col("entry_time") == pl.col("entry_time_traded"))
        & pl.col("exit_time").eq_missing(pl.col("exit_time_traded"))
        & (difference <= RETURN_TOLERANCE)
    )
    counted = {
        (row["strategy"], row["symbol"]): row
        for row in both.group_by("strategy", "symbol")
        .agg(
            pl.col("entry_time").is_not_null().sum().alias("n_tested"),
            pl.col("entry_time_traded").is_not_null().sum().alias("n_traded"),
            same.sum().alias("n_equal"),
            (pl.col("entry_time").is_not_null() & pl.col("entry_time_traded").is_null()).sum().alias("n_only_tested"),
            (pl.col("entry_time").is_null() & pl.col("entry_time_traded").is_not_null()).sum().alias("n_only_traded"),
            (in_both & ~same).sum().alias("n_different"),
            difference.filter(in_both).max().alias("largest_difference"),
        )
        .iter_rows(named=True)
    }
    none = dict.fromkeys(("n_tested", "n_traded", "n_equal", "n_only_tested", "n_only_traded", "n_different"), 0)
    certified = []
    for compiled in rules:
        note = STUDIED if rests_or_is_invalidated(compiled) else ""
        for symbol in compiled.rule.symbols:
            counts = counted.get((compiled.name, symbol), none | {"largest_difference": None})
            differs = counts["n_only_tested"] + counts["n_different"] > 0
            verdict = DIFFERS if differs else EQUAL if counts["n_tested"] else NOT_COMPARABLE
            own = note if verdict != NOT_COMPARABLE else NO_TRADE
            certified.append({**counts, "strategy": compiled.name, "symbol": symbol, "verdict": verdict, "note": own})
    return pl.DataFrame(certified, schema=CERTIFICATE_SCHEMA)
