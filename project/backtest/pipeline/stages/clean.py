"""Stage: raw bars and all that is known beside them to the full 5-minute grid, for each market and symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from backtest.errors import DataError
from backtest.lake.months import month_files
from backtest.lake.paths import Market
from backtest.pipeline.frames import BAR_DATASETS, missing_bars, venue_of
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

MARKETS: tuple[Market, ...] = ("perp", "spot")
SIMULATED_VENUE = "simulated"


def partitions(plan: Plan) -> Sequence[str]:
    """``perp.BTCUSDT`` for each symbol and, where there is raw spot data, ``spot.BTCUSDT``."""
    for symbol in plan.symbols:
        if venue_of(plan, "perp", symbol) is None:
            raise missing_bars(plan, symbol)
    return [
        f"{market}.{symbol}"
        for symbol in plan.symbols
        for market in MARKETS
        if venue_of(plan, market, symbol) is not None
    ]


def inputs(plan: Plan, partition: str) -> Sequence[Path]:
    from backtest.cleaning.perpetual import DATASET_COLUMNS

    market, symbol = _parts(partition)
    datasets = (*BAR_DATASETS, *DATASET_COLUMNS) if market == "perp" else BAR_DATASETS
    venue = venue_of(plan, market, symbol) or ""
    return [path for dataset in datasets for path in month_files(plan.root.raw(venue, market, symbol, dataset))]


def parameters(plan: Plan, partition: str) -> Mapping[str, Json]:
    return {"venue": venue_of(plan, *_parts(partition))}


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("contracts", "known_defects")


def run(plan: Plan, partition: str) -> Outcome:
    import polars as pl

    from backtest.cleaning.bars import clean_bars
    from backtest.cleaning.contracts import while_listed
    from backtest.cleaning.perpetual import DATASET_COLUMNS, join_datasets
    from backtest.cleaning.taint import matched_defects, with_bar_taint, with_taint
    from backtest.lake.files import write_parquet
    from backtest.lake.months import write_months
    from backtest.lake.raw import read_raw
    from backtest.spec.loader import load_spec

    market, symbol = _parts(partition)
    venue = venue_of(plan, market, symbol) or ""
    definitions = load_spec(plan.spec_root)
    contract = definitions.contract(symbol)
    defects = [one for one in definitions.known_defects if one.venue == venue]
    raw = [read_raw(plan.root, venue, market, symbol, dataset) for dataset in BAR_DATASETS]
    # A simulated market may lie before its namesake was listed; spot is listed on days of its own.
    has_dates = market == "perp" and venue != SIMULATED_VENUE
    listed = [while_listed(rows, contract) if has_dates else rows for rows in raw]
    cleaned = clean_bars(*listed)
    bars = cleaned.bars
    if bars.is_empty():
        raise DataError(
            f"no raw bar of {symbol} ({market}) in {plan.root.raw(venue, market, symbol, 'ohlcv_5m')} is usable; "
            f"see its quality table: {plan.root.cleaned_quality(market, symbol)}"
        )
    bars = with_bar_taint(bars, defects, market, symbol)
    stamps = 0
    if market == "perp":
        beside = {name: read_raw(plan.root, venue, market, symbol, name) for name in DATASET_COLUMNS}
        bars = with_taint(join_datasets(bars, beside, contract), defects, symbol)
        stamps = beside["funding"]["timestamp"].n_unique()
    known = matched_defects(defects, market, symbol, bars)
    for line in known:
        print(line)
    dataset = plan.root.cleaned_bars(market, symbol)
    before = set(month_files(dataset))
    outputs = write_months(dataset, bars)
    for stale in before - set(outputs):
        stale.unlink(missing_ok=True)
    quality = cleaned.quality.select(pl.lit(symbol).alias("symbol"), pl.lit(market).alias("market"), pl.all())
    write_parquet(plan.root.cleaned_quality(market, symbol), quality)
    totals = {name: int(quality[name].sum()) for name in quality.columns if quality[name].dtype == pl.Int64}
    totals["longest_gap_bars"] = int(quality["longest_gap_bars"].max() or 0)  # type: ignore[arg-type]
    return Outcome(
        outputs=(*outputs, plan.root.cleaned_quality(market, symbol)),
        summary={
            "market": market,
            "symbol": symbol,
            "first_bar": bars["timestamp"][0].isoformat(),
            "last_bar": bars["timestamp"][-1].isoformat(),
            "funding_stamps": stamps,
            "outside_listing": sum(map(len, raw)) - sum(map(len, listed)),
            "known_defects": len(known),
            "tainted_bars": int(bars["is_tainted"].sum()),
            **totals,
        },
        warnings=(
            f"known defects of the venue's files that concern {symbol} ({market}): {len(known)}; their bars are tainted "
            "(what and why: this stage's log, spec/known_defects.yaml)",
        )
        if known
        else (),
    )


def _parts(partition: str) -> tuple[Market, str]:
    market, _, symbol = partition.partition(".")
    return cast("Market", market), symbol


STAGE = Stage(
    name="clean",
    title="Cleaning bars",
    reads=("raw",),
    writes=("cleaned",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
    shared=True,
)
