"""Stage: all events in one table, their fitness to be tested, and the hypotheses fixed before any return is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backtest.pipeline.stage import Outcome, Plan, Stage
from backtest.pipeline.window import coverage_warnings, run_window, window_parameters


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("states", "events", "templates", "filters", "gates", "discovery")


def inputs(plan: Plan, _partition: str) -> Sequence[Path]:
    per_symbol = (plan.root.symbol_events, plan.root.symbol_event_quality, plan.root.states)
    return [place(plan.run_id, symbol) for place in per_symbol for symbol in plan.symbols]


def run(plan: Plan, _partition: str) -> Outcome:
    import polars as pl

    from backtest.discovery.folds import split
    from backtest.discovery.hypotheses import longest_window_bars, register, register_hash
    from backtest.events.detect import event_flags, event_schema
    from backtest.events.quality import SYMBOL_QUALITY_SCHEMA, judge
    from backtest.lake.files import read_parquet, write_json, write_parquet
    from backtest.spec.loader import load_spec

    definitions, root, run_id = load_spec(plan.spec_root), plan.root, plan.run_id
    start, end = run_window(plan)
    folds = split(
        start,
        end,
        discovery_share=definitions.discovery.discovery_share,
        longest_window_bars=longest_window_bars(definitions),
    )
    states = {symbol: read_parquet(root.states(run_id, symbol)) for symbol in plan.symbols}
    schema = event_schema(definitions.states)
    events = pl.concat([read_parquet(root.symbol_events(run_id, symbol), schema) for symbol in plan.symbols])
    events = events.sort("timestamp", "symbol", "event_type")
    quality = judge(
        pl.concat(
            [read_parquet(root.symbol_event_quality(run_id, symbol), SYMBOL_QUALITY_SCHEMA) for symbol in plan.symbols]
        ),
        definitions.gates.gate_e1,
        {name: event.model.prevalence for name, event in definitions.events.items()},
    )
    tested = {row["event_type"]: row["symbols"].split(",") for row in quality.filter("is_tested").iter_rows(named=True)}
    hypotheses = register(definitions, tested)
    outputs = (
        root.events(run_id),
        root.event_flags(run_id),
        root.event_quality(run_id),
        root.register(run_id),
        root.design(run_id),
    )
    write_parquet(outputs[0], events)
    write_parquet(outputs[1], event_flags(events, {name: frame["timestamp"] for name, frame in states.items()}))
    write_parquet(outputs[2], quality)
    write_parquet(outputs[3], hypotheses)
    dates = {name: value.isoformat() for name, value in vars(folds).items()}
    fixed_hash = register_hash(hypotheses)
    write_json(outputs[4], {**dates, "tested": tested, "register_hash": fixed_hash})
    return Outcome(
        outputs=outputs,
        summary={
            "events": len(events),
            "tested_event_types": len(tested),
            "untested": dict(quality.filter(~pl.col("is_tested")).select("event_type", "verdict").iter_rows()),
            "hypotheses": len(hypotheses),
            "facts": {
                "discovery_start": start.isoformat(),
                "discovery_end": end.isoformat(),
                "folds": dates,
                "n_hypotheses": len(hypotheses),
                "register_hash": fixed_hash,
            },
        },
        warnings=tuple(coverage_warnings(plan)),
    )


STAGE = Stage(
    name="register",
    title="Fixing hypotheses",
    reads=("states", "symbol_events"),
    writes=("events", "hypotheses"),
    run=run,
    inputs=inputs,
    parameters=window_parameters,
    spec=spec,
)
