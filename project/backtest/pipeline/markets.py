"""A symbol's market over a run's window as the stages score it, with the second legs of its relative-value trades."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.pipeline.stage import Plan
from backtest.pipeline.window import feature_files, symbol_frame, trading_frame

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.scoring import SymbolMarket
    from backtest.spec.loader import Spec


def pair_of(plan: Plan, spec: Spec, symbol: str) -> str | None:
    """The second leg of the symbol's pair trades, where the run has it."""
    other = spec.discovery.pair(symbol)
    return other if other in plan.symbols else None


def market_files(plan: Plan, symbol: str) -> Sequence[Path]:
    """Files that `run_market` reads."""
    from backtest.spec.loader import load_spec

    pair = pair_of(plan, load_spec(plan.spec_root), symbol)
    of_pair = [] if pair is None else feature_files(plan, pair)
    return [
        *feature_files(plan, symbol),
        *of_pair,
        plan.root.states(plan.run_id, symbol),
        plan.root.design(plan.run_id),
    ]


def run_market(plan: Plan, spec: Spec, symbol: str) -> tuple[pl.DataFrame, SymbolMarket]:
    """The symbol's bars and features, and its market in the folds of the run."""
    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import symbol_market
    from backtest.lake.files import read_json, read_parquet

    frame, _ = symbol_frame(plan, spec, symbol)
    other = pair_of(plan, spec, symbol)
    market = symbol_market(
        frame,
        read_parquet(plan.root.states(plan.run_id, symbol)),
        symbol,
        spec,
        Folds.from_json(read_json(plan.root.design(plan.run_id))),
        pair=None if other is None else trading_frame(plan, spec, other),
    )
    return frame, market
