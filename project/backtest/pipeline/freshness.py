"""The freshness of a lake: what it has of each symbol, judged against now, and the command that mends each finding."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.errors import BacktestError
from backtest.lake.paths import ENVIRONMENT_VARIABLE, DataRoot

if TYPE_CHECKING:
    from backtest.monitoring.freshness import Freshness


@dataclass(frozen=True)
class FreshnessReport:
    """The verdict on every data set, and a sentence with its remedy for each thing that is wrong."""

    now: dt.datetime
    max_staleness_bars: int
    rows: tuple[Freshness, ...]
    findings: tuple[str, ...]

    @property
    def is_fresh(self) -> bool:
        return not self.findings and any(row.newest.is_required for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "status": "fresh" if self.is_fresh else "stale",
            "now": self.now.isoformat(),
            "max_staleness_bars": self.max_staleness_bars,
            "datasets": [row.row() for row in self.rows],
            "findings": list(self.findings),
        }


def lake_freshness(
    root: DataRoot, symbols: Sequence[str], now: dt.datetime, max_staleness_bars: int
) -> FreshnessReport:
    """Judge `symbols`, or every symbol of the lake where none is given; a missing data root or symbol is a finding."""
    from backtest.lake.newest import known_symbols, newest_rows
    from backtest.monitoring.freshness import Newest, judged

    try:
        root.require()
    except BacktestError as fault:
        return FreshnessReport(now, max_staleness_bars, (), (str(fault),))
    checked = list(symbols) or known_symbols(root)
    if not checked:
        finding = (
            f"{root.path} holds no bars of any symbol. Get some: make run SYMBOLS=BTCUSDT,ETHUSDT START=2023-01-01 "
            f"END={now:%Y-%m-%d}; or set {ENVIRONMENT_VARIABLE} to another data root."
        )
        return FreshnessReport(now, max_staleness_bars, (), (finding,))
    newest = [Newest(symbol=symbol, **vars(row)) for symbol in checked for row in newest_rows(root, symbol, now)]
    rows = tuple(judged(newest, now, max_staleness_bars))
    findings = tuple(_finding(root, row, now) for row in rows if row.is_finding)
    return FreshnessReport(now, max_staleness_bars, rows, findings)


def _finding(root: DataRoot, row: Freshness, now: dt.datetime) -> str:
    """What is wrong with a required data set, and how to mend it."""
    symbol, stamp = row.newest.symbol, row.newest.stamp
    text = f"{symbol}: cleaned perpetual bars are {row.status}: {row.text}"
    if stamp is not None:
        text += f" (last complete bar opens {stamp:%Y-%m-%d %H:%M} UTC)"
    if row.status == "future":
        return f"{text}. Set this machine's clock (timedatectl), or remove the wrong rows: {_folder(root, symbol)}"
    if row.status == "unreadable":
        return f"{text}. Remove the damaged file, then clean again: make run SYMBOLS={symbol} START=… END=…"
    return f"{text}. {_remedy(root, symbol, stamp, now)}"


def _remedy(root: DataRoot, symbol: str, stamp: dt.datetime | None, now: dt.datetime) -> str:
    from backtest.lake.newest import known_symbols, venues_of

    start = f"{stamp:%Y-%m-%d}" if stamp is not None else "2023-01-01"
    if venues_of(root, symbol) == ["simulated"]:
        return (
            "Its raw bars are simulated and do not go on with time; a monitored symbol needs real ones, in a data root "
            f"of its own: {ENVIRONMENT_VARIABLE}=… make run SYMBOLS={symbol} START={start} END={now:%Y-%m-%d}"
        )
    known = known_symbols(root)
    there = "" if symbol in known or not known else f"The lake has: {', '.join(known)}. "
    return f"{there}Fetch and clean what is new: make run SYMBOLS={symbol} START={start} END={now:%Y-%m-%d}"


def _folder(root: DataRoot, symbol: str) -> str:
    return shlex.quote(str(root.cleaned_bars("perp", symbol)))
