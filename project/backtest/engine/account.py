"""The account that trades: its size, how large positions are, what limits them, how orders meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from backtest.errors import MisuseError


@dataclass(frozen=True)
class FixedFraction:
    """A position's notional is `fraction` × equity."""

    fraction: float


@dataclass(frozen=True)
class VolatilityTarget:
    """One expected standard deviation of the trade's return over its horizon is `volatility_per_trade` × equity.

    Notional = equity × min(`max_fraction`, `volatility_per_trade` / (σ·√horizon)), σ the instrument's expected volatility per
    bar at the decision. Where σ is unknown or zero there is no trade.
    """

    volatility_per_trade: float
    max_fraction: float


@dataclass(frozen=True)
class FixedNotional:
    """A position's notional is this many USD, whatever the equity."""

    notional_usd: float


Sizing: TypeAlias = FixedFraction | VolatilityTarget | FixedNotional
Overlap: TypeAlias = Literal["stack", "skip", "flip"]


@dataclass(frozen=True)
class Account:
    """Rules of the account. Leverages are multiples of equity; an infinite one is no limit.

    Attributes
    ----------
    starting_equity_usd : float
    sizing : FixedFraction | VolatilityTarget | FixedNotional, or a tuple of one for each strategy
        Of the equity at the close before the entry. Times the signal's weight.
    max_strategy_leverage : notional at entry of all open positions of one strategy.
    max_symbol_leverage : net notional of one instrument; an order that reduces it is not limited.
    max_leverage : sum over instruments of net notionals.
    max_participation : largest entry as a share of the turnover of a usual bar.
    overlap : what a strategy's signal does while it holds that instrument. ``stack``: a trade of its own beside the open one.
        ``skip``: nothing. ``flip``: nothing on the same side; on the other side the open one leaves at the entry's open.
    net_orders : whether orders of all strategies in one instrument at one open meet inside the account first, at the open and
        without cost, so that only what is left over goes to the market; the orders on the larger side share its costs by
        their size. Otherwise each order goes to the market by itself.
    margin : whether initial margin limits entries and a breach of maintenance margin liquidates the account.
    leverage : the leverage set at the venue, from which initial margin follows where the bracket allows it.
    fill_in_tainted_bars : whether bars with data known to be wrong may be traded in, as discovery's measurements are.
    target_through_ticks : ticks by which the price must pass a resting target before it counts as filled.
    other_volume_30d_usd : volume of 30 days that the account trades elsewhere; counts for the fee tier.

    A limited entry is made smaller; where what is left is below the smallest order there is no trade.
    """

    starting_equity_usd: float
    sizing: Sizing | tuple[Sizing, ...]
    max_strategy_leverage: float = math.inf
    max_symbol_leverage: float = math.inf
    max_leverage: float = 3.0
    max_participation: float = math.inf
    overlap: Overlap = "stack"
    net_orders: bool = True
    margin: bool = True
    leverage: float = 10.0
    fill_in_tainted_bars: bool = False
    target_through_ticks: float = 1.0
    other_volume_30d_usd: float = 0.0

    def __post_init__(self) -> None:
        positive = ("starting_equity_usd", "max_strategy_leverage", "max_symbol_leverage", "max_leverage", "leverage")
        wrong = [
            f"{name} is {getattr(self, name)}; it is above 0"
            for name in (*positive, "max_participation")
            if not getattr(self, name) > 0
        ]
        wrong += [
            f"{type(sizing).__name__}.{name} is {value}; it is finite and above 0"
            for sizing in self.sizings
            for name, value in vars(sizing).items()
            if not (value > 0 and math.isfinite(value))
        ]
        wrong += [
            f"{name} is {getattr(self, name)}; it is finite and at least 0"
            for name in ("target_through_ticks", "other_volume_30d_usd")
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name)))
        ]
        if not math.isfinite(self.starting_equity_usd):
            wrong.append(f"starting_equity_usd is {self.starting_equity_usd}; it is finite")
        if self.overlap not in ("stack", "skip", "flip"):
            wrong.append(f"overlap is {self.overlap!r}; it is 'stack', 'skip' or 'flip'")
        if wrong:
            raise MisuseError("account: " + "; ".join(wrong))

    @property
    def sizings(self) -> tuple[Sizing, ...]:
        """The sizing of all strategies, or those of each."""
        return self.sizing if isinstance(self.sizing, tuple) else (self.sizing,)


def neutral_account(starting_equity_usd: float = 1e6) -> Account:
    """The account in which every signal is a trade of one hundredth of its start, none limits another, none is liquidated.

    With `Market.without_costs` it trades what discovery measured: each event by itself, tainted bars included.
    """
    return Account(
        starting_equity_usd=starting_equity_usd,
        sizing=FixedNotional(starting_equity_usd / 100.0),
        max_leverage=math.inf,
        overlap="stack",
        net_orders=False,
        margin=False,
        fill_in_tainted_bars=True,
    )
