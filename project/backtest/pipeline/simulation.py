"""A simulated market in the lake, with the edges its description plants, and the truth beside it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from backtest.lake.files import write_json
from backtest.lake.paths import DataRoot, Market
from backtest.spec.models import ALL_STATES, PlantedEdge, horizon_bars

if TYPE_CHECKING:
    from backtest.sources.simulated import SimulatedMarket
    from backtest.spec.loader import Spec

VENUE: Final = "simulated"
ENTRY_LAG_BARS: Final = 1
BARS_PER_DAY: Final = 288


def simulate_into_lake(
    root: DataRoot, spec: Spec, symbols: tuple[str, ...], start: dt.datetime, days: int
) -> dict[str, Any]:
    """Simulate, plant and write every raw data set; returns what was made, for the stage's manifest.

    A planted edge adds its mean return, spread over its horizon, to the bars after each occurrence of its event on the
    market without edges. Planting shifts prices by a few bps, so a few events move: the truth of a trade is the sum of
    ``planted_drift`` over its own bars, which is written as a data set of its own.
    """
    from backtest.lake.raw import write_raw
    from backtest.sources.simulated import SimulationSettings, plant_drift, simulate_market

    settings = SimulationSettings(symbols=symbols, start=start, days=days, seed=spec.simulation.seed)
    market = simulate_market(settings)
    edges = spec.simulation.planted_edges
    n_bars = days * BARS_PER_DAY
    planted = {symbol: _planted_drift(market, symbol, spec, edges, n_bars) for symbol in symbols}
    market = plant_drift(market, {symbol: drift for symbol, (drift, _) in planted.items()})
    outputs = []
    for (market_name, symbol, dataset), frame in market.datasets.items():
        outputs += write_raw(root, VENUE, cast("Market", market_name), symbol, dataset, frame, VENUE)
    truth = root.lake / "raw" / VENUE / "planted_edges.json"
    occurrences = {symbol: counts for symbol, (_, counts) in planted.items()}
    write_json(
        truth,
        {"edges": [edge.model_dump(mode="json") for edge in edges], "occurrences": occurrences, "seed": settings.seed},
    )
    return {
        "outputs": [*outputs, truth],
        "symbols": list(symbols),
        "days": days,
        "planted_edges": len(edges),
        "occurrences": occurrences,
    }


def _planted_drift(
    market: SimulatedMarket, symbol: str, spec: Spec, edges: tuple[PlantedEdge, ...], n_bars: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], dict[str, int]]:
    """Log return to add inside each bar of the simulated span, and how often each edge was planted."""
    drift = np.zeros(n_bars)
    if not edges:
        return drift, {}
    first_bar, directions = _occurrences(market, symbol, spec, edges)
    counts = {}
    for edge, direction in zip(edges, directions, strict=True):
        bars = horizon_bars(edge.horizon)
        per_bar = np.log1p(edge.sign * edge.bps * 1e-4) / bars
        at = np.flatnonzero(direction)
        for offset in range(ENTRY_LAG_BARS, ENTRY_LAG_BARS + bars):
            inside = at[first_bar + at + offset < n_bars]
            np.add.at(drift, first_bar + inside + offset, per_bar * direction[inside])
        counts[f"{edge.event_type}.{edge.state_id}"] = len(at)
    return drift, counts


def _occurrences(
    market: SimulatedMarket, symbol: str, spec: Spec, edges: tuple[PlantedEdge, ...]
) -> tuple[int, list[np.ndarray[Any, np.dtype[np.float64]]]]:
    """Bars of the span before the first one there is, and each edge's direction at each bar from that one on (0: none)."""
    import polars as pl

    from backtest.cleaning.taint import clean_symbol
    from backtest.events.detect import detect_events
    from backtest.features.build import build_features
    from backtest.states.evaluate import evaluate_states

    bars = clean_symbol(
        {(market_name, name): rows for (market_name, of, name), rows in market.datasets.items() if of == symbol}, symbol
    )
    features = build_features(bars, list(spec.features.values()))
    frame = pl.concat([bars, features.drop("timestamp")], how="horizontal")
    states = evaluate_states(frame, spec.states.values())
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
    start = market.settings.start
    return (stamps[0] - start) // dt.timedelta(minutes=5), directions
