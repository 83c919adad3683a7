"""What a watch tells: JSON lines, Prometheus' text format, and which changes of status are worth an alert."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backtest.monitoring.kill_switch import EXIT_CODES, Check, Status

VERDICT: Final = "verdict"
METRICS: Final[Mapping[str, tuple[str, str]]] = {
    "backtest_check_status": ("gauge", "Status of a check: 0 PASS, 1 WARN, 2 HALT."),
    "backtest_check_value": ("gauge", "Value a check compares, in the unit of its limit."),
    "backtest_check_limit": ("gauge", "Limit of a check."),
    "backtest_kill_switch_status": (
        "gauge",
        "Gravest status of all checks of a run and symbol: 0 PASS, 1 WARN, 2 HALT.",
    ),
    "backtest_data_staleness_bars": ("gauge", "Complete rows of a data set that could be there and are not."),
    "backtest_watch_last_round_timestamp_seconds": (
        "gauge",
        "Time of the last finished round, seconds since 1970-01-01 UTC.",
    ),
    "backtest_watch_round_duration_seconds": ("gauge", "Duration of the last round."),
    "backtest_watch_undelivered_alerts": (
        "gauge",
        "Changes of status that no channel, or not every channel, has taken yet.",
    ),
}
"""Every metric with its type and meaning; what `ops/` names is one of them."""


@dataclass(frozen=True)
class Watched:
    """The checks of one run and symbol in one round."""

    run_id: str
    symbol: str
    status: Status
    checks: tuple[Check, ...]

    def statuses(self) -> dict[str, Status]:
        """Status by ``symbol/check``, the verdict among them."""
        named = {check.name: check.status for check in self.checks} | {VERDICT: self.status}
        return {f"{self.symbol}/{name}": status for name, status in named.items()}


@dataclass(frozen=True)
class Change:
    """A check whose status is no longer what was last told; `before` is None where nothing was."""

    key: str
    before: str | None
    now: Status
    text: str


def json_lines(watched: Watched, time: str) -> Iterable[str]:
    """One line a check, and one for the verdict."""
    about = {"time": time, "run_id": watched.run_id, "symbol": watched.symbol}
    for check in watched.checks:
        yield json.dumps({**about, "check": check.name, **check.as_json()}, sort_keys=True, allow_nan=False)
    yield json.dumps({**about, "check": VERDICT, "status": watched.status}, sort_keys=True)


def changes(watched: Sequence[Watched], told: Mapping[str, Any]) -> list[Change]:
    """Checks whose status differs from what was last told. One that was never told counts as PASS."""
    found = []
    for group in watched:
        texts = {check.name: check.text for check in group.checks}
        for key, status in group.statuses().items():
            before = told.get(key)
            if status != (before if before in EXIT_CODES else "PASS"):
                text = texts.get(key.partition("/")[2], "")
                found.append(Change(key, before if before in EXIT_CODES else None, status, text))
    return found


def message(run_id: str, found: Sequence[Change], time: str) -> tuple[str, str]:
    """Title and body of an alert."""
    gravest = max((change.now for change in found), key=EXIT_CODES.__getitem__)
    lines = [
        f"{change.key}: {change.before or 'first seen'} → {change.now}" + (f": {change.text}" if change.text else "")
        for change in found
    ]
    return f"{gravest}: Backtest run {run_id}", "\n".join([*lines, time])


def prometheus_text(
    watched: Sequence[Watched],
    staleness: Iterable[tuple[str, str, str, int | None]],
    *,
    run_id: str,
    finished_at: float,
    duration_seconds: float,
    n_undelivered: int,
) -> str:
    """All metrics in Prometheus' text format. `staleness`: symbol, layer, data set and rows behind."""
    samples: dict[str, list[tuple[dict[str, str], float]]] = {name: [] for name in METRICS}
    for group in watched:
        about = {"run_id": group.run_id, "symbol": group.symbol}
        samples["backtest_kill_switch_status"].append((about, EXIT_CODES[group.status]))
        for check in group.checks:
            labels = {**about, "check": check.name}
            samples["backtest_check_status"].append((labels, EXIT_CODES[check.status]))
            if check.value is not None:
                samples["backtest_check_value"].append((labels, check.value))
            if check.limit is not None:
                samples["backtest_check_limit"].append((labels, check.limit))
    for symbol, layer, dataset, behind in staleness:
        if behind is not None:
            labels = {"symbol": symbol, "layer": layer, "dataset": dataset}
            samples["backtest_data_staleness_bars"].append((labels, behind))
    about = {"run_id": run_id}
    samples["backtest_watch_last_round_timestamp_seconds"].append((about, finished_at))
    samples["backtest_watch_round_duration_seconds"].append((about, duration_seconds))
    samples["backtest_watch_undelivered_alerts"].append((about, n_undelivered))
    lines = []
    for name, (kind, meaning) in METRICS.items():
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{{{_labels(labels)}}} {value!r}" for labels, value in samples[name]]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
