"""The stage that compares symbols: what it writes, and features that know when it has changed."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import polars as pl
import pytest

from backtest.errors import DataError
from backtest.lake.months import read_months
from backtest.lake.paths import DataRoot
from backtest.pipeline.frames import cleaned_extent, perpetual_bars, perpetual_frame
from backtest.pipeline.runs import FROM_RAW, Request, execute
from backtest.pipeline.simulation import simulate_into_lake
from backtest.pipeline.stage import Plan
from backtest.pipeline.stages import cross_section
from backtest.spec.loader import load_spec

SPEC_ROOT = Path(__file__).resolve().parents[3] / "spec"
START = dt.datetime(2024, 3, 20, tzinfo=dt.UTC)
SYMBOLS = ("BTCUSDT", "ETHUSDT")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec with a feature that reads the market's return."""
    copied = tmp_path_factory.mktemp("spec") / "spec"
    shutil.copytree(SPEC_ROOT, copied)
    (copied / "features" / "market_move.yaml").write_text(
        'name: market_move\nunit: fraction\nexpression: "rolling_sum(market_return, 12)"\ndescription: Of an hour.\n'
    )
    return copied


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spec_root: Path) -> DataRoot:
    root = DataRoot(tmp_path_factory.mktemp("market") / "data")
    root.create()
    simulate_into_lake(root, load_spec(SPEC_ROOT), SYMBOLS, START, 20)
    build(root, spec_root)
    return root


@pytest.fixture
def root(tmp_path: Path, built: DataRoot) -> DataRoot:
    """A lake of one's own."""
    shutil.copytree(built.path, tmp_path / "data")
    return DataRoot(tmp_path / "data")


def build(root: DataRoot, spec_root: Path, *symbols: str) -> None:
    request = Request(root, spec_root, "made", symbols or SYMBOLS)
    execute(request, FROM_RAW[: FROM_RAW.index("features") + 1], now=START, command="test").raise_for_failure()


def frame(root: DataRoot, spec_root: Path, symbol: str) -> pl.DataFrame:
    extent = cleaned_extent(root, symbol)
    assert extent is not None
    plan = Plan(root, spec_root, "made", (symbol,))
    return perpetual_frame(plan, load_spec(spec_root), symbol, *extent, {"market_move"})


def test_the_market_lies_beside_every_bar_across_the_turn_of_a_quarter(root: DataRoot, spec_root: Path) -> None:
    market = read_months(root.market_features())
    found = frame(root, spec_root, "ETHUSDT")
    assert {(stamp.year, stamp.month) for stamp in market["timestamp"]} == {(2024, 3), (2024, 4)}
    assert market["timestamp"].is_sorted()
    assert market["timestamp"].n_unique() == len(market)
    returns = [found["close"][row] / found["close"][row - 1] - 1 for row in (3456, 3457)]
    assert found["timestamp"][3456] == dt.datetime(2024, 4, 1, tzinfo=dt.UTC)
    for place, row in enumerate((3456, 3457)):
        other = frame(root, spec_root, "BTCUSDT")
        both = [returns[place], other["close"][row] / other["close"][row - 1] - 1]
        assert found["market_return"][row] == pytest.approx(sum(both) / 2, abs=1e-15)
        assert found["btc_return"][row] == pytest.approx(both[1], abs=1e-15)
        assert found["relative_return"][row] == pytest.approx(both[0] - sum(both) / 2, abs=1e-15)
    assert found["market_move"].null_count() < 100


def test_features_built_before_another_symbol_came_are_refused_with_the_command_that_mends_it(
    root: DataRoot, spec_root: Path
) -> None:
    shutil.rmtree(root.lake / "cleaned" / "perp" / "ETHUSDT")
    plan = Plan(root, spec_root, "made", ("BTCUSDT",))
    for quarter in cross_section.partitions(plan):
        cross_section.run(plan, quarter)
    with pytest.raises(DataError, match=r"before the returns across symbols of 2024Q1 changed .* SYMBOLS=BTCUSDT"):
        frame(root, spec_root, "BTCUSDT")
    build(root, spec_root, "BTCUSDT")
    assert frame(root, spec_root, "BTCUSDT")["return_dispersion"].null_count() == len(frame(root, spec_root, "BTCUSDT"))


def test_bars_without_the_market_beside_them_are_refused(root: DataRoot) -> None:
    shutil.rmtree(root.market_features() / "year=2024" / "month=04")
    extent = cleaned_extent(root, "BTCUSDT")
    assert extent is not None
    with pytest.raises(DataError, match=r"lack [\d,]+ of the [\d,]+ bars .* make discover-edges-from-raw"):
        perpetual_bars(root, "BTCUSDT", *extent)
