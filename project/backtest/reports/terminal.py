"""Tables for the terminal: candidates, nearest misses, events, data quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

WIDE: Final = 150
MARGIN_TEXTS: Final[dict[str, str]] = {
    "gate_eligible": "{:+.0%} of the count",
    "gate_significant": "{:+z.3f} in adjusted p",
    "gate_day_concentration": "{:+z.2f} in a day's share",
    "gate_confirmed": "{:+z.3f} in confirm q",
    "gate_economic": "{:+z.2f} in P(above cost)",
    "gate_economic_conservative": "{:+z.1f} bps",
    "gate_stability": "{:+.0%} of the spans",
}
"""How the distance to each gate's limit is written; negative means missed by that much."""


def best_candidates(candidates: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The best candidate of each event, verb and horizon that passed every gate, and ``n_others`` of them that did too.

    States and symbols of one lucky event overlap, so one line stands for all of them. The smallest p-value is the best:
    it is the widest of several that overlap rather than the luckiest. Highest expectancy after cost first.
    """
    import polars as pl

    passed = candidates.filter("gate_phase2_final").sort("p_value", "candidate_id")
    kind = ("event_type", "template_verb", "horizon")
    best = passed.with_columns((pl.len().over(kind) - 1).alias("n_others")).unique(
        kind, keep="first", maintain_order=True
    )
    return best.sort("after_cost_expectancy", "candidate_id", descending=[True, False]).head(rows)


def nearest_misses(candidates: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Tested hypotheses that failed the fewest gates, with ``failed_gate`` (the first one).

    Of hypotheses with equally many failures the one with the higher expectancy after cost comes first.
    """
    import polars as pl

    from backtest.discovery.gates import GATES

    missed = candidates.filter(~pl.col("gate_phase2_final") & pl.col("gate_eligible"))
    return (
        with_first_failed_gate(missed)
        .with_columns(pl.sum_horizontal(~pl.col(gate) for gate in GATES).alias("failed_gates"))
        .sort("failed_gates", "after_cost_expectancy", "candidate_id", descending=[False, True, False])
        .head(rows)
    )


def with_first_failed_gate(candidates: pl.DataFrame) -> pl.DataFrame:
    """The candidates with ``failed_gate``, null where every gate was passed."""
    import polars as pl

    from backtest.discovery.gates import GATES

    names = (pl.when(~pl.col(gate)).then(pl.lit(gate.removeprefix("gate_"))) for gate in GATES)
    return candidates.with_columns(pl.coalesce(names).alias("failed_gate"))


def candidate_table(rows: pl.DataFrame, title: str, width: int) -> Table:
    """Candidates or nearest misses as a table; returns and costs in bps per trade.

    Below `WIDE` columns what a candidate is stands in two lines of one column.
    """
    misses = "failed_gate" in rows.columns
    table = _table(f"{title} (returns and costs in bps per trade)")
    is_wide = width >= WIDE
    for name in ("event, trade, horizon", "state, symbol") if is_wide else ("candidate",):
        table.add_column(name, no_wrap=True)
    for name in ("n", "mean", "shrunk", "cost", "net", "t", "q", "confirm q"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("first gate failed, by" if misses else "also passed", justify="left" if misses else "right")
    for row in rows.iter_rows(named=True):
        what = f"{row['event_type']} {row['template_verb']} {row['horizon']}"
        where = f"{row['state_id']}, {row['symbol']}"
        cells = [what, where] if is_wide else [f"{what}\n  {where}"]
        cells += [f"{row['n_events']:,}"]
        cells += [_bps(row[name]) for name in ("expectancy", "posterior_mean", "cost", "after_cost_expectancy")]
        cells += [_number(row["t_stat"], "{:z.1f}"), _number(row["q_value"], "{:.2g}")]
        cells += [_number(row["confirmation_q"], "{:.2g}")]
        if misses and row["failed_gate"] is None:
            cells += ["passed every gate"]
        elif misses:
            cells += [f"{row['failed_gate'].replace('_', ' ')}: {_missed_by(row['failed_gate'], row)}"]
        else:
            cells += [f"+{row['n_others']}" if row["n_others"] else ""]
        table.add_row(*cells)
    return table


def cross_check_table(spans: pl.DataFrame, rows: int = 20) -> Table:
    """Spans in which sources of one price disagree, those with most bars first; the title counts the others."""
    more = f", the {rows} longest of {len(spans)}" if len(spans) > rows else ""
    table = _table(f"Sources that disagree{more}")
    for name in ("symbol", "what", "from (UTC)", "to (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("bars", "largest bps", "bound"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in spans.sort("bars", "start", descending=[True, False]).head(rows).iter_rows(named=True):
        largest = f"{row['largest_bps']:.0f}" if row["largest_bps"] is not None else ""
        when = (f"{row[end]:%Y-%m-%d %H:%M}" for end in ("start", "end"))
        table.add_row(row["symbol"], row["measure"], *when, f"{row['bars']:,}", largest, row["bound"])
    return table


def quality_table(quality: pl.DataFrame) -> Table:
    """Cleaned bars per symbol and market over all months, and the months with something to say."""
    import polars as pl

    counts = (
        "bars",
        "gap_bars",
        "longest_gap_bars",
        "duplicates",
        "off_grid",
        "inconsistent",
        "out_of_range",
        "zero_volume",
    )
    table = _table("Quality of the cleaned bars")
    for name in ("symbol", "market", "months"):
        table.add_column(name, no_wrap=True)
    for name in counts:
        table.add_column(name.replace("_", " "), justify="right")
    series = quality.partition_by("symbol", "market", maintain_order=True)
    for unsorted in series:
        months = unsorted.sort("month")
        totals = [max(months[name]) if name == "longest_gap_bars" else sum(months[name]) for name in counts]
        span = f"{months['month'][0]} … {months['month'][-1]}"
        table.add_row(months["symbol"][0], months["market"][0], span, *(f"{total:,}" for total in totals))
        notable = months.filter(pl.sum_horizontal(*(pl.col(name) for name in counts[1:])) > 0)
        for row in notable.iter_rows(named=True):
            table.add_row(
                "", "", f"  {row['month']}", *(f"{row[name]:,}" if row[name] else "" for name in counts), style="dim"
            )
    return table


def event_table(quality: pl.DataFrame) -> Table:
    """Event types with how often they occur and whether they are tested."""
    table = _table("Events")
    table.add_column("event")
    for name in ("occurrences", "per 10,000 bars"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in quality.iter_rows(named=True):
        table.add_row(
            row["event_type"], f"{row['n_events']:,}", _number(row["per_10000_bars"], "{:z.1f}"), row["verdict"]
        )
    return table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )


def _missed_by(gate: str, row: Mapping[str, Any]) -> str:
    """How far a candidate was from the limit of a gate, in the gate's own terms."""
    margin = row[f"margin_{gate}"]
    return "not a candidate" if margin is None else MARGIN_TEXTS[f"gate_{gate}"].format(margin)


def _bps(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction * 1e4:z.1f}"


def _number(value: float | None, text: str) -> str:
    return "" if value is None else text.format(value)
