"""A simulated market in the lake, with the edges its description plants, and the truth beside it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, cast

from backtest.lake.files import write_json
from backtest.lake.paths import DataRoot, Market

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec

VENUE: Final = "simulated"


def simulate_into_lake(
    root: DataRoot, spec: Spec, symbols: tuple[str, ...], start: dt.datetime, days: int
) -> dict[str, Any]:
    """Simulate, plant and write every raw data set; returns what was made, for the stage's manifest."""
    from backtest.lake.raw import write_raw
    from backtest.pipeline.worlds import planted_drift
    from backtest.sources.simulated import SimulationSettings, plant_drift, simulate_market

    settings = SimulationSettings(symbols=symbols, start=start, days=days, seed=spec.simulation.seed)
    market = simulate_market(settings)
    edges = spec.simulation.planted_edges
    drift, occurrences = planted_drift(market, spec, edges)
    market = plant_drift(market, drift)
    outputs = []
    for (market_name, symbol, dataset), frame in market.datasets.items():
        outputs += write_raw(root, VENUE, cast("Market", market_name), symbol, dataset, frame, VENUE)
    truth = root.lake / "raw" / VENUE / "planted_edges.json"
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
