"""Stage: candidates and nearest misses beside the same trade at placebo times."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.lake.files import read_json
from backtest.pipeline.markets import market_files, run_market
from backtest.pipeline.run_tables import read_long_scores, score_files
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.stages.scores import spec

if TYPE_CHECKING:
    import polars as pl

NEAREST_MISSES: Final = 10


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    reports = plan.root.reports("phase2", plan.run_id)
    markets = [path for symbol in plan.symbols for path in market_files(plan, symbol)]
    design = plan.root.design(plan.run_id)
    scores = score_files(plan, read_json(design)["tested"])
    return [design, *sorted(reports.glob("*/candidates.parquet")), *scores, *markets]


def parameters(_plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {}


def run(plan: Plan, _partition: str) -> Outcome:
    from concurrent.futures import ThreadPoolExecutor

    import polars as pl

    from backtest.discovery.candidates import CANDIDATE_SCHEMA
    from backtest.discovery.day_scores import SERIES
    from backtest.discovery.folds import Folds
    from backtest.discovery.hypotheses import REGISTER_SCHEMA
    from backtest.discovery.placebo import PLACEBO_SCHEMA, placebo_comparison
    from backtest.lake.files import read_parquet, write_parquet
    from backtest.pipeline.stages.candidates import without_scores
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    design = read_json(root.design(run_id))
    paths = sorted(root.reports("phase2", run_id).glob("*/candidates.parquet"))
    chosen = compared(pl.concat([read_parquet(path, CANDIDATE_SCHEMA) for path in paths]))
    # Of a partial search some events' scores are missing; their candidates are of an earlier one and stay uncompared.
    missing = set(without_scores(plan, design["tested"]))
    tested = {name: design["tested"][name] for name in chosen["event_type"].unique().sort() if name not in missing}
    symbols = sorted({symbol for names in tested.values() for symbol in names})
    trades = SERIES[:2]
    series = {name: set(chosen.filter(pl.col("event_type") == name).select(trades).iter_rows()) for name in tested}
    with ThreadPoolExecutor(2) as threads:
        each = threads.map(lambda symbol: _placebo_scores(plan, symbol, tested, series), symbols)
        scored = dict(zip(symbols, each, strict=True))
    register = read_parquet(root.register(run_id), REGISTER_SCHEMA)
    found = [pl.DataFrame(schema=PLACEBO_SCHEMA)]
    for event_type, names in tested.items():
        scores = {name: read_long_scores(plan, event_type, name) for name in names}
        placebo = {name: scored[name][event_type] for name in names}
        own = chosen.filter(pl.col("event_type") == event_type)
        found.append(placebo_comparison(own, register, scores, placebo, Folds.from_json(design), definitions))
    comparison = pl.concat(found).sort("candidate_id")
    write_parquet(root.placebo(run_id), comparison)
    return Outcome(outputs=(root.placebo(run_id),), summary={"compared": len(comparison)})


def compared(candidates: pl.DataFrame) -> pl.DataFrame:
    """What is worth a comparison: everything the discovery fold made a candidate, and the nearest misses."""
    import polars as pl

    from backtest.reports.terminal import nearest_misses

    misses = nearest_misses(candidates, NEAREST_MISSES)["candidate_id"].implode()
    return candidates.filter(pl.col("is_confirmation_candidate") | pl.col("candidate_id").is_in(misses))


def _placebo_scores(
    plan: Plan, symbol: str, tested: Mapping[str, Sequence[str]], series: Mapping[str, Collection[tuple[str, str]]]
) -> dict[str, pl.DataFrame]:
    """Day scores of placebo times of each event type on one symbol, for the policies and horizons that are compared."""
    import hashlib

    import numpy as np
    import polars as pl

    from backtest.discovery.hypotheses import longest_window_bars
    from backtest.discovery.placebo import placebo_occurrences
    from backtest.discovery.scoring import score_event
    from backtest.lake.files import read_parquet
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    market = run_market(plan, definitions, symbol)
    events = read_parquet(plan.root.symbol_events(plan.run_id, symbol))
    found = {}
    for event_type in (name for name, names in tested.items() if symbol in names):
        own = events.filter(pl.col("event_type") == event_type).sort("timestamp")
        name = int.from_bytes(hashlib.blake2b(f"{event_type}.{symbol}".encode(), digest_size=8).digest(), "big")
        times = placebo_occurrences(
            market,
            own,
            guard_bars=longest_window_bars(definitions, [event_type]),
            rng=np.random.default_rng([definitions.discovery.seed, name]),
        )
        found[event_type] = score_event(market, event_type, times, definitions, series[event_type])
    return found


STAGE = Stage(
    name="placebo",
    title="Comparing with placebo times",
    reads=("candidates",),
    writes=("placebo",),
    run=run,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
