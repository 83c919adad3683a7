"""Which bars rest on data that is known to be wrong or not there, data set by data set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import polars as pl

from backtest.cleaning.bars import beside_bars, clean_bars
from backtest.cleaning.perpetual import DATASET_COLUMNS, join_datasets

if TYPE_CHECKING:
    from backtest.spec.models import KnownDefect

TAINT_DATASETS: Final = ("ohlcv_5m", "spot ohlcv_5m", *DATASET_COLUMNS)
"""Data sets in the order of their bits in ``taint``; the first bit is the perpetual's own bars."""
BARS_BIT: Final = 1
SPOT_BIT: Final = 2
_BAR_DATASETS: Final = frozenset({"ohlcv_5m", "ohlcv_1m"})


def with_bar_taint(bars: pl.DataFrame, defects: Sequence[KnownDefect], market: str, symbol: str) -> pl.DataFrame:
    """`bars` with ``is_tainted``: a gap, a bar in which nobody traded, a price out of range, or inside a known defect."""
    known = _inside(bars, [one for one in defects if one.dataset in _BAR_DATASETS], market, symbol)
    return bars.with_columns(
        (pl.col("is_gap") | pl.col("is_zero_volume") | pl.col("is_out_of_range") | known).alias("is_tainted")
    )


def with_taint(
    bars: pl.DataFrame, defects: Sequence[KnownDefect], symbol: str, had_before: Collection[str] = ()
) -> pl.DataFrame:
    """Perpetual bars with ``taint``, a sum of bits: bit i is set where data set i of `TAINT_DATASETS` cannot be trusted.

    The bars' own bit is ``is_tainted``. Another data set's bit is set inside a known defect of it, and where it has no
    value although it had one before (what it never had is not tainted but null), among these bars or, for the data sets
    `had_before`, before them. The spot bit is left to the join with the spot bars. Row t uses rows ≤ t and the list of
    defects.
    """
    bits = [pl.col("is_tainted").cast(pl.UInt16) * BARS_BIT]
    for number, dataset in enumerate(TAINT_DATASETS):
        if dataset not in DATASET_COLUMNS:
            continue
        column = pl.col(DATASET_COLUMNS[dataset][0])
        is_missing = column.is_null() & (pl.lit(dataset in had_before) | column.forward_fill().is_not_null())
        known = _inside(bars, [one for one in defects if one.dataset == dataset], "perp", symbol)
        bits.append((is_missing | known).cast(pl.UInt16) * (1 << number))
    return bars.with_columns(pl.sum_horizontal(bits).cast(pl.UInt16).alias("taint"))


def beside_spot(bars: pl.DataFrame, spot: pl.DataFrame) -> pl.DataFrame:
    """Perpetual bars with ``spot_open``, ``spot_close`` and ``spot_volume`` of the spot bar of the same time.

    Its taint is in ``taint``. Null where there is no spot bar. `spot` needs ``timestamp``, ``open``, ``close``, ``volume`` and
    ``is_tainted``.
    """
    return _joined(
        bars,
        spot,
        pl.col("open").alias("spot_open"),
        pl.col("close").alias("spot_close"),
        pl.col("volume").alias("spot_volume"),
    )


def with_spot_taint(bars: pl.DataFrame, spot: pl.DataFrame) -> pl.DataFrame:
    """Perpetual bars with the bit of spot set in ``taint`` where the spot bar of the same time ``is_tainted``."""
    return _joined(bars, spot)


def _joined(bars: pl.DataFrame, spot: pl.DataFrame, *columns: pl.Expr) -> pl.DataFrame:
    spot_taint = (pl.col("is_tainted").cast(pl.UInt16) * SPOT_BIT).alias("_spot_taint")
    beside = spot.select("timestamp", *columns, spot_taint)
    joined = beside_bars(bars, beside)
    return joined.with_columns(pl.col("taint") | pl.col("_spot_taint").fill_null(0)).drop("_spot_taint")


def clean_symbol(
    raw: Mapping[tuple[str, str], pl.DataFrame], symbol: str, defects: Sequence[KnownDefect] = ()
) -> pl.DataFrame:
    """Everything of one perpetual at each of its bars, from raw rows by market and data set; what is left out is null.

    The same frame as the lake's cleaned bars with the spot bars beside them. ``("perp", "ohlcv_5m")`` is needed.
    """
    bars_5m = raw["perp", "ohlcv_5m"]
    bars = clean_bars(bars_5m, raw.get(("perp", "ohlcv_1m"), bars_5m.clear())).bars
    beside = {dataset: raw["perp", dataset] for dataset in DATASET_COLUMNS if ("perp", dataset) in raw}
    perpetual = join_datasets(with_bar_taint(bars, defects, "perp", symbol), beside)
    spot_5m = raw.get(("spot", "ohlcv_5m"), bars_5m.clear())
    spot = clean_bars(spot_5m, raw.get(("spot", "ohlcv_1m"), spot_5m.clear())).bars
    return beside_spot(with_taint(perpetual, defects, symbol), with_bar_taint(spot, defects, "spot", symbol))


def taint_mask(columns: Collection[str], datasets: Mapping[str, str]) -> int:
    """Bits of ``taint`` that matter to what rests on these bar columns; the perpetual's own bars always do.

    Parameters
    ----------
    columns : bar columns.
    datasets : data set of each column, as ``spec/columns.yaml`` says.
    """
    mask = BARS_BIT
    for name in columns:
        dataset = datasets.get(name, "")
        if dataset in TAINT_DATASETS:
            mask |= 1 << TAINT_DATASETS.index(dataset)
    return mask


def matched_defects(defects: Sequence[KnownDefect], market: str, symbol: str, bars: pl.DataFrame) -> list[str]:
    """One line for each known defect of a symbol inside its bars: when, what, why and who says so."""
    if bars.is_empty():
        return []
    first, last = bars["timestamp"][0], bars["timestamp"][-1]
    return [
        f"known defect of {symbol} {market} {one.dataset}, {one.start:%Y-%m-%d %H:%M} to {one.end:%Y-%m-%d %H:%M} UTC"
        + (f" ({one.rows} rows)" if one.rows else "")
        + f": {one.cause} Its bars are tainted. Source: {one.source}"
        for one in defects
        if _concerns(one, market, symbol) and one.start <= last and one.end > first
    ]


def _inside(bars: pl.DataFrame, defects: Sequence[KnownDefect], market: str, symbol: str) -> pl.Series:
    """Whether each bar lies inside one of the defects that concern the symbol."""
    inside = pl.repeat(False, len(bars), dtype=pl.Boolean, eager=True)
    for one in defects:
        if _concerns(one, market, symbol):
            inside = inside | ((bars["timestamp"] >= one.start) & (bars["timestamp"] < one.end))
    return inside


def _concerns(defect: KnownDefect, market: str, symbol: str) -> bool:
    return defect.market == market and (defect.symbols is None or symbol in defect.symbols)
