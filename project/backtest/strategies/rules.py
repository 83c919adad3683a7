"""A trading rule: all an engine needs to know of a blueprint or of a hand-written strategy, in one form."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from backtest.spec.models import Contract, Costs, Expression, Horizon, Model, Policy
from backtest.spec.strategies import Atr, Sizing

if TYPE_CHECKING:
    from backtest.expressions import CompiledExpression
    from backtest.spec.compiled import CompiledStrategy, Spec

ALWAYS = "True"
"""The condition that always holds."""
SPOT = " spot"
"""Ends the name of a symbol's spot market as an instrument."""


class Exits(Model):
    """When a trade leaves, whatever comes first; distances in ATR at the event, seen from the trade's side and entry price.

    ``close_…`` and ``invalidation`` are met at a bar's close and leave at the next open; ``intrabar_…`` are orders that rest
    in the market. A search tests trades without ``intrabar_…`` and ``invalidation``, so its blueprints have none.
    """

    horizon_bars: Annotated[int, Field(ge=1)]
    close_target_atr: Atr | None = None
    close_stop_atr: Atr | None = None
    intrabar_target_atr: Atr | None = None
    intrabar_stop_atr: Atr | None = None
    invalidation: Expression | None = None


class TradingRule(Model):
    """When to trade, which side, how to enter and leave, how large, and at which costs and rules of the venue.

    ``trigger``, ``event_direction``, ``fallback_direction``, ``condition``, ``exits.invalidation`` and the bar expressions are
    in the causal expression language, with ``parameters`` as names; ``definitions`` are the features they rest on.
    ``second_legs`` names the instrument that each symbol is traded against, where the policy has a second leg: the same
    notional on the other side, entered and left at the same opens. The unit of its close barriers is then ``spot_gap``.
    ``direction`` is +1 for a trade with the event's direction and −1 for one against it. ``policy`` says how the trade is
    entered and holds its close barriers seen from the *event's* direction; ``exits`` has them seen from the trade's side.
    """

    event_type: str | None
    family: str
    symbols: tuple[str, ...]
    trigger: Expression
    event_direction: Expression
    fallback_direction: Expression
    parameters: Mapping[str, int | float]
    condition: Expression
    direction: Literal[-1, 1]
    entry_lag_bars: Annotated[int, Field(ge=1)]
    policy: Policy
    horizon: Horizon
    exits: Exits
    cooldown_bars: Annotated[int, Field(ge=0)]
    sizing: Sizing
    average_true_range: Expression
    event_move: Expression
    expected_volatility: Expression
    bar_turnover_usd: Expression
    spot_gap: Expression
    spot_turnover_usd: Expression
    second_legs: Mapping[str, str]
    definitions: Mapping[str, Expression]
    costs: Costs
    contracts: Mapping[str, Contract]

    @model_validator(mode="after")
    def _consistent(self) -> TradingRule:
        upper, lower = self.policy.upper_barrier_atr, self.policy.lower_barrier_atr
        if self.direction == -1:
            upper, lower = lower, upper
        if (self.exits.close_target_atr, self.exits.close_stop_atr) != (upper, lower):
            raise ValueError("exits and policy name different close barriers; from the trade's side they are the same")
        if self.entry_lag_bars != self.policy.entry_lag_bars:
            raise ValueError("entry_lag_bars differs from the policy's")
        perpetuals = [name for name in self.second_legs.values() if not name.endswith(SPOT)]
        missing = [symbol for symbol in (*self.symbols, *perpetuals) if symbol not in self.contracts]
        if missing:
            raise ValueError(f"contracts has no entry for {missing[0]}")
        if (self.policy.second_leg is not None) != bool(self.second_legs):
            raise ValueError("second_legs go together with the policy's second_leg")
        return self


def second_legs_of(spec: Spec, policy: Policy, symbols: Sequence[str]) -> dict[str, str]:
    """The instrument that each symbol is traded against; symbols without one are left out."""
    if policy.second_leg == "spot":
        return {symbol: symbol + SPOT for symbol in symbols}
    if policy.second_leg == "pair":
        pairs = {symbol: spec.discovery.pair(symbol) for symbol in symbols}
        return {symbol: other for symbol, other in pairs.items() if other is not None}
    return {}


def contracts_of(spec: Spec, symbols: Sequence[str], second_legs: Mapping[str, str]) -> dict[str, Contract]:
    """The contracts of all perpetuals that a rule trades."""
    perpetuals = [*symbols, *(name for name in second_legs.values() if not name.endswith(SPOT))]
    return {symbol: spec.contract(symbol) for symbol in dict.fromkeys(perpetuals)}


def close_barriers(policy: Policy, direction: int) -> tuple[float | None, float | None]:
    """Target and stop of a policy in ATR, seen from the side of a trade in `direction` of its event."""
    upper, lower = policy.upper_barrier_atr, policy.lower_barrier_atr
    return (upper, lower) if direction == 1 else (lower, upper)


def definitions_of(spec: Spec, texts: Sequence[str], parameters: Mapping[str, int | float]) -> dict[str, str]:
    """The features that expressions rest on, and those features' own, by name: what they mean today."""
    named = names_of(spec)
    waiting = sorted(set().union(*(compiled_text(text, named, parameters).inputs for text in dict.fromkeys(texts))))
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name in spec.features and name not in found:
            found[name] = one_line(spec.features[name].expression.text)
            waiting.extend(spec.features[name].expression.inputs)
    return dict(sorted(found.items()))


def names_of(spec: Spec) -> frozenset[str]:
    """What expressions of a rule may name besides its parameters."""
    return frozenset((*spec.columns, *spec.features))


def compiled_text(text: str, names: frozenset[str], parameters: Mapping[str, int | float]) -> CompiledExpression:
    """The expression compiled, once for all rules that say the same; ExpressionError where it is none."""
    return _compiled_text(text, names, tuple(parameters.items()))


@functools.lru_cache(maxsize=4096)
def _compiled_text(
    text: str, names: frozenset[str], parameters: tuple[tuple[str, int | float], ...]
) -> CompiledExpression:
    from backtest.expressions import compile_expression

    return compile_expression(text, names, parameters=dict(parameters))


def one_line(text: str) -> str:
    """An expression without the line breaks of its file."""
    return " ".join(text.split())


def bar_expressions(spec: Spec) -> dict[str, str]:
    """The expressions of the discovery settings that every rule carries, by field."""
    return {field: one_line(expression.text) for field, expression in spec.bar_expressions.items()}


def rule_of_strategy(compiled: CompiledStrategy, spec: Spec, symbols: Sequence[str], sizing: Sizing) -> TradingRule:
    """A hand-written strategy as a rule over its own symbols, or `symbols`, with its own sizing, or `sizing`."""
    strategy = compiled.model
    event = spec.events[strategy.event_type].model if strategy.event_type is not None else None
    parameters = {**(event.parameters if event is not None else {}), **strategy.parameters}
    own = tuple(symbol for symbol in symbols if strategy.symbols is None or symbol in strategy.symbols)
    target, stop = strategy.exit.close_target_atr, strategy.exit.close_stop_atr
    cooldown = strategy.cooldown_bars
    if cooldown is None:
        assert event is not None, "the model asks for a cooldown where there is no event type"
        cooldown = event.cooldown_bars
    texts = {
        "trigger": one_line(compiled.trigger.text),
        "event_direction": one_line(compiled.direction.text),
        "condition": one_line(compiled.condition.text) if compiled.condition is not None else ALWAYS,
        **bar_expressions(spec),
    }
    invalidation = one_line(compiled.invalidation.text) if compiled.invalidation is not None else None
    return TradingRule(
        **texts,
        event_type=strategy.event_type,
        family=strategy.family,
        symbols=own,
        parameters=parameters,
        direction=strategy.direction,
        entry_lag_bars=strategy.entry.lag_bars,
        policy=strategy.policy,
        horizon=strategy.horizon,
        exits=Exits(
            horizon_bars=strategy.horizon_bars,
            close_target_atr=target,
            close_stop_atr=stop,
            intrabar_target_atr=strategy.exit.intrabar_target_atr,
            intrabar_stop_atr=strategy.exit.intrabar_stop_atr,
            invalidation=invalidation,
        ),
        cooldown_bars=cooldown,
        sizing=strategy.sizing or sizing,
        second_legs={},
        definitions=definitions_of(spec, [*texts.values(), *([invalidation] if invalidation else [])], parameters),
        costs=spec.costs,
        contracts={symbol: spec.contract(symbol) for symbol in own},
    )
