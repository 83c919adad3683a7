"""Stage: each symbol's perpetual price against spot, index and mark; what disagrees is listed, nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.lake.months import month_files, read_months
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def partitions(plan: Plan) -> Sequence[str]:
    return plan.symbols


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    folders = (plan.root.cleaned_bars("perp", symbol), plan.root.cleaned_bars("spot", symbol))
    return [path for folder in folders for path in month_files(folder)]


def parameters(_plan: Plan, _symbol: str) -> Mapping[str, Json]:
    return {}


def no_spec(_plan: Plan, _symbol: str) -> str:
    return ""


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.cleaning.cross_check import cross_check, cross_check_lines
    from backtest.lake.files import write_parquet

    own = ["timestamp", "close", "volume", "index_close", "mark_close"]
    bars = read_months(plan.root.cleaned_bars("perp", symbol), columns=own)
    schema = {"timestamp": pl.Datetime("ms", "UTC"), "close": pl.Float64(), "volume": pl.Float64()}
    spot = read_months(plan.root.cleaned_bars("spot", symbol), columns=list(schema), schema=schema)
    beside = spot.rename({"close": "spot_close", "volume": "spot_volume"})
    spans = cross_check(bars.join(beside, on="timestamp", how="left", maintain_order="left"), symbol)
    path = plan.root.cross_check(symbol)
    write_parquet(path, spans)
    lines = cross_check_lines(spans.sort("bars", descending=True))
    for line in lines:
        print(line)
    return Outcome(
        outputs=(path,),
        summary={"spans": len(spans), "bars": int(spans["bars"].sum())},
        warnings=(_warning(lines, path),) if lines else (),
    )


def _warning(lines: list[str], path: Path) -> str:
    spans = "1 span" if len(lines) == 1 else f"{len(lines)} spans, the longest"
    return f"sources disagree in {spans}: {lines[0]}; all in {path}"


STAGE = Stage(
    name="cross_check",
    title="Comparing sources",
    reads=("cleaned",),
    writes=("cross_check",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=no_spec,
    shared=True,
)
