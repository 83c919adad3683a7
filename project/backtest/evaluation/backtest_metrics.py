"""The table of figures of a backtest: of the account, each strategy and each symbol, over each span, in both bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from backtest.evaluation import account_metrics as figures
from backtest.evaluation.backtest_luck import Trials, deflated_sharpe_ratio
from backtest.evaluation.backtest_tables import SPANS, Portfolio, Span, daily_equity, only, span_names, trade_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtest.discovery.folds import Folds
    from backtest.engine.ledger import Backtest, Bound

_NUMBERS: Final = (
    *("total_return", "annual_return", "annual_volatility", "sharpe_ratio", "sharpe_standard_error", "sortino_ratio"),
    *("max_drawdown", "calmar_ratio", "turnover_per_year", "mean_exposure"),
    *("hit_rate", "profit_factor", "expectancy", "expectancy_low", "expectancy_high", "net_usd"),
    *("deflated_sharpe", "n_trials", "overfitting_probability"),
)
_COUNTS: Final = (
    *("n_days", "n_trades", "max_drawdown_days"),
    *("n_carried", "n_liquidated", "n_ambiguous", "n_tainted"),
)
METRIC_SCHEMA: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(("scope", "name", "span", "bound"), pl.String()),
    **dict.fromkeys(("start", "end"), pl.Date()),
    **dict.fromkeys(_COUNTS, pl.Int64()),
    **dict.fromkeys(_NUMBERS, pl.Float64()),
}
"""Returns and drawdowns are fractions, ratios are annual with 365 days, money is USD; see docs/backtest.md."""


def metric_rows(
    portfolio: Portfolio,
    trades: pl.DataFrame,
    best_trades: pl.DataFrame,
    trials: Trials,
    overfitting_probability: float | None,
) -> pl.DataFrame:
    """One row a scope, name, span and bound (`METRIC_SCHEMA`); a span without a day has none.

    Parameters
    ----------
    portfolio : Portfolio
    trades, best_trades : of the account, as of `backtest_tables.trade_rows`, for each bound.
    trials : what the Sharpe ratios are deflated by, on days after the search excepted.
    overfitting_probability : of choosing among the strategies; told of the account's whole window.
    """
    rows: list[dict[str, Any]] = []
    both: tuple[tuple[Bound, Backtest, pl.DataFrame], ...] = (
        ("worst", portfolio.bounds.worst, trades),
        ("best", portfolio.bounds.best, best_trades),
    )
    for bound, made, own in both:
        rows += _curve_rows("portfolio", "", bound, made, own, portfolio, portfolio.run_folds, trials)
        for symbol in portfolio.market.instruments:
            of_symbol = own.filter(pl.col("instrument") == symbol)
            rows += [
                {
                    "scope": "symbol",
                    "name": symbol,
                    "span": span,
                    "bound": bound,
                    **_trade_figures(_of(of_symbol, span)),
                }
                for span in SPANS
                if span == "whole" or len(_of(of_symbol, span))
            ]
    names = portfolio.signals.strategies
    for number, (name, made) in enumerate(zip(names, portfolio.alone, strict=True)):
        signals = only(portfolio.signals, number)
        own = trade_rows(made, signals, portfolio, portfolio.tainted[portfolio.signals.strategy == number])
        rows += _curve_rows("strategy", name, "worst", made, own, portfolio, portfolio.folds[name], trials)
    told = (pl.col("scope") == "portfolio") & (pl.col("span") == "whole") & (pl.col("bound") == "worst")
    return pl.DataFrame(rows, schema=METRIC_SCHEMA).with_columns(
        overfitting_probability=pl.when(told).then(pl.lit(overfitting_probability, dtype=pl.Float64))
    )


def _curve_rows(
    scope: str,
    name: str,
    bound: Bound,
    made: Backtest,
    trades: pl.DataFrame,
    portfolio: Portfolio,
    folds: Folds,
    trials: Trials,
) -> list[dict[str, Any]]:
    """A row a span that has days: figures of the equity curve in it, and of the trades decided in it."""
    days, equity = daily_equity(made, portfolio.market)
    spans = np.array(span_names(days, folds), dtype=object)
    rows = []
    for span in SPANS:
        inside = np.flatnonzero(spans == span) if span != "whole" else np.arange(len(days))
        if len(inside):
            rows.append(
                {
                    "scope": scope,
                    "name": name,
                    "span": span,
                    "bound": bound,
                    "start": _date(days[inside[0]]),
                    "end": _date(days[inside[-1]]),
                    **_curve_figures(equity[inside[0] : inside[-1] + 2]),
                    **_drawdown(made, portfolio, equity[inside[0] : inside[-1] + 2], days[inside]),
                    **_luck(equity[inside[0] : inside[-1] + 2], trials.none_tried if span == "after" else trials),
                    **_use_figures(made, portfolio, int(days[inside[0]]), int(days[inside[-1]])),
                    **_trade_figures(_of(trades, span)),
                }
            )
    return rows


def _curve_figures(equity: NDArray[np.float64]) -> dict[str, Any]:
    returns = figures.daily_returns(equity)
    return {
        "n_days": len(returns),
        "total_return": float(equity[-1] / equity[0] - 1.0) if equity[0] > 0 else None,
        "annual_return": figures.annual_return(returns),
        "annual_volatility": figures.annual_volatility(returns),
        "sharpe_ratio": figures.sharpe_ratio(returns),
        "sharpe_standard_error": figures.sharpe_standard_error(returns),
        "sortino_ratio": figures.sortino_ratio(returns),
    }


def _drawdown(
    made: Backtest, portfolio: Portfolio, equity: NDArray[np.float64], days: NDArray[np.int64]
) -> dict[str, Any]:
    """Drawdown at the bars' closes, its length in days, and the return a year over it; `equity` at the days' ends."""
    inside = (portfolio.market.day >= days[0]) & (portfolio.market.day <= days[-1])
    depth, _ = figures.max_drawdown(np.concatenate([equity[:1], made.equity[inside]]))
    yearly = figures.annual_return(figures.daily_returns(equity))
    return {
        "max_drawdown": depth,
        "max_drawdown_days": figures.max_drawdown(equity)[1],
        "calmar_ratio": yearly / -depth if yearly is not None and depth < 0 else None,
    }


def _luck(equity: NDArray[np.float64], trials: Trials) -> dict[str, float | None]:
    found = deflated_sharpe_ratio(figures.daily_returns(equity), trials)
    return {"deflated_sharpe": found, "n_trials": trials.n}


def _use_figures(made: Backtest, portfolio: Portfolio, first: int, last: int) -> dict[str, float | None]:
    """How much of the equity is in the market and how often it is turned over, over the days `first` to `last`."""
    inside = (portfolio.market.day >= first) & (portfolio.market.day <= last)
    equity = made.equity[inside]
    if not (equity > 0).all():
        return {"turnover_per_year": None, "mean_exposure": None}
    years = (last - first + 1) / figures.DAYS_PER_YEAR
    return {
        "turnover_per_year": float((made.traded_usd[inside] / equity).sum() / years),
        "mean_exposure": float((made.gross_exposure[inside] / equity).mean()),
    }


def _trade_figures(trades: pl.DataFrame) -> dict[str, Any]:
    """Figures of whole trades: the legs of one are summed."""
    whole = (
        trades.group_by("signal", "strategy", maintain_order=True)
        .agg(
            pl.col("decision_time").first().dt.epoch("d").alias("day"),
            pl.col("net").sum(),
            pl.col("notional").first(),
            (pl.col("bars_carried") > 0).any().alias("carried"),
            (pl.col("reason") == "liquidation").any().alias("liquidated"),
            pl.col("ambiguous").any(),
            pl.col("tainted").any(),
        )
        .with_columns((pl.col("net") / pl.col("notional")).alias("net_return"))
    )
    net, returns = whole["net"].to_numpy(), whole["net_return"].to_numpy()
    mean, low, high = figures.expectancy_interval(returns, whole["day"].to_numpy().astype(np.int64))
    return {
        "n_trades": len(whole),
        "net_usd": float(net.sum()),
        "hit_rate": figures.hit_rate(net),
        "profit_factor": figures.profit_factor(net),
        "expectancy": mean,
        "expectancy_low": low,
        "expectancy_high": high,
        "n_carried": int(whole["carried"].sum()),
        "n_liquidated": int(whole["liquidated"].sum()),
        "n_ambiguous": int(whole["ambiguous"].sum()),
        "n_tainted": int(whole["tainted"].sum()),
    }


def _of(trades: pl.DataFrame, span: Span) -> pl.DataFrame:
    return trades if span == "whole" else trades.filter(pl.col("span") == span)


def _date(day: np.int64) -> Any:
    return np.datetime64(int(day), "D").astype(object)
