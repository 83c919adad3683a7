"""The search on many simulated worlds at once, each in a worker process."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError

if TYPE_CHECKING:
    from backtest.evaluation.calibration import WorldFigures
    from backtest.pipeline.executors import Workers
    from backtest.sources.simulated import SimulatedMarket
    from backtest.spec.loader import Spec
    from backtest.spec.models import PlantedEdge

START: Final = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
PLANTED_HORIZONS: Final = ("5m", "15m")
MIN_OCCURRENCES_PER_YEAR: Final = 600
"""Edges are planted on events at least this frequent over all symbols, so that there is something to be found."""
STRESSES: Final[dict[str, dict[str, Any]]] = {
    "bull market": {"annual_drift": 1.0},
    "90 days": {"days": 90},
    "180 days": {"days": 180},
    "bounce": {"bounce_bps": 1.0},
}
"""Null worlds that are harder, as changes of their settings."""


@dataclass(frozen=True)
class World:
    """One world to search: its kind, its number among those of its kind, and what is planted."""

    kind: str
    number: int
    bps: float = 0.0
    days: int = 365
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def quick_worlds() -> list[World]:
    """20 null worlds and 6 with an edge of 10 bps."""
    return [*_nulls(20), *(World("planted", number, 10.0) for number in range(6))]


def full_worlds() -> list[World]:
    """200 null worlds, 40 with an edge of each of 5, 10 and 20 bps, and 40 of each stress."""
    planted = [World("planted", number, bps) for bps in (5.0, 10.0, 20.0) for number in range(40)]
    stressed = [World(name, number, settings=change) for name, change in STRESSES.items() for number in range(40)]
    return [*_nulls(200), *planted, *stressed]


def _nulls(count: int) -> list[World]:
    return [World("null", number) for number in range(count)]


def calibrate(
    worlds: Sequence[World],
    spec_root: Path,
    *,
    seed: int,
    workers: Workers,
    progress: Callable[[int, int], None],
    event_types: Sequence[str] | None = None,
) -> list[WorldFigures]:
    """Search every world; figures in the order of `worlds`, the same for any number of workers."""
    tasks = [workers.submit(search_world, world, spec_root, seed, event_types) for world in worlds]
    found = []
    for task in tasks:
        found.append(task.result())
        progress(len(found), len(tasks))
    return found


def search_world(world: World, spec_root: Path, seed: int, event_types: Sequence[str] | None = None) -> WorldFigures:
    """Simulate one world, plant its edge, search it and hold the findings against the truth."""
    import numpy as np

    from backtest.evaluation.calibration import judged, world_figures
    from backtest.pipeline.worlds import planted_drift, search
    from backtest.sources.simulated import SimulationSettings, plant_drift, simulate_market
    from backtest.spec.loader import load_spec

    spec = load_spec(spec_root)
    names = {"seed": world_seed(world, seed), "start": START, "symbols": SYMBOLS, "days": world.days, **world.settings}
    market = simulate_market(SimulationSettings(**names))
    planted = None
    if world.bps:
        planted = drawn_edge(market, spec, world.bps, np.random.default_rng(world_seed(world, seed)), event_types)
        market = plant_drift(market, planted_drift(market, spec, [planted])[0])
    found = search(market, spec, event_types)
    of_event = (found.register["event_type"] == (planted.event_type if planted else "")).to_numpy()
    words = f"{planted.event_type} {planted.side} {planted.horizon}" if planted else ""
    return world_figures(
        judged(found.register, found.rows, found.candidates, found.folds),
        kind=world.kind,
        bps=world.bps,
        planted=words,
        of_event=of_event,
    )


def world_seed(world: World, seed: int) -> int:
    """A seed of its own for each world, whatever other worlds are searched."""
    import hashlib

    text = f"{seed}/{world.kind}/{world.bps:g}/{world.number}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def drawn_edge(
    market: SimulatedMarket, spec: Spec, bps: float, rng: Any, event_types: Sequence[str] | None = None
) -> PlantedEdge:
    """An edge on a random event that is frequent enough, at a random short horizon, on a random side."""
    from backtest.pipeline.worlds import planted_drift
    from backtest.spec.models import PlantedEdge

    needed = MIN_OCCURRENCES_PER_YEAR * market.settings.days / 365
    for event_type in rng.permutation(sorted(spec.events if event_types is None else event_types)).tolist():
        horizons = [name for name in PLANTED_HORIZONS if name in spec.events[event_type].model.horizons]
        if not horizons:
            continue
        edge = PlantedEdge(
            event_type=event_type,
            side=str(rng.choice(["with", "against"])),
            horizon=str(rng.choice(horizons)),
            bps=bps,
        )
        counts = planted_drift(market, spec, [edge])[1]
        if sum(sum(each.values()) for each in counts.values()) >= needed:
            return edge
    raise DataError(f"no event type occurs {needed:.0f} times in {market.settings.days} simulated days.")
