"""The last word of each monitor, and what the report of a run makes of it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from backtest.lake.monitors import MOST_CHECKS, last_words, leave_word
from backtest.lake.paths import DataRoot
from backtest.pipeline.report_inputs import MONITORS, _monitors
from backtest.reports.html.results import Missing, MonitorStatus

NOW = dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "data")
    made.create()
    made.lake.mkdir()
    made.run("one").mkdir(parents=True)
    return made


def test_the_last_word_of_a_monitor_replaces_the_one_before(root: DataRoot) -> None:
    for status in ("PASS", "HALT"):
        checks = [("staleness", status, f"{number}") for number in range(100)]
        assert leave_word(root, "one", "kill_switch", status, NOW, checks, symbol="BTCUSDT") is None
    (word,) = last_words(root, "one")
    assert (word["monitor"], word["symbol"], word["status"]) == ("kill_switch", "BTCUSDT", "HALT")
    assert word["time"] == "2025-03-01T12:00:00+00:00"
    assert len(word["checks"]) == MOST_CHECKS


def test_a_word_on_a_run_that_is_not_there_makes_no_folder(root: DataRoot) -> None:
    assert leave_word(root, "two", "watch", "PASS", NOW, []) is None
    assert not root.run("two").exists()


def test_a_word_that_cannot_be_kept_is_told_and_nothing_is_raised(root: DataRoot) -> None:
    root.monitor_word("one", "watch").parent.write_text("in the way")
    assert "could not be kept" in str(leave_word(root, "one", "watch", "PASS", NOW, []))


def test_the_report_has_every_monitor_with_its_word_or_the_command_that_asks_it(root: DataRoot) -> None:
    leave_word(root, None, "data_freshness", "STALE", NOW, [("BTCUSDT", "STALE", "40 bars behind")])
    for symbol, edge in (("BTCUSDT", "HALT"), ("ETHUSDT", "PASS")):
        leave_word(root, "one", "kill_switch", edge, NOW, [("live_edge", edge, "wealth 3")], symbol=symbol)
    root.monitor_word("one", "watch").write_text("{}")
    found = _monitors(root, "one")
    told = {one.name: one.status for one in found if isinstance(one, MonitorStatus)}
    assert told == {
        "Data freshness": "STALE",
        "Kill switch, BTCUSDT": "HALT",
        "Kill switch, ETHUSDT": "PASS",
        "Live edge, BTCUSDT": "HALT",
        "Live edge, ETHUSDT": "PASS",
        "Watch": "UNREADABLE",
    }
    missing = [one.command for one in found if isinstance(one, Missing)]
    assert [command.split()[1] for command in missing] == ["monitor-feature-drift", "validate-oos-window"]
    assert all("one" in command for command in missing)
    assert len(MONITORS) == 5
