"""The watch against a real HTTP server: alerts on change of status, once, over restarts; SIGTERM ends it cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backtest.alerting import channels
from backtest.errors import MisuseError

from .conftest import SPEC_ROOT, Desk
from .test_kill_switch import LIMITS, NOON, _write, live  # noqa: F401 - a fixture


class Hook:
    """A web hook that keeps what it was sent and answers with `status`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status == 200:
                    hook.received.append(json.loads(body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://user:topsecret@127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    served = Hook()
    thread = threading.Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def _round(desk: Desk, hook: Hook | None, metrics: Path | None = None) -> tuple[str, list[str], list[str]]:
    """Status, JSON lines and complaints of one round, as after a restart."""
    from backtest.pipeline.watch import WatchSettings, watch

    settings = WatchSettings(
        desk.root,
        SPEC_ROOT,
        "r1",
        ("BTCUSDT",),
        LIMITS,
        60.0,
        channels.channels_of([hook.url] if hook else [], "x"),
        metrics,
    )
    lines: list[str] = []
    complaints: list[str] = []
    stop = threading.Event()
    status = watch(settings, stop, emit=lines.append, complain=complaints.append, now=lambda: NOON, rounds=1)
    return status, lines, complaints


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "RETRY_SECONDS", (0.01, 0.01))


def test_alerts_come_on_change_of_status_once_and_over_restarts(live: Desk, hook: Hook) -> None:  # noqa: F811
    assert _round(live, hook)[0] == "WARN"
    assert len(hook.received) == 1
    assert hook.received[0]["title"] == "WARN: Backtest run r1"
    assert "BTCUSDT/live_edge: first seen → WARN" in hook.received[0]["message"]
    _round(live, hook)
    assert len(hook.received) == 1
    _write(live, "equity.csv", "timestamp,equity_usd\n2025-01-01T10:00:00Z,100\n2025-01-01T11:00:00Z,50\n")
    assert _round(live, hook)[0] == "HALT"
    assert [received["type"] for received in hook.received] == ["info", "failure"]
    assert "BTCUSDT/drawdown: first seen → HALT" in hook.received[1]["message"]
    _round(live, hook)
    assert len(hook.received) == 2


def test_an_alert_that_is_not_taken_is_tried_again_and_counted(live: Desk, hook: Hook, tmp_path: Path) -> None:  # noqa: F811
    hook.status = 500
    metrics = tmp_path / "backtest.prom"
    complaints = _round(live, hook, metrics)[2]
    assert "did not take an alert" in complaints[0]
    assert "topsecret" not in "".join(complaints)
    assert 'backtest_watch_undelivered_alerts{run_id="r1"} 3' in metrics.read_text()
    hook.status = 200
    _round(live, hook, metrics)
    assert len(hook.received) == 1
    assert 'backtest_watch_undelivered_alerts{run_id="r1"} 0' in metrics.read_text()
    assert 'backtest_check_value{run_id="r1",symbol="BTCUSDT",check="drawdown"} 0.01' in metrics.read_text()
    assert [path.name for path in tmp_path.glob("*prom*")] == ["backtest.prom"]


def test_a_damaged_state_tells_again_and_says_so(live: Desk, hook: Hook) -> None:  # noqa: F811
    from backtest.pipeline.watch import state_file

    _round(live, hook)
    assert "topsecret" not in state_file(live.root, "r1").read_text()
    for damaged in ("{", "[]", '{"version": 1, "told": 3}', '{"version": 9}'):
        state_file(live.root, "r1").write_text(damaged)
        n_before = len(hook.received)
        assert "told again" in _round(live, hook)[2][0]
        assert len(hook.received) == n_before + 1


def test_every_round_gives_one_json_line_a_check(live: Desk) -> None:  # noqa: F811
    lines = [json.loads(line) for line in _round(live, None)[1]]
    assert [line["check"] for line in lines][-1] == "verdict"
    assert {"run", "staleness", "drawdown", "slippage", "funding", "feature_drift", "live_edge"} <= {
        line["check"] for line in lines
    }
    assert live.root.kill_switch_status("r1").is_file()


def test_a_wrong_address_is_named_by_its_place_and_not_by_its_text() -> None:
    with pytest.raises(MisuseError, match=r"alert address 2 of 2 in file\.txt") as fault:
        channels.channels_of(["json://localhost", "nonsense://topsecret"], "file.txt")
    assert "topsecret" not in str(fault.value)
    assert "topsecret" not in repr(channels.channels_of(["json://user:topsecret@localhost"], "x"))


@pytest.mark.slow
def test_sigterm_ends_a_watch_cleanly(live: Desk, tmp_path: Path, hook: Hook) -> None:  # noqa: F811
    addresses = tmp_path / "alert urls"
    addresses.write_text(f"# on call\n\n{hook.url}\n")
    metrics = tmp_path / "metrics dir" / "backtest.prom"
    command = [
        sys.executable, "-m", "backtest.cli", "watch", "--run-id", "r1", "--every-seconds", "1",
        "--metrics-file", str(metrics), "--alert-urls-file", str(addresses),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    ) as process:
        begun = time.monotonic()
        while not metrics.exists() and time.monotonic() - begun < 120:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert all(json.loads(line)["run_id"] == "r1" for line in out.splitlines())
    assert len(hook.received) == 1
    assert "topsecret" not in out + err
    assert list(live.root.run("r1").glob(".writing-*")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("--run-id", "r9"), ("--run-id", "../r1"), ("--symbols", "ETHUSDT"), ("--metrics-file", "x.txt"),
        ("--alert-urls-file", "/nowhere/at/all"), ("--every-seconds", "0"), ("--max-drawdown", "0"),
    ],
)  # fmt: skip
def test_a_watch_that_cannot_be_meant_does_not_start(live: Desk, wrong: tuple[str, str]) -> None:  # noqa: F811
    assert live.run("watch", "--once", "--run-id", "r1", *wrong) == 2
    assert not live.root.kill_switch_status("r1").exists()
