"""What the engine trades in: bars of several instruments on one grid, and the rules of each instrument over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from backtest.engine.costs import BPS, EPOCH
from backtest.errors import MisuseError, SpecError

if TYPE_CHECKING:
    from backtest.spec.models import Contract, Costs, FeePeriod

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Times = NDArray[np.datetime64]

DAY: Final = np.timedelta64(1, "D")


@dataclass(frozen=True)
class SpotMargin:
    """Margin of a spot market in the place of brackets (fractions of the notional): one buys for cash, sells what is borrowed.

    Attributes
    ----------
    initial_long : of coins bought, whatever the account's leverage: 1, they are paid in full.
    maintenance_long : what coins held take away from the equity that stands behind other positions: 1 less the share of their
        value that the venue takes as collateral.
    initial_short, maintenance_short : collateral for borrowed coins, at the entry and at least while they are owed.
    """

    initial_long: float
    maintenance_long: float
    initial_short: float
    maintenance_short: float

    def __post_init__(self) -> None:
        wrong = [f"{name} is {value}" for name, value in vars(self).items() if not 0.0 <= value <= 10.0]
        if wrong or self.maintenance_long > self.initial_long or self.maintenance_short > self.initial_short:
            raise MisuseError(
                f"spot margin: {', '.join(wrong) or 'maintenance is above initial margin'}; rates are fractions of the "
                "notional, and a position that may be entered may be held"
            )


@dataclass(frozen=True)
class InstrumentRules:
    """What the venue and the market ask of an order in one instrument; one row a period, `since_bar` ascending from 0.

    Attributes
    ----------
    since_bar : (p,) first bar of each period.
    tier_volume_usd : (p, t) volume of the last 30 days from which a fee tier holds; the first is 0, those past the last +inf.
    taker_fee, maker_fee : (p, t) fraction of notional a side.
    tick_size : (p,) step of the price (quote currency); 0: not known, prices are not rounded.
    lot_size : (p,) step of a quantity (base currency); 0: not known, quantities are not rounded.
    min_notional_usd : (p,) smallest entry.
    half_spread : (p,) fraction of the price a market order pays a side; at least half a tick is charged.
    liquidation_fee : (p,) fraction of notional charged on a liquidation, besides the taker fee.
    bracket_floor_usd : (p, b) notional from which a margin bracket holds; the first is 0, those past the last +inf.
    maintenance_rate : (p, b) maintenance margin as a fraction of the notional inside the bracket.
    max_leverage : (p, b) largest leverage in the bracket: initial margin is notional over the smaller of it and the account's.
    borrow_per_bar : interest (fraction of the notional at entry) that a position pays in each bar it is held, on either side:
        a spot leg borrows coins or cash.
    impact_coefficient : Y of a round trip's impact Y·σ·√(order / turnover); each side pays half of it.
    spot_margin : margin of a spot market, in the place of brackets and of the account's leverage; None for a perpetual.
    """

    since_bar: Integers
    tier_volume_usd: Floats
    taker_fee: Floats
    maker_fee: Floats
    tick_size: Floats
    lot_size: Floats
    min_notional_usd: Floats
    half_spread: Floats
    liquidation_fee: Floats
    bracket_floor_usd: Floats
    maintenance_rate: Floats
    max_leverage: Floats
    impact_coefficient: float
    borrow_per_bar: float = 0.0
    spot_margin: SpotMargin | None = None

    def __post_init__(self) -> None:
        periods = len(self.since_bar)
        wrong = [
            f.name
            for f in fields(self)
            if f.name not in ("impact_coefficient", "borrow_per_bar", "spot_margin")
            and len(getattr(self, f.name)) != periods
        ]
        if wrong:
            raise MisuseError(f"rules have {periods} periods; {', '.join(wrong)} have another number of rows")
        if not periods or self.since_bar[0] != 0 or (np.diff(self.since_bar) <= 0).any():
            raise MisuseError(f"since_bar is {self.since_bar.tolist()}; periods ascend from bar 0")

    def without_costs(self) -> InstrumentRules:
        """The same margin rules with every fee, spread, impact, rounding and smallest order taken away."""
        zero, none = np.zeros_like(self.tick_size), np.zeros_like(self.taker_fee)
        return replace(
            self,
            taker_fee=none,
            maker_fee=none,
            tick_size=zero,
            lot_size=zero,
            min_notional_usd=zero,
            half_spread=zero,
            liquidation_fee=zero,
            impact_coefficient=0.0,
            borrow_per_bar=0.0,
        )


@dataclass(frozen=True)
class Market:
    """Bars of k instruments on one grid of n bars. Row j of every (k, n) array is `instruments[j]`.

    Attributes
    ----------
    instruments : names, each once. A perpetual and its spot leg are two instruments.
    timestamp : (n,) open time of each bar, ascending, datetime64.
    open, high, low, close : (k, n) prices (quote currency = USD); NaN in missing bars.
    mark : (k, n) mark price at each bar's close; where NaN the close stands for it, where that is NaN too the last one known.
    funding : (k, n) rate (fraction) of the stamp at the open of a bar, 0 in all other bars. A long pays it on its notional
        at mark. Interest of a spot leg is a rule of its instrument (`InstrumentRules.borrow_per_bar`).
    tradable : (k, n) False where nobody traded or the bar is missing.
    halted, tainted : (k, n) the venue was halted; the bar's data is known to be wrong. All False where None.
    volatility : (k, n) expected standard deviation of a bar's return (fraction), known at its close; NaN where unknown.
    turnover_usd : (k, n) value traded in a usual bar, known at its close; NaN where unknown.
    rules : one for each instrument.

    Raises
    ------
    MisuseError : where shapes do not fit, times do not ascend, or a tradable bar lacks a price or has its high below its low.
    """

    instruments: tuple[str, ...]
    timestamp: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    mark: Floats
    funding: Floats
    tradable: Booleans
    volatility: Floats
    turnover_usd: Floats
    rules: tuple[InstrumentRules, ...]
    halted: Booleans | None = None
    tainted: Booleans | None = None
    day: Integers = field(init=False, repr=False)
    """(n,) UTC day of each bar, days since 1970-01-01."""

    def __post_init__(self) -> None:
        faults = _market_faults(self)
        if faults:
            raise MisuseError("; ".join(faults))
        object.__setattr__(self, "day", self.timestamp.astype("datetime64[D]").astype(np.int64))

    @property
    def n_bars(self) -> int:
        return len(self.timestamp)

    @property
    def n_instruments(self) -> int:
        return len(self.instruments)

    def fillable(self, *, in_tainted_bars: bool = False) -> Booleans:
        """(k, n) bars in which orders are filled: tradable, not halted and, unless told otherwise, not tainted."""
        allowed = self.tradable.copy()
        if self.halted is not None:
            allowed &= ~self.halted
        if self.tainted is not None and not in_tainted_bars:
            allowed &= ~self.tainted
        return allowed

    def without_costs(self) -> Market:
        """The same bars with neither fees nor spread, impact, rounding or smallest orders. Funding stays."""
        return replace(self, rules=tuple(rules.without_costs() for rules in self.rules))


def contract_rules(
    contract: Contract, costs: Costs, timestamp: Times, *, symbol: str | None = None, taker_only: bool = False
) -> InstrumentRules:
    """Rules of a contract over the bars of `timestamp`, from spec/contracts and spec/costs.yaml.

    Parameters
    ----------
    contract : ticks, lots, smallest orders and margin brackets by date.
    costs : fees by date and tier, half-spreads and the impact coefficient.
    timestamp : (n,) open times.
    symbol : whose half-spread holds; the contract's own where None.
    taker_only : every fill pays the taker fee.

    Raises
    ------
    SpecError : where the contract has no margin brackets on a day of the window.
    """
    days = timestamp.astype("datetime64[D]").astype(np.int64)
    dated = (*(p.since for p in contract.periods), *(p.since for p in contract.margin), *(p.since for p in costs.fees))
    since = {(date - EPOCH).days for date in dated}
    starts = sorted({0} | {int(np.searchsorted(days, day)) for day in since if days[0] < day <= days[-1]})
    dates = [np.datetime64(int(days[bar]), "D").astype(object) for bar in starts]
    contracts = [contract.on(date) for date in dates]
    fees: list[FeePeriod] = [costs.on(date) for date in dates]
    margins = [contract.margin_on(date) for date in dates]
    stated = [margin for margin in margins if margin is not None]
    if len(stated) < len(margins):
        raise SpecError(
            f"spec/contracts: {contract.symbol} states no margin; state it in its file, or remove the file so that the "
            "cautious one of default.yaml holds"
        )
    tiers = [fee.all_tiers for fee in fees]
    brackets = [margin.brackets for margin in stated]
    half_spread = costs.half_spread_bps.get(symbol or contract.symbol, costs.half_spread_bps["default"]) * BPS
    taker = _padded([[tier.taker_fee_bps * BPS for tier in row] for row in tiers], None)
    maker = _padded([[tier.maker_fee_bps * BPS for tier in row] for row in tiers], None)
    return InstrumentRules(
        since_bar=np.array(starts, dtype=np.int64),
        tier_volume_usd=_padded([[tier.min_volume_30d_usd for tier in row] for row in tiers], np.inf),
        taker_fee=taker,
        maker_fee=taker if taker_only else maker,
        tick_size=np.array([period.tick_size or 0.0 for period in contracts]),
        lot_size=np.array([period.lot_size or 0.0 for period in contracts]),
        min_notional_usd=np.array([period.min_notional_usd for period in contracts]),
        half_spread=np.full(len(starts), half_spread),
        liquidation_fee=np.array([margin.liquidation_fee_bps * BPS for margin in stated]),
        bracket_floor_usd=_padded([[bracket.from_usd for bracket in row] for row in brackets], np.inf),
        maintenance_rate=_padded([[bracket.maintenance_rate for bracket in row] for row in brackets], None),
        max_leverage=_padded([[bracket.max_leverage for bracket in row] for row in brackets], None),
        impact_coefficient=costs.impact_coefficient,
    )


def _padded(rows: list[list[float]], filler: float | None) -> Floats:
    """Rows of one length: filled up with `filler`, or with each row's last entry."""
    width = max(len(row) for row in rows)
    return np.array(
        [row + [row[-1] if filler is None else filler] * (width - len(row)) for row in rows], dtype=np.float64
    )


def _market_faults(market: Market) -> list[str]:
    shape = (len(market.instruments), len(market.timestamp))
    arrays: Mapping[str, NDArray[np.generic] | None] = {
        name: getattr(market, name)
        for name in (
            *("open", "high", "low", "close", "mark", "funding", "tradable", "volatility", "turnover_usd"),
            *("halted", "tainted"),
        )
    }
    faults = [
        f"{name} has shape {array.shape}; {len(market.instruments)} instruments and {len(market.timestamp)} bars are {shape}"
        for name, array in arrays.items()
        if array is not None and array.shape != shape
    ]
    if len(set(market.instruments)) != len(market.instruments) or not market.instruments:
        faults.append(f"instruments are {', '.join(market.instruments) or 'none'}; each is named once")
    if len(market.rules) != len(market.instruments):
        faults.append(f"{len(market.rules)} rules for {len(market.instruments)} instruments")
    if not len(market.timestamp) or (np.diff(market.timestamp) <= np.timedelta64(0)).any():
        faults.append("timestamp does not ascend, or there is no bar")
    if not faults:
        with np.errstate(invalid="ignore"):
            sound = (market.low > 0) & (market.high >= market.low) & (market.open > 0) & (market.close > 0)
        for j, name in enumerate(market.instruments):
            bad = np.flatnonzero(market.tradable[j] & ~sound[j])
            if len(bad):
                faults.append(
                    f"{name}: bar {market.timestamp[bad[0]]} is tradable but lacks a price, or its high lies below its low"
                )
        if not np.isfinite(market.funding).all():
            faults.append("funding has values that are not finite; bars without a stamp hold 0")
    return faults
