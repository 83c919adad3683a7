"""The benchmark can fail: with the plain t, with BH inside groups, and with thresholds that know later bars, it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.evaluation.calibration import Judged, WorldFigures, judged, world_figures
from backtest.evaluation.calibration_limits import limits
from backtest.evaluation.error_rates import summary
from backtest.pipeline.calibration import START, World, world_seed
from backtest.pipeline.worlds import Prepared, Search, prepare, search_prepared, world_bars
from backtest.sources.simulated import SimulationSettings, simulate_market
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec

SPEC = Path(__file__).resolve().parents[3] / "spec"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
EVENTS = ("VOL_SHOCK", "RANGE_BREAKOUT", "SWEEP_STOPRUN")
WORLDS = 5
DAYS = 90

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec(SPEC)


@pytest.fixture(scope="module")
def prepared(spec: Spec) -> list[Mapping[str, Prepared]]:
    """Null worlds of four symbols that move together, up to their events."""
    worlds = []
    for number in range(WORLDS):
        settings = SimulationSettings(
            seed=world_seed(World("null", number), 5), start=START, days=DAYS, symbols=SYMBOLS, correlation=0.9
        )
        worlds.append(prepare(world_bars(simulate_market(settings)), spec, EVENTS))
    return worlds


@pytest.fixture(scope="module")
def searched(prepared: list[Mapping[str, Prepared]], spec: Spec) -> list[Judged]:
    return [verdicts(search_prepared(world, spec)) for world in prepared]


def verdicts(found: Search) -> Judged:
    return judged(found.register, found.scores, found.candidates, found.folds)


def figures(world: Judged) -> WorldFigures:
    nothing = np.zeros(len(world.eligible), dtype=bool)
    return world_figures(world, kind="null", bps=0.0, planted_bps=0.0, of_event=nothing, of_trade=nothing)


def broken(worlds: list[Judged]) -> list[str]:
    """The limits that these null worlds break, by what they limit."""
    # Each world four times: the quick limits are made for twenty.
    report = summary([figures(world) for world in worlds] * 4)
    return [limit.text.removeprefix("null: ") for limit in limits(report) if not limit.is_kept]


def test_the_search_itself_keeps_the_limits(searched: list[Judged]) -> None:
    assert broken(searched) == []


def test_false_discovery_control_inside_groups_breaks_them(searched: list[Judged]) -> None:
    grouped = [replace(world, found={**world.found, "tree_bh": world.found["grouped_bh"]}) for world in searched]
    assert any("worlds with any by day clusters + TreeBH" in text for text in broken(grouped))


def with_trades(world: Mapping[str, Prepared], bars: Callable[[pl.DataFrame], pl.DataFrame]) -> dict[str, Prepared]:
    """Two symbols of a world whose only events are at the bars, and in the directions, that `bars` picks of their frames."""

    def changed(symbol: Prepared) -> Prepared:
        some = (
            symbol.events.filter(pl.col("event_type") == "VOL_SHOCK").head(1).drop("timestamp", "direction", "tainted")
        )
        picked = bars(symbol.frame).select(
            "timestamp", pl.col("direction").cast(pl.Int8), pl.lit(value=False).alias("tainted")
        )
        events = picked.join(some, how="cross").select(symbol.events.columns)
        return replace(symbol, events=events, quality=symbol.quality.filter(pl.col("event_type") == "VOL_SHOCK"))

    return {name: changed(world[name]) for name in SYMBOLS[:2]}


def test_the_plain_t_breaks_them_where_trades_overlap(prepared: list[Mapping[str, Prepared]], spec: Spec) -> None:
    """Trades at each bar of two hours a day, all of a day on one side that was drawn by lot."""
    sides = np.random.default_rng(3).choice(np.array([-1, 1]), 20_000)

    def two_hours(frame: pl.DataFrame) -> pl.DataFrame:
        day = pl.col("timestamp").dt.epoch("d").cast(pl.UInt32)
        side = pl.lit(pl.Series(sides)).gather(day)
        return frame.with_columns(direction=side).filter(pl.col("timestamp").dt.hour().is_between(13, 14))

    worlds = [verdicts(search_prepared(with_trades(world, two_hours), spec)) for world in prepared]
    assert "rejected at 5 %" in broken([replace(world, p_cluster=world.p_naive) for world in worlds])
    # Trades of a day are one draw: of few draws the search's own rate is not told closely, but it is not that of the plain t.
    own, plain = (
        np.mean([np.mean(p[p == p] <= 0.05) for p in each])
        for each in ([w.p_cluster for w in worlds], [w.p_naive for w in worlds])
    )
    assert plain > 3 * own


def test_thresholds_that_know_later_bars_break_them(prepared: list[Mapping[str, Prepared]], spec: Spec) -> None:
    """Trades up from closes in the lowest tenth of their whole day."""

    def lowest(frame: pl.DataFrame) -> pl.DataFrame:
        low = pl.col("close") <= pl.col("close").quantile(0.1).over(pl.col("timestamp").dt.date())
        return frame.filter(low).with_columns(direction=pl.lit(1))

    worlds = [verdicts(search_prepared(with_trades(world, lowest), spec)) for world in prepared]
    assert "rejected at 5 %" in broken(worlds)
    assert any("confirmed" in text for text in broken(worlds))
