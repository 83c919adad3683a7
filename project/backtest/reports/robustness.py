"""Verdicts on robustness as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

ROWS: Final = 20


def verdict_counts(verdicts: pl.DataFrame) -> str:
    """One sentence: how many candidates were looked at and how many are robust, fragile or could not be assessed."""
    import polars as pl

    passed = verdicts.filter("gate_phase2_final")
    parts = []
    for rows, what in ((passed, "that passed every gate"), (verdicts.filter(~pl.col("gate_phase2_final")), "others")):
        if len(rows):
            counts = dict(rows["verdict"].value_counts().iter_rows())
            told = ", ".join(
                f"{counts[name]:,} {name}" for name in ("robust", "fragile", "not assessed") if name in counts
            )
            parts.append(f"of {len(rows):,} {what} {told}")
    return "Robustness: " + ("; ".join(parts) if parts else "no candidate to look at") + "."


def verdict_table(verdicts: pl.DataFrame, rows: int = ROWS) -> Table:
    """Verdicts, one line an event, trade and horizon, in bps per trade.

    The smallest p-value stands for all states and symbols: it is the widest claim of several that overlap.
    """
    import polars as pl
    from rich import box
    from rich.table import Table

    kind = ("event_type", "template_verb", "horizon")
    shown = (
        verdicts.with_columns((pl.len().over(kind) - 1).alias("n_others"))
        .sort("gate_phase2_final", "p_value", "candidate_id", descending=[True, False, False])
        .unique(kind, keep="first", maintain_order=True)
        .sort("gate_phase2_final", "after_cost_expectancy", descending=True, maintain_order=True)
    )
    more = f", {rows} of {len(shown)} kinds of trade" if len(shown) > rows else ""
    table = Table(
        title=f"Robustness of candidates and nearest misses{more} (returns and costs in bps per trade)",
        title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for name in ("event, trade, horizon", "state, symbol"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "mean", "cost", "net", "90 % of net raw mean", "others"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("gates", "verdict"):
        table.add_column(name, no_wrap=name == "gates")
    for row in shown.head(rows).iter_rows(named=True):
        interval = f"{_bps(row['bootstrap_low'])} … {_bps(row['bootstrap_high'])}"
        table.add_row(
            f"{row['event_type']} {row['template_verb']} {row['horizon']}",
            f"{row['state_id']}, {row['symbol']}",
            f"{row['n_events']:,}",
            *(_bps(row[name]) for name in ("expectancy", "cost", "after_cost_expectancy")),
            interval,
            f"+{row['n_others']}" if row["n_others"] else "",
            "passed" if row["gate_phase2_final"] else "missed",
            _verdict(row),
        )
    return table


def _verdict(row: dict[str, object]) -> str:
    if row["reason"]:
        return f"{row['verdict']}: {row['reason']}"
    failed = str(row["failed_checks"]).replace("_", " ")
    return f"{row['verdict']}: {failed}" if failed else str(row["verdict"])


def _bps(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction * 1e4:z.1f}"
