"""Tables of the audits for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from backtest.audit.look_ahead import Check, Offence
    from backtest.audit.warm_up import WarmUp


def look_ahead_table(checks: Iterable[Check]) -> Table:
    """Definitions with their checked values, mismatches and the first offending row."""
    table = _table("Look-ahead")
    table.add_column("definition", no_wrap=True)
    table.add_column("checked values", justify="right")
    table.add_column("mismatches", justify="right")
    table.add_column("first offending row", overflow="fold")
    for check in checks:
        shown = _offence(check.first) if check.first is not None else ""
        style = "red" if check.mismatches else None
        table.add_row(check.definition, f"{check.checked:,}", f"{check.mismatches:,}", shown, style=style)
    return table


def _offence(offence: Offence) -> str:
    return (
        f"{offence.symbol} {offence.timestamp:%Y-%m-%d %H:%M} {offence.column}: {offence.with_future!r} with the future, "
        f"{offence.without_future!r} when it is cut off at {offence.cut:%Y-%m-%d %H:%M}"
    )


def warm_up_table(rows: Iterable[WarmUp]) -> Table:
    """Features with their derived look-back and the largest relative change measured beyond it."""
    table = _table("Warm-up")
    table.add_column("feature", no_wrap=True)
    for name in ("look-back bars", "hours", "checked values", "largest relative change", "known in one only"):
        table.add_column(name, justify="right")
    for row in rows:
        change = row.largest_relative_change
        table.add_row(
            row.feature,
            f"{row.lookback_bars:,}",
            f"{row.lookback_hours:,.1f}",
            f"{row.checked:,}",
            "no values" if change is None else "0" if change == 0 else f"{change:.1e}",
            f"{row.n_null_changes:,}",
        )
    return table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
