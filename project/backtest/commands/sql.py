"""`sql`: ask the data root in SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.errors import MisuseError

Statement = Annotated[str | None, typer.Argument(help="One statement that reads; names of the views where left out.")]
AsJson = Annotated[bool, typer.Option("--json", help="All rows as a JSON list.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="All rows as CSV.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most rows of the table.")]
ViewFile = Annotated[
    Path | None, typer.Option("--write-views", help="Write the views' statements to this file, for duckdb -init.")
]


def register(app: typer.Typer) -> None:
    """Add `sql`."""
    app.command("sql")(sql)


def sql(
    statement: Statement = None,
    json: AsJson = False,
    csv: AsCsv = False,
    limit: Limit = 50,
    write_views: ViewFile = None,
) -> None:
    """Ask bars, features, events, candidates, trades and equity of all runs in SQL (DuckDB); only reads.

    Example: backtest sql "SELECT run_id, event_type, count(*) AS n FROM events GROUP BY ALL ORDER BY n DESC"
    """
    import polars as pl

    from backtest.lake import views
    from backtest.lake.paths import DataRoot

    root = DataRoot.from_environment()
    if json and csv:
        raise MisuseError("--json and --csv are two forms of the same rows; give one of them.")
    if write_views is not None:
        found = views.write_views(root, write_views)
        print(f"wrote {len(found)} views to {write_views}. Next: duckdb -init {write_views}")
        return
    if statement is None:
        found = views.views(root)
        rows = pl.DataFrame(
            {"view": [view.name for view in found], "meaning": [view.meaning for view in found]},
            schema={"view": pl.String, "meaning": pl.String},
        )
    else:
        rows = views.query(root, statement)
    if json:
        print(rows.write_json())
    elif csv:
        print(rows.write_csv(), end="")
    else:
        with pl.Config(
            tbl_rows=limit, tbl_cols=-1, tbl_hide_dataframe_shape=True, fmt_str_lengths=80, tbl_width_chars=250
        ):
            print(rows)
        shown = min(limit, len(rows))
        print(f"{shown:,} of {len(rows):,} rows" + ("; --limit, --csv or --json for more" if shown < len(rows) else ""))
