"""The tables of a backtest: spans, months, where the money went, capacity, correlation (columns: docs/backtest.md)."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.engine.ledger import NO_BAR, Backtest, Outcome, equity_frame, trade_frame
from backtest.engine.simulation import Bounds, simulate

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds
    from backtest.engine.account import Account
    from backtest.engine.market import Market
    from backtest.engine.signals import Signals

Floats = NDArray[np.float64]
Span = Literal["whole", "in_sample", "confirmation", "after"]
SPANS: Final[tuple[Span, ...]] = ("whole", "in_sample", "confirmation", "after")
OUTSIDE: Final = "outside"
"""Days of no fold: the embargo between them, and days before the search's data."""
COSTS: Final = ("fees", "spread", "impact", "funding", "liquidation_fee")
MONEY: Final = ("gross", *COSTS, "net")
REASONS: Final[Mapping[Outcome, str]] = {
    Outcome.BEYOND_DATA: "its entry lies beyond the last bar",
    Outcome.NOT_FILLABLE: "the bar of its entry is missing, tainted, or nobody traded in it",
    Outcome.HELD_ALREADY: "the strategy holds the instrument and does not stack",
    Outcome.UNKNOWN_COST: "volatility or turnover of the bar before is not known",
    Outcome.UNKNOWN_SIZE: "the volatility that its size follows from is not known",
    Outcome.BEYOND_STOP: "the entry's open lies at or beyond its stop or target",
    Outcome.LIMITED: "a limit, the margin or the turnover leaves less than the smallest order",
    Outcome.TOO_SMALL: "its size is less than the smallest order",
    Outcome.NO_EQUITY: "the account has no equity",
}
"""Why a signal became no trade, in words."""


@dataclass(frozen=True)
class Portfolio:
    """What was traded: both bounds of the whole account, and each strategy alone on the same account.

    Attributes
    ----------
    tainted : (n_signals,) whether what a signal rests on is known to be wrong.
    folds : of the search that a strategy is to be judged by, by name; and those of the run for the account as a whole.
    alone : worst bound of each strategy alone, in the order of the signals' strategies.
    """

    market: Market
    signals: Signals
    tainted: NDArray[np.bool_]
    bounds: Bounds
    alone: tuple[Backtest, ...]
    folds: Mapping[str, Folds]
    run_folds: Folds

    @property
    def account(self) -> Account:
        return self.bounds.worst.account


def only(signals: Signals, strategy: int) -> Signals:
    """The signals of one strategy; names and numbers of strategies stay."""
    chosen = signals.strategy == strategy
    parts = {
        field.name: value[chosen]
        for field in dataclasses.fields(signals)
        if isinstance(value := getattr(signals, field.name), np.ndarray) and field.name != "invalidation_masks"
    }
    return dataclasses.replace(signals, **parts)


def each_alone(market: Market, signals: Signals, account: Account) -> tuple[Backtest, ...]:
    """Each strategy alone on the account, worst bound."""
    return tuple(simulate(market, only(signals, number), account) for number in range(len(signals.strategies)))


def span_names(days: NDArray[np.int64], folds: Folds) -> list[str]:
    """The span of each day (days since 1970-01-01); `OUTSIDE` where it is in none."""
    first, cut, start, end = (
        (day - dt.date(1970, 1, 1)).days
        for day in (folds.discovery_start, folds.discovery_end, folds.confirmation_start, folds.confirmation_end)
    )
    names = np.full(len(days), OUTSIDE, dtype=object)
    names[(days >= first) & (days < cut)] = "in_sample"
    names[(days >= start) & (days < end)] = "confirmation"
    names[days >= end] = "after"
    return [str(name) for name in names]


def ledger_rows(made: Backtest, market: Market, signals: Signals) -> pl.DataFrame:
    """The ledger as a frame whose columns have their types where there is no trade too."""
    texts = ("event_id", "strategy", "instrument", "reason")
    return trade_frame(made, market, signals).with_columns(pl.col(name).cast(pl.String) for name in texts)


def trade_rows(made: Backtest, signals: Signals, portfolio: Portfolio, tainted: NDArray[np.bool_]) -> pl.DataFrame:
    """The trades made of `signals` with the span of their decision; `tainted` says whether what a signal rests on is."""
    frame = ledger_rows(made, portfolio.market, signals)
    days = frame["decision_time"].dt.epoch("d").to_numpy().astype(np.int64)
    spans = np.full(len(frame), OUTSIDE, dtype=object)
    for name in signals.strategies:
        own = (frame["strategy"] == name).to_numpy()
        spans[own] = span_names(days[own], portfolio.folds[name])
    return frame.with_columns(
        pl.Series("tainted", frame["tainted"].to_numpy() | tainted[made.ledger["signal"]]),
        pl.Series("span", spans.tolist(), dtype=pl.String),
    )


def skipped_rows(made: Backtest, entries: pl.DataFrame, unasked: pl.DataFrame) -> pl.DataFrame:
    """Signals that became no trade: `unasked` ones that the rules did not make, and `entries` that the account could not."""
    columns = ["strategy", "symbol", "event_time", "decision_time", "reason", "stage"]
    reasons = [REASONS.get(Outcome(int(outcome))) for outcome in made.outcomes]
    refused = entries.with_columns(
        pl.Series("reason", reasons, dtype=pl.String), pl.lit("account").alias("stage")
    ).filter(pl.col("reason").is_not_null())
    never = unasked.with_columns(pl.col("skipped").alias("reason"), pl.lit("signal").alias("stage"))
    return pl.concat([never.select(columns), refused.select(columns)]).sort("event_time", "strategy", "symbol")


def daily_equity(made: Backtest, market: Market) -> tuple[NDArray[np.int64], Floats]:
    """The days of the market and the equity at each one's end, preceded by the start: (d,) and (d + 1,)."""
    last = np.flatnonzero(np.append(np.diff(market.day) > 0, True))
    return market.day[last], np.concatenate([[made.account.starting_equity_usd], made.equity[last]])


def equity_rows(portfolio: Portfolio) -> pl.DataFrame:
    """The account at each bar, worst bound, with the equity of the best one beside it."""
    best = pl.Series("equity_best", portfolio.bounds.best.equity)
    return equity_frame(portfolio.bounds.worst, portfolio.market).with_columns(best)


def strategy_returns(portfolio: Portfolio) -> pl.DataFrame:
    """One row a day and strategy: its profit alone on the account, marked to market."""
    frames = []
    for name, made in zip(portfolio.signals.strategies, portfolio.alone, strict=True):
        days, equity = daily_equity(made, portfolio.market)
        net = np.diff(equity)
        frames.append(
            pl.DataFrame({"day": days, "net_usd": net, "return": net / made.account.starting_equity_usd}).select(
                pl.from_epoch("day", "d").alias("day"), pl.lit(name).alias("strategy"), "net_usd", "return"
            )
        )
    schema = {"day": pl.Date(), "strategy": pl.String(), "net_usd": pl.Float64(), "return": pl.Float64()}
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def monthly_rows(portfolio: Portfolio, trades: pl.DataFrame) -> pl.DataFrame:
    """One row a month: return of the account (worst bound), profit, and trades by the month of their entry."""
    days, equity = daily_equity(portfolio.bounds.worst, portfolio.market)
    by_month = (
        pl.DataFrame({"day": days, "before": equity[:-1], "after": equity[1:]})
        .with_columns(pl.from_epoch("day", "d").dt.strftime("%Y-%m").alias("month"))
        .group_by("month", maintain_order=True)
        .agg(pl.col("before").first(), pl.col("after").last())
    )
    counts = trades.filter(pl.col("leg") == 0).group_by(pl.col("entry_time").dt.strftime("%Y-%m").alias("month")).len()
    return by_month.join(counts, on="month", how="left", maintain_order="left").select(
        "month",
        pl.when(pl.col("before") > 0).then(pl.col("after") / pl.col("before") - 1.0).alias("return"),
        (pl.col("after") - pl.col("before")).alias("net_usd"),
        pl.col("len").fill_null(0).cast(pl.Int64).alias("n_trades"),
    )


def cost_rows(trades: pl.DataFrame) -> pl.DataFrame:
    """Where the money went, of the account, each strategy and each symbol: USD, and bps of the notional at entry."""
    scopes: tuple[tuple[str, pl.Expr], ...] = (
        ("portfolio", pl.lit("")),
        ("strategy", pl.col("strategy")),
        ("symbol", pl.col("instrument")),
    )
    left = pl.col("exit_reference") * pl.col("quantity")
    frames = [
        trades.with_columns(name.alias("name"))
        .group_by("name")
        .agg(
            *(pl.col(money).sum() for money in MONEY),
            (pl.col("notional") + left.fill_null(0.0)).sum().alias("traded_usd"),
            pl.col("notional").sum(),
        )
        .sort("name")
        .select(
            pl.lit(scope).alias("scope"),
            "name",
            *MONEY,
            "traded_usd",
            *((1e4 * pl.col(money) / pl.col("notional")).alias(f"{money}_bps") for money in MONEY),
        )
        for scope, name in scopes
    ]
    return pl.concat(frames)


def capacity_rows(market: Market, signals: Signals, account: Account, equities: Sequence[float]) -> pl.DataFrame:
    """The same signals on accounts of several sizes (worst bound): what is left as the trades grow."""
    rows = []
    for equity in equities:
        made = simulate(market, signals, dataclasses.replace(account, starting_equity_usd=equity))
        notional = made.ledger["quantity"] * made.ledger["entry_reference"]
        _, daily = daily_equity(made, market)
        rows.append(
            {
                "starting_equity_usd": equity,
                "total_return": float(daily[-1] / equity - 1.0),
                "sharpe_ratio": _sharpe(daily),
                "net_bps": float(1e4 * made.ledger["net"].sum() / notional.sum()) if notional.sum() > 0 else None,
                "notional_over_equity": float(notional.sum() / equity),
                "n_trades": int(np.count_nonzero(made.ledger["leg"] == 0)),
            }
        )
    return pl.DataFrame(
        rows,
        schema={
            **dict.fromkeys(
                ("starting_equity_usd", "total_return", "sharpe_ratio", "net_bps", "notional_over_equity"), pl.Float64()
            ),
            "n_trades": pl.Int64(),
        },
    )


def correlation_rows(returns: pl.DataFrame) -> pl.DataFrame:
    """Correlation of the daily returns of each pair of strategies; null where one of them does not vary."""
    schema = {"first": pl.String(), "second": pl.String(), "correlation": pl.Float64(), "n_days": pl.Int64()}
    names = returns["strategy"].unique(maintain_order=True).to_list()
    if len(names) < 2:
        return pl.DataFrame(schema=schema)
    columns = np.stack([returns.filter(pl.col("strategy") == name)["return"].to_numpy() for name in names])
    varies = columns.std(axis=1) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.corrcoef(columns)
    rows = [
        (names[i], names[j], float(matrix[i, j]) if varies[i] and varies[j] else None, columns.shape[1])
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def traded_like_tested(made: Backtest, market: Market, signals: Signals) -> pl.DataFrame:
    """Trades of an account without limits and costs as `parity.certificates` compares them with what was tested."""
    frame = ledger_rows(made, market, signals).filter(pl.Series(made.ledger["exit_bar"] != NO_BAR))
    earned = pl.col("side") * (pl.col("exit_reference") / pl.col("entry_reference") - 1.0)
    return frame.group_by("event_id", maintain_order=True).agg(
        pl.col("strategy").first(),
        pl.col("instrument").first().alias("symbol"),
        pl.col("entry_time").first(),
        pl.col("exit_time").first(),
        earned.sum().alias("gross_return"),
    )


def _sharpe(daily: Floats) -> float | None:
    from backtest.evaluation.account_metrics import daily_returns, sharpe_ratio

    return sharpe_ratio(daily_returns(daily)) if (daily > 0).all() else None


def at_days_ends(equity: pl.DataFrame) -> pl.DataFrame:
    """The last row of each UTC day."""
    day = pl.col("timestamp").dt.date()
    return equity.filter((day != day.shift(-1)).fill_null(value=True))


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows for a JSON file: times as ISO text, NaN as none."""
    return _plain(frame).to_dicts()


def plain_json(frame: pl.DataFrame) -> str:
    """The same as the text of a JSON file, for tables of many rows: one a line."""
    lines = _plain(frame).write_ndjson().splitlines()
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    times = [name for name, dtype in frame.schema.items() if dtype.is_temporal()]
    floats = [name for name, dtype in frame.schema.items() if dtype == pl.Float64()]
    return frame.with_columns(
        *(pl.col(name).dt.to_string("iso:strict") for name in times), *(pl.col(name).fill_nan(None) for name in floats)
    )
