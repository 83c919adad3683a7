"""Stage: what all symbols of the lake do at one bar, quarter by quarter, each from its own look-back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.lake.months import month_files
from backtest.pipeline.frames import BAR, cleaned_extent, cleaned_symbols, clipped
from backtest.pipeline.quarters import newest_first, quarter_bounds, quarters
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def partitions(plan: Plan) -> Sequence[str]:
    """``2024Q1`` for each quarter whose bars the features of the plan's symbols read."""
    from backtest.spec.loader import load_spec

    spec = load_spec(plan.spec_root)
    wanted: set[tuple[int, int]] = set()
    for symbol in plan.symbols:
        extent = cleaned_extent(plan.root, symbol)
        span = (
            clipped(extent, plan.start - spec.event_lookback_bars * BAR if plan.start else None, plan.end)
            if extent
            else None
        )
        if extent is None or span is None:
            continue
        # Features are built for whole quarters, each with the look-back before it.
        built = [quarter_bounds(f"{year}Q{quarter}") for year, quarter in quarters(*span)]
        read = clipped(extent, built[0][0] - spec.feature_lookback_bars * BAR, built[-1][1])
        wanted.update(quarters(*read) if read else ())
    return newest_first(f"{year}Q{quarter}" for year, quarter in wanted)


def inputs(plan: Plan, quarter: str) -> Sequence[Path]:
    from backtest.features.cross_section import LOOKBACK_BARS

    start, end = quarter_bounds(quarter)
    return [
        path
        for symbol in cleaned_symbols(plan.root)
        for path in month_files(plan.root.cleaned_bars("perp", symbol), start - LOOKBACK_BARS * BAR, end)
    ]


def parameters(_plan: Plan, _quarter: str) -> Mapping[str, Json]:
    return {}


def no_spec(_plan: Plan, _quarter: str) -> str:
    return ""


def run(plan: Plan, quarter: str) -> Outcome:
    import polars as pl

    from backtest.features.cross_section import LOOKBACK_BARS, SOURCE_COLUMNS, market_bars
    from backtest.lake.months import read_months, write_months

    start, end = quarter_bounds(quarter)

    def bars_of(symbol: str) -> pl.DataFrame:
        columns = list(SOURCE_COLUMNS)
        bars = read_months(plan.root.cleaned_bars("perp", symbol), start - LOOKBACK_BARS * BAR, end, columns=columns)
        return bars.with_columns(pl.col(columns[1:]).cast(pl.Float64))

    symbols = [
        symbol
        for symbol in cleaned_symbols(plan.root)
        if month_files(plan.root.cleaned_bars("perp", symbol), start - LOOKBACK_BARS * BAR, end)
    ]
    market = market_bars(symbols, bars_of, start, end)
    written = write_months(plan.root.market_features(), market, is_derived=True)
    return Outcome(outputs=tuple(written), summary={"bars": len(market), "symbols": len(symbols)})


STAGE = Stage(
    name="cross_section",
    title="Comparing symbols",
    reads=("cleaned",),
    writes=("market",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=no_spec,
    shared=True,
)
