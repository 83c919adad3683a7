"""Where everything lies under the data root, and which names may become part of a path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from backtest.errors import MisuseError
from backtest.outside_bytes import parsed_json

Market = Literal["perp", "spot"]

ENVIRONMENT_VARIABLE: Final = "BACKTEST_DATA_ROOT"
MARKER: Final = ".backtest-data-root"
LAYOUT_VERSION: Final = 1
SIGNAL_PARTS: Final = ("signals", "bars", "invalidation", "tested")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
REPORT_KINDS: Final = frozenset(
    {
        "phase2",
        "strategy_blueprints",
        "expectancy",
        "robustness",
        "backtest",
        "walk_forward",
        "promotion",
        "promotions",
        "calibration",
        "comparison",
        "drift",
    }
)
"""Folders under ``reports/`` that hold one kind of result each, ``reports/<kind>/<run_id>``. The pages of a run lie beside them
in ``reports/<run_id>``, so no run may be named like one."""
_TAKEN: Final = REPORT_KINDS | {"index.html"}
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9_]{1,39}")


def checked_run_id(run_id: str) -> str:
    """`run_id` itself where it is safe as a folder name; else MisuseError."""
    if not _RUN_ID.fullmatch(run_id) or ".." in run_id:
        raise MisuseError(
            f"RUN_ID {_shown(run_id)} is not allowed: 1 to 100 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit, without '..'. Example: RUN_ID=run_20250228"
        )
    if run_id.casefold() in _TAKEN:
        raise MisuseError(
            f"RUN_ID {run_id!r} is the name of a folder that reports/ keeps for itself, so the run's own pages would have no "
            f"place. Give it another one. Example: RUN_ID={run_id}_1"
        )
    return run_id


def checked_symbol(symbol: str) -> str:
    """`symbol` itself where it has the venue's form (upper case, digits, '_'); else MisuseError."""
    if not _SYMBOL.fullmatch(symbol):
        hint = f" Did you mean {symbol.upper()!r}?" if _SYMBOL.fullmatch(symbol.upper()) else ""
        raise MisuseError(
            f"symbol {_shown(symbol)} is not allowed: 2 to 40 upper-case letters, digits or '_'.{hint} "
            "Example: SYMBOLS=BTCUSDT,ETHUSDT"
        )
    return symbol


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "…")


def _is_foreign(entry: Path) -> bool:
    """Whether a folder that holds this entry may not become a data root: all but data roots inside it are foreign."""
    return not DataRoot(entry).is_marked()


@dataclass(frozen=True)
class DataRoot:
    """The folder that holds the lake, the runs and the reports.

    Every path the program writes comes from a method of this class.
    """

    path: Path

    @classmethod
    def from_environment(cls) -> DataRoot:
        """``$BACKTEST_DATA_ROOT``, or ``./data`` where that is not set."""
        return cls(Path(os.environ.get(ENVIRONMENT_VARIABLE) or "data").absolute())

    # -- the marker that makes a folder a data root -------------------------------------------------

    @property
    def marker(self) -> Path:
        return self.path / MARKER

    def is_marked(self) -> bool:
        return self.marker.is_file()

    def create(self) -> None:
        """Make the folder a data root; MisuseError where it holds something else already."""
        if self.is_marked():
            return
        if self.path.exists() and (not self.path.is_dir() or any(map(_is_foreign, self.path.iterdir()))):
            raise MisuseError(
                f"{self.path} is not empty and not a data root (it has no {MARKER} file), so nothing is written there. "
                f"Set {ENVIRONMENT_VARIABLE} to an empty or new folder, or to an existing data root."
            )
        from backtest.lake.files import write_json

        write_json(self.marker, {"layout": LAYOUT_VERSION})

    def require(self) -> None:
        """MisuseError unless the folder is a data root of this layout."""
        if not self.is_marked():
            found = "has no such marker" if self.path.is_dir() else "does not exist"
            raise MisuseError(
                f"{self.path} is not a data root: it {found} ({MARKER}). "
                f"Set {ENVIRONMENT_VARIABLE} to your data root, or make one with make demo, make run "
                "or backtest import-raw."
            )
        try:
            layout = parsed_json(self.marker.read_bytes())["layout"]
        except (ValueError, KeyError, TypeError, OSError) as fault:
            raise MisuseError(f'{self.marker} is unreadable ({fault}); it should hold {{"layout": 1}}.') from None
        if layout != LAYOUT_VERSION:
            raise MisuseError(f"{self.path} has layout {layout!r}; this version reads layout {LAYOUT_VERSION}.")

    # -- the lake -------------------------------------------------------------------------------------

    @property
    def lake(self) -> Path:
        return self.path / "lake"

    def raw(self, venue: str, market: Market, symbol: str, dataset: str) -> Path:
        return self.path.joinpath("lake", "raw", venue, market, checked_symbol(symbol), dataset)

    def raw_symbol(self, symbol: str) -> list[Path]:
        """The folders of a symbol's raw data sets that are there: one for each venue and market."""
        return list(self.lake.glob(f"raw/*/*/{checked_symbol(symbol)}"))

    def raw_quality(self, venue: str) -> Path:
        return self.lake / "raw" / venue / "quality.parquet"

    def cleaned_bars(self, market: Market, symbol: str) -> Path:
        return self.lake / "cleaned" / market / checked_symbol(symbol) / "bars_5m"

    def cleaned_quality(self, market: Market, symbol: str, quarter: str) -> Path:
        """What was found in a quarter such as ``2024Q1``, one row a month."""
        return self.lake / "cleaned" / market / checked_symbol(symbol) / "quality" / f"{quarter}.parquet"

    def cross_check(self, symbol: str) -> Path:
        """Spans in which the symbol's sources disagree."""
        return self.lake / "cleaned" / "perp" / checked_symbol(symbol) / "cross_check.parquet"

    def features(self, symbol: str) -> Path:
        return self.lake / "features" / "perp" / checked_symbol(symbol) / "5m" / "features_v1"

    def market_features(self) -> Path:
        """What all symbols of the lake do at one bar."""
        return self.lake / "features" / "perp" / "_market" / "5m" / "features_v1"

    def stage_records(self) -> Path:
        """Where stages that write to the shared lake leave what their cache needs."""
        return self.lake / "stage_records"

    def file_hashes(self) -> Path:
        """Hashes of files of the data root by what the file system says of them, so that they are not read again."""
        return self.lake / "file_hashes.json"

    def source_imports(self) -> Path:
        """What each source of the program imports, by its hash, so that it is not parsed again. No RUN_ID begins with a dot."""
        return self.path / "runs" / ".source_imports.json"

    # -- what was ever tried; no clean-up removes it ---------------------------------------------------

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    @property
    def ledger_searches(self) -> Path:
        return self.ledger / "searches.jsonl"

    @property
    def ledger_head(self) -> Path:
        return self.ledger / "head.json"

    def ledger_hypotheses(self, digest: str) -> Path:
        return self.ledger / "hypotheses" / f"{digest}.hex"

    # -- the statistics themselves; no clean-up removes it ---------------------------------------------

    def calibration(self, key: str) -> Path:
        """Figures of calibrated worlds that follow from the same code, spec, seed and data."""
        return self.path / "calibration" / key

    # -- one run --------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Path:
        return self.path / "runs" / checked_run_id(run_id)

    def run_manifest(self, run_id: str) -> Path:
        return self.run(run_id) / "run_manifest.json"

    def kill_switch_status(self, run_id: str) -> Path:
        return self.run(run_id) / "kill_switch_status.json"

    def monitor_word(self, run_id: str | None, monitor: str, symbol: str | None = None) -> Path:
        """The last word of a monitor on a run, or on the lake where there is no run."""
        folder = self.lake if run_id is None else self.run(run_id)
        name = monitor if symbol is None else f"{monitor}__{checked_symbol(symbol)}"
        return folder / "monitors" / f"{name}.json"

    def monitor_words(self, run_id: str | None) -> list[Path]:
        """What monitors left of a run, or of the lake."""
        return sorted(self.monitor_word(run_id, "any").parent.glob("*.json"))

    def live(self, run_id: str) -> Path:
        """Where a live account that trades the run's blueprints leaves its equity and fills."""
        return self.path / "live" / checked_run_id(run_id)

    def run_lake(self, run_id: str) -> Path:
        return self.lake / "runs" / checked_run_id(run_id)

    def states(self, run_id: str, symbol: str) -> Path:
        return self.run_lake(run_id) / "states" / f"{checked_symbol(symbol)}.parquet"

    def quarter_hits(self, run_id: str, symbol: str, quarter: str) -> Path:
        """Bars of a quarter at which conditions of event types hold."""
        return self.run_lake(run_id) / "detected" / checked_symbol(symbol) / f"{quarter}.hits.parquet"

    def quarter_states(self, run_id: str, symbol: str, quarter: str) -> Path:
        """States at each bar of a quarter, and what the events' quality is judged by."""
        return self.run_lake(run_id) / "detected" / checked_symbol(symbol) / f"{quarter}.states.parquet"

    def quarter_needs(self, run_id: str, symbol: str, quarter: str) -> Path:
        """Data sets that event types lack in a quarter."""
        return self.run_lake(run_id) / "detected" / checked_symbol(symbol) / f"{quarter}.needs.json"

    def symbol_events(self, run_id: str, symbol: str) -> Path:
        return self.run_lake(run_id) / "events" / f"{checked_symbol(symbol)}.parquet"

    def symbol_event_quality(self, run_id: str, symbol: str) -> Path:
        return self.run_lake(run_id) / "events" / f"{checked_symbol(symbol)}.quality.parquet"

    def event_quality(self, run_id: str) -> Path:
        return self.events(run_id).with_name("event_quality.parquet")

    def register(self, run_id: str) -> Path:
        return self.run_lake(run_id) / "register.parquet"

    def design(self, run_id: str) -> Path:
        """Window, folds and what each event can be tested on, fixed before any return is read."""
        return self.run_lake(run_id) / "design.json"

    def scores(self, run_id: str, event_type: str, symbol: str) -> Path:
        """Day scores of an event type on a symbol, series after series."""
        return self.run_lake(run_id) / "scores" / event_type / f"{checked_symbol(symbol)}.parquet"

    def score_series(self, run_id: str, event_type: str, symbol: str) -> Path:
        """The series that the rows of `scores` are in, with their totals."""
        return self.run_lake(run_id) / "scores" / event_type / f"{checked_symbol(symbol)}.series.parquet"

    def events(self, run_id: str) -> Path:
        return self.path / "events" / checked_run_id(run_id) / "events.parquet"

    def event_flags(self, run_id: str) -> Path:
        return self.path / "events" / checked_run_id(run_id) / "event_flags.parquet"

    def reports(self, kind: str, run_id: str) -> Path:
        """Where a run's results of one of the `REPORT_KINDS` lie."""
        return self.path / "reports" / kind / checked_run_id(run_id)

    def report_list(self) -> Path:
        """The folder of the list over all runs, which holds the pages of each of them too."""
        return self.path / "reports"

    def report(self, run_id: str) -> Path:
        """The pages of a run, a folder that opens from disk."""
        return self.report_list() / checked_run_id(run_id)

    def report_summary(self, run_id: str) -> Path:
        """What the list over all runs says of a run."""
        return self.run(run_id) / "report_summary.json"

    def candidates(self, run_id: str, event_type: str) -> Path:
        return self.reports("phase2", run_id) / event_type / "candidates.parquet"

    def variation_scores(self, run_id: str, symbol: str) -> Path:
        """Day scores of candidates' trades with something changed."""
        return self.run_lake(run_id) / "variations" / f"{checked_symbol(symbol)}.parquet"

    def walk_forward_scores(self, run_id: str, event_type: str, symbol: str) -> Path:
        """Day scores of all trades of an event type without drift."""
        return self.run_lake(run_id) / "walk_forward" / "scores" / event_type / f"{checked_symbol(symbol)}.parquet"

    def daily_bar_returns(self, run_id: str, symbol: str) -> Path:
        """What is needed to take the drift of any span of days off the scores."""
        return self.run_lake(run_id) / "walk_forward" / f"{checked_symbol(symbol)}.bar_returns.parquet"

    def walk_forward_tests(self, run_id: str, fold: str) -> Path:
        """What the finds of one training window earned in its test window."""
        return self.run_lake(run_id) / "walk_forward" / "folds" / f"{fold}.parquet"

    def walk_forward(self, run_id: str, name: str) -> Path:
        return self.reports("walk_forward", run_id) / name

    def promotions(self, run_id: str, name: str) -> Path:
        return self.reports("promotions", run_id) / name

    def expectancy(self, run_id: str) -> Path:
        return self.reports("expectancy", run_id) / "expectancy.parquet"

    def robustness(self, run_id: str) -> Path:
        return self.reports("expectancy", run_id) / "robustness.parquet"

    def robustness_checks(self, run_id: str) -> Path:
        return self.reports("expectancy", run_id) / "robustness_checks.parquet"

    def backtest_equity(self, run_id: str) -> Path:
        """Equity of the run's backtest, one row a bar."""
        return self.reports("backtest", run_id) / "equity.parquet"

    def placebo(self, run_id: str) -> Path:
        """Candidates and nearest misses beside the same trade at placebo times."""
        return self.reports("phase2", run_id) / "placebo.parquet"

    def blueprints(self, run_id: str) -> Path:
        return self.reports("strategy_blueprints", run_id) / "blueprints.jsonl"

    # -- the backtest of a run ------------------------------------------------------------------------

    def signals(self, run_id: str, symbol: str, part: str) -> Path:
        """What the chosen strategies ask to trade on a symbol; `part` is one of `SIGNAL_PARTS`."""
        return self.run_lake(run_id) / "signals" / f"{checked_symbol(symbol)}.{part}.parquet"

    def backtest(self, run_id: str, file: str) -> Path:
        """A file of the backtest of a run, such as ``trades.parquet``."""
        return self.reports("backtest", run_id) / file
