"""Trades of single candidates again, from the bars and features that the run was made from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest.lake.files import read_parquet
from backtest.pipeline.frames import BAR, clipped, feature_extent, perpetual_frame
from backtest.reports.html.figures import Candles
from backtest.reports.html.results import CandidateStudy, Occurrence
from backtest.spec.models import ALL_STATES, POOLED, horizon_bars

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from backtest.discovery.folds import Folds
    from backtest.discovery.hypotheses import Trial
    from backtest.discovery.scoring import SymbolMarket
    from backtest.pipeline.stage import Plan
    from backtest.spec.loader import Spec

N_OCCURRENCES: Final = 10
MOST_CANDLES: Final = 72
SEED: Final = 7


@dataclass(frozen=True)
class SymbolBars:
    """One symbol's market and the prices of its bars, NaN in gaps."""

    market: SymbolMarket
    prices: Mapping[str, NDArray[np.float64]]


def studies(
    plan: Plan, spec: Spec, folds: Folds, candidates: pl.DataFrame, events: pl.DataFrame
) -> dict[str, CandidateStudy]:
    """`studies_of` the candidates on the bars in the lake; raises DataError where the lake lacks them."""
    if candidates.is_empty():
        return {}
    symbols = {symbol: _symbol(plan, spec, folds, symbol) for symbol in plan.symbols}
    return studies_of(symbols, spec, candidates, events)


def studies_of(
    symbols: Mapping[str, SymbolBars], spec: Spec, candidates: pl.DataFrame, events: pl.DataFrame
) -> dict[str, CandidateStudy]:
    """The study of each of these candidates that is a trade in one market, by its id."""
    trades: dict[tuple[str, str, str], dict[str, pl.DataFrame]] = {}
    made = {}
    for row in candidates.iter_rows(named=True):
        trial = _trial(spec, row)
        if trial is None:
            continue
        key = (row["event_type"], row["policy"], row["horizon"])
        if key not in trades:
            trades[key] = _trades(symbols, trial, row["event_type"], events, spec)
        made[row["candidate_id"]] = _study(symbols, trades[key], row)
    return made


def _trial(spec: Spec, row: Mapping[str, Any]) -> Trial | None:
    from backtest.discovery.hypotheses import event_trials

    """The trial behind a candidate; None where it is no trade in one market: two legs, or a difference between two sets."""
    if row["event_type"] not in spec.events:
        return None
    found = (
        trial
        for trial in event_trials(spec, row["event_type"])
        if trial.policy.policy_id == row["policy"]
        and trial.horizon == row["horizon"]
        and trial.policy.second_leg is None
        and trial.filter_verb is None
        and row["state_id"] not in spec.filters
    )
    return next(found, None)


def _symbol(plan: Plan, spec: Spec, folds: Folds, symbol: str) -> SymbolBars:
    import numpy as np

    from backtest.discovery.scoring import symbol_market

    states = read_parquet(plan.root.states(plan.run_id, symbol))
    extent = feature_extent(plan.root, symbol) or (dt.datetime.max.replace(tzinfo=dt.UTC),) * 2
    window = clipped(extent, states["timestamp"].min(), states["timestamp"].max() + BAR)  # type: ignore[arg-type, operator]
    history = max(expression.lookback_bars for expression in spec.bar_expressions.values())
    names = {name for expression in spec.bar_expressions.values() for name in expression.inputs}
    start, end = window if window is not None else (states["timestamp"][0], states["timestamp"][-1])
    frame = perpetual_frame(plan, spec, symbol, start - history * BAR, end, names)
    market = symbol_market(frame, states, symbol, spec, folds)
    return SymbolBars(
        market, {name: frame[name].fill_null(np.nan).to_numpy() for name in ("open", "high", "low", "close")}
    )


def _trades(
    symbols: Mapping[str, SymbolBars], trial: Trial, event_type: str, events: pl.DataFrame, spec: Spec
) -> dict[str, pl.DataFrame]:
    """All trades of one event, policy and horizon by symbol, with the states at their events."""
    import polars as pl

    from backtest.discovery.event_study import trades_of

    dimensions = [name for name in spec.states if name in events.columns]
    found = {}
    for symbol, one in symbols.items():
        own = events.filter((pl.col("symbol") == symbol) & (pl.col("event_type") == event_type)).sort("timestamp")
        rows = trades_of(one.market, trial, own, spec)
        stamps = one.market.timestamp
        found[symbol] = rows.with_columns(
            pl.lit(symbol).alias("symbol"),
            stamps.gather(rows["event_bar"]).alias("event_time"),
            stamps.gather(rows["entry_bar"]).alias("entry_time"),
            stamps.gather(rows["exit_bar"]).alias("exit_time"),
        ).join(
            own.select(pl.col("timestamp").alias("event_time"), *dimensions).unique("event_time"),
            on="event_time",
            how="left",
            maintain_order="left",
        )
    return found


def _study(
    symbols: Mapping[str, SymbolBars], trades: Mapping[str, pl.DataFrame], row: Mapping[str, Any]
) -> CandidateStudy:
    import numpy as np
    import polars as pl

    from backtest.discovery.event_study import event_study, study_offsets
    from backtest.discovery.scoring import CONFIRMATION

    sign = int(row["direction"])
    scope = list(trades) if row["symbol"] == POOLED else [name for name in trades if name == row["symbol"]]
    chosen = {symbol: _in_state(symbols[symbol].market, trades[symbol], row["state_id"]) for symbol in scope}
    markets = {symbol: symbols[symbol].market for symbol in scope}
    offsets = study_offsets(horizon_bars(row["horizon"]))
    turned = pl.concat([chosen[symbol] for symbol in scope]).with_columns(
        *(pl.col(name) * sign for name in ("gross", "abnormal", "funding"))
    )
    return CandidateStudy(
        discovery=event_study(markets, chosen, sign, offsets, rng=np.random.default_rng(SEED)),
        confirmation=event_study(markets, chosen, sign, offsets, fold=CONFIRMATION),
        trades=turned,
        occurrences=[_occurrence(symbols, sign, trade) for trade in _typical(turned).iter_rows(named=True)],
    )


def _in_state(market: SymbolMarket, trades: pl.DataFrame, state_id: str) -> pl.DataFrame:
    import polars as pl

    if state_id == ALL_STATES:
        return trades
    return trades.filter(pl.Series(market.states[state_id][trades["event_bar"].to_numpy()]))


def _typical(trades: pl.DataFrame) -> pl.DataFrame:
    """One trade of each tenth of the outcomes, worst first: the middle one of its tenth. Chosen by rank, not by looks."""
    import numpy as np
    import polars as pl

    ranked = trades.with_columns(net=pl.col("gross") - pl.sum_horizontal("fees", "spread", "impact", "funding")).sort(
        "net", "entry_time", "symbol"
    )
    count = len(ranked)
    places = np.unique(((np.arange(N_OCCURRENCES) + 0.5) / N_OCCURRENCES * count).astype(int))
    return ranked[[place for place in places.tolist() if place < count]]


def _occurrence(symbols: Mapping[str, SymbolBars], sign: int, trade: Mapping[str, Any]) -> Occurrence:
    every = symbols[trade["symbol"]].prices
    event, entry, exit_ = trade["event_bar"], trade["entry_bar"], trade["exit_bar"]
    held = exit_ - entry
    first, last = max(event - max(12, held), 0), min(exit_ + max(6, held // 2), len(every["open"]) - 1)
    size = -(-(last - first + 1) // MOST_CANDLES)
    prices = {name: values[first : last + 1] for name, values in every.items()}
    return Occurrence(
        symbol=trade["symbol"],
        event_time=trade["event_time"],
        entry_time=trade["entry_time"],
        exit_time=trade["exit_time"],
        net=trade["net"],
        candles=Candles(
            **_joined(prices, size),
            event_at=(event - first) // size,
            entry_at=(entry - first) // size,
            exit_at=(exit_ - first) // size,
            entry_price=float(every["open"][entry]),
            exit_price=float(every["open"][exit_]),
            is_long=sign * trade["event_direction"] > 0,
            bar_minutes=5 * size,
        ),
    )


def _joined(prices: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Candles of `size` bars each; the last one may hold fewer. NaN only where all of its bars are gaps."""
    import warnings

    import numpy as np

    if size == 1:
        return dict(prices)
    count = -(-len(prices["open"]) // size) * size
    blocks = {
        name: np.concatenate([values, np.full(count - len(values), np.nan)]).reshape(-1, size)
        for name, values in prices.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a block without any bar is NaN, which is what is meant
        high, low = np.nanmax(blocks["high"], axis=1), np.nanmin(blocks["low"], axis=1)
    return {"open": _edge(blocks["open"]), "high": high, "low": low, "close": _edge(blocks["close"][:, ::-1])}


def _edge(blocks: Any) -> Any:
    """The first known value of each row; NaN where there is none."""
    import numpy as np

    known = np.isfinite(blocks)
    return np.where(known.any(axis=1), blocks[np.arange(len(blocks)), known.argmax(axis=1)], np.nan)
