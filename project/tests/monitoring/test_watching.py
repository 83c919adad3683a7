"""What a watch tells: changes only, and metrics that Prometheus can read whatever the labels hold."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from backtest.monitoring.kill_switch import Check
from backtest.monitoring.watching import METRICS, Watched, changes, json_lines, message, prometheus_text

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)+)\} (-?[0-9.e+-]+)')


def _watched(status: str = "WARN", symbol: str = "BTCUSDT") -> Watched:
    checks = (Check("run", "PASS", "finished"), Check("drawdown", status, "0.14 of 0.15", 0.14, 0.15))  # type: ignore[arg-type]
    return Watched("r1", symbol, status, checks)  # type: ignore[arg-type]


def test_what_was_never_told_counts_as_pass_and_what_was_told_is_not_told_again() -> None:
    first = changes([_watched()], {})
    assert [(change.key, change.before, change.now) for change in first] == [
        ("BTCUSDT/drawdown", None, "WARN"),
        ("BTCUSDT/verdict", None, "WARN"),
    ]
    told = {change.key: change.now for change in first}
    assert changes([_watched()], told) == []
    recovered = changes([_watched("PASS")], told)
    assert [(change.before, change.now) for change in recovered] == [("WARN", "PASS")] * 2
    assert changes([_watched("PASS")], {}) == []


def test_a_message_names_the_gravest_status_and_every_change() -> None:
    title, body = message("r1", changes([_watched("HALT")], {"BTCUSDT/drawdown": "WARN"}), "12:00")
    assert title == "HALT: Backtest run r1"
    assert "BTCUSDT/drawdown: WARN → HALT: 0.14 of 0.15" in body


def test_one_json_line_a_check_and_one_for_the_verdict() -> None:
    lines = [json.loads(line) for line in json_lines(_watched(), "2025-01-01T12:00:00+00:00")]
    assert [(line["check"], line["status"]) for line in lines] == [
        ("run", "PASS"), ("drawdown", "WARN"), ("verdict", "WARN"),
    ]  # fmt: skip
    assert all(line["time"] == "2025-01-01T12:00:00+00:00" for line in lines)


@given(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_metrics_can_be_read_back_whatever_the_labels_hold(name: str, value: float) -> None:
    watched = Watched("r1", name, "HALT", (Check(name, "HALT", "", value, 1.0),))
    text = prometheus_text(
        [watched], [(name, "raw", "x", 3)], run_id="r1", finished_at=1.5e9, duration_seconds=0.25, n_undelivered=0
    )
    lines = text.split("\n")
    assert lines.pop() == ""
    samples = [line for line in lines if not line.startswith("#")]
    parsed = [SAMPLE.fullmatch(sample) for sample in samples]
    assert all(parsed), samples
    assert {match[1] for match in parsed if match} == set(METRICS)
    assert "backtest_check_value{" in text
