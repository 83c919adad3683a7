"""The kill switch of one run and symbol: its checks on what the data root holds, and the file that keeps the verdict."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import BacktestError, DataError, TooLittleDataError
from backtest.lake.files import blake2b_hash, write_json
from backtest.lake.live import Kind, live_file, read_live
from backtest.lake.monitors import leave_word
from backtest.lake.months import month_files
from backtest.lake.paths import DataRoot, checked_symbol
from backtest.monitoring.kill_switch import (
    EXIT_CODES,
    Check,
    backtest_drawdown_check,
    broken,
    drawdown_check,
    drift_check,
    edge_check,
    exposure_check,
    funding_check,
    position_check,
    slippage_check,
    staleness_check,
    verdict,
    without_data,
)
from backtest.monitoring.live_account import EQUITY_COLUMNS, FILL_COLUMNS, sound_equity, sound_fills
from backtest.pipeline.history import manifest_of, shown_symbols

if TYPE_CHECKING:
    import polars as pl

    from backtest.monitoring.kill_switch import Status

STATUS_VERSION: Final = 1
DEFAULT_FUNDING_HOURS: Final = 8.0
BACKTEST_EQUITY_COLUMNS: Final = ("equity_usd", "equity")


@dataclass(frozen=True)
class Limits:
    """What the checks are held to; drawdown as a positive fraction; None where no limit is set and nothing is checked."""

    max_staleness_bars: int
    max_drawdown: float
    max_slippage_ratio: float
    max_funding_bps: float
    max_position_usd: float | None = None
    max_exposure: float | None = None


@dataclass(frozen=True)
class KillSwitchReport:
    """The verdict with every check and the live files it was taken from."""

    run_id: str
    symbol: str
    now: dt.datetime
    status: Status
    checks: tuple[Check, ...]
    data_used: tuple[dict[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "version": STATUS_VERSION,
            "status": self.status,
            "exit_code": EXIT_CODES[self.status],
            "run_id": self.run_id,
            "symbol": self.symbol,
            "time": self.now.isoformat(),
            "checks": [check.as_json() for check in self.checks],
            "data_used": list(self.data_used),
        }


def examine_and_write(
    root: DataRoot, spec_root: Path, run_id: str, symbol: str, limits: Limits, now: dt.datetime
) -> tuple[KillSwitchReport, str | None]:
    """Check, write ``kill_switch_status.json`` into the run's folder; the report, and why it could not be written.

    Where it could not be written (no such run, no permission, full disk) the report is HALT, whatever its checks say.
    """
    report = examine(root, spec_root, run_id, symbol, limits, now)
    try:
        manifest_exists = root.is_marked() and root.run(run_id).is_dir()
        if not manifest_exists:
            return report, f"there is no folder of run {run_id}, so no status file was written"
        write_json(root.kill_switch_status(run_id), report.as_json())
        told = [(check.name, str(check.status), check.text) for check in report.checks]
        leave_word(root, run_id, "kill_switch", report.status, now, told, symbol=symbol)
    except (BacktestError, OSError) as fault:
        text = f"{fault} An earlier status file, if there is one, does not hold any more."
        return _halted(report, broken("status_file", str(fault))), text
    return report, None


def examine(
    root: DataRoot, spec_root: Path, run_id: str, symbol: str, limits: Limits, now: dt.datetime
) -> KillSwitchReport:
    """Every check; what is unreadable or contradicts itself is HALT, what has no data WARN. Writes nothing."""
    checks = [_guarded("run", lambda: _run_check(root, run_id, symbol))]
    checks.append(_guarded("staleness", lambda: _staleness(root, symbol, limits, now)))
    equity = _live(root, run_id, "equity", now)
    fills = _live(root, run_id, "fills", now)
    checks.append(_guarded("drawdown", lambda: _drawdown(root, run_id, equity, limits, now)))
    checks.append(
        _on(fills, "slippage", lambda rows, data: slippage_check(rows, symbol, limits.max_slippage_ratio, data=data))
    )
    checks += _position_checks(root, symbol, limits, equity, fills)
    checks.append(_guarded("funding", lambda: _funding(root, symbol, limits, now)))
    checks.append(_guarded("feature_drift", lambda: _drift(root, spec_root, run_id, symbol)))
    checks.append(
        _guarded("live_edge", lambda: _on(fills, "live_edge", lambda rows, data: _edge(root, run_id, rows, now, data)))
    )
    used = tuple(
        {"file": part.path.relative_to(root.path).as_posix(), "content_hash": part.digest}
        for part in (equity, fills)
        if part.path is not None and part.digest is not None
    )
    return KillSwitchReport(run_id, symbol, now, verdict(checks), tuple(checks), used)


def _halted(report: KillSwitchReport, check: Check) -> KillSwitchReport:
    return KillSwitchReport(report.run_id, report.symbol, report.now, "HALT", (*report.checks, check), report.data_used)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check, or HALT where its data are unreadable or it fails in any other way."""
    import polars as pl

    try:
        return check()
    except TooLittleDataError as fault:
        return without_data(name, str(fault))
    except (BacktestError, OSError) as fault:
        return broken(name, str(fault))
    except (Exception, pl.exceptions.PanicException) as fault:  # noqa: BLE001 - whatever it is, trading may not go on
        return broken(name, f"the check failed: {fault!r}")


def _run_check(root: DataRoot, run_id: str, symbol: str) -> Check:
    manifest = manifest_of(root, run_id)
    if manifest.get("run_id") != run_id:
        return broken("run", f"its manifest is that of run {manifest.get('run_id')!r}")
    if manifest.get("status") != "finished":
        return broken(
            "run", f"its status is {manifest.get('status')!r}, not 'finished'; see backtest runs show {run_id}"
        )
    symbols = manifest.get("symbols")
    if not isinstance(symbols, list) or symbol not in symbols:
        return broken("run", f"{symbol} is not among its symbols: {shown_symbols(symbols)}")
    return Check("run", "PASS", "finished, and one of its symbols", data=f"runs/{run_id}/run_manifest.json")


def _staleness(root: DataRoot, symbol: str, limits: Limits, now: dt.datetime) -> Check:
    from backtest.pipeline.freshness import lake_freshness

    report = lake_freshness(root, [checked_symbol(symbol)], now, limits.max_staleness_bars)
    required = [row for row in report.rows if row.newest.is_required]
    if not required and report.findings:
        return broken("staleness", report.findings[0])
    return staleness_check(required[0] if required else None, limits.max_staleness_bars)


# -- the live account ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Live:
    """A live file: its rows, or why there are none."""

    kind: Kind
    folder: Path
    path: Path | None = None
    rows: pl.DataFrame | None = None
    digest: str | None = None
    fault: str | None = None


def _live(root: DataRoot, run_id: str, kind: Kind, now: dt.datetime) -> _Live:
    import polars as pl

    folder = root.live(run_id)
    path = None
    try:
        path = live_file(root, run_id, kind)
        if path is None:
            return _Live(kind, folder)
        digest = blake2b_hash(path)
        rows = (sound_equity if kind == "equity" else sound_fills)(read_live(path), now)
        if blake2b_hash(path) != digest:
            return _Live(
                kind, folder, path, fault=f"{path} was changed while it was read; write it aside and rename it"
            )
    except (BacktestError, OSError) as fault:
        return _Live(kind, folder, path, fault=str(fault))
    except (Exception, pl.exceptions.PanicException) as fault:  # noqa: BLE001 - whatever it is, trading may not go on
        return _Live(kind, folder, path, fault=f"{path} cannot be read: {fault!r}")
    return _Live(kind, folder, path, rows, digest)


def _on(live: _Live, name: str, check: Callable[[pl.DataFrame, str], Check]) -> Check:
    """A check on a live file: WARN where there is none, HALT where it is not sound."""
    if live.fault is not None:
        return broken(name, live.fault)
    if live.rows is None or live.path is None:
        columns = ", ".join(EQUITY_COLUMNS if live.kind == "equity" else FILL_COLUMNS)
        return without_data(name, f"there is no {live.folder / live.kind}.(csv|parquet|jsonl) with {columns}")
    return check(live.rows, f"live {live.path.name}")


def _drawdown(root: DataRoot, run_id: str, equity: _Live, limits: Limits, now: dt.datetime) -> Check:
    """That of the live equity, or of the run's backtest where there is no live file."""
    path = root.backtest_equity(run_id)
    has_live = equity.path is not None or equity.fault is not None
    if not has_live and not path.is_file():
        columns = ", ".join(EQUITY_COLUMNS)
        live = f"{equity.folder / equity.kind}.(csv|parquet|jsonl) with {columns}"
        return without_data("drawdown", f"there is no {live}, and no backtest of the run")
    if has_live:
        return _on(equity, "drawdown", lambda rows, data: drawdown_check(rows, limits.max_drawdown, now, data=data))
    rows = read_live(path)
    name = next((column for column in BACKTEST_EQUITY_COLUMNS if column in rows.columns), None)
    if name is None or "timestamp" not in rows.columns:
        raise DataError(f"{path} has no timestamp and {BACKTEST_EQUITY_COLUMNS[0]}; it has {', '.join(rows.columns)}.")
    sound = sound_equity(rows.select("timestamp", rows[name].alias("equity_usd")), now)
    return backtest_drawdown_check(sound, limits.max_drawdown, data=f"reports/backtest/{run_id}/{path.name}")


def _drift(root: DataRoot, spec_root: Path, run_id: str, symbol: str) -> Check:
    from backtest.monitoring.feature_drift import DriftWindows
    from backtest.pipeline.feature_drift import examine_drift

    report = examine_drift(root, spec_root, run_id, symbol, DriftWindows())
    drifted = [(drift.feature, len(report.usage[drift.feature].blueprints)) for drift in report.drifted]
    n_tested = sum(drift.p_value is not None for drift in report.features)
    if not n_tested:
        return without_data("feature_drift", f"the features of {symbol} have no values")
    return drift_check(drifted, n_tested, data=f"features {symbol}", time=report.live[1])


def _edge(root: DataRoot, run_id: str, fills: pl.DataFrame, now: dt.datetime, data: str) -> Check:
    """The live trades of the run's blueprints against their intervals."""
    from backtest.monitoring.live_edge import Promise, edge_evidence, round_trips
    from backtest.pipeline.feature_drift import read_blueprints

    promises = {}
    for blueprint in read_blueprints(root, run_id):
        try:
            promise = Promise(
                str(blueprint["blueprint_id"]),
                float(blueprint["posterior_low"]),
                float(blueprint["expectancy_standard_error"]) * math.sqrt(float(blueprint["n_events"])),
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(
                f"{root.blueprints(run_id)}: a blueprint lacks what live trades are judged by: {fault}"
            ) from None
        promises[promise.blueprint_id] = promise
    if not promises:
        return without_data("live_edge", f"run {run_id} has no blueprints")
    return edge_check(edge_evidence(round_trips(fills), promises, now), len(promises), data=data)


def _position_checks(root: DataRoot, symbol: str, limits: Limits, equity: _Live, fills: _Live) -> list[Check]:
    """The checks on positions whose limits are set."""
    checks = []
    if limits.max_position_usd is not None:
        limit_usd = limits.max_position_usd
        price = _last_close(root, symbol)
        checks.append(
            _on(fills, "position", lambda rows, data: position_check(rows, symbol, price, limit_usd, data=data))
        )
    if limits.max_exposure is not None:
        limit = limits.max_exposure

        def exposure(rows: pl.DataFrame, data: str) -> Check:
            prices = {name: close for name in rows["symbol"].unique() if (close := _last_close(root, name)) is not None}
            return _on(equity, "exposure", lambda values, _: exposure_check(rows, values, prices, limit, data=data))

        checks.append(_on(fills, "exposure", exposure))
    return checks


def _last_close(root: DataRoot, symbol: str) -> float | None:
    """Newest cleaned close; None where there is none, and positions are then valued at the price of the last fill."""
    row = _newest_row(root, symbol, "close")
    return None if row is None else float(row["close"])


def _funding(root: DataRoot, symbol: str, limits: Limits, now: dt.datetime) -> Check:
    row = _newest_row(root, symbol, "funding_stamp_rate", "funding_interval_hours")
    if row is None:
        return without_data("funding", f"the cleaned bars of {symbol} have no funding rate in their newest month")
    hours = row["funding_interval_hours"]
    return funding_check(
        float(row["funding_stamp_rate"]),
        DEFAULT_FUNDING_HOURS if hours is None else float(hours),
        row["timestamp"],
        now,
        limits.max_funding_bps,
        data=f"cleaned perp bars_5m {symbol}",
    )


def _newest_row(root: DataRoot, symbol: str, value: str, *others: str) -> dict[str, Any] | None:
    """The newest cleaned bar of the newest two months in which `value` is there; None where there is none."""
    import polars as pl

    from backtest.lake.files import read_parquet

    for path in reversed(month_files(root.cleaned_bars("perp", checked_symbol(symbol)))[-2:]):
        frame = read_parquet(path)
        if value not in frame.columns:
            return None
        columns = ["timestamp", value, *(name for name in others if name in frame.columns)]
        rows = frame.select(columns).filter(pl.col(value).is_not_null()).tail(1)
        if len(rows):
            return {**dict.fromkeys(others), **rows.row(0, named=True)}
    return None
