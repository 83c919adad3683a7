"""A finished run as frames, for notebooks and scripts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.errors import DataError, RunError, did_you_mean
from backtest.lake.paths import DataRoot, checked_run_id

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class OpenRun:
    """What a run made; each property reads its file, as a Polars frame (``.to_pandas()`` for pandas).

    Attributes
    ----------
    root : DataRoot
    run_id : str
    """

    root: DataRoot
    run_id: str

    @property
    def manifest(self) -> dict[str, Any]:
        """What was asked for, and what became of it: window, symbols, hashes, stages, warnings."""
        from backtest.lake.files import read_json

        found: dict[str, Any] = read_json(self.root.run_manifest(self.run_id))
        return found

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the run."""
        return tuple(self.manifest["symbols"])

    @property
    def events(self) -> pl.DataFrame:
        """One row an occurrence: event_id, event_type, symbol, timestamp (UTC, open of bar), direction, strength, states."""
        return self._frame(self.root.events(self.run_id), f"make discover-edges RUN_ID={self.run_id}")

    @property
    def candidates(self) -> pl.DataFrame:
        """One row a hypothesis (`backtest.discovery.candidates.CANDIDATE_SCHEMA`); returns, costs: fractions per trade."""
        from backtest.pipeline.results import run_candidates

        return run_candidates(self.root, self.run_id)

    @property
    def trades(self) -> pl.DataFrame:
        """One row a trade of the run's backtest: times, prices, USD earned and paid, reason of the exit."""
        return self._frame(
            self.root.backtest(self.run_id, "trades.parquet"),
            f"backtest simulate --run-id {self.run_id} --strategies blueprints",
        )

    @property
    def equity(self) -> pl.DataFrame:
        """One row a bar of the run's backtest: equity (USD, marked to market), exposure and margin."""
        return self._frame(
            self.root.backtest_equity(self.run_id), f"backtest simulate --run-id {self.run_id} --strategies blueprints"
        )

    def features(self, symbol: str, start: dt.datetime | None = None, end: dt.datetime | None = None) -> pl.DataFrame:
        """One row a bar of the symbol with all its features, start ≤ timestamp < end (tz-aware; the whole lake without).

        The lake has one set of features for all runs: those that were built last.
        """
        return self._months(self.root.features(symbol), symbol, start, end)

    def bars(self, symbol: str, start: dt.datetime | None = None, end: dt.datetime | None = None) -> pl.DataFrame:
        """One row a cleaned bar of the perpetual, with taint and the data sets beside it; bounds as of `features`."""
        return self._months(self.root.cleaned_bars("perp", symbol), symbol, start, end)

    def sql(self, statement: str) -> pl.DataFrame:
        """Rows of one statement that reads, over the views of all runs of the data root (`backtest sql` lists them)."""
        from backtest.lake.views import query

        return query(self.root, statement)

    def _months(self, folder: Path, symbol: str, start: dt.datetime | None, end: dt.datetime | None) -> pl.DataFrame:
        from backtest.lake.months import month_files, read_months

        if not month_files(folder):
            raise DataError(f"{folder} holds nothing of {symbol}. Make it: make run SYMBOLS={symbol}")
        return read_months(folder, start, end)

    def _frame(self, path: Path, command: str) -> pl.DataFrame:
        from backtest.lake.files import read_parquet

        if not path.is_file():
            raise DataError(f"run {self.run_id} has no {path}. Make it: {command}")
        return read_parquet(path)


def open_run(run_id: str, data_root: str | Path | None = None) -> OpenRun:
    """A run of a data root (``$BACKTEST_DATA_ROOT`` or ``./data`` where it is left out).

    Raises
    ------
    RunError
        Where there is no such run; its text names near ones.
    """
    root = DataRoot.from_environment() if data_root is None else DataRoot(Path(data_root).absolute())
    root.require()
    if not root.run_manifest(checked_run_id(run_id)).is_file():
        known = sorted(path.parent.name for path in root.path.glob("runs/*/run_manifest.json"))
        raise RunError(
            f"{root.path} has no run {run_id}.{did_you_mean(run_id, known)} There are: {', '.join(known[-10:]) or 'none'}."
        )
    return OpenRun(root, run_id)
