"""Stage: each symbol's perpetual price against spot, index and mark; what disagrees is listed, nothing is changed.

Known defects of the venue's files that concern the symbol are told here too, once for all its quarters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backtest.lake.months import month_files, read_months
from backtest.pipeline.frames import venue_of
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def partitions(plan: Plan) -> Sequence[str]:
    return plan.symbols


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    folders = (plan.root.cleaned_bars("perp", symbol), plan.root.cleaned_bars("spot", symbol))
    return [path for folder in folders for path in month_files(folder)]


def parameters(plan: Plan, symbol: str) -> Mapping[str, Json]:
    return {"venue": venue_of(plan, "perp", symbol)}


def spec(plan: Plan, _symbol: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("known_defects")


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.cleaning.cross_check import cross_check, cross_check_lines
    from backtest.cleaning.taint import matched_defects
    from backtest.lake.files import write_parquet
    from backtest.spec.loader import load_spec

    own = ["timestamp", "close", "volume", "index_close", "mark_close"]
    bars = read_months(plan.root.cleaned_bars("perp", symbol), columns=own)
    schema = {"timestamp": pl.Datetime("ms", "UTC"), "close": pl.Float64(), "volume": pl.Float64()}
    spot = read_months(plan.root.cleaned_bars("spot", symbol), columns=list(schema), schema=schema)
    beside = spot.rename({"close": "spot_close", "volume": "spot_volume"})
    spans = cross_check(bars.join(beside, on="timestamp", how="left", maintain_order="left"), symbol)
    venue = venue_of(plan, "perp", symbol)
    defects = [one for one in load_spec(plan.spec_root).known_defects if one.venue == venue]
    known = [*matched_defects(defects, "perp", symbol, bars), *matched_defects(defects, "spot", symbol, spot)]
    path = plan.root.cross_check(symbol)
    write_parquet(path, spans)
    lines = cross_check_lines(spans.sort("bars", descending=True))
    for line in (*lines, *known):
        print(line)
    return Outcome(
        outputs=(path,),
        summary={"spans": len(spans), "bars": int(spans["bars"].sum()), "known_defects": len(known)},
        warnings=(*_disagreement(lines, path), *_defects(symbol, known)),
    )


def _disagreement(lines: list[str], path: Path) -> list[str]:
    if not lines:
        return []
    spans = "1 span" if len(lines) == 1 else f"{len(lines)} spans, the longest"
    return [f"sources disagree in {spans}: {lines[0]}; all in {path}"]


def _defects(symbol: str, known: list[str]) -> list[str]:
    if not known:
        return []
    return [
        f"known defects of the venue's files that concern {symbol}: {len(known)}; their bars are tainted "
        "(what and why: this stage's log, spec/known_defects.yaml)"
    ]


STAGE = Stage(
    name="cross_check",
    title="Comparing sources",
    reads=("cleaned",),
    writes=("cross_check",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
    shared=True,
)
