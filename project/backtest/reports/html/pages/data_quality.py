"""What the bars of a run are worth: coverage, gaps, defects, taint."""

from __future__ import annotations

from typing import Any, Final

from backtest.reports.html import figures, formats
from backtest.reports.html.rendering import page
from backtest.reports.html.results import DataQuality, Missing, RunResults

BARS_A_DAY: Final = 288
COUNTS: Final = (
    "bars",
    "gap_bars",
    "longest_gap_bars",
    "duplicates",
    "off_grid",
    "inconsistent",
    "out_of_range",
    "zero_volume",
)
MOST_MONTHS: Final = 120
MOST_CHECKS: Final = 50


def data_page(results: RunResults) -> str:
    """data.html."""
    data = results.data
    common: dict[str, Any] = {"run_id": results.run_id, "title": "Data quality", "section": "data.html"}
    if isinstance(data, Missing):
        return page("data.html.j2", **common, data_missing=data)
    totals, notable = _tables(data)
    return page(
        "data.html.j2",
        **common,
        data_missing=None,
        summary=_summary(data),
        calendars=_calendars(data),
        total_columns=["symbol", "market", "months", *(formats.words(name) for name in COUNTS)],
        totals=totals,
        notable=notable,
        defects=data.defects,
        checks=_checks(data),
        tainted=_tainted(results),
    )


def _summary(data: DataQuality) -> str:
    expected, bars = int(data.months["expected_bars"].sum()), int(data.months["bars"].sum())
    gaps = int(data.months["gap_bars"].sum())
    return (
        f"{formats.count(bars)} of {formats.count(expected)} bars are there ({formats.coverage(bars, expected)}); "
        f"{formats.count(gaps)} are gaps, which stay empty and are never filled."
    )


def _calendars(data: DataQuality) -> list[dict[str, Any]]:
    made = []
    for own in data.days.partition_by("symbol", maintain_order=True) if not data.days.is_empty() else []:
        symbol = str(own["symbol"][0])
        days, sound, bars = own["day"].to_list(), own["sound_bars"].to_list(), own["bars"].to_list()
        notes = [
            f"{day}: {s} of {BARS_A_DAY} bars sound, {b} there" for day, s, b in zip(days, sound, bars, strict=True)
        ]
        n_full = sum(s >= BARS_A_DAY for s in sound)
        made.append(
            {
                "svg": figures.calendar_figure(
                    days,
                    [s / BARS_A_DAY for s in sound],
                    notes,
                    title=f"Coverage of {symbol} day by day: {n_full} of {len(days)} days complete and sound",
                ),
                "title": f"{symbol} perpetual",
                "text": f"{n_full:,} of {len(days):,} days are complete and sound.",
            }
        )
    return made


def _tables(data: DataQuality) -> tuple[list[list[str]], list[list[str]]]:
    import polars as pl

    totals, notable = [], []
    for own in data.months.sort("symbol", "market", "month").partition_by("symbol", "market", maintain_order=True):
        sums = [int(own[name].max() if name == "longest_gap_bars" else own[name].sum()) for name in COUNTS]  # type: ignore[arg-type]
        span = f"{own['month'][0]} to {own['month'][-1]}"
        totals.append([own["symbol"][0], own["market"][0], span, *(f"{value:,}" for value in sums)])
        strange = own.filter(pl.sum_horizontal(*(pl.col(name) for name in COUNTS[1:])) > 0)
        notable += [
            [row["symbol"], row["market"], row["month"], *(f"{row[name]:,}" for name in COUNTS)]
            for row in strange.iter_rows(named=True)
        ]
    return totals, notable[:MOST_MONTHS]


def _checks(data: DataQuality) -> list[list[str]]:
    if data.cross_checks.is_empty():
        return []
    rows = data.cross_checks.sort("bars", "start", descending=[True, False]).head(MOST_CHECKS)
    return [
        [
            row["symbol"],
            row["measure"],
            f"{row['start']:%Y-%m-%d %H:%M}",
            f"{row['end']:%Y-%m-%d %H:%M}",
            f"{row['bars']:,}",
            formats.decimal(row["largest_bps"], 0),
            row["bound"],
        ]
        for row in rows.iter_rows(named=True)
    ]


def _tainted(results: RunResults) -> str:
    events = results.events
    if isinstance(events, Missing) or "tainted" not in events.columns or events.is_empty():
        return ""
    n = int(events["tainted"].sum())
    return (
        f"{n:,} of {len(events):,} occurrences ({formats.share(n / len(events), 1)}) rest on a bar that cannot be "
        f"trusted. They are kept; each candidate says what share of its trades is tainted."
    )
