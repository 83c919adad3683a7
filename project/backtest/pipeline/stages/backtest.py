"""Stage: the chosen strategies traded together on one account over the run's window, and everything told about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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

SMALL_TABLES: Final = ("metrics", "monthly", "costs", "capacity", "correlation", "parity")
"""Written as JSON too, as are the trades, and equity at the days' ends."""
SUMMARY: Final = "summary.json"


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    from backtest.pipeline.chosen_strategies import rule_files

    own = [plan.root.signals(plan.run_id, symbol, part) for symbol in plan.symbols for part in SIGNAL_PARTS]
    return list(dict.fromkeys([*own, plan.root.design(plan.run_id), *candidate_files(plan), *rule_files(plan)]))


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {
        "run_id": plan.run_id,
        "strategies": plan.parameters.get("strategies"),
        "symbols": list(plan.symbols),
    }


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    return f"{definitions.ontology_hash}.{definitions.part_hash('strategies', 'backtest', 'evaluation')}"


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.pipeline.chosen_strategies import chosen_rules
    from backtest.pipeline.out_of_sample import opening_warning, recorded_opening
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    chosen = chosen_rules(plan, definitions)
    asked = pl.concat(_parts(plan, "signals").values())
    market = _market(plan, definitions, asked)
    folds = {one.name: _folds_of(plan, one) for one in chosen}
    # Recorded before anything is traded: what is killed afterwards has seen those days all the same.
    opening = recorded_opening(plan, definitions, chosen, folds, _days(market), now=dt.datetime.now(dt.UTC))
    portfolio, entries = _traded(plan, definitions, chosen, asked, market, folds)
    made = _tables(plan, definitions, chosen, asked, entries, portfolio)
    warnings = [*_nothing_found(plan, chosen), *_warnings(chosen, made), *opening_warning(opening)]
    summary = _summary(plan, definitions, chosen, portfolio, made, opening, warnings)
    return Outcome(
        outputs=_written(plan, made, summary),
        summary={
            "strategies": [one.name for one in chosen],
            "signals": len(entries),
            "trades": summary["n_trades"],
            "skipped": summary["n_skipped"],
            "profit_usd": portfolio.bounds.worst.profit,
        },
        warnings=tuple(warnings),
    )


def _parts(plan: Plan, part: str) -> dict[str, pl.DataFrame]:
    """What the signals stage wrote of each symbol."""
    from backtest.lake.files import read_parquet

    return {symbol: read_parquet(plan.root.signals(plan.run_id, symbol, part)) for symbol in plan.symbols}


def _market(plan: Plan, definitions: Spec, asked: pl.DataFrame) -> Market:
    """The run's bars, and the spot markets that any entry trades against."""
    import polars as pl

    from backtest.strategies.portfolio import portfolio_market
    from backtest.strategies.rules import SPOT

    contracts = {symbol: definitions.contract(symbol) for symbol in plan.symbols}
    entered = asked.filter(pl.col("skipped").is_null())
    spot_of = sorted(entered.filter(pl.col("second_leg").str.ends_with(SPOT))["symbol"].unique())
    bars = _parts(plan, "bars")
    return portfolio_market(bars, contracts, definitions.costs, definitions.backtest.spot_margin, spot_of)


def _traded(
    plan: Plan,
    definitions: Spec,
    chosen: Sequence[ChosenRule],
    asked: pl.DataFrame,
    market: Market,
    folds: Mapping[str, Folds],
) -> tuple[Portfolio, pl.DataFrame]:
    """All strategies on one account in both bounds, each alone, and the entries in the engine's order."""
    from backtest.engine.simulation import simulate_bounds
    from backtest.evaluation.backtest_tables import Portfolio, each_alone
    from backtest.strategies.portfolio import account_of, portfolio_signals

    masks = _parts(plan, "invalidation")
    signals, entries = portfolio_signals(asked, masks, market, [one.name for one in chosen])
    account = account_of(definitions.backtest, [one.rule.sizing for one in chosen])
    portfolio = Portfolio(
        market=market,
        signals=signals,
        tainted=entries["tainted"].to_numpy(),
        bounds=simulate_bounds(market, signals, account),
        alone=each_alone(market, signals, account),
        folds=folds,
        run_folds=_run_folds(plan),
    )
    return portfolio, entries


def _tables(
    plan: Plan,
    definitions: Spec,
    chosen: Sequence[ChosenRule],
    asked: pl.DataFrame,
    entries: pl.DataFrame,
    portfolio: Portfolio,
) -> dict[str, pl.DataFrame]:
    """Every table by its name."""
    import polars as pl

    from backtest.evaluation import backtest_tables as tables
    from backtest.evaluation.backtest_luck import strategies_overfitting, trials_of
    from backtest.evaluation.backtest_metrics import metric_rows
    from backtest.pipeline.run_tables import read_candidates

    market, signals, bounds = portfolio.market, portfolio.signals, portfolio.bounds
    trades, best_trades = (
        tables.trade_rows(bound, signals, portfolio, portfolio.tainted) for bound in (bounds.worst, bounds.best)
    )
    returns = tables.strategy_returns(portfolio)
    blocks = definitions.evaluation.walk_forward.overfitting_blocks
    overfitting = strategies_overfitting(returns, blocks, portfolio.run_folds.embargo_days)
    trials = trials_of(read_candidates(plan), portfolio.run_folds)
    probability = None if overfitting is None else overfitting.probability
    equities = definitions.backtest.capacity_equities_usd
    return {
        "trades": trades,
        "trades_best": best_trades,
        "equity": tables.equity_rows(portfolio),
        "strategy_returns": returns,
        "skipped": tables.skipped_rows(bounds.worst, entries, asked.filter(pl.col("skipped").is_not_null())),
        "metrics": metric_rows(portfolio, trades, best_trades, trials, probability),
        "monthly": tables.monthly_rows(portfolio, trades),
        "costs": tables.cost_rows(trades),
        "capacity": tables.capacity_rows(market, signals, portfolio.account, equities),
        "correlation": tables.correlation_rows(returns),
        "parity": _parity(plan, definitions, chosen, portfolio),
    }


def _parity(plan: Plan, definitions: Spec, chosen: Sequence[ChosenRule], portfolio: Portfolio) -> pl.DataFrame:
    """What the search measures beside what an account without limits and costs trades."""
    import polars as pl

    from backtest.engine.account import neutral_account
    from backtest.engine.simulation import simulate
    from backtest.evaluation.backtest_tables import traded_like_tested
    from backtest.strategies.compiled import compile_rule
    from backtest.strategies.parity import certificates

    market, signals = portfolio.market, portfolio.signals
    neutral = simulate(market.without_costs(), signals, neutral_account())
    compiled = [compile_rule(one.name, one.rule, definitions) for one in chosen]
    tested = pl.concat(_parts(plan, "tested").values())
    return certificates(tested, traded_like_tested(neutral, market, signals), compiled)


def _written(plan: Plan, made: Mapping[str, pl.DataFrame], summary: Mapping[str, object]) -> tuple[Path, ...]:
    from backtest.evaluation.backtest_tables import at_days_ends, plain_json, plain_rows
    from backtest.lake.files import write_json, write_parquet, write_text

    outputs = []
    for name, frame in made.items():
        outputs.append(plan.root.backtest(plan.run_id, f"{name}.parquet"))
        write_parquet(outputs[-1], frame)
    for name in SMALL_TABLES:
        outputs.append(plan.root.backtest(plan.run_id, f"{name}.json"))
        write_json(outputs[-1], plain_rows(made[name]))
    for name, frame in (("trades", made["trades"]), ("equity", at_days_ends(made["equity"]))):
        outputs.append(plan.root.backtest(plan.run_id, f"{name}.json"))
        write_text(outputs[-1], plain_json(frame))
    outputs.append(plan.root.backtest(plan.run_id, SUMMARY))
    write_json(outputs[-1], summary)
    return tuple(outputs)


def _days(market: Market) -> tuple[dt.date, dt.date]:
    """The first day that is traded, and the one after the last."""
    first, last = int(market.day[0]), int(market.day[-1])
    return dt.date(1970, 1, 1) + dt.timedelta(days=first), dt.date(1970, 1, 1) + dt.timedelta(days=last + 1)


def _run_folds(plan: Plan) -> Folds:
    from backtest.discovery.folds import Folds
    from backtest.lake.files import read_json

    return Folds.from_json(read_json(plan.root.design(plan.run_id)))


def _folds_of(plan: Plan, one: ChosenRule) -> Folds:
    """The folds of the search that found a blueprint; those of the run where it is its own, or nobody searched."""
    from backtest.discovery.folds import Folds
    from backtest.lake.files import read_json

    if one.found_in in (None, plan.run_id):
        return _run_folds(plan)
    path = plan.root.design(one.found_in)
    if path.is_file():
        return Folds.from_json(read_json(path))
    # The search's own record is gone: all that it read counts as what it was chosen on.
    return Folds.from_json(
        {
            "discovery_start": str(one.read_since),
            "discovery_end": str(one.read_until),
            "confirmation_start": str(one.read_until),
            "confirmation_end": str(one.read_until),
        }
    )


def _nothing_found(plan: Plan, chosen: Sequence[ChosenRule]) -> list[str]:
    """Where the run's own finds were asked for and there is none."""
    from backtest.pipeline.chosen_strategies import BLUEPRINTS, PORTFOLIO, asked_names

    asked = {PORTFOLIO, BLUEPRINTS} & set(asked_names(str(plan.parameters.get("strategies") or "")))
    if not asked or any(one.found_in == plan.run_id for one in chosen):
        return []
    return [
        f"STRATEGIES names {' and '.join(sorted(asked))}, and no candidate of the run passed every gate: nothing that it found "
        "is traded"
    ]


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
) -> dict[str, Any]:
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
