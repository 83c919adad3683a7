"""Repeats the kill switch's checks of a run on a schedule, and tells what changed: files, metrics, alerts."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import BacktestError, DataError, MisuseError, RunError
from backtest.lake.files import read_json, write_json, write_text
from backtest.lake.monitors import leave_word
from backtest.lake.paths import DataRoot
from backtest.monitoring.kill_switch import EXIT_CODES
from backtest.monitoring.watching import Watched, changes, json_lines, message, prometheus_text
from backtest.pipeline.freshness import lake_freshness
from backtest.pipeline.history import manifest_of
from backtest.pipeline.kill_switch import Limits, examine_and_write

if TYPE_CHECKING:
    from backtest.alerting.channels import Channels
    from backtest.monitoring.kill_switch import Status

STATE_VERSION: Final = 1


@dataclass(frozen=True)
class WatchSettings:
    """What is watched, how often, and whom it is told to."""

    root: DataRoot
    spec_root: Path
    run_id: str
    symbols: tuple[str, ...]
    limits: Limits
    every_seconds: float
    channels: Channels
    metrics_file: Path | None = None


def watched_symbols(root: DataRoot, run_id: str, asked: Sequence[str]) -> tuple[str, ...]:
    """The symbols to watch: those asked for, or all of the run; RunError where the run does not have one."""
    known = manifest_of(root, run_id).get("symbols")
    names = [name for name in known if isinstance(name, str)] if isinstance(known, list) else []
    foreign = [symbol for symbol in asked if symbol not in names]
    if foreign or not names:
        raise RunError(
            f"{', '.join(foreign) or 'no symbol'} is not among the symbols of run {run_id}: {', '.join(names)}"
        )
    return tuple(asked) or tuple(names)


def watch(
    settings: WatchSettings,
    stop: threading.Event,
    *,
    emit: Callable[[str], object],
    complain: Callable[[str], object],
    now: Callable[[], dt.datetime],
    rounds: int | None = None,
) -> Status:
    """Check until `stop` is set, or for so many rounds; the gravest status of the last one.

    `emit` takes JSON lines, `complain` what an operator should read. A round that takes longer than the interval is followed
    by the next one at once; rounds that were missed are not made up for.
    """
    status: Status = "HALT"
    due = time.monotonic()
    n_done = 0
    while not stop.is_set():
        status = one_round(settings, stop, emit=emit, complain=complain, now=now)
        n_done += 1
        if rounds is not None and n_done >= rounds:
            break
        due = max(due + settings.every_seconds, time.monotonic())
        stop.wait(due - time.monotonic())
    return status


def one_round(
    settings: WatchSettings,
    stop: threading.Event,
    *,
    emit: Callable[[str], object],
    complain: Callable[[str], object],
    now: Callable[[], dt.datetime],
) -> Status:
    """Check every symbol once, write status files, lines and metrics, and send what changed."""
    begun, moment = time.monotonic(), now()
    watched = []
    for symbol in settings.symbols:
        report, unwritten = examine_and_write(
            settings.root, settings.spec_root, settings.run_id, symbol, settings.limits, moment
        )
        status: Status = report.status if unwritten is None else "HALT"
        watched.append(Watched(settings.run_id, symbol, status, report.checks))
        if unwritten is not None:
            complain(f"HALT: {unwritten}")
        for line in json_lines(watched[-1], moment.isoformat()):
            emit(line)
    n_undelivered = _alert(settings, stop, watched, moment, complain)
    worst: Status = max((group.status for group in watched), key=EXIT_CODES.__getitem__, default="HALT")
    told: list[tuple[str, str, str]] = [(group.symbol, group.status, "as the kill switch says") for group in watched]
    told.append(("alerts", "WARN" if n_undelivered else "OK", f"{n_undelivered} changes not delivered yet"))
    unkept = leave_word(settings.root, settings.run_id, "watch", worst, moment, told)
    if unkept is not None:
        complain(unkept)
    if settings.metrics_file is not None:
        text = prometheus_text(
            watched,
            _staleness(settings, moment),
            run_id=settings.run_id,
            finished_at=now().timestamp(),
            duration_seconds=time.monotonic() - begun,
            n_undelivered=n_undelivered,
        )
        try:
            write_text(settings.metrics_file, text)
            settings.metrics_file.chmod(0o644)
        except (DataError, OSError) as fault:
            complain(f"the metrics file cannot be written: {fault}")
    return worst


def _staleness(settings: WatchSettings, moment: dt.datetime) -> list[tuple[str, str, str, int | None]]:
    try:
        rows = lake_freshness(settings.root, settings.symbols, moment, settings.limits.max_staleness_bars).rows
    except (BacktestError, OSError):
        return []  # the staleness check of the same round is HALT
    return [(row.newest.symbol, row.newest.layer, row.newest.dataset, row.staleness_bars) for row in rows]


# -- alerts, and what was told ------------------------------------------------------------------------------


def state_file(root: DataRoot, run_id: str) -> Path:
    """What was last told of a run, so that a restart repeats nothing."""
    return root.run(run_id) / "watch_state.json"


def _alert(
    settings: WatchSettings,
    stop: threading.Event,
    watched: Sequence[Watched],
    moment: dt.datetime,
    complain: Callable[[str], object],
) -> int:
    """Send what differs from what was last told; how many changes not every channel has taken.

    A change that could not be delivered is tried again in the next round, with the status it has then, on the channels that
    have not taken it.
    """
    from backtest.alerting.channels import Channels

    path = state_file(settings.root, settings.run_id)
    told = _told(path, complain)
    n_undelivered = 0
    for place, address in enumerate(settings.channels.addresses, start=1):
        mine: dict[str, Any] = dict(told.get(_fingerprint(address), {}))
        found = changes(watched, mine)
        if not found:
            continue
        title, body = message(settings.run_id, found, moment.isoformat())
        is_grave = any(change.now == "HALT" for change in found)
        if Channels((address,)).send(title, body, is_grave=is_grave, pause=stop.wait):
            complain(
                f"alert address {place} did not take an alert of {len(found)} change(s); it is tried again next round"
            )
            n_undelivered += len(found)
            continue
        told[_fingerprint(address)] = mine | {change.key: change.now for change in found}
        _keep(path, told, complain)
    return n_undelivered


def _fingerprint(address: str) -> str:
    """An address without its secrets, the same in every process."""
    return hashlib.blake2b(address.encode(), digest_size=8).hexdigest()


def _told(path: Path, complain: Callable[[str], object]) -> dict[str, dict[str, str]]:
    """Status last told by channel and check; nothing where there is no sound file, so that what is bad is told again."""
    if not path.exists():
        return {}
    try:
        state = read_json(path)
        if not isinstance(state, Mapping) or state.get("version") != STATE_VERSION:
            raise DataError(f"{path} is no state of a watch.")
        told = state["told"]
        return {str(whom): {str(key): str(value) for key, value in part.items()} for whom, part in told.items()}
    except (DataError, KeyError, AttributeError, TypeError, RecursionError) as fault:
        complain(f"what was told before is unknown, so everything that is not PASS is told again: {fault}")
        return {}


def _keep(path: Path, told: Mapping[str, Mapping[str, str]], complain: Callable[[str], object]) -> None:
    try:
        if path.parent.is_dir():
            write_json(path, {"version": STATE_VERSION, "told": told})
    except (DataError, OSError) as fault:
        complain(f"what was told cannot be kept, so a restart tells it again: {fault}")


def read_addresses(text: str | None, file: Path | None) -> tuple[tuple[str, ...], str]:
    """Alert addresses from a text (separated by white space) or a file (one a line, ``#`` starts a comment), and where they
    came from; MisuseError where both are given or the file is unreadable."""
    if text and file is not None:
        raise MisuseError("alert addresses are given twice, in BACKTEST_ALERT_URLS and in a file; keep one of them.")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise MisuseError(f"the file of alert addresses {file} is unreadable: {type(fault).__name__}.") from None
        stripped = (line.strip() for line in lines)
        return tuple(line for line in stripped if line and not line.startswith("#")), str(file)
    return tuple((text or "").split()), "BACKTEST_ALERT_URLS"
