"""The spec as the program uses it: definitions with their compiled expressions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backtest.errors import SpecError, did_you_mean
from backtest.expressions import CompiledExpression
from backtest.spec.evaluation import Evaluation
from backtest.spec.models import (
    ALL_STATES,
    Calendar,
    Column,
    Contract,
    Costs,
    Discovery,
    Event,
    Feature,
    Filter,
    Gates,
    KnownDefect,
    Model,
    Simulation,
    State,
    Template,
    horizon_bars,
)
from backtest.spec.strategies import BacktestSettings, Strategy

DEFAULT_CONTRACT: Final = "default"


@dataclass(frozen=True)
class CompiledFeature:
    """A feature with what follows from its expression.

    `total_lookback_bars` counts the bars before the current one that its own windows and those of the features it is
    made of reach together; `columns` are the bar columns it ends in.
    """

    model: Feature
    expression: CompiledExpression
    total_lookback_bars: int
    columns: frozenset[str]


@dataclass(frozen=True)
class CompiledState:
    model: State
    values: Mapping[str, CompiledExpression]
    """By state id."""


@dataclass(frozen=True)
class CompiledFilter:
    model: Filter
    condition: CompiledExpression


@dataclass(frozen=True)
class CompiledEvent:
    model: Event
    when: CompiledExpression
    direction: CompiledExpression
    strength: CompiledExpression | None
    lookback_bars: int
    """Bars of *features* that its own windows reach."""
    inputs: frozenset[str]
    columns: frozenset[str]

    @property
    def longest_horizon_bars(self) -> int:
        return max(horizon_bars(horizon) for horizon in self.model.horizons)


@dataclass(frozen=True)
class CompiledStrategy:
    """A strategy with its expressions; without a trigger of its own those are its event type's."""

    model: Strategy
    trigger: CompiledExpression
    direction: CompiledExpression
    condition: CompiledExpression | None
    invalidation: CompiledExpression | None

    @property
    def expressions(self) -> tuple[CompiledExpression, ...]:
        found = (self.trigger, self.direction, self.condition, self.invalidation)
        return tuple(expression for expression in found if expression is not None)


@dataclass(frozen=True)
class Spec:
    """Everything under ``spec/``, checked and compiled; features are in an order in which they can be built."""

    columns: Mapping[str, Column]
    calendars: Mapping[str, Calendar]
    features: Mapping[str, CompiledFeature]
    states: Mapping[str, CompiledState]
    events: Mapping[str, CompiledEvent]
    templates: Mapping[str, Template]
    filters: Mapping[str, CompiledFilter]
    """The verbs among the templates that have no trade of their own."""
    strategies: Mapping[str, CompiledStrategy]
    contracts: Mapping[str, Contract]
    gates: Gates
    costs: Costs
    discovery: Discovery
    evaluation: Evaluation
    backtest: BacktestSettings
    simulation: Simulation
    known_defects: tuple[KnownDefect, ...]
    bar_expressions: Mapping[str, CompiledExpression]
    """The expressions of the discovery settings, by field."""
    ontology_hash: str
    """Hash of everything that decides what a search finds: neither the simulated market nor what follows a search."""
    _part_hashes: dict[tuple[str, ...], str] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def feature_lookback_bars(self) -> int:
        """History a partition of features must read before its first bar."""
        return max((feature.total_lookback_bars for feature in self.features.values()), default=0)

    @property
    def event_lookback_bars(self) -> int:
        """History of features that states, events and the discovery expressions must read before the window."""
        reach = [event.lookback_bars for event in self.events.values()]
        reach += [value.lookback_bars for state in self.states.values() for value in state.values.values()]
        reach += [expression.lookback_bars for expression in self.bar_expressions.values()]
        reach += [one.condition.lookback_bars for one in self.filters.values()]
        return max(reach, default=0)

    @property
    def volatility_reach_bars(self) -> int:
        """Bars that the expected volatility looks back on, through the features it is made of."""
        expression = self.bar_expressions["expected_volatility"]
        parts = [self.features[name].total_lookback_bars for name in expression.inputs & self.features.keys()]
        return expression.lookback_bars + max(parts, default=0)

    def state_ids(self, event_type: str) -> tuple[str, ...]:
        """``all`` and the states an event is conditioned on."""
        names = self.events[event_type].model.states
        chosen = self.states if names is None else names
        return (ALL_STATES, *(state_id for name in chosen for state_id in self.states[name].values))

    @property
    def conditions(self) -> Mapping[str, CompiledExpression]:
        """What a ``state_id`` of a hypothesis stands for besides ``all``: values of states, and filters by their verb."""
        states = {name: value for state in self.states.values() for name, value in state.values.items()}
        return {**states, **{verb: one.condition for verb, one in self.filters.items()}}

    def contract(self, symbol: str) -> Contract:
        """The contract of a symbol; the default one where it has no file of its own."""
        return self.contracts.get(symbol, self.contracts[DEFAULT_CONTRACT])

    def event(self, event_type: str) -> CompiledEvent:
        """The event of that name; SpecError with the nearest one where there is none."""
        if event_type not in self.events:
            raise SpecError(
                f"there is no event {event_type[:60]!r}.{did_you_mean(event_type, self.events)} "
                f"There are: {', '.join(self.events)}."
            )
        return self.events[event_type]

    def strategy(self, name: str) -> CompiledStrategy:
        """The strategy of that name or alias; SpecError with the nearest one where there is none."""
        by_name = {alias: found for found in self.strategies.values() for alias in found.model.aliases}
        by_name |= self.strategies
        if name not in by_name:
            raise SpecError(
                f"there is no strategy {name[:60]!r}.{did_you_mean(name, by_name)} "
                f"There are: {', '.join(self.strategies) or 'none'}."
            )
        return by_name[name]

    def part_hash(self, *parts: str) -> str:
        """Hash of the named parts (``features``, ``states``, ``events``, …), for caches and manifests."""
        if parts not in self._part_hashes:
            self._part_hashes[parts] = hash_of({part: plain(getattr(self, part)) for part in parts})
        return self._part_hashes[parts]


def plain(value: Any) -> Any:
    """Models, compiled objects and mappings as JSON values."""
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    if isinstance(value, CompiledFeature | CompiledState | CompiledEvent | CompiledFilter | CompiledStrategy):
        return plain(value.model)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value


def hash_of(value: Any) -> str:
    """Hash of a JSON value, 32 hexadecimal digits; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
