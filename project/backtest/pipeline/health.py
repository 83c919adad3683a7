"""What is wrong with an installation and its data root: findings, each with how bad it is and how to mend it."""

from __future__ import annotations

import calendar
import datetime as dt
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import backtest
from backtest.errors import BacktestError
from backtest.lake.checksums import is_whole
from backtest.lake.cleaned import read_cleaned_quality
from backtest.lake.files import TEMPORARY_PREFIX, has_content, parquet_metadata
from backtest.lake.leftovers import left_by_dead
from backtest.lake.months import month_files
from backtest.lake.paths import DataRoot
from backtest.outside_bytes import arrow_table
from backtest.pipeline.history import RunSummary, run_summaries
from backtest.pipeline.lock import file_is_held
from backtest.pipeline.manifests import DONE, earlier_record

Severity = Literal["error", "warning", "note"]

SUPPORTED_PYTHON: Final = ((3, 11), (3, 14))
LITTLE_SPACE_BYTES: Final = 1 << 30
SOME_SPACE_BYTES: Final = 5 << 30
# A lake with more gaps than this is not what the venue has published; its archives miss far less.
MANY_GAPS_SHARE: Final = 0.01
FOLDERS: Final = ("lake", "runs", "reports", "events")
SHARED_LAKE: Final = ("lake/cleaned/", "lake/features/")
REQUIREMENTS_SECONDS: Final = 60
MAX_NAMED: Final = 5


@dataclass(frozen=True)
class HealthFinding:
    """One thing that is wrong (error: results or runs suffer; warning: they may) or worth knowing (note)."""

    area: str
    severity: Severity
    text: str
    remedy: str


def examine(root: DataRoot, spec_root: Path, *, now: dt.datetime, deep: bool = False) -> list[HealthFinding]:
    """Look at everything; `deep` also reads each recorded output (its hash) and raw file (its checksum). Changes nothing."""
    found = [*_environment(), *_spec(spec_root)]
    try:
        root.require()
    except BacktestError as fault:
        return [*found, HealthFinding("data root", "error", str(fault), "BACKTEST_DATA_ROOT=… or make demo")]
    found += [*_space(root), *_permissions(root), *_leftovers(root, now)]
    runs = run_summaries(root)
    found += [*_runs(runs), *_locks(root, runs), *_ledger(root), *_quality(root, spec_root)]
    if deep:
        found += [*_hashes(root, runs), *_raw_files(root)]
    return found


# -- environment and spec -----------------------------------------------------------------------------------


def _environment() -> Iterator[HealthFinding]:
    low, high = SUPPORTED_PYTHON
    if not low <= sys.version_info[:2] < high:
        yield HealthFinding(
            "environment",
            "error",
            f"Python {sys.version_info.major}.{sys.version_info.minor} is not supported (3.11 to 3.13 are)",
            "bash project/scripts/set_up_environment.sh --fresh",
        )
    script = Path(backtest.__file__).resolve().parents[1] / "scripts" / "requirements.py"
    if not script.is_file():
        return
    try:
        done = subprocess.run(
            [sys.executable, str(script), "installed"],
            capture_output=True,
            text=True,
            check=False,
            timeout=REQUIREMENTS_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        yield HealthFinding("environment", "warning", f"the pins could not be compared: {fault}", "run make check")
        return
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line and not line.startswith("mended by")]
        text = f"not the locked versions: {_some(told)}"
        yield HealthFinding("environment", "warning", text, "bash project/scripts/set_up_environment.sh")


def _spec(spec_root: Path) -> Iterator[HealthFinding]:
    from backtest.spec.loader import load_spec

    try:
        load_spec(spec_root)
    except BacktestError as fault:
        yield HealthFinding("spec", "error", str(fault), "mend the files it names, then: backtest spec check")


# -- the data root ------------------------------------------------------------------------------------------


def _space(root: DataRoot) -> Iterator[HealthFinding]:
    free = shutil.disk_usage(root.path).free
    if free < SOME_SPACE_BYTES:
        yield HealthFinding(
            "data root",
            "error" if free < LITTLE_SPACE_BYTES else "warning",
            f"{free / (1 << 30):.1f} GiB are free on the disk of {root.path}",
            "free space there; make clean-runtime removes runs and reports",
        )


def _permissions(root: DataRoot) -> Iterator[HealthFinding]:
    for folder in (root.path, *(root.path / name for name in FOLDERS)):
        if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            remedy = f"chmod u+rwx {shlex.quote(str(folder))}, or its owner has to"
            yield HealthFinding("data root", "error", f"{folder} cannot be read and written by this user", remedy)
        if folder.is_symlink() and folder != root.path:
            text = f"{folder} is a symbolic link: clean-up stops at it, its target lies outside the data root"
            yield HealthFinding("data root", "note", text, "nothing, where it is meant")


def _leftovers(root: DataRoot, now: dt.datetime) -> Iterator[HealthFinding]:
    left = left_by_dead(root.path)
    if left:
        oldest = min(path.stat().st_mtime for path in left)
        text = (
            f"{len(left)} half-written file(s) of processes that ended, the oldest of "
            f"{(now.timestamp() - oldest) / 3600:.1f} hours ago: {_some([str(path) for path in left])}"
        )
        remedy = f"the next run of the same RUN_ID removes its own; the rest: rm {_quoted(left)}"
        yield HealthFinding("data root", "warning", text, remedy)


def _runs(runs: list[RunSummary]) -> Iterator[HealthFinding]:
    for run in runs:
        if run.status == "crashed":
            text = f"run {run.run_id} says running, but no process holds it: it was ended by force"
            yield HealthFinding("runs", "warning", text, f"backtest runs show {run.run_id} names the command to go on")
        elif run.status == "unreadable":
            text = f"run {run.run_id} has no readable manifest"
            yield HealthFinding("runs", "warning", text, f"run it again with RUN_ID={run.run_id}, or remove its folder")
        elif run.status in ("failed", "interrupted"):
            text = f"run {run.run_id} {run.status}" + (f" at {run.failed_stage}" if run.failed_stage else "")
            yield HealthFinding("runs", "note", text, f"backtest runs show {run.run_id}")


def _locks(root: DataRoot, runs: list[RunSummary]) -> Iterator[HealthFinding]:
    """Locks with an entry that no process holds; those of crashed runs are told with their run."""
    told = {root.run(run.run_id) for run in runs if run.status == "crashed"}
    locks = [*root.path.glob("runs/*/.lock"), *root.stage_records().glob("*.lock")]
    stray = [
        path
        for path in sorted(locks)
        if path.parent not in told and path.is_file() and path.stat().st_size and not file_is_held(path)
    ]
    if stray:
        text = f"{len(stray)} lock(s) left by processes that ended: {_some([str(path) for path in stray])}"
        yield HealthFinding("data root", "note", text, "nothing: the next run takes them over")


# -- the lake -----------------------------------------------------------------------------------------------


def _ledger(root: DataRoot) -> Iterator[HealthFinding]:
    """The search ledger is as it was written, line by line and list by list."""
    from backtest.lake.ledger import verify

    try:
        verify(root)
    except BacktestError as fault:
        yield HealthFinding("search ledger", "error", str(fault), f"restore {root.ledger} from a backup")


def _quality(root: DataRoot, spec_root: Path) -> Iterator[HealthFinding]:
    from backtest.lake.newest import known_symbols

    symbols = known_symbols(root)
    if not symbols:
        text = f"{root.lake} holds no bars of any symbol"
        yield HealthFinding("lake", "warning", text, "make run SYMBOLS=BTCUSDT,ETHUSDT START=2023-01-01")
    for symbol in symbols:
        if not month_files(root.cleaned_bars("perp", symbol)):
            text = f"{symbol} has raw bars, but no cleaned ones"
            yield HealthFinding("lake", "warning", text, f"make discover-edges-from-raw SYMBOLS={symbol}")
            continue
        yield from _gaps(root, symbol)
        yield from _features(root, spec_root, symbol)
        yield from _datasets(root, spec_root, symbol)


def _gaps(root: DataRoot, symbol: str) -> Iterator[HealthFinding]:
    import polars as pl

    columns = {"month": pl.String(), "bars": pl.Int64(), "gap_bars": pl.Int64(), "longest_gap_bars": pl.Int64()}
    try:
        quality = read_cleaned_quality(root, "perp", symbol, columns).select(list(columns)).sort("gap_bars")
    except BacktestError as fault:
        text = f"{symbol}: the quality of its cleaned bars cannot be read: {fault}"
        yield HealthFinding("lake", "warning", text, f"clean again: make discover-edges-from-raw SYMBOLS={symbol}")
        return
    worst = quality.tail(1).to_dicts()
    bars, gaps = int(quality["bars"].sum()), int(quality["gap_bars"].sum())
    if gaps:
        share, month = gaps / (bars + gaps), worst[0]["month"]
        told = f"{max(share, 1e-4):.2%}"  # a gap is never told as none
        longest = max(quality["longest_gap_bars"])
        yield HealthFinding(
            "lake",
            "warning" if share > MANY_GAPS_SHARE else "note",
            f"{symbol}: {gaps:,} of {bars + gaps:,} bars ({told}) are gaps, the longest {longest:,} bars, most in {month}",
            f"fetch that month again: make run SYMBOLS={symbol} START={month}-01 END={_last_day(month)}",
        )


def _last_day(month: str) -> dt.date:
    """Of ``2024-08``."""
    year, number = map(int, month.split("-"))
    return dt.date(year, number, calendar.monthrange(year, number)[1])


def _features(root: DataRoot, spec_root: Path, symbol: str) -> Iterator[HealthFinding]:
    from backtest.pipeline.frames import FEATURES_HASH, features_hash
    from backtest.spec.loader import load_spec

    files = month_files(root.features(symbol))
    again = f"make discover-edges-from-raw SYMBOLS={symbol}"
    if not files:
        yield HealthFinding("lake", "note", f"{symbol} has no features yet", again)
        return
    try:
        expected = features_hash(load_spec(spec_root))
        other = [path for path in files if parquet_metadata(path).get(FEATURES_HASH) != expected]
    except BacktestError as fault:
        yield HealthFinding("lake", "error", f"{symbol}: {fault}", again)
        return
    if other:
        text = f"{symbol}: {len(other)} of {len(files)} months of features were built from other definitions than the spec's"
        yield HealthFinding("lake", "warning", text, again)


def _datasets(root: DataRoot, spec_root: Path, symbol: str) -> Iterator[HealthFinding]:
    """Data sets that the spec's columns come from and the lake does not have of the symbol."""
    from backtest.spec.loader import load_spec

    have = {folder.name for folder in root.lake.glob(f"raw/*/perp/{symbol}/*") if month_files(folder)}
    if month_files(root.cleaned_bars("spot", symbol)):
        have.add("spot")
    try:
        columns = load_spec(spec_root).columns.values()
    except BacktestError:
        return  # told with the spec
    # A data set is named by its first word: "spot ohlcv_5m", "ohlcv_5m with quote and taker volumes".
    # What comes from other symbols' bars or from a calendar ("bars of …", "calendar …") is no data set of the symbol.
    named = {column.dataset.split()[0] for column in columns} - {"ohlcv_5m", "bars", "calendar"}
    missing = sorted(named - have)
    if missing:
        text = f"{symbol} has no {', '.join(missing)}: events that need them are not tested"
        yield HealthFinding("lake", "note", text, "backtest ingest --help, or backtest import-raw --help")


# -- recorded outputs ---------------------------------------------------------------------------------------


def _hashes(root: DataRoot, runs: list[RunSummary]) -> Iterator[HealthFinding]:
    """Outputs that are no longer what was recorded: of the shared lake by its records, of runs by their manifests."""
    for path in sorted(root.stage_records().glob("*.json")):
        yield from _changed_outputs(root, path, shared=True)
    for run in runs:
        for path in sorted(root.run(run.run_id).glob("*.json")):
            if path.name != "run_manifest.json":
                yield from _changed_outputs(root, path, shared=False)


def _raw_files(root: DataRoot) -> Iterator[HealthFinding]:
    """Raw files that cannot be read to their end; nothing records their hash, for they may be an operator's own."""
    for path in sorted(root.lake.glob("raw/**/*.parquet")):
        if path.name.startswith(TEMPORARY_PREFIX):
            continue
        try:
            if not is_whole(path):
                raise ValueError("its bytes have not the checksum they were written with")
            arrow_table(path)
        except (OSError, ValueError) as fault:
            text = f"{path.relative_to(root.path)} is damaged: {str(fault)[:200]}"
            remedy = (
                f"rm {_quoted([path])}, then fetch it again: make run SYMBOLS=… START=… END=… (or backtest import-raw)"
            )
            yield HealthFinding("hashes", "error", text, remedy)


def _changed_outputs(root: DataRoot, record_path: Path, *, shared: bool) -> Iterator[HealthFinding]:
    record = earlier_record(record_path)
    if record is None:
        text = f"{record_path} is unreadable"
        yield HealthFinding("hashes", "warning", text, f"rm {_quoted([record_path])}; the next run makes it again")
        return
    outputs: Any = record.get("outputs")
    if record.get("status") not in DONE or not isinstance(outputs, dict):
        return
    wrong = []
    for name, digest in sorted(outputs.items()):
        path = root.path / name
        if name.startswith(SHARED_LAKE) != shared or not path.is_relative_to(root.path) or ".." in path.parts:
            continue
        try:
            if not path.is_file():
                wrong.append(f"{name} is gone")
            elif not has_content(path, digest):
                wrong.append(f"{name} has other content than recorded")
        except OSError as fault:
            wrong.append(f"{name[:100]} cannot be read: {fault.strerror or fault}")
    if wrong:
        made_by = record.get("instance") or record_path.stem
        remedy = "make discover-edges-from-raw, which makes again what differs" + (
            "" if shared else f" (RUN_ID={record.get('run_id')})"
        )
        yield HealthFinding("hashes", "error", f"{made_by}: {_some(wrong)}", remedy)


def _some(texts: list[str]) -> str:
    more = f"; … and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return "; ".join(texts[:MAX_NAMED]) + more


def _quoted(paths: list[Path]) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths[:MAX_NAMED]) + (" …" if len(paths) > MAX_NAMED else "")
