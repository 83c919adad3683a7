"""Day scores of one event type on one symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.atoms import atom_members, atom_state_ids
from backtest.discovery.day_scores import (
    SCORE_SCHEMA,
    TradeScores,
    abnormal_returns,
    score_frame,
    standardised,
    sum_by_day,
    tainted_by_day,
)
from backtest.discovery.folds import Folds
from backtest.discovery.forward_returns import Bars, Booleans, Floats, Integers, forward_trades
from backtest.discovery.hypotheses import Trial, event_trials
from backtest.discovery.truth import PLANTED_DRIFT, planted_truth
from backtest.engine.costs import market_impact, round_trip_cost
from backtest.events.taint import any_tainted, counted_before
from backtest.spec.models import ALL_STATES

if TYPE_CHECKING:
    from backtest.spec.loader import Spec

NO_FOLD, DISCOVERY, CONFIRMATION = 0, 1, 2


@dataclass(frozen=True)
class SymbolMarket:
    """One symbol's bars over the window as arrays, with what the scores need at each bar."""

    symbol: str
    timestamp: pl.Series
    day: Integers
    fold: NDArray[np.int8]
    mean_bar_return: Floats
    """Mean open-to-open return of the bar's fold; NaN outside the folds."""
    bars: Bars
    volatility: Floats
    average_true_range: Floats
    event_move: Floats
    fallback_direction: Floats
    turnover_usd: Floats
    states: dict[str, Booleans]
    tainted_before: Integers
    """How many bars before each position cannot be trusted, one position more than there are bars."""
    planted_drift: Floats | None = None
    """Of a simulated market, where the frame has it."""


def symbol_market(frame: pl.DataFrame, states: pl.DataFrame, symbol: str, spec: Spec, folds: Folds) -> SymbolMarket:
    """Arrays of one symbol from its bars and features (the full grid) and its states.

    States may begin later than the bars, which reach back as far as definitions look; where there are none, none holds.
    Bars without ``is_tainted`` count as sound.
    """
    states = frame.select("timestamp").join(states, on="timestamp", how="left", maintain_order="left")
    values = frame.select(
        pl.col("timestamp"),
        pl.col("timestamp").dt.epoch("d").cast(pl.Int64).alias("_day"),
        *(
            expression.polars().cast(pl.Float64).alias(f"_{field}")
            for field, expression in spec.bar_expressions.items()
        ),
        (pl.col("open").is_not_null() & ~pl.col("is_zero_volume")).alias("_tradable"),
        pl.col("open").alias("_open"),
        pl.col("close").alias("_close"),
        pl.col("funding_stamp_rate").fill_null(0.0).alias("_funding"),
        *(pl.col(name).alias(f"_{name}") for name in (PLANTED_DRIFT,) if name in frame.columns),
    )

    def array(name: str) -> Floats:
        return values[f"_{name}"].fill_null(np.nan).to_numpy()

    day = values["_day"].to_numpy()
    fold = _fold_of(day, folds)
    bars = Bars(array("open"), array("close"), values["_tradable"].to_numpy(), array("funding"))
    return SymbolMarket(
        symbol=symbol,
        timestamp=values["timestamp"],
        day=day,
        fold=fold,
        mean_bar_return=_mean_bar_return(bars.open, fold),
        bars=bars,
        volatility=array("expected_volatility"),
        average_true_range=array("average_true_range"),
        event_move=array("event_move"),
        fallback_direction=array("fallback_direction"),
        turnover_usd=array("bar_turnover_usd"),
        states={name: states[name].fill_null(value=False).to_numpy() for name in states.columns if name != "timestamp"},
        tainted_before=counted_before(
            frame["is_tainted"].to_numpy() if "is_tainted" in frame.columns else np.zeros(len(frame), dtype=bool)
        ),
        planted_drift=array(PLANTED_DRIFT) if PLANTED_DRIFT in frame.columns else None,
    )


def _fold_of(day: Integers, folds: Folds) -> NDArray[np.int8]:
    def number(date: object) -> int:
        return int(np.datetime64(str(date), "D").astype(np.int64))

    fold = np.full(len(day), NO_FOLD, dtype=np.int8)
    fold[(day >= number(folds.discovery_start)) & (day < number(folds.discovery_end))] = DISCOVERY
    fold[(day >= number(folds.confirmation_start)) & (day < number(folds.confirmation_end))] = CONFIRMATION
    return fold


def _mean_bar_return(opens: Floats, fold: NDArray[np.int8]) -> Floats:
    """Each bar's fold mean of open-to-open returns whose both ends lie in that fold."""
    returns = np.full(len(opens), np.nan)
    returns[:-1] = opens[1:] / opens[:-1] - 1.0
    mean = np.full(len(opens), np.nan)
    for number in (DISCOVERY, CONFIRMATION):
        inside = fold == number
        both = inside.copy()
        both[:-1] &= inside[1:]
        both[-1:] = False
        usable = returns[both]
        usable = usable[np.isfinite(usable)]
        mean[inside] = usable.mean() if len(usable) else 0.0
    return mean


def score_event(market: SymbolMarket, event_type: str, occurrences: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Day scores of one event type on one symbol (`SCORE_SCHEMA`, sorted).

    Parameters
    ----------
    market : SymbolMarket
    event_type : str
    occurrences : ``timestamp`` and ``direction`` of this symbol's events of this type, in time order; ``tainted`` where
        that is known.
    spec : Spec

    Notes
    -----
    An event without a direction takes the fallback direction at its bar; where that is zero too there is no trade.
    Events outside both folds, and trades whose exit lies beyond their fold's data (for the discovery fold: the embargo),
    are left out. A trade is tainted where its event is, or where a bar from the event to the exit is.
    """
    at = np.searchsorted(market.timestamp.to_numpy(), occurrences["timestamp"].to_numpy())
    stated = occurrences["direction"].to_numpy().astype(np.float64)
    direction = np.where(stated != 0, stated, market.fallback_direction[at])
    usable = (
        (market.fold[at] != NO_FOLD)
        & (np.abs(direction) == 1.0)
        & np.isfinite(market.volatility[at])
        & np.isfinite(market.turnover_usd[at])
        & (market.turnover_usd[at] > 0)
    )
    tainted = occurrences["tainted"].to_numpy() if "tainted" in occurrences.columns else np.zeros(len(at), dtype=bool)
    at, direction, tainted = at[usable].astype(np.int64), direction[usable], tainted[usable]
    state_ids = list(spec.state_ids(event_type))
    members = np.column_stack(
        [np.ones(len(at), dtype=bool) if name == ALL_STATES else market.states[name][at] for name in state_ids]
    )
    atoms, in_atoms = atom_members(atom_state_ids(spec, event_type), market.states, at)
    state_ids, members = state_ids + atoms, np.column_stack([members, in_atoms])
    frames = [
        _score_trial(market, trial, at, direction, tainted, members, state_ids, spec)
        for trial in event_trials(spec, event_type)
    ]
    return pl.concat(frames or [pl.DataFrame(schema=SCORE_SCHEMA)]).sort("policy", "horizon", "state_id", "day")


def _score_trial(
    market: SymbolMarket,
    trial: Trial,
    at: Integers,
    direction: Floats,
    tainted: Booleans,
    members: Booleans,
    state_ids: list[str],
    spec: Spec,
) -> pl.DataFrame:
    made = forward_trades(
        market.bars,
        at,
        direction,
        market.average_true_range[at],
        market.event_move[at],
        trial.policy,
        trial.horizon_bars,
    )
    inside = _exits_inside(market, made.exit, at[made.event])
    event, entry, exit_ = made.event[inside], made.entry[inside], made.exit[inside]
    bar = at[event]
    abnormal = abnormal_returns(
        made.gross[inside], direction[event], made.bars_held[inside], market.mean_bar_return[bar]
    )
    cost = round_trip_cost(
        spec.costs,
        spec.contract(market.symbol),
        market.symbol,
        market.day[entry],
        market.day[exit_],
        market.bars.open[entry],
        market.volatility[bar],
        market.turnover_usd[bar],
    )
    trades = TradeScores(
        market.day[bar],
        standardised(abnormal, market.volatility[bar], trial.horizon_bars),
        abnormal,
        cost,
        market_impact(spec.costs, market.volatility[bar], market.turnover_usd[bar]),
        np.log(market.turnover_usd[bar]),
        made.funding[inside],
        None if market.planted_drift is None else planted_truth(market.planted_drift, entry, exit_, direction[event]),
    )
    days, counts, sums = sum_by_day(trades, members[event])
    suspect = tainted_by_day(
        trades.day, tainted[event] | any_tainted(market.tainted_before, bar, exit_), members[event]
    )
    return score_frame(trial.policy.policy_id, trial.horizon, state_ids, days, counts, sums, suspect)


def _exits_inside(market: SymbolMarket, exits: Integers, event_bars: Integers) -> Booleans:
    """Exits before the confirmation fold for events of the discovery fold; every exit is inside the data already."""
    return np.asarray(~((market.fold[event_bars] == DISCOVERY) & (market.fold[exits] == CONFIRMATION)))
