"""Stage: a symbol's quarters put together: its states, its events outside their cooldowns, and how fit those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.pipeline.quarters import quarters
from backtest.pipeline.stage import Outcome, Plan, Stage
from backtest.pipeline.window import symbol_window, window_parameters


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("features", "states", "events", "gates", "discovery")


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    places = (plan.root.quarter_hits, plan.root.quarter_states, plan.root.quarter_needs)
    return [place(plan.run_id, symbol, quarter) for quarter in _quarters(plan, symbol) for place in places]


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.events.cooldowns import outside_cooldowns
    from backtest.events.detect import event_schema
    from backtest.events.quality import symbol_quality
    from backtest.lake.files import read_json, read_parquet_files, write_parquet
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    start, end = symbol_window(plan, symbol)
    own = _quarters(plan, symbol)
    schema = event_schema(definitions.states)
    hits = read_parquet_files([root.quarter_hits(run_id, symbol, quarter) for quarter in own], schema=schema)
    # In one piece: rows are picked from it at random.
    events = outside_cooldowns(hits.rechunk(), definitions.events.values())
    events = events.filter(pl.col("timestamp").is_between(start, end, closed="left"))
    bars = read_parquet_files([root.quarter_states(run_id, symbol, quarter) for quarter in own])
    bars = bars.filter(pl.col("timestamp").is_between(start, end, closed="left"))
    needs = _needs([read_json(root.quarter_needs(run_id, symbol, quarter)) for quarter in own], definitions.events)
    quality = symbol_quality(
        events,
        bars.select("timestamp", "is_gap", "expected_volatility"),
        needs,
        symbol,
        clustering_bars=definitions.gates.gate_e1.clustering_bars,
        reach_bars=definitions.volatility_reach_bars,
    )
    states = bars.drop("is_gap", "expected_volatility")
    outputs = (
        root.states(run_id, symbol),
        root.symbol_events(run_id, symbol),
        root.symbol_event_quality(run_id, symbol),
    )
    write_parquet(outputs[0], states, is_derived=True)
    write_parquet(outputs[1], events, is_derived=True)
    write_parquet(outputs[2], quality, is_derived=True)
    return Outcome(
        outputs=outputs,
        summary={
            "bars": len(states),
            "events": len(events),
            "tainted_events": int(events["tainted"].sum()),
            "by_type": dict(quality.select("event_type", "n_events").iter_rows()),
            "state_shares": states.select(pl.exclude("timestamp").mean().round(4)).row(0, named=True),
        },
        warnings=_unavailable(symbol, needs),
    )


def _quarters(plan: Plan, symbol: str) -> list[str]:
    """The quarters of the window; a cooldown may reach into it from the first one's beginning."""
    return [f"{year}Q{number}" for year, number in quarters(*symbol_window(plan, symbol))]


def _needs(quarters: Sequence[Mapping[str, Sequence[str]]], event_types: Mapping[str, object]) -> dict[str, list[str]]:
    """Missing data sets of each event type: none where any quarter has them, else what the quarters lack."""
    needs = {}
    for name in event_types:
        lacking = [quarter[name] for quarter in quarters]
        needs[name] = sorted(set().union(*lacking)) if all(lacking) else []
    return needs


def _unavailable(symbol: str, needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """One sentence on the event types that cannot be detected on a symbol, by what they need; none where all can."""
    by_need: dict[str, list[str]] = {}
    for name, datasets in needs.items():
        if datasets:
            by_need.setdefault(", ".join(datasets), []).append(name)
    if not by_need:
        return ()
    count = sum(map(len, by_need.values()))
    told = "; ".join(f"needs {need}: {', '.join(names)}" for need, names in sorted(by_need.items()))
    return (f"{count} event type{'s are' if count > 1 else ' is'} unavailable on {symbol}. {told}",)


STAGE = Stage(
    name="occurrences",
    title="Gathering events",
    reads=("hits",),
    writes=("states", "symbol_events"),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=window_parameters,
    spec=spec,
)
