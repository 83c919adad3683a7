"""Tables of a run that several stages after the discovery read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.errors import DataError
from backtest.lake.files import read_json, read_parquet, write_parquet
from backtest.pipeline.stage import Plan

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.day_scores import DayScores


def candidate_files(plan: Plan) -> Sequence[Path]:
    """The files of the run's candidates, one an event type."""
    return sorted(plan.root.reports("phase2", plan.run_id).glob("*/candidates.parquet"))


def read_candidates(plan: Plan) -> pl.DataFrame:
    """All hypotheses of the run (`candidates.CANDIDATE_SCHEMA`), by candidate id."""
    import polars as pl

    from backtest.discovery.candidates import CANDIDATE_SCHEMA

    frames = [read_parquet(path, CANDIDATE_SCHEMA) for path in candidate_files(plan)]
    return pl.concat([pl.DataFrame(schema=CANDIDATE_SCHEMA), *frames]).sort("candidate_id")


def score_files(plan: Plan, tested: Mapping[str, Sequence[str]]) -> Sequence[Path]:
    """The files of the run's day scores, for each tested event and symbol."""
    return [
        path(plan.run_id, event, symbol)
        for event, symbols in tested.items()
        for symbol in symbols
        for path in (plan.root.scores, plan.root.score_series)
    ]


def read_day_scores(plan: Plan, event_type: str, symbol: str, columns: Sequence[str] | None = None) -> DayScores:
    """Day scores of an event type on a symbol; of the days only `columns`, where given."""
    from backtest.discovery.day_scores import ROW_SCHEMA, SERIES_SCHEMA, DayScores

    chosen = ROW_SCHEMA if columns is None else {name: ROW_SCHEMA[name] for name in columns}
    series_path, path = (file(plan.run_id, event_type, symbol) for file in (plan.root.score_series, plan.root.scores))
    series = read_parquet(series_path, SERIES_SCHEMA)
    days = read_parquet(path, chosen, None if columns is None else list(columns))
    if series["rows"].sum() != len(days):
        raise DataError(
            f"{path} has {len(days)} rows, but {series_path} says {series['rows'].sum()}. Score again: make discover-edges"
        )
    return DayScores(series, days)


def write_day_scores(plan: Plan, event_type: str, symbol: str, scores: DayScores) -> None:
    """Write what `read_day_scores` reads."""
    write_parquet(plan.root.scores(plan.run_id, event_type, symbol), scores.days, is_passing=True)
    write_parquet(plan.root.score_series(plan.run_id, event_type, symbol), scores.series, is_passing=True)


def read_long_scores(plan: Plan, event_type: str, symbol: str) -> pl.DataFrame:
    """Day scores of an event type on a symbol with the names of their series (`day_scores.long_form`)."""
    from backtest.discovery.day_scores import long_form

    return long_form(read_day_scores(plan, event_type, symbol))


def read_scores(plan: Plan, event_types: Sequence[str] | None = None) -> pl.DataFrame:
    """The run's day scores with ``event_type`` and ``symbol``; of all tested events, or of some."""
    import polars as pl

    from backtest.discovery.day_scores import ROW_SCHEMA, SCORE_SCHEMA, SERIES

    tested = read_json(plan.root.design(plan.run_id))["tested"]
    names = {name: SCORE_SCHEMA[name] for name in SERIES}
    empty = pl.DataFrame(schema={**names, **ROW_SCHEMA, "event_type": pl.String(), "symbol": pl.String()})
    frames = [
        read_long_scores(plan, event_type, symbol).with_columns(
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
