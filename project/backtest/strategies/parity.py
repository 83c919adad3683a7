"""Whether what an engine trades is what the search measured: the same entries, exits and returns, trade by trade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.discovery.forward_returns import Bars, TwoLegs, forward_trades
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
comparable`` where the search has no such trade. ``n_only_traded`` are trades whose exit the search could not have: it drops
those carried for more than a day, and those open at the end of the data. ``largest_difference`` of returns of one trade
(fraction)."""

EQUAL: Final = "equal"
DIFFERS: Final = "differs"
NOT_COMPARABLE: Final = "not comparable"


def event_ids(strategy: str, symbol: str, event_times: pl.Series) -> pl.Series:
    """``strategy.symbol.20240131T0930`` for each occurrence."""
    return event_times.dt.strftime(f"{strategy}.{symbol}.%Y%m%dT%H%M")


def tested_trades(
    compiled: CompiledRule, rows: SymbolRows, at: Integers, direction: Floats, second: Bars | None
) -> pl.DataFrame:
    """The trades that the search makes of events at rows `at` with `direction` +1 or −1 (`TESTED_SCHEMA`).

    Events whose costs could not be known are left out, as the search does. `second` is what a rule of two legs trades against
    on the same bars (`bars_of` or `spot_bars_of`), None for one leg; returns of two are those of both together.
    """
    rule = compiled.rule
    volatility = rows.values(compiled.expressions["expected_volatility"])[at]
    turnover = rows.values(compiled.expressions["bar_turnover_usd"])[at]
    usable = (np.abs(direction) == 1.0) & np.isfinite(volatility) & np.isfinite(turnover) & (turnover > 0)
    at, direction = at[usable], direction[usable]
    bars = bars_of(rows.frame)
    made = forward_trades(
        bars if second is None else TwoLegs(bars, second),
        at,
        direction,
        rows.values(compiled.expressions["average_true_range" if second is None else "spot_gap"])[at],
        rows.values(compiled.expressions["event_move"])[at],
        rule.policy,
        rule.exits.horizon_bars,
    )
    stamps = rows.frame["timestamp"]
    return pl.DataFrame(
        {
            "event_id": event_ids(compiled.name, rows.symbol, stamps[at[made.event]]),
            "strategy": pl.repeat(compiled.name, len(made.event), dtype=pl.String, eager=True),
            "symbol": pl.repeat(rows.symbol, len(made.event), dtype=pl.String, eager=True),
            "entry_time": stamps[made.entry],
            "exit_time": stamps[made.exit],
            "gross_return": rule.direction * made.gross,
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


def reason_not_comparable(compiled: CompiledRule) -> str | None:
    """Why the search has no such trade; None where it has."""
    exits = compiled.rule.exits
    if exits.intrabar_stop_atr is not None or exits.intrabar_target_atr is not None:
        return "it has orders that rest inside bars, which the search does not test"
    if exits.invalidation is not None:
        return "it has an invalidation, which the search does not test"
    return None


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
        note = reason_not_comparable(compiled)
        for symbol in compiled.rule.symbols:
            counts = counted.get((compiled.name, symbol), none | {"largest_difference": None})
            differs = counts["n_only_tested"] + counts["n_different"] > 0
            verdict = NOT_COMPARABLE if note else DIFFERS if differs else EQUAL
            certified.append(
                {**counts, "strategy": compiled.name, "symbol": symbol, "verdict": verdict, "note": note or ""}
            )
    return pl.DataFrame(certified, schema=CERTIFICATE_SCHEMA)
