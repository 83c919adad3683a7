"""What a backtest made, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from backtest.reports.operations import plain_table

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

ROWS: Final = 12
"""Strategies listed; the others are counted."""
SPAN_TEXTS: Final[Mapping[str, str]] = {
    "whole": "whole",
    "in_sample": "in-sample",
    "confirmation": "confirmation",
    "after": "after",
}


def backtest_table(metrics: pl.DataFrame) -> Table:
    """The account over each span in both bounds, and the strategies with the largest profit alone over the whole."""
    import polars as pl

    account = metrics.filter(pl.col("scope") == "portfolio")
    # The bounds are the same to the digit where nothing rests inside bars; then one of them says it all.
    figures = ["total_return", "n_trades", "net_usd"]
    bounds = account.partition_by("bound", as_dict=True)
    worst, best = (bounds.get((name,), account.clear()) for name in ("worst", "best"))
    same = worst.select(figures).equals(best.select(figures))
    shown = worst if same else account
    alone = metrics.filter((pl.col("scope") == "strategy") & (pl.col("span") == "whole")).sort(
        "net_usd", "name", descending=[True, False]
    )
    rows = [_row("account", row, "" if same else f" ({row['bound']})") for row in shown.iter_rows(named=True)]
    rows += [_row(row["name"], row, "") for row in alone.head(ROWS).iter_rows(named=True)]
    if len(alone) > ROWS:
        rows.append((f"… and {len(alone) - ROWS} more strategies", *[""] * (len(COLUMNS) - 1)))
    title = "Backtest on one account; each strategy also alone (returns in %, expectancy in bps per trade after costs)"
    return plain_table(title, COLUMNS, rows, right=COLUMNS[2:])


COLUMNS: Final = (
    *("what", "span", "return", "a year", "volatility", "Sharpe", "drawdown", "days", "exposure"),
    *("trades", "hit", "expectancy", "net USD"),
)


def _row(what: str, row: Mapping[str, Any], bound: str) -> tuple[str, ...]:
    error = f" ± {row['sharpe_standard_error']:.1f}" if row["sharpe_standard_error"] is not None else ""
    interval = (
        f" [{1e4 * row['expectancy_low']:z.0f}, {1e4 * row['expectancy_high']:z.0f}]"
        if row["expectancy_low"] is not None
        else ""
    )
    return (
        what,
        SPAN_TEXTS[row["span"]] + bound,
        _percent(row["total_return"]),
        _percent(row["annual_return"]),
        _percent(row["annual_volatility"]),
        f"{row['sharpe_ratio']:z.2f}{error}" if row["sharpe_ratio"] is not None else "–",
        _percent(row["max_drawdown"]),
        f"{row['max_drawdown_days']:,}",
        f"{row['mean_exposure']:.2f}" if row["mean_exposure"] is not None else "–",
        f"{row['n_trades']:,}",
        _percent(row["hit_rate"]),
        f"{1e4 * row['expectancy']:z.1f}{interval}" if row["expectancy"] is not None else "–",
        f"{row['net_usd']:z,.0f}",
    )


def months_table(monthly: pl.DataFrame) -> Table:
    """Returns of the account by year and month (%)."""
    by_year: dict[str, dict[str, float | None]] = {}
    for month, value in monthly.select("month", "return").iter_rows():
        by_year.setdefault(month[:4], {})[month[5:]] = value
    names = tuple(f"{number:02d}" for number in range(1, 13))
    rows = [(year, *(_percent(found.get(name), "") for name in names)) for year, found in by_year.items()]
    return plain_table("Returns by month, %", ("year", *names), rows, right=names)


def luck_lines(metrics: pl.DataFrame) -> list[str]:
    """How the account's Sharpe ratio stands against luck, and whether choosing among its strategies overfits."""
    import polars as pl

    account = metrics.filter(
        (pl.col("scope") == "portfolio") & (pl.col("span") == "whole") & (pl.col("bound") == "worst")
    )
    if account.is_empty():
        return []
    row = account.row(0, named=True)
    ratio, overfitting = row["deflated_sharpe"], row["overfitting_probability"]
    told = (
        "not known (no number of trials, or returns that do not vary)"
        if ratio is None
        else f"above the best of {row['n_trials']:,.0f} trials by luck with probability {ratio:.2f}"
    )
    chosen = (
        "not told (fewer than two strategies, or too few days)"
        if overfitting is None
        else f"{overfitting:.2f} (the best of one half of the days is at or below the median in the other)"
    )
    return [
        f"Deflated Sharpe ratio of the account: {told}.",
        f"Choosing among the strategies overfits with probability: {chosen}.",
    ]


def backtest_lines(summary: Mapping[str, Any]) -> list[str]:
    """What was carried, liquidated and skipped, and the warnings."""
    lines = [
        f"{summary['n_trades']:,} trades; {summary['n_carried']:,} were carried because their exit could not be filled, "
        f"{summary['n_liquidated']:,} liquidated; {summary['n_skipped']:,} signals became no trade"
        + (":" if summary["skipped"] else ".")
    ]
    lines += [f"  {entry['n']:,}: {entry['reason']}" for entry in summary["skipped"]]
    equal, of = summary["n_parity_equal"], summary["n_parity"]
    lines.append(
        f"Parity with what the search measures: {equal:,} of {of:,} certificates equal, "
        f"{summary['n_parity_not_comparable']:,} strategies × symbols not comparable (parity.json)."
    )
    return [*lines, *(f"WARNING: {text}." for text in summary["warnings"])]


def _percent(value: float | None, absent: str = "–") -> str:
    return absent if value is None else f"{100 * value:z.1f}"
