"""Stage: the chosen strategies traded together on one account over the run's window, and everything told about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.lake.paths import SIGNAL_PARTS
from backtest.pipeline.run_tables import candidate_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.engine.market import Market
    from backtest.evaluation.backtest_tables import Portfolio
    from backtest.pipeline.chosen_strategies import ChosenRule
    from backtest.spec.compiled import Spec

TABLES: Final = ("trades", "trades_best", "equity", "strategy_returns", "skipped")
"""Written as Parquet only: they have as many rows as there are trades or bars."""
SMALL_TABLES: Final = ("metrics", "monthly", "costs", "capacity", "correlation", "parity")
"""Written as JSON too."""
SUMMARY: Final = "summary.json"


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    own = [plan.root.signals(plan.run_id, symbol, part) for symbol in plan.symbols for part in SIGNAL_PARTS]
    return [*own, plan.root.design(plan.run_id), plan.root.blueprints(plan.run_id), *candidate_files(plan)]


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {
        "run_id": plan.run_id,
        "strategies": plan.parameters.get("strategies"),
        "symbols": list(plan.symbols),
    }


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash(
        "strategies", "events", "contracts", "costs", "discovery", "backtest", "evaluation"
    )


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.engine.account import neutral_account
    from backtest.engine.simulation import simulate, simulate_bounds
    from backtest.evaluation import backtest_tables as tables
    from backtest.evaluation.backtest_luck import strategies_overfitting, trials_of
    from backtest.evaluation.backtest_metrics import metric_rows
    from backtest.lake.files import read_json, read_parquet, write_json, write_parquet
    from backtest.pipeline.chosen_strategies import chosen_rules
    from backtest.pipeline.out_of_sample import opening_warning, recorded_opening
    from backtest.pipeline.run_tables import read_candidates
    from backtest.spec.loader import load_spec
    from backtest.strategies.compiled import compile_rule
    from backtest.strategies.parity import certificates
    from backtest.strategies.portfolio import account_of, portfolio_market, portfolio_signals
    from backtest.strategies.rules import SPOT

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    chosen = chosen_rules(plan, definitions)
    names = [one.name for one in chosen]

    def parts(part: str) -> dict[str, pl.DataFrame]:
        return {symbol: read_parquet(root.signals(run_id, symbol, part)) for symbol in plan.symbols}

    contracts = {symbol: definitions.contract(symbol) for symbol in plan.symbols}
    asked = pl.concat(parts("signals").values())
    entered = asked.filter(pl.col("skipped").is_null())
    spot_of = sorted(entered.filter(pl.col("second_leg").str.ends_with(SPOT))["symbol"].unique())
    market = portfolio_market(parts("bars"), contracts, definitions.costs, definitions.backtest.spot_margin, spot_of)
    signals, entries = portfolio_signals(asked, parts("invalidation"), market, names)
    account = account_of(definitions.backtest, [one.rule.sizing for one in chosen])
    run_folds = _folds(read_json(root.design(run_id)))
    folds = {one.name: _folds_of(plan, one, run_folds) for one in chosen}
    opening = recorded_opening(plan, definitions, chosen, folds, _end_day(market), now=dt.datetime.now(dt.UTC))
    portfolio = tables.Portfolio(
        market=market,
        signals=signals,
        tainted=entries["tainted"].to_numpy(),
        bounds=simulate_bounds(market, signals, account),
        alone=tables.each_alone(market, signals, account),
        folds=folds,
        run_folds=run_folds,
    )
    worst, best = portfolio.bounds.worst, portfolio.bounds.best
    trades = tables.trade_rows(worst, signals, portfolio, portfolio.tainted)
    returns = tables.strategy_returns(portfolio)
    overfitting = strategies_overfitting(
        returns, definitions.evaluation.walk_forward.overfitting_blocks, run_folds.embargo_days
    )
    trials = trials_of(read_candidates(plan), run_folds)
    neutral = simulate(market.without_costs(), signals, neutral_account())
    compiled = [compile_rule(one.name, one.rule, definitions) for one in chosen]
    skipped = tables.skipped_rows(worst, entries, asked.filter(pl.col("skipped").is_not_null()))
    best_trades = tables.trade_rows(best, signals, portfolio, portfolio.tainted)
    made = {
        "trades": trades,
        "trades_best": best_trades,
        "equity": tables.equity_rows(portfolio),
        "strategy_returns": returns,
        "skipped": skipped,
        "metrics": metric_rows(
            portfolio, trades, best_trades, trials, None if overfitting is None else overfitting.probability
        ),
        "monthly": tables.monthly_rows(portfolio, trades),
        "costs": tables.cost_rows(trades),
        "capacity": tables.capacity_rows(market, signals, account, definitions.backtest.capacity_equities_usd),
        "correlation": tables.correlation_rows(returns),
        "parity": certificates(
            pl.concat(parts("tested").values()), tables.traded_like_tested(neutral, market, signals), compiled
        ),
    }
    outputs = []
    for name in (*TABLES, *SMALL_TABLES):
        outputs.append(root.backtest(run_id, f"{name}.parquet"))
        write_parquet(outputs[-1], made[name])
    for name in SMALL_TABLES:
        outputs.append(root.backtest(run_id, f"{name}.json"))
        write_json(outputs[-1], tables.plain_rows(made[name]))
    warnings = [*_warnings(chosen, made), *opening_warning(opening)]
    outputs.append(root.backtest(run_id, SUMMARY))
    write_json(outputs[-1], _summary(plan, definitions, chosen, portfolio, made, opening, warnings))
    first = trades.filter(pl.col("leg") == 0)
    return Outcome(
        outputs=tuple(outputs),
        summary={
            "strategies": names,
            "signals": len(entries),
            "trades": len(first),
            "skipped": len(skipped),
            "profit_usd": worst.profit,
        },
        warnings=tuple(warnings),
    )


def _end_day(market: Market) -> dt.date:
    """The day after the last one that is traded."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(market.day[-1]) + 1)


def _folds(design: Mapping[str, str]) -> Folds:
    from backtest.discovery.folds import Folds

    return Folds.from_json(design)


def _folds_of(plan: Plan, one: ChosenRule, run_folds: Folds) -> Folds:
    """The folds of the search that found a blueprint; those of the run where it is its own, or nobody searched."""
    from backtest.lake.files import read_json

    if one.found_in in (None, plan.run_id):
        return run_folds
    path = plan.root.design(one.found_in)
    if path.is_file():
        return _folds(read_json(path))
    # The search's own record is gone: all that it read counts as what it was chosen on.
    return _folds(
        {
            "discovery_start": str(one.read_since),
            "discovery_end": str(one.read_until),
            "confirmation_start": str(one.read_until),
            "confirmation_end": str(one.read_until),
        }
    )


def _warnings(chosen: Sequence[ChosenRule], made: Mapping[str, pl.DataFrame]) -> list[str]:
    import polars as pl

    warnings = []
    trades = made["trades"].filter(pl.col("leg") == 0)
    found = [one.name for one in chosen if one.found_in is not None]
    outside = trades.filter(pl.col("strategy").is_in(found))
    if found and len(outside.filter(pl.col("span") != "after")):
        seen = len(outside.filter(pl.col("span") != "after"))
        warnings.append(
            f"IN-SAMPLE: {seen:,} of {len(outside):,} trades of blueprints lie in the very data that their search read; "
            "they were chosen because they earned there. Only the span 'after' is a test"
        )
    if any(one.found_in is None for one in chosen):
        warnings.append(
            "strategies written by hand have no search behind them: nobody knows which of these data their author had seen"
        )
    differing = made["parity"].filter(pl.col("verdict") == "differs")
    if len(differing):
        worst = differing.row(0, named=True)
        warnings.append(
            f"{len(differing)} parity certificates differ, such as {worst['strategy']} on {worst['symbol']}: what is traded is "
            "not what was tested (parity.json)"
        )
    liquidated = int((trades["reason"] == "liquidation").sum())
    if liquidated:
        warnings.append(f"{liquidated:,} trades were ended by liquidation")
    return warnings


def _summary(
    plan: Plan,
    definitions: Spec,
    chosen: Sequence[ChosenRule],
    portfolio: Portfolio,
    made: Mapping[str, pl.DataFrame],
    opening: Mapping[str, object] | None,
    warnings: Sequence[str],
) -> Mapping[str, object]:
    import polars as pl

    from backtest.strategies.parity import EQUAL, NOT_COMPARABLE

    verdicts = made["parity"]["verdict"]
    trades = made["trades"].filter(pl.col("leg") == 0)
    counts = made["skipped"].group_by("stage", "reason").len().sort("len", "reason", descending=[True, False])
    return {
        "run_id": plan.run_id,
        "ontology_spec_hash": definitions.ontology_hash,
        "account": definitions.backtest.model_dump(mode="json"),
        "symbols": list(plan.symbols),
        "folds": {name: day.isoformat() for name, day in vars(portfolio.run_folds).items()},
        "strategies": [
            {
                "name": one.name,
                "kind": "strategy" if one.found_in is None else "blueprint",
                "found_in": one.found_in,
                "family": one.rule.family,
                "event_type": one.rule.event_type,
                "symbols": list(one.rule.symbols),
                "folds": {name: day.isoformat() for name, day in vars(portfolio.folds[one.name]).items()},
            }
            for one in chosen
        ],
        "out_of_sample_opening": opening,
        "n_trades": len(trades),
        "n_carried": int((trades["bars_carried"] > 0).sum()),
        "n_liquidated": int((trades["reason"] == "liquidation").sum()),
        "n_skipped": len(made["skipped"]),
        "n_parity": int((verdicts != NOT_COMPARABLE).sum()),
        "n_parity_equal": int((verdicts == EQUAL).sum()),
        "n_parity_not_comparable": int((verdicts == NOT_COMPARABLE).sum()),
        "skipped": [{"stage": stage, "reason": reason, "n": n} for stage, reason, n in counts.iter_rows()],
        "warnings": list(warnings),
    }


STAGE = Stage(
    name="backtest",
    title="Trading on one account",
    reads=("signals", "hypotheses", "candidates"),
    writes=("backtest",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
