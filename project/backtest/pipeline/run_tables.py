"""Tables of a run that several stages after the discovery read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.lake.files import read_json, read_parquet
from backtest.pipeline.stage import Plan

if TYPE_CHECKING:
    import polars as pl


def candidate_files(plan: Plan) -> Sequence[Path]:
    """The files of the run's candidates, one an event type."""
    return sorted(plan.root.reports("phase2", plan.run_id).glob("*/candidates.parquet"))


def read_candidates(plan: Plan) -> pl.DataFrame:
    """All hypotheses of the run (`candidates.CANDIDATE_SCHEMA`), by candidate id."""
    import polars as pl

    from backtest.discovery.candidates import CANDIDATE_SCHEMA

    frames = [read_parquet(path, CANDIDATE_SCHEMA) for path in candidate_files(plan)]
    return pl.concat([pl.DataFrame(schema=CANDIDATE_SCHEMA), *frames]).sort("candidate_id")


def score_files(plan: Plan, tested: dict[str, Any]) -> Sequence[Path]:
    """The files of the run's day scores, for each tested event and symbol."""
    return [plan.root.scores(plan.run_id, event, symbol) for event, symbols in tested.items() for symbol in symbols]


def read_scores(plan: Plan, event_types: Sequence[str] | None = None) -> pl.DataFrame:
    """The run's day scores with ``event_type`` and ``symbol``; of all tested events, or of some."""
    import polars as pl

    from backtest.discovery.day_scores import SCORE_SCHEMA

    tested = read_json(plan.root.design(plan.run_id))["tested"]
    empty = pl.DataFrame(schema={**SCORE_SCHEMA, "event_type": pl.String(), "symbol": pl.String()})
    frames = [
        read_parquet(plan.root.scores(plan.run_id, event_type, symbol), SCORE_SCHEMA).with_columns(
            pl.lit(event_type).alias("event_type"), pl.lit(symbol).alias("symbol")
        )
        for event_type, symbols in tested.items()
        if event_types is None or event_type in event_types
        for symbol in symbols
    ]
    return pl.concat([empty, *frames], how="diagonal")


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """A table's rows for a JSON file; a NaN is none."""
    import polars as pl

    return frame.with_columns(pl.col(pl.Float64).fill_nan(None)).to_dicts()
