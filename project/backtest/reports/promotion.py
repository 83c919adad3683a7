"""Walk-forward and promotions as tables and sentences for the terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

ROWS: Final = 20


def fold_table(folds: pl.DataFrame) -> Table:
    """Folds of a walk-forward, in bps per trade of the book."""
    table = _table(
        "Walk-forward: found in each training window, and what it earned in the test window after it (bps a trade)"
    )
    for name in ("trained on", "tested on"):
        table.add_column(name, no_wrap=True)
    for name in ("found", "in the book", "trades", "promised net", "net", "± s.e."):
        table.add_column(name, justify="right", no_wrap=True)
    for row in folds.iter_rows(named=True):
        table.add_row(
            *(
                f"{row[f'{span}_start']} … {row[f'{span}_end'] - dt.timedelta(days=1)}"  # ends are exclusive
                for span in ("train", "test")
            ),
            *(f"{row[name]:,}" for name in ("n_found", "n_book", "n_trades")),
            *(_bps(row[name]) for name in ("expected_net", "net", "net_standard_error")),
        )
    return table


def overfitting_text(overfitting: Mapping[str, Mapping[str, Any]]) -> str:
    """How likely the search is overfitted."""
    lines = []
    for key, what in (("search", "trades of the whole search"), ("passed", "candidates that passed every gate")):
        found = overfitting[key]
        if found["probability"] is None:
            lines.append(f"Probability of overfitting over {found['n_trials']:,} {what}: too few to choose among.")
        else:
            lines.append(
                f"Probability of overfitting over {found['n_trials']:,} {what}: {found['probability']:.2f} (the best of one "
                f"half of the time is below the median of the other half; {found['n_halvings']:,} ways to halve)."
            )
    return "\n".join(lines)


def promotion_counts(promotions: pl.DataFrame) -> str:
    """How many candidates were asked and promoted."""
    n = int(promotions["is_promoted"].sum())
    if promotions.is_empty():
        return "Promotion: no candidate passed every gate of the discovery, so there is none to promote."
    return f"Promotion: {n:,} of {len(promotions):,} candidates that passed every gate of the discovery are promoted."


def promotion_table(promotions: pl.DataFrame, rows: int = ROWS) -> Table:
    """Candidates with the first reason against their promotion, the promoted first; returns in bps per trade."""
    ordered = promotions.sort("is_promoted", "after_cost_expectancy", descending=True, maintain_order=True)
    more = f", {rows} of {len(ordered)}" if len(ordered) > rows else ""
    table = _table(f"Promotions{more} (bps a trade)")
    table.add_column("candidate", no_wrap=True)
    for name in ("net", "net in test windows"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("promoted", no_wrap=True)
    table.add_column("first reason against it")
    for row in ordered.head(rows).iter_rows(named=True):
        table.add_row(
            row["candidate_id"],
            _bps(row["after_cost_expectancy"]),
            _bps(row["test_net"]),
            "yes" if row["is_promoted"] else "no",
            row["reason"],
        )
    return table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )


def _bps(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction * 1e4:z.1f}"
