"""A search over a simulated market in memory: the functions that the stages call, in their order, without a lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backtest.errors import DataError
from backtest.spec.models import ALL_STATES, PlantedEdge, horizon_bars

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.discovery.scoring import SymbolMarket
    from backtest.sources.simulated import SimulatedMarket
    from backtest.spec.compiled import Spec

Floats = NDArray[np.float64]

BAR = dt.timedelta(minutes=5)
BARS_PER_DAY = 288
ENTRY_LAG_BARS = 1


@dataclass(frozen=True)
class Search:
    """What a search found: the frames that the stages would have written."""

    folds: Folds
    quality: pl.DataFrame
    register: pl.DataFrame
    scores: pl.DataFrame
    candidates: pl.DataFrame


def world_bars(market: SimulatedMarket) -> dict[str, pl.DataFrame]:
    """Each symbol's perpetual on the full grid with every column that features read, and ``planted_drift`` if there is one."""
    return with_returns_across({symbol: _symbol_bars(market, symbol) for symbol in market.settings.symbols})


def with_returns_across(bars: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The bars with the returns across these symbols beside them."""
    import polars as pl

    from backtest.features.cross_section import SOURCE_COLUMNS, market_bars, with_market

    columns = list(SOURCE_COLUMNS)
    across = market_bars(
        list(bars),
        lambda symbol: bars[symbol].select(columns).with_columns(pl.col(columns[1:]).cast(pl.Float64)),
        min(frame["timestamp"][0] for frame in bars.values()),
        max(frame["timestamp"][-1] for frame in bars.values()) + BAR,
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
    market: SimulatedMarket, spec: Spec, edges: Sequence[PlantedEdge], bars: Mapping[str, pl.DataFrame] | None = None
) -> tuple[dict[str, Floats], dict[str, dict[str, int]]]:
    """For each symbol the log return to add inside each bar of the span, and how often each edge occurs.

    An edge adds its mean return, spread over its horizon, to the bars after each occurrence of its event on the market
    as it is. Planting shifts prices by a few bps, so a few events move: the truth of a trade is the sum of the planted
    drift over its own bars. `bars` are the market's `world_bars`, where they are at hand.
    """
    n_bars = market.settings.n_bars
    drift = {symbol: np.zeros(n_bars) for symbol in market.settings.symbols}
    counts: dict[str, dict[str, int]] = {symbol: {} for symbol in market.settings.symbols}
    for symbol, own in ((bars or world_bars(market)) if edges else {}).items():
        first_bar = (own["timestamp"][0] - market.settings.start) // BAR
        for edge, (direction, _) in zip(edges, occurrences(own, symbol, spec, edges), strict=True):
            drift[symbol] += _edge_drift(edge, direction, first_bar, n_bars)
            counts[symbol][f"{edge.event_type}.{edge.state_id}"] = int(np.count_nonzero(direction))
    return drift, counts


def _edge_drift(edge: PlantedEdge, direction: Floats, first_bar: int, n_bars: int) -> Floats:
    drift = np.zeros(n_bars)
    bars = horizon_bars(edge.horizon)
    per_bar = np.log1p(edge.sign * edge.bps * 1e-4) / bars
    at = np.flatnonzero(direction)
    for offset in range(ENTRY_LAG_BARS, ENTRY_LAG_BARS + bars):
        inside = at[first_bar + at + offset < n_bars]
        np.add.at(drift, first_bar + inside + offset, per_bar * direction[inside])
    return drift


def occurrences(
    bars: pl.DataFrame, symbol: str, spec: Spec, edges: Sequence[PlantedEdge]
) -> list[tuple[Floats, Floats]]:
    """For each edge its direction at each bar, 0 where it does not occur, and what a round trip from there costs (fraction)."""
    from backtest.engine.costs import round_trip_cost
    from backtest.events.detect import detect_events
    from backtest.states.evaluate import evaluate_states

    state_ids = {edge.state_id for edge in edges} - {ALL_STATES}
    names = inputs_of(spec, {edge.event_type for edge in edges}, state_ids)
    frame = with_features(bars, spec, names)
    states = evaluate_states(
        frame, [state for state in spec.states.values() if state_ids & state.values.keys()] if state_ids else []
    )

    def values(name: str) -> Floats:
        return frame.select(spec.bar_expressions[name].polars().fill_null(np.nan)).to_series().to_numpy()

    fallback = np.nan_to_num(values("fallback_direction"))
    day = frame["timestamp"].dt.epoch("d").to_numpy().astype(np.int64)
    cost = round_trip_cost(
        spec.costs,
        spec.contract(symbol),
        symbol,
        day,
        day,
        frame["close"].fill_null(np.nan).to_numpy(),
        values("expected_volatility"),
        values("bar_turnover_usd"),
    ).total
    found = []
    for edge in edges:
        events = detect_events(frame, [spec.events[edge.event_type]], symbol)
        at = np.searchsorted(frame["timestamp"].to_numpy(), events["timestamp"].to_numpy())
        stated = events["direction"].to_numpy().astype(np.float64)
        direction = np.zeros(len(frame))
        direction[at] = np.where(stated != 0, stated, fallback[at])
        if edge.state_id != ALL_STATES:
            direction[~states[edge.state_id].fill_null(value=False).to_numpy()] = 0.0
        found.append((direction, cost))
    return found


def search(
    market: SimulatedMarket, spec: Spec, event_types: Sequence[str] | None = None, *, with_spot_trades: bool = False
) -> Search:
    """Clean, build, detect, register, score and assess, as a run over the whole span does; all event types, or some."""
    return search_prepared(prepare(world_bars(market), spec, event_types), spec, with_spot_trades=with_spot_trades)


def search_bars(bars: Mapping[str, pl.DataFrame], spec: Spec, event_types: Sequence[str] | None = None) -> Search:
    """Search the bars of some symbols, as `world_bars` gives them."""
    return search_prepared(prepare(bars, spec, event_types), spec)


def search_prepared(
    prepared: Mapping[str, Prepared], spec: Spec, *, shift_days: int = 0, with_spot_trades: bool = False
) -> Search:
    """Register, score and assess.

    A simulated basis reverts of itself, by how much nobody wrote down. The truth of trades against spot is unknown, so these
    are left out unless asked for. With `shift_days` every event, with the states and the direction it had, is moved so many
    days on (from the end of the span to its start): at the same time of day, together on all symbols, and without
    anything to do with the returns that follow.
    """
    import polars as pl

    from backtest.discovery.candidates import assess
    from backtest.discovery.folds import split
    from backtest.discovery.hypotheses import longest_window_bars, register
    from backtest.discovery.scoring import score_event, symbol_market
    from backtest.events.quality import judge

    start = min(symbol.frame["timestamp"][0] for symbol in prepared.values())
    end = max(symbol.frame["timestamp"][-1] for symbol in prepared.values()) + BAR
    folds = split(
        start,
        end,
        discovery_share=spec.discovery.discovery_share,
        longest_window_bars=longest_window_bars(spec),
    )
    chosen = {name for symbol in prepared.values() for name in symbol.quality["event_type"]}
    prevalence = {name: event.model.prevalence for name, event in spec.events.items() if name in chosen}
    quality = judge(pl.concat([symbol.quality for symbol in prepared.values()]), spec.gates.gate_e1, prevalence)
    tested: Mapping[str, Sequence[str]] = {
        row["event_type"]: row["symbols"].split(",") for row in quality.filter("is_tested").iter_rows(named=True)
    }
    hypotheses = register(spec, tested).filter(pl.lit(with_spot_trades) | ~pl.col("policy").str.ends_with("less_spot"))
    scores = []
    for name, symbol in prepared.items():
        other = prepared.get(spec.discovery.pair(name) or "")
        pair = None if other is None else other.frame
        arrays, events = symbol_market(symbol.frame, symbol.states, name, spec, folds, pair=pair), symbol.events
        if shift_days:
            arrays, events = _shifted(arrays, events, shift_days)
        for event_type, names in tested.items():
            if name in names:
                own = events.filter(pl.col("event_type") == event_type).sort("timestamp")
                scores.append(
                    score_event(arrays, event_type, own, spec).with_columns(
                        pl.lit(event_type).alias("event_type"), pl.lit(name).alias("symbol")
                    )
                )
    if not scores:
        raise DataError(f"no event type is fit to be tested on {(end - start).days} days; ask for more days.")
    day_scores = pl.concat(scores)
    return Search(folds, quality, hypotheses, day_scores, assess(hypotheses, day_scores, folds, spec))


def _shifted(market: SymbolMarket, events: pl.DataFrame, days: int) -> tuple[SymbolMarket, pl.DataFrame]:
    """Events moved round the symbol's bars, and the market with the states and directions that events bring along."""
    import polars as pl

    bars = days * BARS_PER_DAY % len(market.timestamp)
    at = np.searchsorted(market.timestamp.to_numpy(), events["timestamp"].to_numpy())
    moved = (at + bars) % len(market.timestamp)
    return replace(
        market,
        fallback_direction=np.roll(market.fallback_direction, bars),
        states={name: np.roll(holds, bars) for name, holds in market.states.items()},
        filters={verb: (np.roll(a, bars), np.roll(b, bars)) for verb, (a, b) in market.filters.items()},
    ), events.with_columns(market.timestamp.gather(pl.Series(moved)).alias("timestamp"))


@dataclass(frozen=True)
class Prepared:
    """One symbol up to its events: what a search reads returns with."""

    frame: pl.DataFrame
    states: pl.DataFrame
    events: pl.DataFrame
    quality: pl.DataFrame


def prepare(
    bars: Mapping[str, pl.DataFrame], spec: Spec, event_types: Sequence[str] | None = None
) -> dict[str, Prepared]:
    """Features, states and events of each symbol; of all event types, or some."""
    chosen = list(spec.events) if event_types is None else list(event_types)
    return {symbol: _prepared(own, symbol, spec, chosen) for symbol, own in bars.items()}


def _prepared(bars: pl.DataFrame, symbol: str, spec: Spec, event_types: Sequence[str]) -> Prepared:
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
    return Prepared(frame, evaluate_states(frame, spec.states.values()), events, quality)
