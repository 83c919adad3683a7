"""Day scores of one event type on one symbol."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.atoms import atom_members, atom_state_ids
from backtest.discovery.day_scores import (
    WITHOUT,
    DayScores,
    DaySums,
    Held,
    TradeScores,
    abnormal_returns,
    score_frame,
    standardised,
    sum_by_day,
    trial_scores,
)
from backtest.discovery.folds import Folds
from backtest.discovery.forward_returns import Bars, Booleans, Floats, Integers, forward_trades
from backtest.discovery.hypotheses import Trial, event_trials
from backtest.discovery.second_legs import SecondLeg, pair_leg, spot_leg
from backtest.discovery.truth import PLANTED_DRIFT, planted_truth
from backtest.engine.costs import RoundTrip, round_trip_cost
from backtest.events.taint import any_tainted, counted_before
from backtest.spec.models import ALL_STATES

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec
    from backtest.spec.models import SecondLeg as SecondLegName

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
    spot_gap: Floats
    states: dict[str, Booleans]
    filters: dict[str, tuple[Booleans, Booleans]]
    """Of each filter verb where it holds, and where it is known not to."""
    tainted_before: Integers
    """How many bars before each position cannot be trusted, one position more than there are bars."""
    second_legs: Mapping[SecondLegName, SecondLeg]
    planted_drift: Floats | None = None
    """Of a simulated market, where the frame has it."""


def symbol_market(
    frame: pl.DataFrame,
    states: pl.DataFrame,
    symbol: str,
    spec: Spec,
    folds: Folds,
    *,
    pair: pl.DataFrame | None = None,
) -> SymbolMarket:
    """Arrays of one symbol from its bars and features (the full grid) and its states.

    States may begin later than the bars, which reach back as far as definitions look; where there are none, none holds.
    Bars without ``is_tainted`` count as sound. `pair` is the frame of the symbol that is the second leg of its pair trades,
    with the inputs of the discovery expressions; without it there are none.
    """
    states = frame.select("timestamp").join(states, on="timestamp", how="left", maintain_order="left")
    filters = {verb: one.condition.polars() for verb, one in spec.filters.items()}
    named = {name for one in spec.filters.values() for name in one.condition.inputs}
    if not named <= set(frame.columns):
        filters = {}
    values = frame.select(
        pl.col("timestamp"),
        pl.col("timestamp").dt.epoch("d").cast(pl.Int64).alias("_day"),
        *(
            expression.polars().cast(pl.Float64).alias(f"_{field}")
            for field, expression in spec.bar_expressions.items()
        ),
        *(holds.alias(f"_{verb}") for verb, holds in filters.items()),
        (pl.col("open").is_not_null() & ~pl.col("is_zero_volume")).alias("_tradable"),
        *(pl.col(name).alias(f"_{name}") for name in ("open", "high", "low", "close")),
        pl.col("funding_stamp_rate").fill_null(0.0).alias("_funding"),
        *(pl.col(name).alias(f"_{name}") for name in (PLANTED_DRIFT,) if name in frame.columns),
    )

    def array(name: str) -> Floats:
        return values[f"_{name}"].fill_null(np.nan).to_numpy()

    day = values["_day"].to_numpy()
    fold = _fold_of(day, folds)
    bars = Bars(
        array("open"), array("high"), array("low"), array("close"), values["_tradable"].to_numpy(), array("funding")
    )
    planted = array(PLANTED_DRIFT) if PLANTED_DRIFT in frame.columns else None
    own = SymbolMarket(
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
        spot_gap=array("spot_gap"),
        states={name: states[name].fill_null(value=False).to_numpy() for name in states.columns if name != "timestamp"},
        filters={
            verb: (
                values[f"_{verb}"].fill_null(value=False).to_numpy(),
                (~values[f"_{verb}"]).fill_null(False).to_numpy(),
            )
            for verb in filters
        },
        tainted_before=counted_before(
            frame["is_tainted"].to_numpy() if "is_tainted" in frame.columns else np.zeros(len(frame), dtype=bool)
        ),
        second_legs={},
        planted_drift=planted,
    )
    legs: dict[SecondLegName, SecondLeg] = {}
    if "spot_open" in frame.columns:
        turnover = array("spot_turnover_usd")
        legs["spot"] = spot_leg(
            symbol, bars, own.volatility, frame, turnover, lambda opens: _mean_bar_return(opens, fold)
        )
    if pair is not None and (other := spec.discovery.pair(symbol)) is not None:
        legs["pair"] = pair_leg(other, bars, own.timestamp, pair, spec, lambda opens: _mean_bar_return(opens, fold))
    return dataclasses.replace(own, second_legs=legs)


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


def score_event(
    market: SymbolMarket,
    event_type: str,
    occurrences: pl.DataFrame,
    spec: Spec,
    only: Collection[tuple[str, str]] | None = None,
) -> pl.DataFrame:
    """Day scores of one event type on one symbol (`SCORE_SCHEMA`, sorted).

    Parameters
    ----------
    market : SymbolMarket
    event_type : str
    occurrences : ``timestamp`` and ``direction`` of this symbol's events of this type, in time order; ``tainted`` where
        that is known.
    spec : Spec
    only : the policies and horizons wanted; all where left out.

    Notes
    -----
    An event without a direction takes the fallback direction at its bar; where that is zero too there is no trade.
    Events outside both folds, and trades whose exit lies beyond their fold's data (for the discovery fold: the embargo),
    are left out. A trade is tainted where its event is, or where a bar of either leg from the event to the exit is.
    A trade whose second leg is not in the lake is not made.
    """
    return score_frame(*_scored_trials(market, event_type, occurrences, spec, only))


def event_scores(
    market: SymbolMarket, event_type: str, occurrences: pl.DataFrame, spec: Spec, first_confirmation_day: int
) -> DayScores:
    """`score_event` as series and days (`day_scores.trial_scores`)."""
    return trial_scores(*_scored_trials(market, event_type, occurrences, spec), first_confirmation_day)


def _scored_trials(
    market: SymbolMarket,
    event_type: str,
    occurrences: pl.DataFrame,
    spec: Spec,
    only: Collection[tuple[str, str]] | None = None,
) -> tuple[list[tuple[str, str, DaySums]], list[str]]:
    """Policy, horizon and sums of each trial, and the conditions that they are summed for."""
    usable, at, direction = tradable_events(market, occurrences)
    tainted = (
        occurrences["tainted"].to_numpy() if "tainted" in occurrences.columns else np.zeros(len(usable), dtype=bool)
    )
    tainted = tainted[usable]
    found = [
        trial
        for trial in event_trials(spec, event_type)
        if only is None or (trial.policy.policy_id, trial.horizon) in only
    ]
    state_ids, members = _conditions(market, event_type, at, {trial.filter_verb for trial in found} - {None}, spec)
    held = Held.of(members)
    trades = {(trial.policy.policy_id, trial.horizon): trial for trial in found}
    scored = []
    for (policy_id, horizon), trial in sorted(trades.items()):
        made = trades_made(market, trial, at, direction, spec)
        if made is not None:
            scored.append((policy_id, horizon, _sums(market, made, trial, held, tainted)))
    return scored, state_ids


def _conditions(
    market: SymbolMarket, event_type: str, at: Integers, filters: Iterable[str | None], spec: Spec
) -> tuple[list[str], Booleans]:
    """Everything that scores are summed for and whether it holds at each event, sorted by name."""
    columns = {name: market.states[name][at] for name in spec.state_ids(event_type) if name != ALL_STATES}
    columns[ALL_STATES] = np.ones(len(at), dtype=bool)
    atoms, in_atoms = atom_members(atom_state_ids(spec, event_type), market.states, at)
    columns |= dict(zip(atoms, in_atoms.T, strict=True))
    for verb in filters:
        if verb is not None:
            holds, holds_not = market.filters[verb]
            columns |= {verb: holds[at], WITHOUT + verb: holds_not[at]}
    names = sorted(columns)
    return names, np.column_stack([columns[name] for name in names])


def tradable_events(market: SymbolMarket, occurrences: pl.DataFrame) -> tuple[Booleans, Integers, Floats]:
    """Which occurrences can become trades, the bars of those, and the direction of each.

    An occurrence without a direction takes the fallback direction at its bar. Outside both folds, without a direction, or
    where volatility or turnover are not known, there is no trade. Every occurrence is a bar of the market.
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
    return usable, at[usable].astype(np.int64), direction[usable]


@dataclass(frozen=True)
class MadeTrades:
    """The trades that the scores of one policy and horizon sum up on one symbol, in the order of their events.

    `event` indexes the given events, `bar`, `entry` and `exit` are bars of the market. Returns, `funding`, `favourable` and
    `adverse` are fractions of the first leg's notional, of a position on `side`; `cost` is what either side pays besides
    funding, for both legs where there are two.
    """

    event: Integers
    bar: Integers
    entry: Integers
    exit: Integers
    side: Floats
    gross: Floats
    abnormal: Floats
    volatility: Floats
    cost: RoundTrip
    turnover_usd: Floats
    funding: Floats
    favourable: Floats
    adverse: Floats
    is_tainted: Booleans
    """Whether a bar of either leg from the event to the exit cannot be trusted."""
    truth: Floats | None


def second_leg(market: SymbolMarket, trial: Trial) -> SecondLeg | None:
    """The second leg of a trial's trades in this market; None where it has one leg, or where the lake lacks the second."""
    name = trial.policy.second_leg
    return None if name is None else market.second_legs.get(name)


def trades_made(market: SymbolMarket, trial: Trial, at: Integers, direction: Floats, spec: Spec) -> MadeTrades | None:
    """The trades of one policy and horizon after events at the bars `at`; None where the second leg is not in the lake."""
    leg = second_leg(market, trial)
    if trial.policy.second_leg is not None and leg is None:
        return None
    made = forward_trades(
        market.bars if leg is None else leg.both,
        at,
        direction,
        (market.average_true_range if leg is None else market.spot_gap)[at],
        market.event_move[at],
        trial.policy,
        trial.horizon_bars,
    )
    bar = at[made.event]
    kept = _exits_inside(market, made.exit, bar)
    if leg is not None:
        kept &= leg.is_known(bar)
    event, entry, exit_, side = made.event[kept], made.entry[kept], made.exit[kept], made.side[kept]
    bar = at[event]
    days = market.day[entry], market.day[exit_]
    drift = market.mean_bar_return[bar]
    volatility = market.volatility[bar]
    cost = round_trip_cost(
        spec.costs,
        spec.contract(market.symbol),
        market.symbol,
        *days,
        market.bars.open[entry],
        volatility,
        market.turnover_usd[bar],
    )
    turnover, suspect = market.turnover_usd[bar], any_tainted(market.tainted_before, bar, exit_)
    truth = None if market.planted_drift is None else planted_truth(market.planted_drift, entry, exit_, side)
    if leg is not None:
        drift = drift - leg.mean_bar_return[bar]
        volatility = leg.difference_volatility[bar]
        cost = cost + leg.round_trip_cost(spec, *days, entry, exit_, bar)
        turnover = np.minimum(turnover, leg.turnover_usd[bar])
        suspect = suspect | any_tainted(leg.tainted_before, bar, exit_)
        if truth is not None:
            truth = truth - leg.truth(entry, exit_, side)
    return MadeTrades(
        event=event,
        bar=bar,
        entry=entry,
        exit=exit_,
        side=side,
        gross=made.gross[kept],
        abnormal=abnormal_returns(made.gross[kept], side, exit_ - entry, drift),
        volatility=volatility,
        cost=cost,
        turnover_usd=turnover,
        funding=made.funding[kept],
        favourable=made.favourable[kept],
        adverse=made.adverse[kept],
        is_tainted=suspect,
        truth=truth,
    )


def _sums(market: SymbolMarket, made: MadeTrades, trial: Trial, held: Held, tainted: Booleans) -> DaySums:
    trades = TradeScores(
        market.day[made.bar],
        standardised(made.abnormal, made.volatility, trial.horizon_bars),
        made.abnormal,
        made.cost.total,
        made.cost.impact,
        np.log(made.turnover_usd),
        made.funding,
        made.favourable,
        made.adverse,
        made.truth,
    )
    return sum_by_day(trades, made.event, held, tainted[made.event] | made.is_tainted)


def _exits_inside(market: SymbolMarket, exits: Integers, event_bars: Integers) -> Booleans:
    """Exits before the confirmation fold for events of the discovery fold; every exit is inside the data already."""
    return np.asarray(~((market.fold[event_bars] == DISCOVERY) & (market.fold[exits] == CONFIRMATION)))
