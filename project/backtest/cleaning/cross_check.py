"""Whether independent sources of one price agree: the perpetual against spot, index and mark."""

from __future__ import annotations

from typing import Final

import polars as pl

BOUND_BPS: Final = 100.0
"""Two prices of one thing further apart than this are listed. Of three years of BTCUSDT and ETHUSDT 99.9 % of bars lie within
20 bps of spot; the bars beyond 100 bps are halts of the spot market and minutes of a crash."""
EQUAL_CLOSE_BARS: Final = 36
"""Perpetual and spot closes equal to the digit for so many bars (3 h) are listed; in real data two in a row are rare."""
EQUAL_BAR_BARS: Final = 3
"""The same for close and volume together, which two markets never share by chance."""
JOINED_WITHIN_BARS: Final = 12
"""Bars beyond the bound at most an hour apart make one span."""
REFERENCES: Final[dict[str, str]] = {"spot": "spot_close", "index": "index_close", "mark": "mark_close"}
CROSS_CHECK_SCHEMA: Final[dict[str, pl.DataType]] = {
    "symbol": pl.String(),
    "measure": pl.String(),
    "start": pl.Datetime("ms", "UTC"),
    "end": pl.Datetime("ms", "UTC"),
    "bars": pl.Int64(),
    "largest_bps": pl.Float64(),
    "bound": pl.String(),
}
"""One row a span: open times of its first and last bar, how many of its bars break the bound, the largest of them."""


def cross_check(bars: pl.DataFrame, symbol: str, *, bound_bps: float = BOUND_BPS) -> pl.DataFrame:
    """Spans in which the perpetual's close disagrees with another source, or agrees with spot too well.

    Parameters
    ----------
    bars : ``timestamp``, ``close``, ``volume``, ``spot_close``, ``spot_volume``, ``index_close`` and ``mark_close`` of one
        symbol on the full grid; nulls are compared with nothing.
    bound_bps : |log(perpetual / other)| beyond it is listed.

    Returns
    -------
    `CROSS_CHECK_SCHEMA`, by start. Looks at the whole span of the data: it judges files, and feeds nothing.
    """
    found = []
    for name, column in REFERENCES.items():
        apart = (pl.col("close") / pl.col(column)).log().abs() * 1e4
        beyond = (
            bars.select("timestamp", apart.alias("apart")).with_row_index("bar").filter(pl.col("apart") > bound_bps)
        )
        spans = _spans(beyond, JOINED_WITHIN_BARS, 1)
        found.append(_listed(spans, symbol, f"perpetual against {name}", f"{bound_bps:g} bps"))
    is_close = pl.col("close") == pl.col("spot_close")
    is_bar = is_close & (pl.col("volume") == pl.col("spot_volume")) & (pl.col("volume") > 0)
    for what, is_equal, least in (("close", is_close, EQUAL_CLOSE_BARS), ("close and volume", is_bar, EQUAL_BAR_BARS)):
        equal = bars.with_row_index("bar").filter(is_equal.fill_null(False))
        spans = _spans(equal.select("bar", "timestamp", pl.lit(None, dtype=pl.Float64).alias("apart")), 1, least)
        found.append(_listed(spans, symbol, f"{what} equal to spot's", f"{least} bars"))
    return pl.concat(found).sort("start", "measure")


def _spans(chosen: pl.DataFrame, within: int, least: int) -> pl.DataFrame:
    """Runs of the chosen bars with at most `within` bars from one to the next, of at least `least` bars."""
    begins = (pl.col("bar").cast(pl.Int64).diff() > within).fill_null(True)
    return (
        chosen.group_by(begins.cum_sum().alias("_run"), maintain_order=True)
        .agg(
            pl.col("timestamp").first().alias("start"),
            pl.col("timestamp").last().alias("end"),
            pl.len().cast(pl.Int64).alias("bars"),
            pl.col("apart").max().alias("largest_bps"),
        )
        .filter(pl.col("bars") >= least)
    )


def _listed(spans: pl.DataFrame, symbol: str, measure: str, bound: str) -> pl.DataFrame:
    labelled = spans.with_columns(
        pl.lit(symbol).alias("symbol"), pl.lit(measure).alias("measure"), pl.lit(bound).alias("bound")
    )
    return labelled.select(pl.col(name).cast(dtype) for name, dtype in CROSS_CHECK_SCHEMA.items())


def cross_check_lines(spans: pl.DataFrame) -> list[str]:
    """One line a span: symbol, what disagrees, when, by how much, and the bound."""
    return [
        f"{row['symbol']}: {row['measure']}, {row['start']:%Y-%m-%d %H:%M} to {row['end']:%Y-%m-%d %H:%M} UTC, "
        + f"{row['bars']:,} bar{'' if row['bars'] == 1 else 's'}"
        + (f", up to {row['largest_bps']:.0f} bps" if row["largest_bps"] is not None else "")
        + f" (bound {row['bound']})"
        for row in spans.iter_rows(named=True)
    ]
