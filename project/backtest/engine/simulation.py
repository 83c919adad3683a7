"""A portfolio of strategies traded over a market's bars on one account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtest.engine.account import Account, FixedFraction, FixedNotional, Sizing, VolatilityTarget
from backtest.engine.ledger import LEDGER, Backtest, Bound
from backtest.engine.market import Floats, Market
from backtest.engine.signals import Signals
from backtest.errors import MisuseError

if TYPE_CHECKING:
    from backtest.engine.records import BarArrays

OVERLAPS = {"stack": 0, "skip": 1, "flip": 2}


@dataclass(frozen=True)
class Bounds:
    """The same portfolio with the stop first (`worst`) and the target first (`best`) in every bar that holds both."""

    worst: Backtest
    best: Backtest


def simulate_bounds(market: Market, signals: Signals, account: Account) -> Bounds:
    """`simulate` for both bounds; one simulation where no order rests inside bars, since then they are the same."""
    worst = simulate(market, signals, account, bound="worst")
    if not signals.has_resting_orders:
        return Bounds(worst, worst)
    return Bounds(worst, simulate(market, signals, account, bound="best"))


def simulate(market: Market, signals: Signals, account: Account, *, bound: Bound = "worst") -> Backtest:
    """Trade `signals` on `account` over `market`.

    Within a bar, in this order: funding of what was carried in; exits and entries at the open, entries by strategy, instrument
    and row; then resting orders and liquidation; then marks. See docs/concepts.md.

    Parameters
    ----------
    bound : which of a target and a stop is met first in a bar that holds both.

    Raises
    ------
    MisuseError : where `signals` do not fit `market` or `account`, with all faults.
    AccountingError : where the change of equity is not the sum of the trades' profits.
    """
    signals.check(market)
    _check_sizings(signals, account)
    ledger, outcomes, series = _run(market, signals, account, bound)
    equity, gross, net, maintenance, traded, n_open = series
    result = Backtest(
        account=account,
        bound=bound,
        ledger=ledger,
        outcomes=outcomes,
        equity=equity,
        gross_exposure=gross,
        net_exposure=net,
        maintenance_margin=maintenance,
        traded_usd=traded,
        n_open=n_open.astype(np.int64),
    )
    result.check_money()
    return result


def _run(
    market: Market, signals: Signals, account: Account, bound: Bound
) -> tuple[NDArray[Any], NDArray[np.int8], Floats]:
    """The kernel's ledger, outcomes and series."""
    from backtest.engine import arrays, kernel, records

    prepared = _signal_records(market, signals, account)
    n_legs = len(signals) + int(np.count_nonzero(prepared["hedge"] >= 0))
    ledger = np.zeros(n_legs, dtype=LEDGER)
    outcomes = np.zeros(len(signals), dtype=np.int8)
    series = np.zeros((6, market.n_bars))
    state = _account_record(account, bound)
    instruments = np.zeros(market.n_instruments, dtype=records.INSTRUMENT)
    instruments["last_mark"] = instruments["impact_scale"] = np.nan
    for name, source in (("impact_coefficient", "impact_coefficient"), ("borrow", "borrow_per_bar")):
        instruments[name] = [getattr(rules, source) for rules in market.rules]
    for name in ("initial_long", "maintenance_long", "initial_short", "maintenance_short"):
        instruments[name] = [getattr(rules.spot_margin, name, np.nan) for rules in market.rules]
    n_strategies = max(len(signals.strategies), 1)
    masks = signals.invalidation_masks
    kernel.simulate(
        records.Run(
            _bar_arrays(market, account),
            *_rule_arrays(market),
            prepared,
            np.zeros((1, market.n_bars), dtype=bool) if masks is None else masks,
            state,
            instruments,
            np.zeros(n_strategies, dtype=records.STRATEGY),
            np.zeros((n_strategies, market.n_instruments, 2), dtype=np.int64),
            np.zeros(n_legs, dtype=records.POSITION),
            ledger,
            outcomes,
            series,
            first_at=np.full(market.n_bars, records.NONE, dtype=np.int64),
            day_volume=np.zeros(int(market.day[-1] - market.day[0]) + 1),
        )
    )
    ledger = ledger[: int(state["n_rows"][0])]
    tainted = market.tainted if market.tainted is not None else np.zeros(market.open.shape, dtype=bool)
    arrays.complete(market.high, market.low, tainted, signals.decision_bar.astype(np.int64), ledger)
    return ledger, outcomes, series


def _check_sizings(signals: Signals, account: Account) -> None:
    if isinstance(account.sizing, tuple) and len(account.sizing) != len(signals.strategies):
        raise MisuseError(
            f"account: {len(account.sizing)} sizings for {len(signals.strategies)} strategies; one for each"
        )


def _bar_arrays(market: Market, account: Account) -> BarArrays:
    from backtest.engine.records import BarArrays

    return BarArrays(
        open=market.open,
        high=market.high,
        low=market.low,
        close=market.close,
        mark=market.mark,
        funding=market.funding,
        fillable=market.fillable(in_tainted_bars=account.fill_in_tainted_bars),
        volatility=market.volatility,
        turnover=market.turnover_usd,
        day=market.day - market.day[0],
    )


def _account_record(account: Account, bound: Bound) -> NDArray[Any]:
    from backtest.engine.records import ACCOUNT

    record = np.zeros(1, dtype=ACCOUNT)
    for name in (
        *("max_strategy_leverage", "max_symbol_leverage", "max_leverage", "max_participation", "leverage"),
        *("target_through_ticks", "other_volume_30d_usd", "net_orders", "margin"),
    ):
        record[name] = getattr(account, name)
    record["starting_equity"] = record["cash"] = account.starting_equity_usd
    record["overlap"] = OVERLAPS[account.overlap]
    record["worst_first"] = bound == "worst"
    return record


def _rule_arrays(market: Market) -> tuple[NDArray[Any], Floats, Floats]:
    """Rules, fee tiers and margin brackets of all instruments in arrays of one shape."""
    from backtest.engine.records import RULE

    periods = max(len(rules.since_bar) for rules in market.rules)

    def stacked(name: str, filler: float | None = None) -> Floats:
        rows = [np.asarray(getattr(rules, name), dtype=np.float64) for rules in market.rules]
        width = max(row.shape[1] for row in rows) if rows[0].ndim == 2 else None
        out = []
        for row in rows:
            if width is not None and row.shape[1] < width:
                tail = row[:, -1:] if filler is None else np.full((len(row), 1), filler)
                row = np.hstack([row, np.repeat(tail, width - row.shape[1], axis=1)])
            out.append(np.concatenate([row, np.repeat(row[-1:], periods - len(row), axis=0)]))
        return np.array(out)

    rules = np.zeros((market.n_instruments, periods), dtype=RULE)
    rules["since"] = market.n_bars
    for j, own in enumerate(market.rules):
        rules["since"][j, : len(own.since_bar)] = own.since_bar
    for name, source in (
        *(("tick", "tick_size"), ("lot", "lot_size"), ("min_notional", "min_notional_usd")),
        *(("half_spread", "half_spread"), ("liquidation_fee", "liquidation_fee")),
    ):
        rules[name] = stacked(source)
    tiers = np.stack([stacked("tier_volume_usd", np.inf), stacked("taker_fee"), stacked("maker_fee")], axis=-1)
    floors, rates = stacked("bracket_floor_usd", np.inf), stacked("maintenance_rate")
    tops = np.concatenate([floors[:, :, 1:], np.full((*floors.shape[:2], 1), np.inf)], axis=2)
    # The last bracket has no top, and nothing lies above it that would need its sum.
    inside = np.zeros_like(floors)
    closed = np.isfinite(tops)
    inside[closed] = rates[closed] * (tops[closed] - floors[closed])
    below = np.cumsum(inside, axis=2) - inside
    return rules, tiers, np.stack([floors, rates, below, stacked("max_leverage")], axis=-1)


def _signal_records(market: Market, signals: Signals, account: Account) -> NDArray[Any]:
    """Signals in the order in which they are filled, with sizes as multiples of equity or USD."""
    from backtest.engine.arrays import fill_signals, sort_by
    from backtest.engine.records import NONE, SIGNAL

    n = len(signals)
    entry_bar = signals.decision_bar + _given(signals.entry_lag_bars, 1)
    # Whatever lies beyond the data is alike: none of it is filled.
    entry_bar = np.minimum(entry_bar, market.n_bars)
    prices = ("close_target", "close_stop", "target_distance", "stop_distance", "target_price", "stop_price")
    floats = tuple(
        _column(values, np.float64)
        for values in (
            _given(signals.hedge_ratio, 1.0),
            *_sizes(market, signals, account),
            *(_given(getattr(signals, name), np.nan) for name in prices),
        )
    )
    integers = tuple(
        _column(values, np.int64)
        for values in (
            signals.strategy,
            signals.instrument,
            _given(signals.hedge_instrument, NONE),
            entry_bar,
            signals.horizon_bars,
            signals.side,
            _given(signals.invalidation, NONE),
        )
    )
    strategy, instrument, _hedge, entry_bar, *_ = integers
    counts = np.array([market.n_instruments, len(signals.strategies), market.n_bars + 1])
    order = np.arange(n)
    place = np.empty(int(counts.max()) + 1, dtype=np.int64)
    sort_by((instrument, strategy, entry_bar), counts, order, np.empty_like(order), place)
    steps = np.array([len(column) > 1 for column in (*floats, *integers)], dtype=np.int64)
    records = np.empty(n, dtype=SIGNAL)
    fill_signals(floats, integers, steps, order, records)
    return records


def _given(values: NDArray[Any] | None, otherwise: float) -> NDArray[Any] | float:
    return otherwise if values is None else values


def _column(values: NDArray[Any] | float, kind: type[np.generic]) -> NDArray[Any]:
    """As compiled code takes it: of one type and contiguous, and writable too, since Numba tells those apart."""
    return np.atleast_1d(np.require(values, kind, ["C", "W"]))


def _sizes(market: Market, signals: Signals, account: Account) -> tuple[Floats | float, Floats | float]:
    """Each signal's notional as a multiple of equity (NaN where it is not known) and in USD; the sum of both is meant."""
    fraction: Floats | float
    usd: Floats | float
    if isinstance(account.sizing, tuple):
        fraction, usd = np.zeros(len(signals)), np.zeros(len(signals))
        for number, sizing in enumerate(account.sizing):
            mine = signals.strategy == number
            fraction[mine], usd[mine] = _size(sizing, market, signals, mine)
    else:
        fraction, usd = _size(account.sizing, market, signals, slice(None))
    if signals.weight is not None:
        fraction, usd = fraction * signals.weight, usd * signals.weight
    return fraction, usd


def _size(
    sizing: Sizing, market: Market, signals: Signals, mine: NDArray[np.bool_] | slice
) -> tuple[Floats | float, float]:
    """`_sizes` of the rows `mine`; one number where it is the same for all."""
    match sizing:
        case FixedFraction(fraction):
            return fraction, 0.0
        case FixedNotional(notional_usd):
            return 0.0, notional_usd
        case VolatilityTarget(volatility_per_trade, max_fraction):
            sigma = market.volatility[signals.instrument[mine], signals.decision_bar[mine]]
            sigma = np.where(sigma > 0, sigma, np.nan) * np.sqrt(signals.horizon_bars[mine])
            return np.minimum(volatility_per_trade / sigma, max_fraction), 0.0
