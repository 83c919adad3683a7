"""The window of a run: what was asked for, what the lake has of it, and one symbol's frame over it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.errors import DataError
from backtest.lake.months import month_files
from backtest.pipeline.frames import BAR, clipped, feature_extent, inputs_of, perpetual_frame

if TYPE_CHECKING:
    import polars as pl

    from backtest.pipeline.stage import Json, Plan
    from backtest.spec.compiled import Spec


def symbol_window(plan: Plan, symbol: str) -> tuple[dt.datetime, dt.datetime]:
    """First bar and end (exclusive) of a symbol's features inside the asked-for window.

    Raises DataError, naming the command that mends it, where there are none.
    """
    extent = feature_extent(plan.root, symbol)
    if extent is None:
        raise DataError(
            f"there are no features of {symbol} in {plan.root.features(symbol)}. Build them: make discover-edges-from-raw "
            f"SYMBOLS={symbol} where the raw bars are there, make run SYMBOLS={symbol} START=… END=… where they are not."
        )
    window = clipped(extent, plan.start, plan.end)
    if window is None:
        raise DataError(
            f"the features of {symbol} run from {extent[0]:%Y-%m-%d %H:%M} to {extent[1] - BAR:%Y-%m-%d %H:%M} UTC; "
            "nothing of the asked-for window is there. Give a START and END inside, or get more: make run "
            f"SYMBOLS={symbol} START=… END=…"
        )
    return window


def run_window(plan: Plan) -> tuple[dt.datetime, dt.datetime]:
    """The span from the first symbol's first bar to the last one's end."""
    windows = [symbol_window(plan, symbol) for symbol in plan.symbols]
    return min(start for start, _ in windows), max(end for _, end in windows)


def coverage_warnings(plan: Plan) -> list[str]:
    """A sentence for each symbol that has only a part of the asked-for window."""
    warnings = []
    for symbol in plan.symbols:
        start, end = symbol_window(plan, symbol)
        missing = []
        if plan.start is not None and start >= plan.start + dt.timedelta(days=1):
            missing.append(f"before {start:%Y-%m-%d %H:%M}")
        if plan.end is not None and end <= plan.end - dt.timedelta(days=1):
            missing.append(f"from {end:%Y-%m-%d %H:%M}")
        if missing:
            warnings.append(
                f"{symbol}: the lake has nothing {' and '.join(missing)}; the run uses "
                f"{start:%Y-%m-%d %H:%M} to {end - BAR:%Y-%m-%d %H:%M} UTC"
            )
    return warnings


def window_parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    """The asked-for bounds, for stages whose result depends on nothing else of the plan."""
    return {
        "start": plan.start.isoformat() if plan.start else None,
        "end": plan.end.isoformat() if plan.end else None,
    }


def symbol_frame(plan: Plan, spec: Spec, symbol: str) -> pl.DataFrame:
    """Bars of a symbol over the window with all that events, states, filters and the discovery settings read."""
    return _frame(plan, spec, symbol, inputs_of(spec))


def scoring_frame(plan: Plan, spec: Spec, symbol: str) -> pl.DataFrame:
    """Bars of a symbol over the window with what filters and the discovery settings read."""
    named = [one.condition.inputs for one in spec.filters.values()]
    return _frame(plan, spec, symbol, *named, *(expression.inputs for expression in spec.bar_expressions.values()))


def leg_frame(plan: Plan, spec: Spec, symbol: str) -> pl.DataFrame:
    """Bars of a symbol over the window with what its expected volatility and its turnover are read from."""
    fields = ("expected_volatility", "bar_turnover_usd")
    return _frame(plan, spec, symbol, *(spec.bar_expressions[field].inputs for field in fields))


def _frame(plan: Plan, spec: Spec, symbol: str, *named: Collection[str]) -> pl.DataFrame:
    """Bars with the named features over the window and the history that definitions look back on."""
    start, end = symbol_window(plan, symbol)
    return perpetual_frame(plan, spec, symbol, start - spec.event_lookback_bars * BAR, end, set().union(*named))


def feature_files(plan: Plan, symbol: str) -> Sequence[Path]:
    """Files that `symbol_frame` reads."""
    from backtest.spec.loader import load_spec

    start, end = symbol_window(plan, symbol)
    first = start - load_spec(plan.spec_root).event_lookback_bars * BAR
    folders = (
        plan.root.features(symbol),
        plan.root.cleaned_bars("perp", symbol),
        plan.root.cleaned_bars("spot", symbol),
        plan.root.market_features(),
    )
    return [path for folder in folders for path in month_files(folder, first, end)]
