"""What the strategies of a run would have earned on one account: equity, months, exposure, costs, trades, both fill bounds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest.reports.html import figures, formats
from backtest.reports.html.figures import Curve, Step
from backtest.reports.html.pages.others import missing_page
from backtest.reports.html.pages.trades import COLUMNS, MOST_TRADES
from backtest.reports.html.rendering import page
from backtest.reports.html.results import BacktestResults, Missing, RunResults

if TYPE_CHECKING:
    import polars as pl

TRADES_SCRIPT: Final = "data/trades.js"
MOST_CURVES: Final = 6
MOST_SHOWN: Final = 15
"""Strategies in the first table; the others are folded away."""
MOST_CORRELATED: Final = 12
"""The largest strategies by what they earned or lost are set beside each other."""
SPANS: Final = {
    "whole": "whole window",
    "in_sample": "in sample (discovery fold)",
    "confirmation": "confirmation fold",
    "after": "out of sample (after the search)",
}
LEAD: Final = (
    "What the strategies of this run would have earned, trade by trade on one account, with costs, funding and risk "
    "limits."
)


def backtest_page(results: RunResults) -> str:
    """backtest.html."""
    found = results.backtest
    if found is None:
        command = f"make discover-hybrid-backtest RUN_ID={results.run_id} STRATEGIES=NAME"
        lacking = Missing("No strategy has been backtested in this run.", command)
        return missing_page(results, "backtest.html", "Backtest", LEAD, lacking)
    return page(
        "backtest.html.j2",
        run_id=results.run_id,
        title="Backtest",
        section="backtest.html",
        scripts=(TRADES_SCRIPT,),
        lead=LEAD,
        verdict=_verdict(found),
        warnings=[str(warning) for warning in found.summary.get("warnings") or ()],
        facts=_facts(found),
        equity=_equity(found),
        months=_months(found.monthly),
        spans=_spans(found.metrics),
        costs=_costs(found.costs),
        strategies=_strategies(found.metrics, results.run_id),
        most_shown=MOST_SHOWN,
        contributions=_contributions(found, results.run_id),
        contributions_text=_contributions_text(found),
        correlation=_correlation(found, results.run_id),
        capacity=_capacity(found.capacity),
        skipped=[(row["stage"], row["reason"], formats.count(row["n"])) for row in found.summary.get("skipped") or ()],
        trades=formats.count(len(found.trades)),
        trades_left_out=formats.count(len(found.trades) - MOST_TRADES) if len(found.trades) > MOST_TRADES else "",
        columns=[{"key": key, "kind": kind, "label": label, "tip": tip} for key, kind, label, tip in COLUMNS],
        trades_file=f"reports/backtest/{results.run_id}/trades.parquet",
        parity=_parity(found.summary),
    )


def _one(metrics: pl.DataFrame, **wanted: str) -> dict[str, Any]:
    import polars as pl

    rows = metrics.filter([pl.col(name) == value for name, value in wanted.items()])
    return rows.row(0, named=True) if not rows.is_empty() else {}


def _portfolio(found: BacktestResults, span: str, bound: str = "worst") -> dict[str, Any]:
    return _one(found.metrics, scope="portfolio", span=span, bound=bound)


def _verdict(found: BacktestResults) -> str:
    whole = _portfolio(found, "whole")
    if not whole:
        return "The strategies made no trade."
    after = _portfolio(found, "after")
    text = (
        f"{formats.plural(int(whole['n_trades'] or 0), 'trade')} of "
        f"{formats.plural(len(found.summary['strategies']), 'strategy', 'strategies')}: "
        f"{formats.share(whole['total_return'], 1)} over the window, with a largest drawdown of "
        f"{formats.share(whole['max_drawdown'], 1)} "
        f"and a Sharpe ratio of {formats.decimal(whole['sharpe_ratio'], 2)}"
    )
    if formats.is_known(whole.get("sharpe_standard_error")):
        text += f" (standard error {formats.decimal(whole['sharpe_standard_error'], 2)})"
    chosen, untouched = _portfolio(found, "in_sample"), _portfolio(found, "confirmation")
    if chosen and untouched:
        text += (
            f". The days of the discovery fold, on which all was chosen, gave {formats.share(chosen['total_return'], 1)} "
            f"(Sharpe ratio {formats.decimal(chosen['sharpe_ratio'], 2)}); the confirmation fold, which only let pass, gave "
            f"{formats.share(untouched['total_return'], 1)} (Sharpe ratio {formats.decimal(untouched['sharpe_ratio'], 2)})"
        )
    if after and after.get("n_days"):
        days = formats.plural(int(after["n_days"]), "day")
        return f"{text}. Out of sample: {formats.share(after['total_return'], 1)} in {days}."
    return f"{text}. No day of it lies after the search, so nothing here is out of sample."


def _facts(found: BacktestResults) -> list[dict[str, str]]:
    whole, best = _portfolio(found, "whole"), _portfolio(found, "whole", "best")
    if not whole:
        return []
    expectancy = (
        f"{formats.bps(whole['expectancy_low'])} … {formats.bps(whole['expectancy_high'])}"
        if formats.is_known(whole.get("expectancy_low"))
        else formats.NOTHING
    )
    facts = [
        (
            "Total return",
            formats.share(whole["total_return"], 1),
            f"hopeful fills {formats.share(best.get('total_return'), 1)}",
        ),
        (
            "Sharpe ratio",
            _sharpe(whole),
            f"95 % interval; hopeful fills {formats.decimal(best.get('sharpe_ratio'), 2)}",
        ),
        (
            "Largest drawdown",
            formats.share(whole["max_drawdown"], 1),
            f"{formats.count(whole['max_drawdown_days'])} days",
        ),
        ("Mean exposure", formats.share(whole["mean_exposure"], 0), "of equity"),
        ("Trades", formats.count(whole["n_trades"]), f"{formats.share(whole['hit_rate'])} won"),
        ("Net per trade", f"{formats.bps(whole['expectancy'])} bps", f"95 % interval {expectancy}"),
        ("Turnover", f"{formats.decimal(whole['turnover_per_year'])} × equity", "a year"),
        ("Decided by the bound", formats.count(whole["n_ambiguous"]), "trades with target and stop in one bar"),
    ]
    return [{"label": label, "value": value, "note": note} for label, value, note in facts]


def _daily(equity: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return (
        equity.sort("timestamp")
        .group_by(pl.col("timestamp").dt.date().alias("day"), maintain_order=True)
        .agg(
            pl.col("equity").last(),
            pl.col("equity_best").last(),
            pl.col("drawdown").min(),
            (pl.col("gross_exposure") / pl.col("equity")).mean().alias("gross"),
            (pl.col("net_exposure") / pl.col("equity")).mean().alias("net"),
        )
    )


def _shaded(summary: Mapping[str, Any]) -> list[tuple[dt.date, dt.date, str]]:
    folds = summary.get("folds") or {}
    try:
        confirmation = tuple(
            dt.date.fromisoformat(str(folds[name])[:10]) for name in ("confirmation_start", "confirmation_end")
        )
    except (KeyError, ValueError):
        return []
    return [
        (confirmation[0], confirmation[1], "confirmation"),
        (confirmation[1], dt.date.max, "out of sample"),
    ]


def _equity(found: BacktestResults) -> list[dict[str, Any]]:
    daily = _daily(found.equity)
    if daily.is_empty():
        return []
    days = daily["day"].to_list()
    last = days[-1] + dt.timedelta(days=1)
    shaded = [(first, min(end, last), name) for first, end, name in _shaded(found.summary) if first < last]

    def values(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return daily[name].fill_null(np.nan).to_numpy().astype(float)

    return [
        {
            "svg": figures.time_figure(
                days,
                [
                    Curve("cautious fills", values("equity") / 1e3),
                    Curve("hopeful fills", values("equity_best") / 1e3, "third"),
                ],
                title="Equity of the account by day",
                label="equity (thousand USD)",
                shaded=shaded,
                decimals=1,
                unit=" thousand USD",
            ),
            "title": "Equity",
            "text": "Cautious: where a bar touches both, the stop counts before the target. The truth lies between the "
            "two lines.",
        },
        {
            "svg": figures.time_figure(
                days,
                [Curve("drawdown", values("drawdown") * 100, "loss")],
                title="Drawdown by day",
                label="drawdown (%)",
                shaded=shaded,
                fill=True,
                height=190,
                decimals=1,
                unit=" %",
            ),
            "title": "Drawdown",
            "text": "Deepest point of each day below the highest equity so far.",
        },
        {
            "svg": figures.time_figure(
                days,
                [Curve("gross", values("gross") * 100), Curve("net", values("net") * 100, "second")],
                title="Exposure by day",
                label="positions (% of equity)",
                shaded=shaded,
                height=190,
                decimals=0,
                unit=" %",
            ),
            "title": "Exposure",
            "text": "Mean of each day. Gross counts long and short, net sets them off.",
        },
    ]


def _months(monthly: pl.DataFrame) -> list[dict[str, Any]]:
    """A row a year with its twelve months and its compound return."""
    by_month = {str(month): value for month, value in monthly.select("month", "return").iter_rows()}
    made = []
    for year in sorted({month[:4] for month in by_month}):
        values = [by_month.get(f"{year}-{number:02d}") for number in range(1, 13)]
        known = [value for value in values if value is not None]
        cells = [
            {
                "text": "" if value is None else formats.share(value, 1),
                "kind": "" if value is None or round(value, 3) == 0 else "fail" if value < 0 else "pass",
            }
            for value in values
        ]
        made.append(
            {
                "year": year,
                "cells": cells,
                "total": formats.share(float(np.prod([1 + value for value in known]) - 1), 1),
            }
        )
    return made


def _metric_row(row: Mapping[str, Any], name: str) -> list[str]:
    return [
        name,
        formats.count(row["n_trades"]),
        formats.share(row["total_return"], 1),
        _sharpe(row),
        formats.share(row["max_drawdown"], 1),
        formats.share(row["hit_rate"]),
        formats.bps(row["expectancy"]),
        formats.bps_interval(row["expectancy_low"], row["expectancy_high"]),
        formats.count(row["net_usd"]),
    ]


def _sharpe(row: Mapping[str, Any]) -> str:
    """The Sharpe ratio with half its 95 % interval."""
    error = row.get("sharpe_standard_error")
    reach = f" ± {1.96 * error:.1f}" if error is not None and formats.is_known(error) else ""
    return f"{formats.decimal(row['sharpe_ratio'], 2)}{reach}"


def _spans(metrics: pl.DataFrame) -> list[list[str]]:
    rows = []
    for span, text in SPANS.items():
        for bound, told in (("worst", "cautious fills"), ("best", "hopeful fills")):
            row = _one(metrics, scope="portfolio", span=span, bound=bound)
            if row:
                rows.append(_metric_row(row, f"{text}, {told}"))
    return rows


def _named(name: object, run_id: str) -> str:
    """A strategy's name, without the run's own where it is a blueprint of it."""
    return str(name).removeprefix(f"{run_id}.")


def _strategies(metrics: pl.DataFrame, run_id: str) -> list[list[str]]:
    import polars as pl

    own = metrics.filter((pl.col("scope") == "strategy") & (pl.col("span") == "whole") & (pl.col("bound") == "worst"))
    return [
        _metric_row(row, _named(row["name"], run_id))
        for row in own.sort("net_usd", descending=True, nulls_last=True).iter_rows(named=True)
    ]


def _costs(costs: pl.DataFrame) -> Any:
    row = _one(costs, scope="portfolio")
    if not row or row["gross_bps"] is None:
        return None
    names = ("fees", "spread", "impact", "funding", "liquidation_fee")
    steps = [
        Step("gross", row["gross_bps"], is_total=True),
        *(Step(formats.words(name), -(row[f"{name}_bps"] or 0.0)) for name in names),
        Step("net", row["net_bps"], is_total=True),
    ]
    return figures.waterfall_figure(steps, title="From gross to net, in bps of the notional")


def _contributions(found: BacktestResults, run_id: str) -> Any:
    """Cumulated result of each strategy alone, the largest ones by their end."""
    import polars as pl

    returns = found.strategy_returns
    if returns.is_empty():
        return None
    names = _largest(found, MOST_CURVES)
    days = returns["day"].unique().sort().to_list()
    curves = []
    for number, name in enumerate(names):
        own = returns.filter(pl.col("strategy") == name).select("day", "net_usd")
        filled = (
            pl.DataFrame({"day": days})
            .join(own, on="day", how="left")
            .with_columns(pl.col("net_usd").fill_null(0.0).cum_sum())
        )
        curves.append(
            Curve(_named(name, run_id), filled["net_usd"].to_numpy().astype(float), f"hue{number} shade{number % 3}")
        )
    return figures.time_figure(
        days, curves, title="Result of each strategy alone, cumulated", label="result (USD)", decimals=0, unit=" USD"
    )


def _contributions_text(found: BacktestResults) -> str:
    n = found.strategy_returns["strategy"].n_unique() if not found.strategy_returns.is_empty() else 0
    text = "Each alone on the account, marked to market day by day."
    return f"{text} The {MOST_CURVES} of {n:,} that earned or lost most." if n > MOST_CURVES else text


def _largest(found: BacktestResults, most: int) -> list[str]:
    """Names of the strategies that earned or lost most, each alone on the account."""
    import polars as pl

    totals = found.strategy_returns.group_by("strategy").agg(pl.col("net_usd").sum().abs().alias("size"))
    return totals.sort("size", "strategy", descending=[True, False])["strategy"].head(most).to_list()


def _correlation(found: BacktestResults, run_id: str) -> dict[str, Any] | None:
    names = _largest(found, MOST_CORRELATED)
    if found.correlation.is_empty() or len(names) < 2:
        return None
    rows = found.correlation.select("first", "second", "correlation").iter_rows()
    pairs = {frozenset((first, second)): value for first, second, value in rows}
    table = [
        (
            _named(name, run_id),
            ["" if name == other else formats.decimal(pairs.get(frozenset((name, other))), 2) for other in names],
        )
        for name in names
    ]
    n_days = int(found.correlation["n_days"].max() or 0)  # type: ignore[arg-type]
    return {
        "names": [_named(name, run_id) for name in names],
        "rows": table,
        "text": f"Over {formats.plural(n_days, 'day')}: one near zero is known to {formats.correlation_error(n_days)} "
        f"(95 %, if days are independent).",
    }


def _capacity(capacity: pl.DataFrame) -> list[list[str]]:
    return [
        [
            formats.usd(row["starting_equity_usd"]),
            formats.share(row["total_return"], 1),
            formats.decimal(row["sharpe_ratio"], 2),
            formats.decimal(row["net_bps"]),
            formats.decimal(row["notional_over_equity"]),
            formats.count(row["n_trades"]),
        ]
        for row in capacity.sort("starting_equity_usd").iter_rows(named=True)
    ]


def _parity(summary: Mapping[str, Any]) -> str:
    n, equal = summary.get("n_parity"), summary.get("n_parity_equal")
    if not isinstance(n, int) or not isinstance(equal, int) or n == 0:
        return ""
    return f"{equal} of {n} comparisons of what is traded with what was tested agree, event by event."
