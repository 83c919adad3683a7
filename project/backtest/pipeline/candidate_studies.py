"""Trades of single candidates again, from the bars and features that the run was made from."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backtest.lake.files import read_parquet
from backtest.pipeline.frames import BAR, clipped, feature_extent, perpetual_frame
from backtest.pipeline.markets import pair_of
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
    from backtest.spec.compiled import Spec

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
    known: dict[str, list[Trial]] = {}
    found = [trial for row in candidates.iter_rows(named=True) if (trial := _trial(spec, row, known)) is not None]
    frames: dict[Any, pl.DataFrame] = {}
    symbols = {symbol: _symbol(plan, spec, folds, symbol, found, frames) for symbol in plan.symbols}
    return studies_of(symbols, spec, candidates, events, folds)


def studies_of(
    symbols: Mapping[str, SymbolBars], spec: Spec, candidates: pl.DataFrame, events: pl.DataFrame, folds: Folds
) -> dict[str, CandidateStudy]:
    """The study of each of these candidates by its id; without those whose second leg is not in the lake."""
    trades: dict[tuple[str, str, str], dict[str, pl.DataFrame]] = {}
    known: dict[str, list[Trial]] = {}
    made = {}
    for row in candidates.iter_rows(named=True):
        trial = _trial(spec, row, known)
        if trial is None:
            continue
        key = (row["event_type"], row["policy"], row["horizon"])
        if key not in trades:
            trades[key] = _trades(symbols, trial, row["event_type"], events, spec)
        study = _study(symbols, trades[key], trial, row, folds)
        if study is not None:
            made[row["candidate_id"]] = study
    return made


def _trial(spec: Spec, row: Mapping[str, Any], known: dict[str, list[Trial]]) -> Trial | None:
    """The trial behind a candidate; None where the spec has no such event or trade any more.

    `known` keeps the trials of each event.
    """
    from backtest.discovery.hypotheses import event_trials

    event_type = row["event_type"]
    if event_type not in spec.events:
        return None
    verb = row["state_id"] if row["state_id"] in spec.filters else None
    if event_type not in known:
        known[event_type] = event_trials(spec, event_type)
    found = (
        trial
        for trial in known[event_type]
        if trial.policy.policy_id == row["policy"] and trial.horizon == row["horizon"] and trial.filter_verb == verb
    )
    return next(found, None)


def _symbol(
    plan: Plan, spec: Spec, folds: Folds, symbol: str, trials: Sequence[Trial], frames: dict[Any, pl.DataFrame]
) -> SymbolBars:
    """A symbol's market as far as these trials need it; `frames` keeps what was read, for the other symbol of a pair."""
    import numpy as np

    from backtest.discovery.scoring import symbol_market

    states = read_parquet(plan.root.states(plan.run_id, symbol))
    extent = feature_extent(plan.root, symbol) or (dt.datetime.max.replace(tzinfo=dt.UTC),) * 2
    window = clipped(extent, states["timestamp"].min(), states["timestamp"].max() + BAR)  # type: ignore[arg-type, operator]
    filters = {trial.filter_verb for trial in trials} - {None}
    named = [*spec.bar_expressions.values(), *(spec.filters[verb].condition for verb in sorted(map(str, filters)))]
    narrowed = dataclasses.replace(spec, filters={verb: spec.filters[verb] for verb in spec.filters if verb in filters})
    history = max(expression.lookback_bars for expression in named)
    names = {name for expression in named for name in expression.inputs}
    start, end = window if window is not None else (states["timestamp"][0], states["timestamp"][-1])

    def frame_of(name: str) -> pl.DataFrame:
        key = (name, start, end)
        if key not in frames:
            frames[key] = perpetual_frame(plan, spec, name, start - history * BAR, end, names)
        return frames[key]

    frame = frame_of(symbol)
    is_paired = any(trial.policy.second_leg == "pair" for trial in trials)
    other = pair_of(plan, spec, symbol) if is_paired else None
    market = symbol_market(frame, states, symbol, narrowed, folds, pair=None if other is None else frame_of(other))
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
    symbols: Mapping[str, SymbolBars],
    trades: Mapping[str, pl.DataFrame],
    trial: Trial,
    row: Mapping[str, Any],
    folds: Folds,
) -> CandidateStudy | None:
    import numpy as np
    import polars as pl

    from backtest.discovery.event_study import event_study, study_offsets
    from backtest.discovery.scoring import CONFIRMATION, second_leg

    sign = int(row["direction"])
    scope = list(trades) if row["symbol"] == POOLED else [name for name in trades if name == row["symbol"]]
    legs = {symbol: leg for symbol in scope if (leg := second_leg(symbols[symbol].market, trial)) is not None}
    if trial.policy.second_leg is not None:
        scope = [symbol for symbol in scope if symbol in legs]
    if not scope:
        return None
    chosen = {symbol: _in_state(symbols[symbol].market, trades[symbol], row["state_id"]) for symbol in scope}
    markets = {symbol: symbols[symbol].market for symbol in scope}
    offsets = study_offsets(horizon_bars(row["horizon"]))
    length, origin = max(row["cluster_days"] or 1, 1), folds.first_confirmation_day
    settings: dict[str, Any] = {"legs": legs or None, "cluster_days": length, "origin": origin}
    without = None
    if trial.filter_verb is not None:
        others = {
            symbol: _in_state(markets[symbol], trades[symbol], trial.filter_verb, holds=False) for symbol in scope
        }
        without = event_study(markets, others, sign, offsets, **settings)
    turned = pl.concat([chosen[symbol] for symbol in scope]).with_columns(
        *(pl.col(name) * sign for name in ("gross", "abnormal", "funding")),
        *(
            (pl.col(own) if sign > 0 else pl.col(other)).alias(own)
            for own, other in (("favourable", "adverse"), ("adverse", "favourable"))
        ),
    )
    return CandidateStudy(
        discovery=event_study(markets, chosen, sign, offsets, rng=np.random.default_rng(SEED), **settings),
        confirmation=event_study(markets, chosen, sign, offsets, fold=CONFIRMATION, **settings),
        trades=turned,
        occurrences=[_occurrence(symbols, sign, trade) for trade in _typical(turned).iter_rows(named=True)],
        cluster_days=length,
        cluster_origin=origin,
        second_leg=trial.policy.second_leg,
        without=without,
    )


def _in_state(market: SymbolMarket, trades: pl.DataFrame, state_id: str, *, holds: bool = True) -> pl.DataFrame:
    """The trades whose event fell into a state, or for which a filter holds (or is known not to)."""
    import polars as pl

    if state_id == ALL_STATES:
        return trades
    at = trades["event_bar"].to_numpy()
    if state_id in market.filters:
        return trades.filter(pl.Series(market.filters[state_id][0 if holds else 1][at]))
    return trades.filter(pl.Series(market.states[state_id][at]))


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
