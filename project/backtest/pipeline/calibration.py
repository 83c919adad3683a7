"""The search on many worlds at once, each in a worker process; figures are kept as they come."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError, MisuseError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from backtest.evaluation.calibration import WorldFigures
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.executors import Workers
    from backtest.pipeline.real_bars import RealSpan
    from backtest.pipeline.worlds import Search
    from backtest.spec.compiled import Spec
    from backtest.spec.models import PlantedEdge

START: Final = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
PLANTED_HORIZONS: Final = ("5m", "15m")
NET_HORIZONS: Final = ("5m", "15m", "60m")
MIN_OCCURRENCES_PER_YEAR: Final = 600
"""Edges are planted on events at least this frequent over all symbols, so that there is something to be found."""
WEAK_EDGES: Final = 12
WEAK_BPS: Final = 3.0
STRESSES: Final[dict[str, dict[str, Any]]] = {
    "bull market": {"annual_drift": 1.0},
    "90 days": {"days": 90},
    "180 days": {"days": 180},
    "bounce": {"bounce_bps": 1.0},
}
"""Null worlds that are harder, as changes of their settings."""
REAL_KINDS: Final = ("random signs", "shifted days")


@dataclass(frozen=True)
class World:
    """One world to search: its kind, its number among those of its kind, and what is planted."""

    kind: str
    number: int
    bps: float = 0.0
    days: int = 365
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short and fit for a file name."""
        size = f"{self.bps:g}bps." if self.bps else ""
        return f"{self.kind.replace(' ', '-')}.{size}{self.number:04d}"


def quick_worlds() -> list[World]:
    """20 null worlds and 6 with an edge of 10 bps."""
    return [*_numbered("null", 20), *_numbered("planted", 6, 10.0)]


def full_worlds() -> list[World]:
    """200 null worlds; 40 with an edge of each of 5, 10 and 20 bps, 40 with 10 bps beyond cost, 40 with many weak edges; 20 of
    each stress. In an order in which a part of them is a smaller calibration."""
    kinds = [_numbered("null", 200), *(_numbered("planted", 40, bps) for bps in (5.0, 10.0, 20.0))]
    kinds += [_numbered("net", 40, 10.0), _numbered("weak", 40, WEAK_BPS)]
    kinds += [[World(name, number, settings=change) for number in range(20)] for name, change in STRESSES.items()]
    return mixed(kinds)


def real_worlds(copies: int) -> list[World]:
    """Copies of the real bars with random signs, and as many with their events moved."""
    return mixed([_numbered(kind, copies) for kind in REAL_KINDS])


def of_kinds(worlds: Sequence[World], kinds: Sequence[str]) -> list[World]:
    """The worlds of these kinds; MisuseError where there is no such kind."""
    there = list(dict.fromkeys(world.kind for world in worlds))
    unknown = [kind for kind in kinds if kind not in there]
    if unknown:
        raise MisuseError(
            f"no kind of world is called {unknown[0]!r}.{did_you_mean(unknown[0], there)} There are: {', '.join(there)}. "
            "Example: --worlds null,planted"
        )
    return [world for world in worlds if world.kind in kinds]


def _numbered(kind: str, count: int, bps: float = 0.0) -> list[World]:
    return [World(kind, number, bps) for number in range(count)]


def mixed(kinds: Sequence[Sequence[World]]) -> list[World]:
    """The worlds of all kinds, each kind spread evenly over the whole."""
    places = [
        ((place + 0.5) / len(kind), index, world)
        for index, kind in enumerate(kinds)
        for place, world in enumerate(kind)
    ]
    return [world for _, _, world in sorted(places, key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class Progress:
    """How far a calibration is: worlds done (those found stored among them), worlds in all, seconds since it began."""

    done: int
    stored: int
    total: int
    seconds: float

    @property
    def worlds_per_second(self) -> float:
        return (self.done - self.stored) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before the first world is done."""
        pace = self.worlds_per_second
        return (self.total - self.done) / pace if pace > 0 else None


@dataclass(frozen=True)
class Store:
    """Where figures are kept, and the hashes of what they follow from: of simulated worlds, and of copies of real bars."""

    root: DataRoot
    simulated: str
    real: str

    def key(self, world: World) -> str:
        return self.real if world.kind in REAL_KINDS else self.simulated


def store_of(root: DataRoot, code: str, spec_hash: str, seed: int, span: RealSpan | None) -> Store:
    """The store of the worlds that follow from this code, spec, seed and real bars."""
    import hashlib

    def key(*parts: object) -> str:
        return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=12).hexdigest()

    real = key(code, spec_hash, seed, span.data_hash, span.start, span.end) if span is not None else "none"
    return Store(root, key(code, spec_hash, seed), real)


def search_code_hash() -> str:
    """Hash of the code that decides the figures of a world."""
    import hashlib

    from backtest.pipeline.code_hash import CodeHashes

    modules = (
        "backtest.pipeline.worlds",
        "backtest.sources.simulated",
        "backtest.evaluation.random_signs",
        "backtest.evaluation.calibration",
    )
    hashes = CodeHashes().of(modules)
    return hashlib.blake2b(
        "\n".join(f"{name} {value}" for name, value in hashes.items()).encode(), digest_size=16
    ).hexdigest()


def calibrate(
    worlds: Sequence[World],
    spec_root: Path,
    *,
    seed: int,
    workers: Workers,
    progress: Callable[[Progress], None],
    now: Callable[[], float],
    event_types: Sequence[str] | None = None,
    span: RealSpan | None = None,
    store: Store | None = None,
) -> list[WorldFigures]:
    """Search every world that the store has no figures of; figures in the order of `worlds`, for any number of workers.

    Parameters
    ----------
    progress : called when a world is done.
    now : a clock, in seconds.
    span : the real bars that copies are made of; needed where `worlds` have some.
    store : where figures are looked up and kept; nothing is kept without.
    """
    from backtest.evaluation.calibration import WorldFigures
    from backtest.lake.calibrations import store_world, stored_world

    begun = now()
    found: dict[str, WorldFigures] = {}
    for world in worlds:
        value = None if store is None else stored_world(store.root, store.key(world), world.name)
        if value is not None:
            found[world.name] = WorldFigures.from_json(value)
    n_stored = len(found)
    missing = [world for world in worlds if world.name not in found]
    tasks: dict[Future[WorldFigures], World] = {
        workers.submit(search_world, world, spec_root, seed, event_types, span): world for world in missing
    }
    if found:
        progress(Progress(n_stored, n_stored, len(worlds), now() - begun))
    for task in as_completed(tasks):
        world, figures = tasks[task], task.result()
        found[world.name] = figures
        if store is not None:
            store_world(store.root, store.key(world), world.name, dataclasses.asdict(figures))
        progress(Progress(len(found), n_stored, len(worlds), now() - begun))
    return [found[world.name] for world in worlds]


def search_world(
    world: World,
    spec_root: Path,
    seed: int,
    event_types: Sequence[str] | None = None,
    span: RealSpan | None = None,
) -> WorldFigures:
    """Make one world, search it and hold the findings against the truth."""
    import time

    import numpy as np
    import polars as pl

    from backtest.evaluation.calibration import judged, tails_of, world_figures
    from backtest.pipeline.worlds import search_bars
    from backtest.spec.loader import load_spec
    from backtest.spec.models import ALL_STATES, POOLED

    begun = time.process_time()
    spec = load_spec(spec_root)
    planted = Planted((), 0)
    tails = None
    if world.kind in REAL_KINDS:
        found = _search_copy(world, span, spec_root, seed)
    else:
        bars, planted = _simulated_bars(world, spec, seed, event_types)
        closes = [own["close"].fill_null(np.nan).to_numpy() for own in bars.values()]
        tails = tuple(np.min([tails_of(each) for each in closes], axis=0).tolist())
        found = search_bars(bars, spec, event_types)
    names = [edge.event_type for edge in planted.edges]
    whole = (pl.col("state_id") == ALL_STATES) & (pl.col("symbol") == POOLED)
    trades = pl.struct("event_type", "horizon").is_in(
        [{"event_type": edge.event_type, "horizon": edge.horizon} for edge in planted.edges]
    )
    return world_figures(
        judged(found.register, found.scores, found.candidates, found.folds),
        kind=world.kind,
        bps=world.bps,
        planted_bps=min((edge.bps for edge in planted.edges), default=0.0),
        of_event=found.register["event_type"].is_in(names).to_numpy(),
        of_trade=(found.register.select(whole & trades) if names else found.register.select(pl.lit(False) & whole))
        .to_series()
        .to_numpy(),
        planted="; ".join(f"{edge.event_type} {edge.side} {edge.horizon} {edge.bps:.1f} bps" for edge in planted.edges),
        n_planted_events=planted.n_events,
        tails=tails,
        seconds=time.process_time() - begun,
    )


@dataclass(frozen=True)
class Planted:
    """The edges of a world and how often their events occur in it over all symbols."""

    edges: tuple[PlantedEdge, ...]
    n_events: int


def _search_copy(world: World, span: RealSpan | None, spec_root: Path, seed: int) -> Search:
    from backtest.pipeline.real_bars import copy_with_random_signs, drawn_shift, prepared_real_bars
    from backtest.pipeline.worlds import search_bars, search_prepared
    from backtest.spec.loader import load_spec

    if span is None:
        raise DataError(f"a world of the kind {world.kind!r} is made of real bars, and none were given.")
    drawn = world_seed(world, seed)
    if world.kind == "random signs":
        return search_bars(copy_with_random_signs(span, drawn), load_spec(spec_root))
    return search_prepared(
        prepared_real_bars(span, spec_root), load_spec(spec_root), shift_days=drawn_shift(span, drawn)
    )


def _simulated_bars(
    world: World, spec: Spec, seed: int, event_types: Sequence[str] | None
) -> tuple[dict[str, pl.DataFrame], Planted]:
    """The bars of a simulated world with its edges in them."""
    import numpy as np

    from backtest.pipeline.worlds import planted_drift, world_bars
    from backtest.sources.simulated import SimulationSettings, plant_drift, simulate_market

    drawn = world_seed(world, seed)
    names = {"seed": drawn, "start": START, "symbols": SYMBOLS, "days": world.days, **world.settings}
    market = simulate_market(SimulationSettings(**names))
    bars = world_bars(market)
    if not world.bps:
        return bars, Planted((), 0)
    planted = drawn_edges(world, bars, spec, np.random.default_rng(drawn), event_types)
    drift, _ = planted_drift(market, spec, planted.edges, bars)
    return world_bars(plant_drift(market, drift)), planted


def world_seed(world: World, seed: int) -> int:
    """A seed of its own for each world, whatever other worlds are searched."""
    import hashlib

    text = f"{seed}/{world.kind}/{world.bps:g}/{world.number}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def drawn_edges(
    world: World,
    bars: Mapping[str, pl.DataFrame],
    spec: Spec,
    rng: np.random.Generator,
    event_types: Sequence[str] | None = None,
) -> Planted:
    """Edges on random events that are frequent enough, at random short horizons, on random sides.

    One edge; many where the world's kind is ``weak``. Where it is ``net`` the edge's mean return is that of the world beyond
    what a round trip costs on average at the event.
    """
    import numpy as np

    from backtest.pipeline.worlds import occurrences
    from backtest.spec.models import PlantedEdge

    needed = MIN_OCCURRENCES_PER_YEAR * world.days / 365
    horizons = NET_HORIZONS if world.kind == "net" else PLANTED_HORIZONS
    wanted = WEAK_EDGES if world.kind == "weak" else 1
    edges: list[PlantedEdge] = []
    n_events = 0
    for event_type in rng.permutation(sorted(spec.events if event_types is None else event_types)).tolist():
        allowed = [name for name in horizons if name in spec.events[event_type].model.horizons]
        if not allowed:
            continue
        edge = PlantedEdge(
            event_type=event_type,
            side=str(rng.choice(["with", "against"])),
            horizon=str(rng.choice(allowed)),
            bps=world.bps,
        )
        each = [occurrences(own, symbol, spec, [edge])[0] for symbol, own in bars.items()]
        cost = np.concatenate([cost[direction != 0] for direction, cost in each])
        if len(cost) < needed:
            continue
        if world.kind == "net":
            edge = edge.model_copy(update={"bps": world.bps + float(np.nanmean(cost)) * 1e4})
        edges.append(edge)
        n_events += len(cost)
        if len(edges) == wanted:
            return Planted(tuple(edges), n_events)
    raise DataError(
        f"{len(edges)} of {wanted} event types occur {needed:.0f} times in {world.days} simulated days; no other is left."
    )


def with_figures(worlds: Sequence[World], store: Store) -> list[World]:
    """The worlds whose figures the store has."""
    from backtest.lake.calibrations import stored_world

    return [world for world in worlds if stored_world(store.root, store.key(world), world.name) is not None]
