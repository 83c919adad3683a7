"""Stage: raw bars and all that is known beside them to the full 5-minute grid, for each market, symbol and quarter.

A quarter reads its own raw rows and those of the week before it, so that a new day cleans one quarter again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from backtest.errors import DataError
from backtest.lake.months import month_files, month_span
from backtest.lake.paths import Market
from backtest.pipeline.frames import BAR, BAR_DATASETS, missing_bars, venue_of
from backtest.pipeline.quarters import newest_first, quarter_bounds, quarters
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

if TYPE_CHECKING:
    import polars as pl

MARKETS: tuple[Market, ...] = ("perp", "spot")
SIMULATED_VENUE = "simulated"
LOOKBACK: Final = dt.timedelta(days=7)
"""Longer than anything reaches: the last close (a week), funding stamps (two intervals and the stamp before), metrics."""


def partitions(plan: Plan) -> Sequence[str]:
    """``perp.BTCUSDT.2024Q1`` for each quarter from the first raw bar to the last, and ``spot.…`` where there is spot."""
    keys = []
    for market in MARKETS:  # the perpetuals first, as theirs takes longest
        for symbol in plan.symbols:
            venue = venue_of(plan, market, symbol)
            if venue is None:
                if market == "perp":
                    raise missing_bars(plan, symbol)
                continue
            first, last = _months(plan, venue, market, symbol)
            keys += [f"{market}.{symbol}.{year}Q{quarter}" for year, quarter in quarters(first, last + BAR)]
    return newest_first(keys)


def inputs(plan: Plan, partition: str) -> Sequence[Path]:
    market, symbol, quarter = _parts(partition)
    venue = venue_of(plan, market, symbol) or ""
    start, end = quarter_bounds(quarter)
    return [
        path
        for dataset in _datasets(market)
        for path in month_files(plan.root.raw(venue, market, symbol, dataset), start - LOOKBACK, end)
    ]


def parameters(plan: Plan, partition: str) -> Mapping[str, Json]:
    """What lies before and after the quarter, as far as it changes it."""
    market, symbol, quarter = _parts(partition)
    venue = venue_of(plan, market, symbol) or ""
    start, end = quarter_bounds(quarter)
    spans = {name: month_span(plan.root.raw(venue, market, symbol, name)) for name in _datasets(market)}
    had_before = sorted(name for name, span in spans.items() if span is not None and span[0] < start)
    later = [name for name, span in spans.items() if span is not None and span[1] >= end]
    return {
        "venue": venue,
        "has_earlier_bars": any(name in had_before for name in BAR_DATASETS),
        "has_later_bars": any(name in later for name in BAR_DATASETS),
        "had_before": had_before,
    }


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash("contracts", "known_defects")


def run(plan: Plan, partition: str) -> Outcome:
    import polars as pl

    from backtest.cleaning.bars import clean_bars
    from backtest.cleaning.contracts import while_listed
    from backtest.cleaning.perpetual import CLOSES, DATASET_COLUMNS, join_datasets
    from backtest.cleaning.taint import with_bar_taint, with_taint
    from backtest.lake.files import write_parquet
    from backtest.lake.months import write_months
    from backtest.lake.raw import read_raw
    from backtest.spec.loader import load_spec

    market, symbol, quarter = _parts(partition)
    venue = venue_of(plan, market, symbol) or ""
    definitions = load_spec(plan.spec_root)
    contract = definitions.contract(symbol)
    defects = [one for one in definitions.known_defects if one.venue == venue]
    start, end = quarter_bounds(quarter)
    around = parameters(plan, partition)

    def raw(dataset: str) -> pl.DataFrame:
        columns = ("close",) if dataset in CLOSES else ()
        return read_raw(plan.root, venue, market, symbol, dataset, start - LOOKBACK, end, columns)

    rows = [raw(dataset) for dataset in BAR_DATASETS]
    # A simulated market may lie before its namesake was listed; spot is listed on days of its own.
    has_dates = market == "perp" and venue != SIMULATED_VENUE
    listed = [while_listed(one, contract) if has_dates else one for one in rows]
    is_first, is_last = not around["has_earlier_bars"], not around["has_later_bars"]
    if has_dates:
        is_first |= contract.listed is not None and _midnight(contract.listed) >= start
        is_last |= contract.delisted is not None and _midnight(contract.delisted) + dt.timedelta(days=1) <= end
    history = None if is_first else start - LOOKBACK
    cleaned = clean_bars(*listed, start=history, end=None if is_last else end)
    bars = with_bar_taint(cleaned.bars, defects, market, symbol)
    quality_file = plan.root.cleaned_quality(market, symbol, quarter)
    quality = cleaned.quality.filter(pl.col("month") >= f"{start:%Y-%m}").select(
        pl.lit(symbol).alias("symbol"), pl.lit(market).alias("market"), pl.all()
    )
    write_parquet(quality_file, quality, is_derived=True)
    if bars.is_empty() and is_first and is_last:
        raise DataError(
            f"no raw bar of {symbol} ({market}) in {plan.root.raw(venue, market, symbol, 'ohlcv_5m')} is usable; "
            f"see its quality table: {quality_file}"
        )
    stamps = 0
    if market == "perp":
        beside = {name: raw(name) for name in DATASET_COLUMNS}
        bars = with_taint(
            join_datasets(bars, beside, contract), defects, symbol, cast("list[str]", around["had_before"])
        )
        stamps = beside["funding"].filter(pl.col("timestamp") >= start)["timestamp"].n_unique()
    bars = bars.filter(pl.col("timestamp") >= start)
    dataset = plan.root.cleaned_bars(market, symbol)
    outputs = write_months(dataset, bars, is_derived=True, is_hashed=True) if len(bars) else []
    beyond = [*(month_files(dataset, end=start) if is_first else ()), *(month_files(dataset, end) if is_last else ())]
    for stale in {*month_files(dataset, start, end), *beyond} - set(outputs):
        stale.unlink(missing_ok=True)
    totals = {name: int(quality[name].sum()) for name in quality.columns if quality[name].dtype == pl.Int64}
    totals["longest_gap_bars"] = int(quality["longest_gap_bars"].max() or 0)  # type: ignore[arg-type]
    return Outcome(
        outputs=(*outputs, quality_file),
        summary={
            "market": market,
            "symbol": symbol,
            "first_bar": bars["timestamp"][0].isoformat() if len(bars) else None,
            "last_bar": bars["timestamp"][-1].isoformat() if len(bars) else None,
            "funding_stamps": stamps,
            "outside_listing": sum(map(len, rows)) - sum(map(len, listed)),
            "tainted_bars": int(bars["is_tainted"].sum()),
            **totals,
        },
    )


def _datasets(market: Market) -> tuple[str, ...]:
    from backtest.cleaning.perpetual import DATASET_COLUMNS

    return (*BAR_DATASETS, *DATASET_COLUMNS) if market == "perp" else BAR_DATASETS


def _months(plan: Plan, venue: str, market: Market, symbol: str) -> tuple[dt.datetime, dt.datetime]:
    """Starts of the first and the last month that have raw bars."""
    spans = [month_span(plan.root.raw(venue, market, symbol, dataset)) for dataset in BAR_DATASETS]
    there = [span for span in spans if span is not None]
    return min(first for first, _ in there), max(last for _, last in there)


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _parts(partition: str) -> tuple[Market, str, str]:
    market, symbol, quarter = partition.split(".")
    return cast("Market", market), symbol, quarter


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
