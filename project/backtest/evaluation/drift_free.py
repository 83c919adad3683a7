"""Day scores without the drift of any fold taken off, and how they depend on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.discovery.hypotheses import event_trials
from backtest.discovery.scoring import DISCOVERY, NO_FOLD, score_event
from backtest.evaluation.walk_forward import EXPOSURES, daily_bar_returns, with_exposures

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import SymbolMarket
    from backtest.spec.compiled import Spec

DRIFT_FREE_SCHEMA: Final[dict[str, pl.DataType]] = {
    **SCORE_SCHEMA,
    **EXPOSURES,
    "event_type": pl.String(),
    "symbol": pl.String(),
    "leg": pl.String(),
}


def whole_window(market: SymbolMarket, folds: Folds) -> SymbolMarket:
    """The market with all days of both folds and of the embargo between them in one."""
    inside = (market.day >= folds.first_discovery_day) & (market.day < folds.confirmation_end_day)
    return dataclasses.replace(market, fold=np.where(inside, DISCOVERY, NO_FOLD).astype(np.int8))


def drift_free_scores(market: SymbolMarket, event_type: str, occurrences: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Day scores of one event type on one symbol as `score_event` makes them for a mean bar return of zero.

    Returns
    -------
    `DRIFT_FREE_SCHEMA`. Σy is what the trades earned. `EXPOSURES` say how Σy and Σz fall with the mean bar return, of a
    trade with two legs with the difference of theirs; ``leg`` names the second one.
    """
    without, unit = (score_event(with_drift(market, drift), event_type, occurrences, spec) for drift in (0.0, 1.0))
    legs = {trial.policy.policy_id: trial.policy.second_leg or "" for trial in event_trials(spec, event_type)}
    leg = pl.col("policy").replace_strict(legs, return_dtype=pl.String) if legs else pl.lit("")
    return with_exposures(without, unit).select(
        pl.col(*SCORE_SCHEMA, *EXPOSURES),
        pl.lit(event_type).alias("event_type"),
        pl.lit(market.symbol).alias("symbol"),
        leg.alias("leg"),
    )


def with_drift(market: SymbolMarket, mean_bar_return: float) -> SymbolMarket:
    """The market with one mean bar return for all bars, and none of its second legs."""
    legs = {
        name: dataclasses.replace(leg, mean_bar_return=np.zeros(len(market.day)))
        for name, leg in market.second_legs.items()
    }
    own = np.full(len(market.day), mean_bar_return)
    return dataclasses.replace(market, mean_bar_return=own, second_legs=legs)


def market_bar_returns(market: SymbolMarket) -> pl.DataFrame:
    """`walk_forward.BAR_RETURN_SCHEMA` of a symbol and of its second legs."""
    own = daily_bar_returns(market.bars.open, market.day, market.symbol)
    legs = [
        daily_bar_returns(leg.both.second.open, market.day, market.symbol, name)
        for name, leg in sorted(market.second_legs.items())
    ]
    return pl.concat([own, *legs])
