"""Stage: states and conditions of event types at each bar, for each symbol and quarter, each from its own look-back.

A quarter is the same whatever window a run asks for, so a new day detects in one quarter again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.lake.months import between, month_files, read_months
from backtest.lake.paths import Market
from backtest.pipeline.frames import BAR, clipped, feature_extent, inputs_of, perpetual_frame
from backtest.pipeline.quarters import newest_first, quarter_bounds, quarter_name, quarters
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.window import symbol_window

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.compiled import CompiledEvent, Spec

SHORT_LOOKBACK_BARS: Final = 2304
"""Eight days: all but a few event types reach back no further, and are looked for from there."""


def partitions(plan: Plan) -> Sequence[str]:
    """``BTCUSDT.2024Q1`` for each quarter the window touches."""
    return newest_first(
        f"{symbol}.{year}Q{number}"
        for symbol in plan.symbols
        for year, number in quarters(*symbol_window(plan, symbol))
    )


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("columns", "calendars", "features", "states", "events", "discovery")


def parameters(plan: Plan, partition: str) -> Mapping[str, Json]:
    symbol, quarter = partition.split(".")
    first, _ = _span(plan, _spec(plan), symbol, quarter)
    return {"first_bar": first.isoformat()}


def inputs(plan: Plan, partition: str) -> Sequence[Path]:
    symbol, quarter = partition.split(".")
    definitions = _spec(plan)
    first, end = _span(plan, definitions, symbol, quarter)
    market = plan.root.market_features()
    files = [path for folder in (plan.root.features(symbol), market) for path in month_files(folder, first, end)]
    for folder in (plan.root.cleaned_bars("perp", symbol), plan.root.cleaned_bars("spot", symbol)):
        files += month_files(folder, min(first, quarter_bounds(quarter)[0] - _reach(definitions)), end)
    return files


def run(plan: Plan, partition: str) -> Outcome:
    import polars as pl

    from backtest.cleaning.taint import taint_mask
    from backtest.events.detect import detect_hits, missing_datasets
    from backtest.events.taint import with_taint
    from backtest.lake.files import write_json, write_parquet
    from backtest.states.evaluate import evaluate_states

    symbol, quarter = partition.split(".")
    definitions = _spec(plan)
    first, end = _span(plan, definitions, symbol, quarter)
    start = quarter_bounds(quarter)[0]
    frame = perpetual_frame(plan, definitions, symbol, first, end, inputs_of(definitions))
    needs = {name: missing_datasets(frame, event, definitions.columns) for name, event in definitions.events.items()}
    states = evaluate_states(frame, definitions.states.values())
    first_of = {is_short: start - SHORT_LOOKBACK_BARS * BAR if is_short else first for is_short in (True, False)}
    found = [
        detect_hits(
            between(frame, first_of[is_short]),
            chosen,
            symbol,
            definitions.states,
            between(states, first_of[is_short]),
        )
        for is_short, chosen in _by_reach(definitions, needs).items()
    ]
    hits = pl.concat(found).filter(pl.col("timestamp") >= start)
    datasets = {name: column.dataset for name, column in definitions.columns.items()}
    masks = {name: taint_mask(event.columns, datasets) for name, event in definitions.events.items()}
    bars = pl.concat([_taint(plan, symbol, start - _reach(definitions), first), frame.select("timestamp", "taint")])
    hits = with_taint(hits, bars, definitions.events, definitions.features, masks)
    states = states.with_columns(
        frame["is_gap"],
        frame.select(definitions.bar_expressions["expected_volatility"].polars())
        .to_series()
        .alias("expected_volatility"),
    )
    states = between(states, start)
    places = (plan.root.quarter_hits, plan.root.quarter_states, plan.root.quarter_needs)
    outputs = tuple(place(plan.run_id, symbol, quarter) for place in places)
    write_parquet(outputs[0], hits, is_passing=True)
    write_parquet(outputs[1], states, is_passing=True)
    write_json(outputs[2], needs, flush=False)
    return Outcome(outputs=outputs, summary={"bars": len(states), "hits": len(hits)})


def _spec(plan: Plan) -> Spec:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root)


def _by_reach(spec: Spec, needs: Mapping[str, Sequence[str]]) -> dict[bool, list[CompiledEvent]]:
    """Event types that can be detected, by whether the short look-back is enough for them."""
    available = [event for name, event in spec.events.items() if not needs[name]]
    return {
        is_short: [event for event in available if (event.lookback_bars <= SHORT_LOOKBACK_BARS) == is_short]
        for is_short in (True, False)
    }


def _span(plan: Plan, spec: Spec, symbol: str, quarter: str) -> tuple[dt.datetime, dt.datetime]:
    """First bar of the look-back before a quarter, as far as features were built for the run, and the quarter's end."""
    start, end = quarter_bounds(quarter)
    lookback = spec.event_lookback_bars * BAR
    extent = feature_extent(plan.root, symbol)
    built = clipped(extent, plan.start - lookback if plan.start else None, plan.end) if extent else None
    if extent is None or built is None:
        return start, end
    first_built = max(extent[0], quarter_bounds(quarter_name(built[0]))[0])
    return max(first_built, start - lookback), min(end, extent[1])


def _reach(spec: Spec) -> dt.timedelta:
    """How far back the bars lie that any event rests on."""
    from backtest.events.taint import total_lookback_bars

    return max((total_lookback_bars(event, spec.features) for event in spec.events.values()), default=0) * BAR


def _taint(plan: Plan, symbol: str, start: dt.datetime, end: dt.datetime) -> pl.DataFrame:
    """``timestamp`` and ``taint`` of the symbol's bars."""
    import polars as pl

    from backtest.cleaning.taint import with_spot_taint

    def read(market: Market, name: str, kind: pl.DataType) -> pl.DataFrame:
        schema = {"timestamp": pl.Datetime("ms", "UTC"), name: kind}
        return read_months(plan.root.cleaned_bars(market, symbol), start, end, schema=schema)

    return with_spot_taint(read("perp", "taint", pl.UInt16()), read("spot", "is_tainted", pl.Boolean()))


STAGE = Stage(
    name="detect",
    title="Detecting events",
    reads=("features",),
    writes=("hits",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
