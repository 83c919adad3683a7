"""The files of ops/ can be read, and every metric, option and file they name exists."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from backtest.monitoring.watching import METRICS

OPS = Path(__file__).resolve().parents[3] / "ops"
METRIC = re.compile(r"\bbacktest_[a-z_]+")
PANELS = json.loads((OPS / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
RULES = yaml.safe_load((OPS / "prometheus-alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]


def _unit() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(OPS / "backtest-watch.service", encoding="utf-8")
    return unit


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_rule_is_whole_and_names_metrics_that_exist(rule: dict[str, object]) -> None:
    named = set(METRIC.findall(str(rule["expr"])))
    assert named
    assert named <= set(METRICS)
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert str(rule["expr"]).count("(") == str(rule["expr"]).count(")")
    assert rule["labels"]["severity"] in ("critical", "warning")  # type: ignore[index]
    assert rule["annotations"]["summary"]  # type: ignore[index]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_names_metrics_that_exist(panel: dict[str, object]) -> None:
    for target in panel["targets"]:  # type: ignore[attr-defined]
        named = set(METRIC.findall(target["expr"]))
        assert named
        assert named <= set(METRICS)


def test_panels_have_distinct_ids_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_metric_is_shown_or_alerted_on() -> None:
    named = set(METRIC.findall(json.dumps(PANELS))) | set(METRIC.findall(json.dumps(RULES)))
    assert named >= set(METRICS)


@pytest.mark.slow
def test_unit_and_cron_line_call_the_command_with_options_it_has() -> None:
    command = [sys.executable, "-m", "backtest.cli", "watch", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "300", "TERM": "dumb"})
    start = _unit()["Service"]["ExecStart"]
    (cron,) = [
        line for line in (OPS / "backtest.cron").read_text(encoding="utf-8").splitlines() if line.startswith("*/5")
    ]
    for line in (start, cron):
        assert "bin/backtest watch" in line
        options = re.findall(r"--[a-z-]+", line)
        assert options
        assert all(option in done.stdout for option in options)


def test_the_unit_is_stopped_by_the_signal_the_watch_ends_on() -> None:
    service = _unit()["Service"]
    assert service["KillSignal"] == "SIGTERM"
    assert service["Restart"] == "on-failure"
    written = service["ReadWritePaths"].split()
    assert any(service["ExecStart"].split("--metrics-file ")[1].startswith(path) for path in written)
    assert "Environment" in service
