"""What a rule asks to trade on one symbol: every occurrence of its trigger, with what was decided and when, or why not.

Everything here is known at the close of the bar it is decided at: a row never depends on a later bar.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.expressions.arrays import TRUE, Values
from backtest.expressions.evaluation import Evaluation, as_numbers
from backtest.strategies.compiled import INVALIDATION, CompiledRule

if TYPE_CHECKING:
    from backtest.expressions import CompiledExpression
    from backtest.expressions.program import Program
    from backtest.spec.models import Policy

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

TIME: Final = pl.Datetime("ms", "UTC")
SIGNAL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "strategy": pl.String(),
    "symbol": pl.String(),
    "event_time": TIME,
    "decision_time": TIME,
    "side": pl.Int8(),
    "entry_lag_bars": pl.Int32(),
    "horizon_bars": pl.Int32(),
    "close_target": pl.Float64(),
    "close_stop": pl.Float64(),
    "target_distance": pl.Float64(),
    "stop_distance": pl.Float64(),
    "second_leg": pl.String(),
    "tainted": pl.Boolean(),
    "skipped": pl.String(),
}
"""One row an occurrence at which the rule's condition holds. ``event_time`` and ``decision_time`` are the open times of the
bars at whose close the event and the entry are known (they differ where the entry waits); ``side`` is +1 long, −1 short.
Distances are in price from the entry's open, null for none; of a trade with a second leg the close distances are fractions.
``tainted``: a bar that the rule's expressions reach cannot be trusted. ``skipped`` says why there is no entry, null where there
is one; then ``decision_time`` may be null."""

NO_DIRECTION: Final = "no direction"
UNKNOWN_COST: Final = "volatility or turnover unknown"
UNKNOWN_UNIT: Final = "average true range unknown"
UNKNOWN_MOVE: Final = "move unknown"
NEVER_CAME: Final = "no close that it waited for"
NO_SECOND_LEG: Final = "its second leg is not among what is traded"


class SymbolRows:
    """One symbol's rows as the rules read them; windows that several expressions read are computed once.

    Parameters
    ----------
    symbol : str
    frame : bars and features, the full grid, oldest first.
    first : row of the window's first bar; what occurs before it only counts for cooldowns.
    chain : row from which a search over the same window looks for events, so that cooldowns fall alike.
    """

    def __init__(self, symbol: str, frame: pl.DataFrame, *, first: int = 0, chain: int = 0) -> None:
        self.symbol = symbol
        self.frame = frame
        self.first = first
        self.chain = chain
        self._evaluation = Evaluation.of_frame(frame)
        self._found: dict[Program, Values] = {}

    def values(self, expression: CompiledExpression) -> Floats:
        """The expression at each row as numbers, NaN where it is unknown."""
        return as_numbers(self._values(expression))

    def holds(self, expression: CompiledExpression) -> Booleans:
        """Rows at which the condition is true; False where unknown or in its warm-up."""
        holds = self._values(expression) == TRUE
        holds[: expression.lookback_bars] = False
        return np.asarray(holds)

    def _values(self, expression: CompiledExpression) -> Values:
        if expression.program not in self._found:
            self._found[expression.program] = self._evaluation.values(expression.program)
        return self._found[expression.program]


def rule_signals(
    compiled: CompiledRule,
    rows: SymbolRows,
    *,
    instruments: Collection[str] = (),
    event_taint: Callable[[Integers], Booleans] | None = None,
) -> pl.DataFrame:
    """Every occurrence of a rule's trigger in the window at which its condition holds (`SIGNAL_SCHEMA`), in time order.

    Parameters
    ----------
    compiled : CompiledRule
    rows : SymbolRows
    instruments : what second legs there are to trade.
    event_taint : whether what occurrences at given rows rest on is tainted; none is where None.
    """
    rule, policy = compiled.rule, compiled.rule.policy
    at = occurrences(compiled, rows)
    at = at[rows.holds(compiled.expressions["condition"])[at]]
    event_direction = np.nan_to_num(np.sign(rows.values(compiled.expressions["event_direction"])[at]))
    fallback = rows.values(compiled.expressions["fallback_direction"])[at]
    direction = np.where(event_direction != 0, event_direction, fallback)
    unit = rows.values(compiled.expressions["average_true_range" if policy.second_leg is None else "spot_gap"])[at]
    move = rows.values(compiled.expressions["event_move"])[at]
    volatility = rows.values(compiled.expressions["expected_volatility"])[at]
    turnover = rows.values(compiled.expressions["bar_turnover_usd"])[at]
    exits = rule.exits
    barriers = (exits.close_target_atr, exits.close_stop_atr, exits.intrabar_target_atr, exits.intrabar_stop_atr)
    needs_unit = any(barrier is not None for barrier in (*barriers, policy.breakout_atr))
    closes = rows.frame["close"].fill_null(np.nan).to_numpy()
    decision, direction = decided(closes, at, direction, unit, move, policy)
    second_leg = rule.second_legs.get(rows.symbol)
    found = {  # the first that holds is told
        NO_DIRECTION: np.abs(direction) != 1.0,
        UNKNOWN_COST: ~(np.isfinite(volatility) & np.isfinite(turnover) & (turnover > 0)),
        UNKNOWN_UNIT: needs_unit & ~(np.isfinite(unit) & (unit > 0)),
        UNKNOWN_MOVE: (policy.retrace_fraction is not None) & ~(np.isfinite(move) & (move > 0)),
        NEVER_CAME: decision < 0,
        NO_SECOND_LEG: np.full(len(at), policy.second_leg is not None and second_leg not in instruments),
    }
    stamps = rows.frame["timestamp"]
    known = pl.Series(decision >= 0)
    tainted = np.zeros(len(at), dtype=bool) if event_taint is None else event_taint(at)
    return pl.DataFrame(
        {
            "strategy": pl.repeat(compiled.name, len(at), dtype=pl.String, eager=True),
            "symbol": pl.repeat(rows.symbol, len(at), dtype=pl.String, eager=True),
            "event_time": stamps[at],
            "decision_time": stamps[np.maximum(decision, 0)].zip_with(known, pl.Series([None] * len(at), dtype=TIME)),
            "side": np.nan_to_num(rule.direction * direction).astype(np.int8),
            "entry_lag_bars": np.full(len(at), policy.entry_lag_bars, dtype=np.int32),
            "horizon_bars": np.full(len(at), exits.horizon_bars, dtype=np.int32),
            **{
                name: _distance(barrier, unit)
                for name, barrier in zip(
                    ("close_target", "close_stop", "target_distance", "stop_distance"), barriers, strict=True
                )
            },
            "second_leg": pl.repeat(second_leg, len(at), dtype=pl.String, eager=True),
            "tainted": tainted,
            "skipped": _first_reasons(found),
        },
        schema=SIGNAL_SCHEMA,
    )


def _first_reasons(found: Mapping[str, Booleans]) -> list[str | None]:
    """The first reason that holds for each occurrence; None where none does."""
    names: list[str | None] = [*found, None]
    holds = np.stack([*found.values()], axis=1)
    first = np.where(holds.any(axis=1), holds.argmax(axis=1), len(found))
    return [names[index] for index in first.tolist()]


def occurrences(compiled: CompiledRule, rows: SymbolRows) -> Integers:
    """Rows of the window at which the trigger occurs, each silencing those within its cooldown."""
    from backtest.events.cooldowns import outside_cooldown

    trigger, direction = compiled.expressions["trigger"], compiled.expressions["event_direction"]
    holds = rows.holds(trigger)
    holds[: max(rows.chain, trigger.lookback_bars, direction.lookback_bars)] = False
    kept = outside_cooldown(np.flatnonzero(holds), compiled.rule.cooldown_bars)
    return kept[kept >= rows.first]


def decided(
    closes: Floats, at: Integers, direction: Floats, unit: Floats, move: Floats, policy: Policy
) -> tuple[Integers, Floats]:
    """The row at whose close each entry is decided, −1 where what the policy waits for never comes; and the direction then.

    Parameters
    ----------
    closes : (rows,) NaN in gaps.
    at : (n,) rows of the occurrences.
    direction, unit, move : (n,) direction of each, the unit of its breaks, and the absolute price move that led to it.
    """
    if policy.waits_bars == 0:
        return at, direction
    later = at[:, None] + np.arange(1, policy.waits_bars + 1)[None, :]
    seen = np.where(later < len(closes), closes[np.minimum(later, len(closes) - 1)], np.nan)
    moved = seen - closes[at][:, None]
    if policy.retrace_fraction is not None:
        met = direction[:, None] * moved <= -policy.retrace_fraction * move[:, None]
    else:
        assert policy.breakout_atr is not None, "a policy that waits retraces or breaks out"
        met = np.abs(moved) >= policy.breakout_atr * unit[:, None]
    first = met.argmax(axis=1)
    came = met.any(axis=1)
    if policy.breakout_atr is not None:
        direction = np.where(came, np.sign(moved[np.arange(len(at)), first]), direction)
    return np.where(came, at + 1 + first, -1), direction


def invalidation_masks(rules: Sequence[CompiledRule], rows: SymbolRows) -> pl.DataFrame:
    """``timestamp`` and a Boolean column a rule that has an invalidation: bars of the window whose close ends its trades."""
    with_one = [compiled for compiled in rules if INVALIDATION in compiled.expressions]
    masks = {compiled.name: rows.holds(compiled.expressions[INVALIDATION])[rows.first :] for compiled in with_one}
    return pl.DataFrame({"timestamp": rows.frame["timestamp"][rows.first :], **masks})


def _distance(barrier: float | None, unit: Floats) -> pl.Series:
    """A barrier in price at each occurrence; null where there is none."""
    if barrier is None:
        return pl.repeat(None, len(unit), dtype=pl.Float64, eager=True)
    return pl.Series(barrier * unit, nan_to_null=True)


MARKET_SCHEMA: Final[dict[str, pl.DataType]] = {
    "timestamp": TIME,
    **dict.fromkeys(("open", "high", "low", "close", "mark", "funding"), pl.Float64()),
    "tradable": pl.Boolean(),
    "tainted": pl.Boolean(),
    **dict.fromkeys(("volatility", "turnover_usd", "spot_open", "spot_close", "spot_turnover_usd"), pl.Float64()),
    "spot_tradable": pl.Boolean(),
}
"""What an account trades in, one row a bar of the window: prices null in gaps, ``funding`` the rate of the stamp in the bar and
0 without one, ``tradable`` False in gaps and where nobody traded, ``tainted`` where the bar itself is known to be wrong;
``volatility`` (fraction per bar) and ``turnover_usd`` of a usual bar as known at the close; the same of the spot market."""


def market_rows(rows: SymbolRows, expressions: Mapping[str, CompiledExpression]) -> pl.DataFrame:
    """The window's bars as an engine trades them (`MARKET_SCHEMA`); `expressions` are those of the discovery settings."""
    return (
        rows.frame.select(
            "timestamp",
            *("open", "high", "low", "close"),
            pl.col("mark_close").alias("mark"),
            pl.col("funding_stamp_rate").fill_null(0.0).alias("funding"),
            (pl.col("open").is_not_null() & ~pl.col("is_zero_volume")).alias("tradable"),
            pl.col("is_tainted").alias("tainted"),
            *("spot_open", "spot_close"),
            (pl.col("spot_open").is_not_null() & (pl.col("spot_volume") > 0)).fill_null(False).alias("spot_tradable"),
        )
        .with_columns(
            pl.Series(name, rows.values(expressions[field]), nan_to_null=True)
            for name, field in (
                ("volatility", "expected_volatility"),
                ("turnover_usd", "bar_turnover_usd"),
                ("spot_turnover_usd", "spot_turnover_usd"),
            )
        )
        .select(pl.col(name).cast(dtype) for name, dtype in MARKET_SCHEMA.items())
        .slice(rows.first)
    )
