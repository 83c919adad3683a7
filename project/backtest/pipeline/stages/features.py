"""Stage: features of each symbol, quarter by quarter, each quarter from its own look-back.

A full build and an incremental one run the same quarters from the same first bars, so they give the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.errors import DataError
from backtest.lake.months import month_files
from backtest.pipeline.frames import (
    BAR,
    FEATURES_HASH,
    MARKET_HASH,
    cleaned_extent,
    clipped,
    features_hash,
    market_hash,
    missing_bars,
    perpetual_bars,
)
from backtest.pipeline.quarters import newest_first, quarter_bounds, quarters
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def partitions(plan: Plan) -> Sequence[str]:
    """``BTCUSDT.2024Q1`` for each quarter that the window, and the history its events look back on, touches."""
    from backtest.spec.loader import load_spec

    lookback = load_spec(plan.spec_root).event_lookback_bars * BAR
    keys = []
    for symbol in plan.symbols:
        extent = cleaned_extent(plan.root, symbol)
        if extent is None:
            raise missing_bars(plan, symbol)
        if clipped(extent, plan.start, plan.end) is None:
            raise DataError(
                f"the cleaned bars of {symbol} run from {extent[0]:%Y-%m-%d %H:%M} to {extent[1] - BAR:%Y-%m-%d %H:%M} "
                f"UTC; nothing of the window {_shown(plan.start)} … {_shown(plan.end)} is there. Get it: make run "
                f"SYMBOLS={symbol} START=… END=…, or give a START and END inside."
            )
        span = clipped(extent, plan.start - lookback if plan.start else None, plan.end)
        if span is not None:
            keys += [f"{symbol}.{year}Q{quarter}" for year, quarter in quarters(*span)]
    return newest_first(keys)


def inputs(plan: Plan, partition: str) -> Sequence[Path]:
    symbol, start, end = _bounds(partition)
    first = start - _lookback(plan)
    folders = (
        plan.root.cleaned_bars("perp", symbol),
        plan.root.cleaned_bars("spot", symbol),
        plan.root.market_features(),
    )
    return [path for folder in folders for path in month_files(folder, first, end)]


def parameters(_plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {}


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return features_hash(load_spec(plan.spec_root))


def run(plan: Plan, partition: str) -> Outcome:
    from backtest.features.bar_columns import with_all_columns
    from backtest.features.build import build_features
    from backtest.lake.months import write_months
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    symbol, start, end = _bounds(partition)
    bars = perpetual_bars(plan.root, symbol, start - _lookback(plan), end)
    bars = with_all_columns(bars, definitions.columns, definitions.calendars.values())
    features = build_features(bars, list(definitions.features.values()), since=start)
    metadata = {
        FEATURES_HASH: features_hash(definitions),
        MARKET_HASH: market_hash(plan.root, partition.rpartition(".")[2]),
    }
    written = write_months(plan.root.features(symbol), features, metadata=metadata, is_derived=True)
    empty = [name for name in features.columns if features[name].null_count() == len(features)]
    return Outcome(
        outputs=tuple(written),
        summary={"bars": len(features), "features": features.width - 1, "without_values": empty},
    )


def _lookback(plan: Plan) -> dt.timedelta:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).feature_lookback_bars * BAR


def _bounds(partition: str) -> tuple[str, dt.datetime, dt.datetime]:
    symbol, _, quarter = partition.rpartition(".")
    return symbol, *quarter_bounds(quarter)


def _shown(bound: dt.datetime | None) -> str:
    return f"{bound:%Y-%m-%d}" if bound is not None else "…"


STAGE = Stage(
    name="features",
    title="Building features",
    reads=("cleaned", "market"),
    writes=("features",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
    shared=True,
)
