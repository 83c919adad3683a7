"""SQL over a data root: what the views hold, what cannot be done, and the same runs as frames."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

import backtest
from backtest.errors import DataError, MisuseError, RunError
from backtest.lake.files import write_json, write_parquet
from backtest.lake.months import write_months
from backtest.lake.paths import DataRoot
from backtest.lake.views import query, views, write_views

START = dt.datetime(2024, 1, 31, 23, 50, tzinfo=dt.UTC)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """Two symbols' bars, one symbol's features, the whole market's beside them, and a run's events."""
    found = DataRoot(tmp_path / "an odd 'name'")
    found.create()
    stamps = pl.datetime_range(START, START + dt.timedelta(minutes=20), "5m", time_unit="ms", eager=True)
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        frame = pl.DataFrame({"timestamp": stamps}).with_columns(close=pl.int_range(5) + 100.0 * (number + 1))
        write_months(found.cleaned_bars("perp", symbol), frame)
    write_months(found.features("BTCUSDT"), pl.DataFrame({"timestamp": stamps, "log_return": [0.1] * 5}))
    write_months(found.market_features(), pl.DataFrame({"timestamp": stamps, "market_return": [0.2] * 5}))
    write_parquet(found.events("some_run"), pl.DataFrame({"event_type": ["VOL_SHOCK", "VOL_SHOCK", "BAND_BREAK"]}))
    write_json(found.run_manifest("some_run"), {"symbols": ["BTCUSDT"]})
    return found


def test_views_are_those_that_have_files_and_name_the_symbol_or_run_of_each_row(root: DataRoot) -> None:
    assert [view.name for view in views(root)] == ["bars", "features", "events"]
    bars = query(root, "SELECT symbol, count(*) AS n, max(close) AS high FROM bars GROUP BY symbol ORDER BY symbol")
    assert bars.rows() == [("BTCUSDT", 5, 104.0), ("ETHUSDT", 5, 204.0)]
    assert query(root, "SELECT DISTINCT symbol FROM features").rows() == [("BTCUSDT",)]
    assert query(root, "SELECT run_id, count(*) FROM events GROUP BY run_id").rows() == [("some_run", 3)]
    assert query(root, "SELECT min(timestamp) FROM bars").item() == START
    assert "close" in query(root, "DESCRIBE bars")["column_name"].to_list()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("COPY bars TO 'x.csv'", "this is COPY"),
        ("SELECT 1; DROP VIEW bars", "this is SELECT, DROP"),
        ("", "this is nothing"),
        ("CREATE TABLE t AS SELECT 1", "this is CREATE"),
        ("SET enable_external_access = true", "this is SET"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM bars WHERE", "Parser Error"),
        ("SELECT volume FROM bars", "The views are: bars, features, events."),
    ],
)
def test_nothing_is_written_and_nothing_outside_is_read(root: DataRoot, statement: str, text: str) -> None:
    before = sorted(root.path.rglob("*"))
    with pytest.raises(MisuseError) as fault:
        query(root, statement)
    assert text in str(fault.value)
    assert sorted(root.path.rglob("*")) == before


def test_the_written_views_are_statements_that_duckdb_takes(root: DataRoot, tmp_path: Path) -> None:
    import duckdb

    assert len(write_views(root, tmp_path / "views.sql")) == 3
    connection = duckdb.connect()
    connection.execute((tmp_path / "views.sql").read_text())
    assert connection.execute("SELECT count(*) FROM bars").fetchall() == [(10,)]


def test_a_run_is_opened_as_frames(root: DataRoot) -> None:
    run = backtest.open_run("some_run", root.path)
    assert run.symbols == ("BTCUSDT",)
    assert run.events.height == 3
    assert run.events.to_pandas()["event_type"].tolist()[0] == "VOL_SHOCK"
    # The span crosses the end of a month.
    assert run.features("BTCUSDT")["log_return"].to_list() == [0.1] * 5
    assert run.bars("ETHUSDT", end=START + dt.timedelta(minutes=5))["close"].to_list() == [200.0]
    with pytest.raises(DataError, match="backtest simulate --run-id some_run"):
        _ = run.trades
    with pytest.raises(DataError, match="nothing of ETHUSDT"):
        run.features("ETHUSDT")


def test_a_run_that_is_not_there_is_told_with_near_ones(root: DataRoot) -> None:
    with pytest.raises(RunError, match="some_run"):
        backtest.open_run("some_runs", root.path)
    with pytest.raises(MisuseError):
        backtest.open_run("../some_run", root.path)
    with pytest.raises(MisuseError, match="not a data root"):
        backtest.open_run("some_run", root.path / "nowhere")
