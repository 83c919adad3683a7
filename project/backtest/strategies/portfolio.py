"""Signals and bars of several symbols as the engine takes them: one grid, one account."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.second_legs import BARS_PER_DAY
from backtest.engine.account import Account, FixedFraction, FixedNotional, Sizing, VolatilityTarget
from backtest.engine.costs import BPS
from backtest.engine.market import InstrumentRules, Market, SpotMargin, contract_rules
from backtest.engine.signals import Signals
from backtest.errors import DataError
from backtest.strategies.rules import SPOT

if TYPE_CHECKING:
    from backtest.spec.models import Contract, Costs
    from backtest.spec.strategies import BacktestSettings, SpotMarginRates
    from backtest.spec.strategies import Sizing as SizingSettings

BAR: Final = np.timedelta64(5, "m")
PRICES: Final = ("open", "high", "low", "close", "mark", "volatility", "turnover_usd")


def portfolio_market(
    bars: Mapping[str, pl.DataFrame],
    contracts: Mapping[str, Contract],
    costs: Costs,
    spot_margin: SpotMarginRates,
    spot_of: Collection[str] = (),
) -> Market:
    """The symbols' bars (`signals.MARKET_SCHEMA`, each a full grid) on the grid from the first to the last of all.

    A symbol that starts later or ends earlier has missing bars there. The spot markets of the symbols in `spot_of` are
    instruments of their own, after all perpetuals: without funding, with the higher of open and close for the high (only
    opens and closes are kept of spot), the perpetual's volatility, fees, half-spread and interest of ``costs.spot``, and
    `spot_margin` in the place of brackets. DataError where there is no bar at all.
    """
    bars = {**bars, **{symbol + SPOT: _spot_bars(bars[symbol]) for symbol in spot_of}}
    spans = {symbol: frame["timestamp"].to_numpy() for symbol, frame in bars.items() if len(frame)}
    if not spans:
        raise DataError("none of the symbols has a bar in the window.")
    start, last = min(stamps[0] for stamps in spans.values()), max(stamps[-1] for stamps in spans.values())
    grid = np.arange(start, last + BAR, BAR)
    symbols = tuple(spans)
    arrays: dict[str, NDArray[Any]] = {name: np.full((len(symbols), len(grid)), np.nan) for name in PRICES}
    arrays |= {"funding": np.zeros((len(symbols), len(grid)))}
    arrays |= {name: np.zeros((len(symbols), len(grid)), dtype=bool) for name in ("tradable", "tainted")}
    for row, (symbol, stamps) in enumerate(spans.items()):
        at = int((stamps[0] - start) // BAR)
        if not np.array_equal(stamps, grid[at : at + len(stamps)]):
            raise DataError(f"the bars of {symbol} are not on one grid of five minutes.")
        for name, array in arrays.items():
            values = bars[symbol][name]
            array[row, at : at + len(stamps)] = (
                values.fill_null(np.nan).to_numpy() if name in PRICES else values.to_numpy()
            )
    rules = tuple(_rules(name, contracts, costs, spot_margin, grid) for name in symbols)
    return Market(instruments=symbols, timestamp=grid, rules=rules, **arrays)


def _spot_bars(frame: pl.DataFrame) -> pl.DataFrame:
    """A symbol's spot market with the columns of its perpetual."""
    return frame.select(
        "timestamp",
        pl.col("spot_open").alias("open"),
        pl.max_horizontal("spot_open", "spot_close").alias("high"),
        pl.min_horizontal("spot_open", "spot_close").alias("low"),
        pl.col("spot_close").alias("close"),
        pl.col("spot_close").alias("mark"),
        pl.lit(0.0).alias("funding"),
        pl.col("spot_tradable").alias("tradable"),
        (~pl.col("spot_tradable")).alias("tainted"),
        "volatility",
        pl.col("spot_turnover_usd").alias("turnover_usd"),
    )


def _rules(
    name: str,
    contracts: Mapping[str, Contract],
    costs: Costs,
    margin: SpotMarginRates,
    grid: NDArray[np.datetime64],
) -> InstrumentRules:
    symbol = name.removesuffix(SPOT)
    if name == symbol:
        return contract_rules(contracts[symbol], costs.for_contract(contracts[symbol]), grid, symbol=symbol)
    spot = costs.model_copy(update={"fees": costs.spot.fees, "half_spread_bps": costs.spot.half_spread_bps})
    rules = contract_rules(contracts[symbol], spot, grid, symbol=symbol)
    return replace(
        rules,
        liquidation_fee=np.zeros_like(rules.liquidation_fee),
        borrow_per_bar=costs.spot.borrow_bps_per_day * BPS / BARS_PER_DAY,
        spot_margin=SpotMargin(
            initial_long=1.0,
            maintenance_long=1.0 - margin.collateral_share,
            initial_short=margin.short_initial_rate,
            maintenance_short=margin.short_maintenance_rate,
        ),
    )


def portfolio_signals(
    signals: pl.DataFrame, masks: Mapping[str, pl.DataFrame], market: Market, strategies: Sequence[str]
) -> tuple[Signals, pl.DataFrame]:
    """The entries among `signals` (`signals.SIGNAL_SCHEMA`) as the engine takes them, and those rows in its order.

    Parameters
    ----------
    signals : of all strategies and symbols.
    masks : invalidations of each symbol, as of `signals.invalidation_masks`.
    market : Market
    strategies : names, in the order in which their orders are filled.
    """
    entries = signals.filter(pl.col("skipped").is_null()).sort("decision_time", "strategy", "symbol")
    start = market.timestamp[0]
    number = {name: index for index, name in enumerate(strategies)}
    place = {symbol: index for index, symbol in enumerate(market.instruments)}
    rows, stacked = _stacked(masks, market)
    decision = ((entries["decision_time"].to_numpy() - start) // BAR).astype(np.int64)
    instrument = _indices(entries["symbol"], place)
    hedge = _indices(entries["second_leg"].fill_null(""), {**place, "": -1})
    keys = zip(entries["strategy"], entries["symbol"], strict=True)
    invalidation = np.array([rows.get(key, -1) for key in keys], dtype=np.int64)
    identity = entries.select(
        pl.concat_str("strategy", "symbol", pl.col("event_time").dt.strftime("%Y%m%dT%H%M"), separator=".")
    ).to_series()
    made = Signals(
        strategy=_indices(entries["strategy"], number),
        instrument=instrument,
        decision_bar=decision,
        side=entries["side"].to_numpy().astype(np.int64),
        horizon_bars=entries["horizon_bars"].to_numpy().astype(np.int64),
        strategies=tuple(strategies),
        entry_lag_bars=entries["entry_lag_bars"].to_numpy().astype(np.int64),
        event_id=identity.to_numpy(),
        close_target=_price(entries["close_target"]),
        close_stop=_price(entries["close_stop"]),
        target_distance=_price(entries["target_distance"]),
        stop_distance=_price(entries["stop_distance"]),
        invalidation=invalidation,
        invalidation_masks=stacked,
        hedge_instrument=hedge,
    )
    return made, entries


def account_of(settings: BacktestSettings, sizings: Sequence[SizingSettings]) -> Account:
    """The account of the spec, with a sizing for each strategy."""
    limits = {
        name: math.inf if getattr(settings, name) is None else getattr(settings, name)
        for name in ("max_strategy_leverage", "max_symbol_leverage", "max_leverage", "max_participation")
    }
    return Account(
        starting_equity_usd=settings.starting_equity_usd,
        sizing=tuple(_sizing(one) for one in sizings),
        **limits,
        overlap=settings.overlap,
        net_orders=settings.net_orders,
        margin=settings.margin,
        leverage=settings.leverage,
        fill_in_tainted_bars=settings.fill_in_tainted_bars,
        target_through_ticks=settings.target_through_ticks,
        other_volume_30d_usd=settings.other_volume_30d_usd,
    )


def _sizing(settings: SizingSettings) -> Sizing:
    if settings.fraction is not None:
        return FixedFraction(settings.fraction)
    if settings.notional_usd is not None:
        return FixedNotional(settings.notional_usd)
    assert settings.volatility_per_trade is not None, "the model asks for it"
    assert settings.max_fraction is not None, "the model asks for it"
    return VolatilityTarget(settings.volatility_per_trade, settings.max_fraction)


def _stacked(
    masks: Mapping[str, pl.DataFrame], market: Market
) -> tuple[dict[tuple[str, str], int], NDArray[np.bool_] | None]:
    """Row of each strategy's and symbol's invalidation, and the rows on the market's grid."""
    rows: dict[tuple[str, str], int] = {}
    stacked: list[NDArray[np.bool_]] = []
    for symbol, frame in masks.items():
        for strategy in frame.columns[1:]:
            mask = np.zeros(market.n_bars, dtype=bool)
            at = int((frame["timestamp"].to_numpy()[0] - market.timestamp[0]) // BAR)
            mask[at : at + len(frame)] = frame[strategy].to_numpy()
            rows[strategy, symbol] = len(stacked)
            stacked.append(mask)
    return rows, np.array(stacked) if stacked else None


def _indices(names: pl.Series, index: Mapping[str, int]) -> NDArray[np.int64]:
    return names.replace_strict(index, return_dtype=pl.Int64).to_numpy()


def _price(distances: pl.Series) -> NDArray[np.float64]:
    return distances.fill_null(np.nan).to_numpy()
