"""What a hand-written strategy may say: the same rule a blueprint holds, written as one YAML file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from backtest.spec.models import (
    LONGEST_HORIZON_BARS,
    Entry,
    EventName,
    Expression,
    Horizon,
    Model,
    Name,
    Policy,
    horizon_bars,
)

Atr = Annotated[float, Field(gt=0, le=100)]
Multiple = Annotated[float, Field(gt=0, le=20)]
Leverage = Annotated[float, Field(gt=0, le=200)]


class Sizing(Model):
    """How large a trade is, as notional at entry over the account's equity when the signal is known.

    ``fixed_fraction``: ``fraction`` of equity. ``fixed_notional``: ``notional_usd``, whatever the equity.
    ``volatility_target``: so much that one expected standard deviation of the trade's return over its planned horizon is
    ``volatility_per_trade`` of equity, at most ``max_fraction``.
    """

    method: Literal["fixed_fraction", "fixed_notional", "volatility_target"]
    fraction: Multiple | None = None
    notional_usd: Annotated[float, Field(gt=0, le=1e12)] | None = None
    volatility_per_trade: Annotated[float, Field(gt=0, le=0.2)] | None = None
    max_fraction: Multiple | None = None

    @model_validator(mode="after")
    def _complete(self) -> Sizing:
        needed = {
            "fixed_fraction": ("fraction",),
            "fixed_notional": ("notional_usd",),
            "volatility_target": ("volatility_per_trade", "max_fraction"),
        }
        own = needed[self.method]
        missing = [name for name in own if getattr(self, name) is None]
        foreign = [
            name for names in needed.values() for name in names if name not in own and getattr(self, name) is not None
        ]
        if missing or foreign:
            raise ValueError(f"method {self.method} takes {' and '.join(own)}, and nothing else")
        return self


class StrategyExit(Model):
    """When a strategy leaves: at its horizon at the latest, all distances seen from the trade's side and its entry price.

    ``intrabar_…`` are orders that rest in the market and fill inside a bar; ``close_…`` are met by a bar's *close* and leave
    at the next open; ``invalidation`` is read at each close while the trade is held and leaves at the next open.
    """

    intrabar_target_atr: Atr | None = None
    intrabar_stop_atr: Atr | None = None
    close_target_atr: Atr | None = None
    close_stop_atr: Atr | None = None
    invalidation: Expression | None = None


class Strategy(Model):
    """A trading rule with a name: a trigger (that of an event type, or its own), a side, an entry, an exit."""

    strategy: Name
    aliases: tuple[Name, ...] = ()
    family: EventName
    description: Annotated[str, Field(min_length=1)]
    mechanism: Annotated[str, Field(min_length=1)]
    event_type: EventName | None = None
    trigger: Expression | None = None
    event_direction: Expression | None = None
    parameters: dict[Name, int | float] = Field(default_factory=dict)
    cooldown_bars: Annotated[int, Field(ge=0, le=LONGEST_HORIZON_BARS)] | None = None
    """That of the event type where left out."""
    condition: Expression | None = None
    side: Literal["with", "against"]
    horizon: Horizon
    entry: Entry = Entry()
    exit: StrategyExit = StrategyExit()
    sizing: Sizing | None = None
    """That of ``backtest.yaml`` where left out."""
    symbols: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The symbols of the run where left out."""

    @model_validator(mode="after")
    def _one_trigger(self) -> Strategy:
        own = {"trigger": self.trigger, "event_direction": self.event_direction, "cooldown_bars": self.cooldown_bars}
        if self.event_type is None:
            missing = [name for name, value in own.items() if value is None]
            if missing:
                raise ValueError(f"{missing[0]} is missing; a strategy without event_type needs {', '.join(own)}")
        elif self.trigger is not None or self.event_direction is not None:
            raise ValueError("a strategy has either event_type, or trigger and event_direction of its own")
        if len(set(self.aliases)) != len(self.aliases) or self.strategy in self.aliases:
            raise ValueError("aliases name something twice")
        return self

    @property
    def horizon_bars(self) -> int:
        return horizon_bars(self.horizon)

    @property
    def direction(self) -> Literal[-1, 1]:
        """+1 for a trade in the event's direction, −1 for one against it."""
        return 1 if self.side == "with" else -1

    @property
    def policy(self) -> Policy:
        """Entry and close barriers as the policy the search would measure, seen from the event's direction."""
        upper, lower = self.exit.close_target_atr, self.exit.close_stop_atr
        if self.side == "against":
            upper, lower = lower, upper
        return Policy(
            entry_lag_bars=self.entry.lag_bars,
            retrace_fraction=self.entry.retrace_fraction,
            retrace_within_bars=self.entry.within_bars or 1,
            upper_barrier_atr=upper,
            lower_barrier_atr=lower,
        )


class PortfolioSettings(Model):
    """Which of a run's own blueprints ``STRATEGIES=portfolio`` trades (`strategies.selection`)."""

    most: Annotated[int, Field(ge=1, le=100)] = 6
    most_per_event: Annotated[int, Field(ge=1, le=100)] = 1
    max_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.5


class SpotMarginRates(Model):
    """What a spot leg binds of an account; fractions of its notional. What is bought is paid in full."""

    collateral_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of the value of coins held, what stands behind positions in perpetuals; 0 where they lie in a wallet of their own."""
    short_initial_rate: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Collateral that borrowed coins need at the entry."""
    short_maintenance_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Collateral below which borrowed coins are bought back."""

    @model_validator(mode="after")
    def _ordered(self) -> SpotMarginRates:
        if self.short_maintenance_rate > self.short_initial_rate:
            raise ValueError("short_maintenance_rate is at most short_initial_rate")
        return self


class BacktestSettings(Model):
    """The account a backtest trades; leverages are notional over equity, left out where there is no limit.

    ``max_strategy_leverage`` is of the open positions of one strategy at their entries, ``max_symbol_leverage`` of one
    instrument's net position, ``max_leverage`` of the sum over instruments. ``max_participation`` is the largest entry as a
    share of the turnover of a usual bar. ``overlap`` says what a signal does while its strategy holds the instrument:
    ``stack`` a trade of its own, ``skip`` nothing, ``flip`` turn where it is on the other side. With ``net_orders`` orders of
    all strategies in one instrument at one open meet inside the account first. ``leverage`` is the one set at the venue, from
    which initial margin follows.
    """

    starting_equity_usd: Annotated[float, Field(gt=0, le=1e12)]
    sizing: Sizing
    portfolio: PortfolioSettings = PortfolioSettings()
    max_strategy_leverage: Leverage | None = None
    max_symbol_leverage: Leverage | None = None
    max_leverage: Leverage | None = None
    max_participation: Annotated[float, Field(gt=0, le=1)] | None = None
    overlap: Literal["stack", "skip", "flip"] = "stack"
    net_orders: bool = True
    margin: bool = True
    leverage: Leverage = 10.0
    spot_margin: SpotMarginRates = SpotMarginRates()
    fill_in_tainted_bars: bool = False
    target_through_ticks: Annotated[float, Field(ge=0, le=1000)] = 1.0
    other_volume_30d_usd: Annotated[float, Field(ge=0)] = 0.0
    capacity_equities_usd: Annotated[tuple[Annotated[float, Field(gt=0, le=1e12)], ...], Field(min_length=1)]
    """Equities at which the same signals are traded again, for the capacity curve."""

    @model_validator(mode="after")
    def _ascending(self) -> BacktestSettings:
        if list(self.capacity_equities_usd) != sorted(set(self.capacity_equities_usd)):
            raise ValueError("capacity_equities_usd are listed once, in ascending order")
        return self
