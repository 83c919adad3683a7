"""Clean, cross-section, features, states and events on a simulated lake: five years, one day more, ten symbols."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, cast

NAME = "clean to events: 5 years × 2 symbols"
SPEC_ROOT = Path(__file__).resolve().parents[2] / "spec"
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
STAGES = ("clean", "cross_section", "features", "detect", "occurrences")
SYMBOLS = tuple(f"{name}USDT" for name in ("BTC", "ETH", "SOL", "XRP", "BNB", "ADA", "DOGE", "LTC", "LINK", "DOT"))
SECONDS_BETWEEN_SAMPLES = 0.05


def run() -> dict[str, float]:
    """Seconds, and megabytes of all processes of a run together (Linux only: 0 elsewhere)."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        five_years = 1826
        _simulate(Path(folder) / "long", SYMBOLS[:2], five_years + 1, START + dt.timedelta(days=five_years))
        figures["5 years × 2 s"], figures["5 years × 2 MB"] = _measured(Path(folder) / "long")
        figures["nothing new s"] = _seconds(Path(folder) / "long")
        _simulate(Path(folder) / "long", SYMBOLS[:2], five_years + 1, new_since=dt.datetime(2024, 12, 1, tzinfo=dt.UTC))
        figures["one day more s"] = _seconds(Path(folder) / "long")
        for n_symbols in (2, 10):
            root = Path(folder) / f"{n_symbols}"
            _simulate(root, SYMBOLS[:n_symbols], 365)
            figures[f"1 year × {n_symbols} s"], figures[f"1 year × {n_symbols} MB"] = _measured(root)
    return figures


def _simulate(
    path: Path,
    symbols: tuple[str, ...],
    days: int,
    known_until: dt.datetime | None = None,
    new_since: dt.datetime | None = None,
) -> None:
    """Raw data sets in a lake, as far as they are known; months before `new_since` are left as they are."""
    import polars as pl

    from backtest.lake.paths import DataRoot
    from backtest.lake.raw import write_raw
    from backtest.sources.simulated import SimulationSettings, simulate_market

    root = DataRoot(path)
    root.create()
    market = simulate_market(SimulationSettings(symbols=symbols, start=START, days=days, seed=7))
    for (market_name, symbol, dataset), frame in market.datasets.items():
        known = frame if known_until is None else frame.filter(pl.col("timestamp") < known_until)
        known = known if new_since is None else known.filter(pl.col("timestamp") >= new_since)
        write_raw(root, "simulated", cast("Any", market_name), symbol, dataset, known, "simulated")


def _seconds(path: Path) -> float:
    """Seconds of a run on the lake with the stage cache on."""
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.runs import Request, execute

    begun = time.perf_counter()
    request = Request(DataRoot(path), SPEC_ROOT, "bench", cache=True)
    execute(request, STAGES, now=dt.datetime.now(dt.UTC), command="bench").raise_for_failure()
    return time.perf_counter() - begun


def _measured(path: Path) -> tuple[float, float]:
    """The same, and the largest memory of the run's processes together; looking at it takes a twentieth of a processor."""
    finished = threading.Event()
    peak = [0.0]

    def sample() -> None:
        while not finished.wait(SECONDS_BETWEEN_SAMPLES):
            peak[0] = max(peak[0], _megabytes_of_tree(os.getpid()))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        return _seconds(path), peak[0]
    finally:
        finished.set()
        sampler.join()


def _megabytes_of_tree(root: int) -> float:
    """Resident memory of a process and all below it; pages that processes share are counted in each."""
    parents, sizes = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            sizes[int(process.name)] = int((process / "statm").read_text().split()[1]) * page
        except (OSError, IndexError):
            continue
    below = {root}
    while added := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= added
    return sum(sizes.get(pid, 0) for pid in below) / 1e6
