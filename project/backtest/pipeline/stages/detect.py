"""Stage: occurrences of every event type on each symbol."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.lake.months import month_files
from backtest.pipeline.frames import BAR, perpetual_bars
from backtest.pipeline.stage import Outcome, Plan, Stage
from backtest.pipeline.window import feature_files, symbol_frame, symbol_window, window_parameters


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("columns", "calendars", "features", "states", "events", "discovery")


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    start, end = symbol_window(plan, symbol)
    folders = (plan.root.cleaned_bars("perp", symbol), plan.root.cleaned_bars("spot", symbol))
    bars = [path for folder in folders for path in month_files(folder, start - _reach(plan), end)]
    return list(dict.fromkeys([*feature_files(plan, symbol), *bars]))


def _reach(plan: Plan) -> dt.timedelta:
    """How far back the bars lie that any event rests on."""
    from backtest.events.taint import total_lookback_bars
    from backtest.spec.loader import load_spec

    spec = load_spec(plan.spec_root)
    return max((total_lookback_bars(event, spec.features) for event in spec.events.values()), default=0) * BAR


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.cleaning.taint import taint_mask
    from backtest.events.detect import detect_events, missing_datasets
    from backtest.events.quality import symbol_quality
    from backtest.events.taint import with_taint
    from backtest.lake.files import write_parquet
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    frame, start = symbol_frame(plan, definitions, symbol)
    needs = {name: missing_datasets(frame, event, definitions.columns) for name, event in definitions.events.items()}
    available = [event for name, event in definitions.events.items() if not needs[name]]
    events = detect_events(frame, available, symbol, definitions.states).filter(pl.col("timestamp") >= start)
    datasets = {name: column.dataset for name, column in definitions.columns.items()}
    masks = {name: taint_mask(event.columns, datasets) for name, event in definitions.events.items()}
    bars = perpetual_bars(plan.root, symbol, start - _reach(plan), symbol_window(plan, symbol)[1])
    events = with_taint(events, bars, definitions.events, definitions.features, masks)
    volatility = frame.select(
        "timestamp", "is_gap", definitions.bar_expressions["expected_volatility"].polars().alias("expected_volatility")
    ).filter(pl.col("timestamp") >= start)
    quality = symbol_quality(
        events,
        volatility,
        needs,
        symbol,
        clustering_bars=definitions.gates.gate_e1.clustering_bars,
        reach_bars=definitions.volatility_reach_bars,
    )
    outputs = (plan.root.symbol_events(plan.run_id, symbol), plan.root.symbol_event_quality(plan.run_id, symbol))
    write_parquet(outputs[0], events)
    write_parquet(outputs[1], quality)
    return Outcome(
        outputs=outputs,
        summary={
            "events": len(events),
            "tainted_events": int(events["tainted"].sum()),
            "by_type": dict(quality.select("event_type", "n_events").iter_rows()),
        },
        warnings=_unavailable(symbol, needs),
    )


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
    name="detect",
    title="Detecting events",
    reads=("features",),
    writes=("symbol_events",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=window_parameters,
    spec=spec,
)
