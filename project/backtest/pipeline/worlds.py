"""A search over a simulated market in memory: the functions that the stages call, in their order, without a lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtest.errors import DataError
from backtest.spec.models import ALL_STATES, PlantedEdge, horizon_bars

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.candidates import DayRows
    from backtest.discovery.folds import Folds
    from backtest.sources.simulated import SimulatedMarket
    from backtest.spec.loader import Spec

Floats = NDArray[np.float64]

BAR = dt.timedelta(minutes=5)
ENTRY_LAG_BARS = 1


@dataclass(frozen=True)
class Search:
    """What a search found: the frames that the stages would have written."""

    folds: Folds
    quality: pl.DataFrame
    register: pl.DataFrame
    rows: DayRows
    """Day scores of every registered hypothesis."""
    candidates: pl.DataFrame


def world_bars(market: SimulatedMarket) -> dict[str, pl.DataFrame]:
    """Each symbol's perpetual on the full grid with every column that features read, and ``planted_drift`` if there is one."""
    import polars as pl

    from backtest.features.cross_section import SOURCE_COLUMNS, market_bars, with_market

    bars = {symbol: _symbol_bars(market, symbol) for symbol in market.settings.symbols}
    start, columns = market.settings.start, list(SOURCE_COLUMNS)
    across = market_bars(
        list(bars),
        lambda symbol: bars[symbol].select(columns).with_columns(pl.col(columns[1:]).cast(pl.Float64)),
        start,
        start + market.settings.n_bars * BAR,
    )
    return {symbol: with_market(frame, across) for symbol, frame in bars.items()}


def _symbol_bars(market: SimulatedMarket, symbol: str) -> pl.DataFrame:
    from backtest.cleaning.taint import clean_symbol
    from backtest.discovery.truth import PLANTED_DRIFT

    raw = {(market_name, name): rows for (market_name, of, name), rows in market.datasets.items() if of == symbol}
    bars = clean_symbol(raw, symbol)
    if ("perp", PLANTED_DRIFT) in raw:
        bars = bars.join(raw["perp", PLANTED_DRIFT], on="timestamp", how="left", maintain_order="left")
    return bars


def with_features(bars: pl.DataFrame, spec: Spec, names: Collection[str]) -> pl.DataFrame:
    """Bars with the named features beside them; others are built only as parts of these, and not kept."""
    import polars as pl

    from backtest.features.bar_columns import with_all_columns
    from backtest.features.build import build_features, needed_features

    bars = with_all_columns(bars, spec.columns, spec.calendars.values())
    wanted = sorted(set(names) & spec.features.keys())
    features = build_features(bars, needed_features(spec.features, wanted))
    return pl.concat([bars, features.select(wanted)], how="horizontal")


def inputs_of(spec: Spec, event_types: Collection[str], state_ids: Collection[str] | None = None) -> set[str]:
    """Columns and features that these events, the states (all where left out), filters and discovery settings name."""
    named = {name for event_type in event_types for name in spec.events[event_type].inputs}
    for state in spec.states.values():
        for state_id, expression in state.values.items():
            if state_ids is None or state_id in state_ids:
                named |= expression.inputs
    named |= {name for one in spec.filters.values() for name in one.condition.inputs}
    return named.union(*(expression.inputs for expression in spec.bar_expressions.values()))


def planted_drift(
    market: SimulatedMarket, spec: Spec, edges: Sequence[PlantedEdge]
) -> tuple[dict[str, Floats], dict[str, dict[str, int]]]:
    """For each symbol the log return to add inside each bar of the span, and how often each edge occurs.

    An edge adds its mean return, spread over its horizon, to the bars after each occurrence of its event on the market
    as it is. Planting shifts prices by a few bps, so a few events move: the truth of a trade is the sum of the planted
    drift over its own bars.
    """
    n_bars = market.settings.n_bars
    drift = {symbol: np.zeros(n_bars) for symbol in market.settings.symbols}
    counts: dict[str, dict[str, int]] = {symbol: {} for symbol in market.settings.symbols}
    for symbol, bars in (world_bars(market) if edges else {}).items():
        first_bar = (bars["timestamp"][0] - market.settings.start) // BAR
        drift[symbol], counts[symbol] = _symbol_drift(bars, symbol, spec, edges, first_bar, n_bars)
    return drift, counts


def _symbol_drift(
    bars_of_symbol: pl.DataFrame, symbol: str, spec: Spec, edges: Sequence[PlantedEdge], first_bar: int, n_bars: int
) -> tuple[Floats, dict[str, int]]:
    drift = np.zeros(n_bars)
    counts: dict[str, int] = {}
    directions = _occurrences(bars_of_symbol, symbol, spec, edges)
    for edge, direction in zip(edges, directions, strict=True):
        bars = horizon_bars(edge.horizon)
        per_bar = np.log1p(edge.sign * edge.bps * 1e-4) / bars
        at = np.flatnonzero(direction)
        for offset in range(ENTRY_LAG_BARS, ENTRY_LAG_BARS + bars):
            inside = at[first_bar + at + offset < n_bars]
            np.add.at(drift, first_bar + inside + offset, per_bar * direction[inside])
        counts[f"{edge.event_type}.{edge.state_id}"] = len(at)
    return drift, counts


def _occurrences(bars: pl.DataFrame, symbol: str, spec: Spec, edges: Sequence[PlantedEdge]) -> list[NDArray[Any]]:
    """Each edge's direction at each bar; 0 where it does not occur."""
    from backtest.events.detect import detect_events
    from backtest.states.evaluate import evaluate_states

    state_ids = {edge.state_id for edge in edges} - {ALL_STATES}
    names = inputs_of(spec, {edge.event_type for edge in edges}, state_ids)
    frame = with_features(bars, spec, names)
    states = evaluate_states(
        frame, [state for state in spec.states.values() if state_ids & state.values.keys()] if state_ids else []
    )
    fallback = frame.select(spec.bar_expressions["fallback_direction"].polars().fill_null(0.0)).to_series().to_numpy()
    stamps = frame["timestamp"]
    directions = []
    for edge in edges:
        events = detect_events(frame, [spec.events[edge.event_type]], symbol)
        at = np.searchsorted(stamps.to_numpy(), events["timestamp"].to_numpy())
        stated = events["direction"].to_numpy().astype(np.float64)
        direction = np.zeros(len(frame))
        direction[at] = np.where(stated != 0, stated, fallback[at])
        if edge.state_id != ALL_STATES:
            direction[~states[edge.state_id].fill_null(value=False).to_numpy()] = 0.0
        directions.append(direction)
    return directions


def search(market: SimulatedMarket, spec: Spec, event_types: Sequence[str] | None = None) -> Search:
    """Clean, build, detect, register, score and assess, as a run over the whole span does; all event types, or some."""
    import polars as pl

    from backtest.discovery.candidates import assess_rows, collect_rows
    from backtest.discovery.folds import split
    from backtest.discovery.hypotheses import longest_window_bars, register
    from backtest.discovery.scoring import score_event, symbol_market
    from backtest.events.quality import judge

    chosen = list(spec.events) if event_types is None else list(event_types)
    prepared = {symbol: _prepared(bars, symbol, spec, chosen) for symbol, bars in world_bars(market).items()}
    start = min(symbol.frame["timestamp"][0] for symbol in prepared.values())
    end = max(symbol.frame["timestamp"][-1] for symbol in prepared.values()) + BAR
    folds = split(
        start,
        end,
        discovery_share=spec.discovery.discovery_share,
        longest_window_bars=longest_window_bars(spec),
    )
    prevalence = {name: spec.events[name].model.prevalence for name in chosen}
    quality = judge(pl.concat([symbol.quality for symbol in prepared.values()]), spec.gates.gate_e1, prevalence)
    tested: Mapping[str, Sequence[str]] = {
        row["event_type"]: row["symbols"].split(",") for row in quality.filter("is_tested").iter_rows(named=True)
    }
    hypotheses = register(spec, tested)
    scores = []
    for name, symbol in prepared.items():
        other = prepared.get(spec.discovery.pair(name) or "")
        pair = None if other is None else other.frame
        arrays = symbol_market(symbol.frame, symbol.states, name, spec, folds, pair=pair)
        for event_type, names in tested.items():
            if name in names:
                own = symbol.events.filter(pl.col("event_type") == event_type).sort("timestamp")
                scores.append(
                    score_event(arrays, event_type, own, spec).with_columns(
                        pl.lit(event_type).alias("event_type"), pl.lit(name).alias("symbol")
                    )
                )
    if not scores:
        raise DataError(
            f"no event type is fit to be tested on {market.settings.days} simulated days; ask for more days."
        )
    day_scores = pl.concat(scores)
    rows = collect_rows(hypotheses, day_scores, folds)
    return Search(folds, quality, hypotheses, rows, assess_rows(hypotheses, rows, day_scores, folds, spec))


@dataclass(frozen=True)
class _Prepared:
    frame: pl.DataFrame
    states: pl.DataFrame
    events: pl.DataFrame
    quality: pl.DataFrame


def _prepared(bars: pl.DataFrame, symbol: str, spec: Spec, event_types: Sequence[str]) -> _Prepared:
    """One symbol's frame, states, events and their quality."""
    from backtest.cleaning.taint import taint_mask
    from backtest.events.detect import detect_events, missing_datasets
    from backtest.events.quality import symbol_quality
    from backtest.events.taint import with_taint
    from backtest.states.evaluate import evaluate_states

    frame = with_features(bars, spec, inputs_of(spec, event_types))
    needs = {name: missing_datasets(frame, spec.events[name], spec.columns) for name in event_types}
    events = detect_events(frame, [spec.events[name] for name in event_types if not needs[name]], symbol)
    datasets = {name: column.dataset for name, column in spec.columns.items()}
    masks = {name: taint_mask(spec.events[name].columns, datasets) for name in event_types}
    events = with_taint(events, bars, spec.events, spec.features, masks)
    volatility = frame.select(
        "timestamp", "is_gap", spec.bar_expressions["expected_volatility"].polars().alias("expected_volatility")
    )
    quality = symbol_quality(
        events,
        volatility,
        needs,
        symbol,
        clustering_bars=spec.gates.gate_e1.clustering_bars,
        reach_bars=spec.volatility_reach_bars,
    )
    return _Prepared(frame, evaluate_states(frame, spec.states.values()), events, quality)
