"""One symbol's market over a run's window, as scoring reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.pipeline.stage import Plan
from backtest.pipeline.window import feature_files, leg_frame, scoring_frame

if TYPE_CHECKING:
    from backtest.discovery.scoring import SymbolMarket
    from backtest.spec.compiled import Spec


def market_files(plan: Plan, symbol: str) -> Sequence[Path]:
    """The files that `run_market` reads, and the symbol's events."""
    from backtest.spec.loader import load_spec

    own = (plan.root.symbol_events(plan.run_id, symbol), plan.root.states(plan.run_id, symbol))
    other = pair_of(plan, load_spec(plan.spec_root), symbol)
    of_pair = [] if other is None else feature_files(plan, other)
    return [*feature_files(plan, symbol), *of_pair, *own, plan.root.design(plan.run_id)]


def run_market(plan: Plan, definitions: Spec, symbol: str) -> SymbolMarket:
    """Arrays of one symbol, with its pair where the run has it."""
    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import symbol_market
    from backtest.lake.files import read_json, read_parquet

    other = pair_of(plan, definitions, symbol)
    return symbol_market(
        scoring_frame(plan, definitions, symbol),
        read_parquet(plan.root.states(plan.run_id, symbol)),
        symbol,
        definitions,
        Folds.from_json(read_json(plan.root.design(plan.run_id))),
        pair=None if other is None else leg_frame(plan, definitions, other),
    )


def pair_of(plan: Plan, definitions: Spec, symbol: str) -> str | None:
    """The second leg of the symbol's pair trades, where the run has it."""
    other = definitions.discovery.pair(symbol)
    return other if other in plan.symbols else None
