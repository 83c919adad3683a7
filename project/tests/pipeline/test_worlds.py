"""Searching in memory gives what the stages give; planting needs only what its edges need; worlds are reproducible."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtest.errors import MisuseError
from backtest.features.build import needed_features
from backtest.lake.files import read_parquet
from backtest.lake.paths import DataRoot
from backtest.pipeline.calibration import (
    Progress,
    World,
    calibrate,
    drawn_edges,
    full_worlds,
    of_kinds,
    quick_worlds,
    store_of,
    world_seed,
)
from backtest.pipeline.executors import SerialWorkers
from backtest.pipeline.runs import FROM_RAW, Request, execute
from backtest.pipeline.simulation import simulate_into_lake
from backtest.pipeline.worlds import planted_drift, search, world_bars
from backtest.sources.simulated import SimulatedMarket, SimulationSettings, plant_drift, simulate_market
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec
from backtest.spec.models import PlantedEdge, horizon_bars

SPEC = Path(__file__).resolve().parents[3] / "spec"
START = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
EVENTS = ("RANGE_COMPRESSION_END", "SWEEP_STOPRUN")


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec(SPEC)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(SimulationSettings(start=START, days=60, seed=4))


def test_needed_features_are_closed_and_in_an_order_in_which_they_can_be_built(spec: Spec) -> None:
    for name in spec.features:
        built: set[str] = set()
        for feature in needed_features(spec.features, [name]):
            assert feature.expression.inputs & spec.features.keys() <= built
            built.add(feature.model.name)
        assert name in built
        for part in built - {name}:
            used = [each for each in built if part in spec.features[each].expression.inputs]
            assert used, f"{part} is not needed by {name}"


def test_an_edge_adds_its_mean_return_over_its_horizon_to_every_occurrence(spec: Spec, market: SimulatedMarket) -> None:
    edge = PlantedEdge(event_type="SWEEP_STOPRUN", side="against", horizon="15m", bps=20)
    drift, counts = planted_drift(market, spec, [edge])
    for symbol in market.settings.symbols:
        assert counts[symbol]["SWEEP_STOPRUN.all"] > 100
        per_bar = np.log1p(-20e-4) / horizon_bars("15m")
        steps = np.abs(drift[symbol][drift[symbol] != 0] / per_bar)
        assert np.unique(np.round(steps, 6)).min() == pytest.approx(np.log1p(-20e-4) / per_bar / 3)
    elsewhere = PlantedEdge(event_type="SWEEP_STOPRUN", state_id="session_us", side="against", horizon="15m", bps=20)
    inside = planted_drift(market, spec, [elsewhere])[1]["BTCUSDT"]["SWEEP_STOPRUN.session_us"]
    assert 0 < inside < counts["BTCUSDT"]["SWEEP_STOPRUN.all"]


def test_the_truth_of_the_planted_trade_is_what_was_planted(spec: Spec, market: SimulatedMarket) -> None:
    edge = PlantedEdge(event_type="SWEEP_STOPRUN", side="with", horizon="15m", bps=20)
    found = search(plant_drift(market, planted_drift(market, spec, [edge])[0]), spec, EVENTS)
    scores = found.scores.filter(
        (pl.col("event_type") == "SWEEP_STOPRUN") & (pl.col("policy") == "lag1") & (pl.col("state_id") == "all")
    )
    for horizon, expected in (("5m", 20 / 3), ("15m", 20.0)):
        chosen = scores.filter(pl.col("horizon") == horizon)
        truth = 1e4 * chosen["sum_truth"].sum() / chosen["n"].sum()
        # A few events move when prices do, and windows overlap.
        assert truth == pytest.approx(expected, rel=0.15)


@pytest.mark.slow
def test_a_search_in_memory_gives_the_candidates_of_a_run_on_the_lake(tmp_path: Path, spec: Spec) -> None:
    days = 45
    root = DataRoot(tmp_path / "data")
    root.create()
    simulate_into_lake(root, spec, ("BTCUSDT", "ETHUSDT"), START, days)
    request = Request(
        root=root, spec_root=SPEC, run_id="same", symbols=("BTCUSDT", "ETHUSDT"), start=START,
        end=START + dt.timedelta(days=days), workers=1, cache=False, parameters={"venue": "simulated"},
    )  # fmt: skip
    execute(request, FROM_RAW, now=START, command="test").raise_for_failure()
    staged = pl.concat(
        [read_parquet(path) for path in sorted(root.reports("phase2", "same").glob("*/candidates.parquet"))]
    ).sort("candidate_id")
    market = simulate_market(SimulationSettings(start=START, days=days, seed=spec.simulation.seed))
    market = plant_drift(market, planted_drift(market, spec, spec.simulation.planted_edges)[0])
    found = search(market, spec, with_spot_trades=True).candidates.sort("candidate_id")
    assert_frame_equal(found, staged, rel_tol=1e-6, abs_tol=1e-9)


@pytest.mark.slow
def test_every_event_type_occurs_at_least_30_times_in_the_year_of_the_demonstration(spec: Spec) -> None:
    described = spec.simulation
    market = simulate_market(
        SimulationSettings(
            start=dt.datetime.combine(described.start, dt.time(), dt.UTC),
            days=described.days,
            seed=described.seed,
            symbols=described.symbols,
        )
    )
    market = plant_drift(market, planted_drift(market, spec, described.planted_edges)[0])
    counts = dict(search(market, spec).quality.select("event_type", "n_events").iter_rows())
    # Dated events occur as often as their calendar says.
    dated = {name for name, event in spec.events.items() if {"fee_change", "scheduled_news"} & event.columns}
    assert counts.keys() == spec.events.keys()
    assert {name: count for name, count in counts.items() if count < 30 and name not in dated} == {}
    assert all(counts[name] > 0 for name in dated)


@pytest.mark.slow
def test_figures_depend_on_the_seed_alone() -> None:
    worlds = [World("planted", 0, 20.0, days=120), World("null", 0, days=120)]

    def figures(order: list[World], seed: int) -> list[object]:
        return list(
            calibrate(
                order,
                SPEC,
                seed=seed,
                workers=SerialWorkers(),
                progress=lambda _progress: None,
                now=lambda: 0.0,
                event_types=EVENTS,
            )
        )

    first = figures(worlds, 1)
    assert figures(worlds[::-1], 1) == first[::-1]
    assert figures(worlds, 2) != first
    assert first[1].n_relevant == 0  # type: ignore[attr-defined]
    assert first[0].n_relevant > 0  # type: ignore[attr-defined]


def test_every_world_has_a_seed_of_its_own() -> None:
    worlds = full_worlds()
    assert len(worlds) == 200 + 5 * 40 + 4 * 20
    assert len({world_seed(world, 1) for world in worlds}) == len(worlds)
    assert len({world.name for world in worlds}) == len(worlds)
    # A calibration that is stopped half-way is one of half the size.
    assert sum(world.kind == "null" for world in worlds[: len(worlds) // 2]) == pytest.approx(100, abs=1)
    assert {world.kind for world in of_kinds(worlds, ["null", "weak"])} == {"null", "weak"}
    with pytest.raises(MisuseError, match=r"called 'nul'\. Did you mean 'null'"):
        of_kinds(worlds, ["nul"])
    assert [(world.kind, world.bps) for world in quick_worlds()].count(("null", 0.0)) == 20


def test_a_drawn_edge_is_on_an_event_that_is_frequent_enough(spec: Spec, market: SimulatedMarket) -> None:
    bars, rng = world_bars(market), np.random.default_rng(1)
    planted = drawn_edges(World("planted", 0, 5.0, days=60), bars, spec, rng, ("SWEEP_STOPRUN", "FUNDING_FLIP"))
    (edge,) = planted.edges
    assert (edge.event_type, edge.bps) == ("SWEEP_STOPRUN", 5.0)
    assert planted.n_events > 100
    (beyond,) = drawn_edges(World("net", 0, 5.0, days=60), bars, spec, rng, ("SWEEP_STOPRUN",)).edges
    # Two taker fees of 5 bps, two half-spreads of 0.1 bps, and a little impact.
    assert 15.2 < beyond.bps < 17.0


def test_figures_that_are_stored_are_not_computed_again(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data")
    root.create()
    worlds = [World("null", 0, days=40), World("null", 1, days=40)]
    told: list[Progress] = []

    def run(chosen: list[World], code: str) -> list[object]:
        told.clear()
        return list(
            calibrate(
                chosen, SPEC, seed=1, workers=SerialWorkers(), progress=told.append, now=lambda: 0.0,
                event_types=EVENTS[:1], store=store_of(root, code, "spec", 1, None),
            )
        )  # fmt: skip

    first = run(worlds[:1], "code")
    both = run(worlds, "code")
    assert both[0] == first[0]
    assert [(each.done, each.stored, each.total) for each in told] == [(1, 1, 2), (2, 1, 2)]
    run(worlds[:1], "other code")
    assert told[-1].stored == 0
