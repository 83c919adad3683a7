"""SQL views over a data root: bars, features and what runs made, as tables for DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import MisuseError
from backtest.lake.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from backtest.lake.paths import DataRoot

READING: Final = frozenset({"SELECT", "EXPLAIN"})
"""Kinds of statements that `query` carries out; DESCRIBE, SHOW and SUMMARIZE are of the first."""


@dataclass(frozen=True)
class View:
    """A table over all files that match a pattern below the data root; `named` are columns that paths tell."""

    name: str
    pattern: str
    meaning: str
    named: tuple[tuple[str, str], ...] = ()

    def statement(self, root: Path) -> str:
        """``CREATE VIEW`` over the files of this root."""
        files = _quoted(f"{root.as_posix()}/{self.pattern}")
        told = [f"regexp_extract(filename, {_quoted(before + '([^/]+)/')}, 1) AS {name}" for name, before in self.named]
        columns = ", ".join([*told, "* EXCLUDE (filename)"])
        options = "filename = true, union_by_name = true, hive_partitioning = false"
        return f"CREATE VIEW {self.name} AS SELECT {columns} FROM read_parquet({files}, {options});"


VIEWS: Final = (
    View(
        "bars",
        "lake/cleaned/perp/*/bars_5m/*/*/*.parquet",
        "Cleaned 5-minute bars of perpetuals.",
        (("symbol", "/perp/"),),
    ),
    View(
        "spot_bars",
        "lake/cleaned/spot/*/bars_5m/*/*/*.parquet",
        "Cleaned 5-minute bars of spot.",
        (("symbol", "/spot/"),),
    ),
    View(
        "features",
        "lake/features/perp/[A-Z0-9]*/5m/features_v1/*/*/*.parquet",
        "Features of each symbol and bar.",
        (("symbol", "/features/perp/"),),
    ),
    View("events", "events/*/events.parquet", "Occurrences of event types in each run.", (("run_id", "/events/"),)),
    View("candidates", "reports/phase2/*/*/candidates.parquet", "Hypotheses of each run.", (("run_id", "/phase2/"),)),
    View("trades", "reports/backtest/*/trades.parquet", "Trades of each run's backtest.", (("run_id", "/backtest/"),)),
    View("equity", "reports/backtest/*/equity.parquet", "Equity of each run's backtest.", (("run_id", "/backtest/"),)),
)


def views(root: DataRoot) -> list[View]:
    """The views that have files."""
    root.require()
    return [view for view in VIEWS if next(iter(root.path.glob(view.pattern)), None) is not None]


def write_views(root: DataRoot, path: Path) -> list[View]:
    """Write the statements that make the views, for ``duckdb -init``; which they are."""
    found = views(root)
    lines = [f"-- {view.meaning}\n{view.statement(root.path)}" for view in found]
    write_text(path, "\n\n".join(lines) + "\n")
    return found


def query(root: DataRoot, sql: str) -> pl.DataFrame:
    """Rows of one statement that reads, over the views of the data root.

    Nothing outside the data root can be read, and nothing anywhere written.

    Raises
    ------
    MisuseError
        No single statement, one that does more than read, or one that DuckDB refuses.
    """
    import duckdb
    import polars as pl

    found = views(root)
    connection: Any = duckdb.connect(":memory:")
    try:
        for view in found:
            connection.execute(view.statement(root.path))
        for setting in _settings(root.path):
            connection.execute(setting)
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type.name not in READING:
            kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise MisuseError(f"one statement that reads is taken, such as SELECT; this is {kinds}.")
        return pl.DataFrame(connection.sql(sql).to_arrow_table())
    except duckdb.Error as fault:
        names = ", ".join(view.name for view in found) or "none yet: make demo or make run brings some"
        raise MisuseError(f"DuckDB refuses the statement: {fault}\nThe views are: {names}.") from None
    finally:
        connection.close()


def _settings(root: Path) -> Iterator[str]:
    yield f"SET allowed_directories = [{_quoted(root.as_posix() + '/')}]"
    yield "SET enable_external_access = false"
    yield "SET TimeZone = 'UTC'"
    yield "SET lock_configuration = true"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
