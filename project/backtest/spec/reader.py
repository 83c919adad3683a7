"""Reading the files of a spec: each as its model, then held against each other, then compiled; every fault is collected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from backtest.errors import did_you_mean
from backtest.expressions import CompiledExpression, ExpressionError, compile_expression
from backtest.expressions.excess import excess
from backtest.spec.compiled import (
    DEFAULT_CONTRACT,
    CompiledEvent,
    CompiledFeature,
    CompiledFilter,
    CompiledState,
    CompiledStrategy,
    Spec,
    hash_of,
    plain,
)
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
)
from backtest.spec.strategies import BacktestSettings, Strategy

MAX_FILE_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 200
"""Levels of a YAML file: more than any spec has, fewer than what can be built."""
_LINE_START: Final = re.compile(r"^[ \t?:-]*", re.MULTILINE)
BAR_EXPRESSIONS: Final = (
    "expected_volatility", "fallback_direction", "average_true_range", "event_move", "bar_turnover_usd",
    "spot_turnover_usd", "spot_gap",
)  # fmt: skip
"""The fields of the discovery settings that are expressions over bars."""
M = TypeVar("M", bound=Model)
T = TypeVar("T")


def _refuse_bombs(text: str) -> None:
    """ValueError for aliases, by which a small file explodes, and for depth, which ends the process that builds it.

    The events are looked at before anything is built, and only where there may be such a thing: a level takes a bracket, or
    half a column at the start of a line.
    """
    deepest = 2 * max(len(start[0]) for start in _LINE_START.finditer(text)) + text.count("[") + text.count("{")
    if deepest <= MAX_DEPTH and not ("*" in text and "&" in text):
        return
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"found an alias (*{event.anchor}); write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH}")


class _UniqueKeyLoader(yaml.CSafeLoader):
    """Safe YAML without repeated keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                repeated = key in seen
                seen.add(key)
            except TypeError:
                raise yaml.constructor.ConstructorError(
                    None, None, "found a key that is no plain value", key_node.start_mark
                ) from None
            if repeated:
                raise yaml.constructor.ConstructorError(None, None, f"found the key {key!r} twice", key_node.start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class _Models:
    """The files of a spec as their models, before they are held against each other."""

    columns: dict[str, Column]
    gates: Gates
    costs: Costs
    discovery: Discovery
    evaluation: Evaluation
    backtest: BacktestSettings
    simulation: Simulation
    known_defects: tuple[KnownDefect, ...]
    calendars: dict[str, Calendar]
    features: dict[str, Feature]
    states: dict[str, State]
    events: dict[str, Event]
    templates: dict[str, Template]
    filters: dict[str, Filter]
    strategies: dict[str, Strategy]
    contracts: dict[str, Contract]

    @property
    def ontology(self) -> dict[str, Any]:
        """What decides what a search finds."""
        names = ("columns", "calendars", "features", "states", "events", "contracts", "gates", "costs", "discovery")
        verbs = {**self.templates, **self.filters}
        return {
            **{name: getattr(self, name) for name in names},
            "templates": verbs,
            "known_defects": self.known_defects,
        }


class SpecReader:
    """Collects models and faults while reading one spec folder."""

    FOLDERS: Final = ("calendars", "features", "states", "events", "templates", "strategies", "contracts")
    FILES: Final = ("columns", "gates", "costs", "discovery", "evaluation", "backtest", "simulation", "known_defects")

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = names
        self.faults: list[str] = []

    def read(self) -> Spec | None:
        """The spec; None where there are faults."""
        self._check_places()
        models = self._models()
        spec = None if models is None else self._compiled(models)
        return None if self.faults else spec

    def _check_places(self) -> None:
        for name in self.names:
            folder, _, file = name.rpartition("/")
            stem = file.removesuffix(".yaml")
            if folder not in self.FOLDERS and (folder or stem not in self.FILES):
                allowed = [*(f"{known}/" for known in self.FOLDERS), *(f"{known}.yaml" for known in self.FILES)]
                self.faults.append(f"{name}: nothing is read from here; files lie in {', '.join(allowed)}")

    def _models(self) -> _Models | None:
        """Every file on its own, as its model; None where one does not fit."""
        verbs = dict(self._folder("templates", _template_model, "template_verb"))
        models = _Models(
            columns=self._single("columns", TypeAdapter(dict[str, Column])) or {},
            gates=self._single("gates", TypeAdapter(Gates)),
            costs=self._single("costs", TypeAdapter(Costs)),
            discovery=self._single("discovery", TypeAdapter(Discovery)),
            evaluation=self._single("evaluation", TypeAdapter(Evaluation)),
            backtest=self._single("backtest", TypeAdapter(BacktestSettings)),
            simulation=self._single("simulation", TypeAdapter(Simulation)),
            known_defects=self._known_defects(),
            calendars=dict(self._folder("calendars", Calendar, "name")),
            features=dict(self._folder("features", Feature, "name")),
            states=dict(self._folder("states", State, "name")),
            events=dict(self._folder("events", Event, "event_type")),
            templates={name: verb for name, verb in verbs.items() if isinstance(verb, Template)},
            filters={name: verb for name, verb in verbs.items() if isinstance(verb, Filter)},
            strategies=dict(self._folder("strategies", Strategy, "strategy")),
            contracts=dict(self._folder("contracts", Contract, "symbol")),
        )
        if DEFAULT_CONTRACT not in models.contracts:
            self.faults.append(
                f"contracts/{DEFAULT_CONTRACT}.yaml: is missing; it says what holds for every other symbol"
            )
        return None if self.faults else models

    def _compiled(self, models: _Models) -> Spec:
        """Expressions compiled, and names that files give each other followed; faults are collected."""
        self._check_names(models)
        names = [*models.columns, *models.features]
        features = self._compile_features(models.columns, models.features)
        states = {name: self._compile_state(state, names) for name, state in models.states.items()}
        filters = {
            verb: CompiledFilter(one, condition)
            for verb, one in models.filters.items()
            if (condition := self._compile(f"templates/{verb}.yaml", "condition", one.condition, names, "boolean"))
        }
        verbs: dict[str, Template | Filter] = {**models.templates, **models.filters}
        events = {
            name: self._compile_event(event, names, models.columns, features, models.states, verbs)
            for name, event in models.events.items()
        }
        strategies = {name: self._compile_strategy(one, names, events) for name, one in models.strategies.items()}
        bar_expressions = {
            field: self._compile("discovery.yaml", field, getattr(models.discovery, field), names, "number")
            for field in BAR_EXPRESSIONS
        }
        self._check_state_ids(states, models.filters)
        self._check_filtered_events(models.events, filters, states)
        self._check_planted(models.simulation, models.events, states)
        return Spec(
            columns=models.columns,
            calendars=models.calendars,
            features=features,
            states=_known(states),
            events=_known(events),
            templates=models.templates,
            filters=filters,
            strategies=_known(strategies),
            contracts=models.contracts,
            gates=models.gates,
            costs=models.costs,
            discovery=models.discovery,
            evaluation=models.evaluation,
            backtest=models.backtest,
            simulation=models.simulation,
            known_defects=models.known_defects,
            bar_expressions=_known(bar_expressions),
            ontology_hash=hash_of(plain(models.ontology)),
        )

    def _check_names(self, models: _Models) -> None:
        """What can be said before anything is compiled."""
        for name in sorted(models.columns.keys() & models.features.keys()):
            self.faults.append(f"features/{name}.yaml: {name!r} is a bar column already")
        self._check_calendars(models.calendars, models.columns)
        self._check_templates(models.templates)
        self._check_filters(models.filters, models.templates)
        self._check_strategies(models.strategies, models.events)
        for name in models.gates.overrides:
            if name not in models.events:
                self.faults.append(
                    f"gates.yaml: overrides name {name!r}, no such event.{did_you_mean(name, models.events)}"
                )
        for name in models.discovery.atom_states:
            if name not in models.states:
                self.faults.append(
                    f"discovery.yaml: atom_states name {name!r}, no such state.{did_you_mean(name, models.states)}"
                )
        self._check_defects(models.known_defects, models.columns)

    # -- files to models ------------------------------------------------------------------------------

    def _yaml(self, name: str) -> Any:
        path = self.root / name
        try:
            content = path.read_bytes()
            if len(content) > MAX_FILE_BYTES:
                raise ValueError(f"has {len(content):,} bytes; at most {MAX_FILE_BYTES:,} are read")
            text = content.decode("utf-8")
            _refuse_bombs(text)
            return yaml.load(text, Loader=_UniqueKeyLoader)
        except (OSError, ValueError, yaml.YAMLError) as fault:
            reason = " ".join(str(fault).replace('"<unicode string>"', name).split()) or type(fault).__name__
        except (LookupError, TypeError, AttributeError, ArithmeticError) as fault:
            reason = f"a value does not have the form that its tag (!!…) asks for ({fault!r})"
        self.faults.append(f"{name}: is not readable YAML: {reason}")
        return None

    def _validated(self, name: str, adapter: TypeAdapter[Any] | Callable[[Any], type[Model]]) -> Any:
        """The file as a model; `adapter` may choose it by what the file says."""
        before = len(self.faults)
        content = self._yaml(name)
        if len(self.faults) > before:
            return None
        if not isinstance(adapter, TypeAdapter):
            adapter = TypeAdapter(adapter(content))
        try:
            return adapter.validate_python(content)
        except ValidationError as fault:
            for error in fault.errors(include_url=False):
                self.faults.append(f"{name}: {_described(error, content)}")
            return None
        except TypeError as fault:  # values of two fields that cannot be compared, such as 09:00 and 17:00Z
            self.faults.append(f"{name}: two of its values do not go together: {fault}")
            return None

    def _single(self, stem: str, adapter: TypeAdapter[Any]) -> Any:
        name = f"{stem}.yaml"
        if name not in self.names:
            self.faults.append(f"{name}: is missing")
            return None
        return self._validated(name, adapter)

    def _known_defects(self) -> tuple[KnownDefect, ...]:
        """None where there is no such file: a venue without known faults needs no list of them."""
        if "known_defects.yaml" not in self.names:
            return ()
        return self._single("known_defects", TypeAdapter(tuple[KnownDefect, ...])) or ()

    def _folder(self, folder: str, model: type[M] | Callable[[Any], type[M]], key: str) -> Iterator[tuple[str, M]]:
        adapter: Any = TypeAdapter(model) if isinstance(model, type) else model
        for name in self.names:
            if not name.startswith(f"{folder}/"):
                continue
            entry = self._validated(name, adapter)
            if entry is None:
                continue
            stem = name.rpartition("/")[2].removesuffix(".yaml")
            if getattr(entry, key) != stem:
                self.faults.append(f"{name}: {key} is {getattr(entry, key)!r}; it must equal the file's name, {stem!r}")
            yield getattr(entry, key), entry

    # -- expressions ------------------------------------------------------------------------------------

    def _compile(
        self,
        file: str,
        field: str,
        text: str,
        names: list[str],
        kind: str,
        parameters: Mapping[str, int | float] | None = None,
    ) -> CompiledExpression | None:
        try:
            compiled = compile_expression(text, names, parameters=parameters or {})
        except ExpressionError as fault:
            self.faults.append(f"{file}: {field}: {str(fault).strip()}".replace("\n", "\n      "))
            return None
        if compiled.kind != kind:
            self.faults.append(f"{file}: {field}: is a {compiled.kind}; a {kind} is needed here: {text}")
            return None
        return compiled

    def _compile_features(
        self, columns: Mapping[str, Column], features: Mapping[str, Feature]
    ) -> dict[str, CompiledFeature]:
        names = [*columns, *features]
        expressions = {}
        for name, feature in features.items():
            compiled = self._compile(f"features/{name}.yaml", "expression", feature.expression, names, "number")
            if compiled is not None:
                expressions[name] = compiled
        ordered: dict[str, CompiledFeature] = {}
        waiting = dict(expressions)
        while waiting:
            ready = [name for name, compiled in waiting.items() if not compiled.inputs & waiting.keys()]
            if not ready:
                self.faults.append(f"features: {', '.join(sorted(waiting))} are defined by one another in a circle")
                break
            for name in ready:
                compiled = waiting.pop(name)
                parts = [ordered[part] for part in sorted(compiled.inputs & ordered.keys())]
                ordered[name] = CompiledFeature(
                    features[name],
                    compiled,
                    compiled.lookback_bars + max((part.total_lookback_bars for part in parts), default=0),
                    frozenset(compiled.inputs & columns.keys()).union(*(part.columns for part in parts)),
                )
        return ordered

    def _compile_state(self, state: State, names: list[str]) -> CompiledState | None:
        values = {
            state.state_id(value): self._compile(f"states/{state.name}.yaml", f"values.{value}", text, names, "boolean")
            for value, text in state.values.items()
        }
        kept = {state_id: compiled for state_id, compiled in values.items() if compiled is not None}
        return CompiledState(state, kept) if len(kept) == len(values) else None

    def _check_state_ids(self, states: Mapping[str, CompiledState | None], filters: Mapping[str, Filter]) -> None:
        owner: dict[str, str] = {ALL_STATES: "the state that always holds"}
        for name, state in states.items():
            for state_id in state.values if state is not None else ():
                if state_id in owner:
                    self.faults.append(f"states/{name}.yaml: the state id {state_id!r} is taken by {owner[state_id]}")
                owner[state_id] = f"states/{name}.yaml"
        for verb in sorted(filters.keys() & owner.keys()):
            self.faults.append(f"templates/{verb}.yaml: {verb!r} is the id of a state already")

    def _compile_event(
        self,
        event: Event,
        names: list[str],
        columns: Mapping[str, Column],
        features: Mapping[str, CompiledFeature],
        states: Mapping[str, State],
        templates: Mapping[str, Template | Filter],
    ) -> CompiledEvent | None:
        file = f"events/{event.event_type}.yaml"
        for field, chosen, known in (("templates", event.templates, templates), ("states", event.states or (), states)):
            for name in chosen:
                if name not in known:
                    self.faults.append(
                        f"{file}: {field} name {name!r}, which does not exist.{did_you_mean(name, known)} "
                        f"There are: {', '.join(known)}"
                    )
        for name in sorted(event.parameters.keys() & set(names)):
            self.faults.append(f"{file}: the parameter {name!r} has the name of a column or feature")
        when = self._compile(file, "when", event.when, names, "boolean", event.parameters)
        direction = self._compile(file, "direction", event.direction, names, "number", event.parameters)
        strength = self._compile_strength(file, event, names)
        if when is None or direction is None:
            return None
        inputs = when.inputs | direction.inputs
        parts = [features[name].columns for name in inputs & features.keys()]
        bar_columns = frozenset(inputs & columns.keys()).union(*parts)
        datasets = sorted({columns[name].dataset for name in bar_columns})
        if event.needs is not None and sorted(event.needs) != datasets:
            self.faults.append(
                f"{file}: needs is {', '.join(sorted(event.needs)) or 'nothing'}; the data sets its expressions end in "
                f"are {', '.join(datasets) or 'none'}"
            )
        return CompiledEvent(
            event,
            when,
            direction,
            strength,
            max(when.lookback_bars, direction.lookback_bars),
            inputs | (strength.inputs if strength is not None else frozenset()),
            bar_columns,
        )

    def _compile_strength(self, file: str, event: Event, names: list[str]) -> CompiledExpression | None:
        if event.strength is not None:
            return self._compile(file, "strength", event.strength, names, "number", event.parameters)
        try:
            text = excess(event.when)
            return compile_expression(text, names, parameters=event.parameters) if text is not None else None
        except ExpressionError:
            return None  # told of `when` already

    def _compile_strategy(
        self, strategy: Strategy, names: list[str], events: Mapping[str, CompiledEvent | None]
    ) -> CompiledStrategy | None:
        file = f"strategies/{strategy.strategy}.yaml"
        parameters = strategy.parameters
        for name in sorted(parameters.keys() & set(names)):
            self.faults.append(f"{file}: the parameter {name!r} has the name of a column or feature")
        all_parameters: Mapping[str, int | float] = parameters
        event = events.get(strategy.event_type) if strategy.event_type is not None else None
        if event is not None:
            for name in sorted(parameters.keys() & event.model.parameters.keys()):
                self.faults.append(f"{file}: the parameter {name!r} is its event type's already; take another name")
            all_parameters = {**event.model.parameters, **parameters}
        before = len(self.faults)

        def compiled(field: str, text: str | None, kind: str) -> CompiledExpression | None:
            return self._compile(file, field, text, names, kind, all_parameters) if text is not None else None

        condition = compiled("condition", strategy.condition, "boolean")
        invalidation = compiled("exit.invalidation", strategy.exit.invalidation, "boolean")
        own = compiled("trigger", strategy.trigger, "boolean")
        own_direction = compiled("event_direction", strategy.event_direction, "number")
        trigger, direction = (event.when, event.direction) if event is not None else (own, own_direction)
        if trigger is None or direction is None or len(self.faults) > before:
            return None
        return CompiledStrategy(strategy, trigger, direction, condition, invalidation)

    def _check_strategies(self, strategies: Mapping[str, Strategy], events: Mapping[str, Event]) -> None:
        """Names and aliases are each one strategy's, events and families exist, and no two strategies are the same rule."""
        families = {event.family for event in events.values()}
        owner = {name: f"strategies/{name}.yaml" for name in strategies}
        rules: dict[str, str] = {}
        for name, strategy in strategies.items():
            file = f"strategies/{name}.yaml"
            for alias in strategy.aliases:
                if alias in owner:
                    self.faults.append(f"{file}: the alias {alias!r} is taken by {owner[alias]}")
                owner.setdefault(alias, file)
            known = {"event_type": (strategy.event_type, events), "family": (strategy.family, families)}
            for field, (entry, allowed) in known.items():
                if entry is not None and entry not in allowed:
                    self.faults.append(
                        f"{file}: {field} names {entry!r}, which does not exist.{did_you_mean(entry, allowed)}"
                    )
            event = events.get(strategy.event_type or "")
            if event is not None and strategy.family != event.family:
                self.faults.append(f"{file}: family is {strategy.family!r}; its event type is of {event.family!r}")
            rule = strategy.model_dump_json(exclude={"strategy", "aliases", "description", "mechanism"})
            if rule in rules:
                self.faults.append(f"{file}: is the same rule as {rules[rule]}; remove one, or make it an alias")
            rules.setdefault(rule, file)

    def _check_calendars(self, calendars: Mapping[str, Calendar], columns: Mapping[str, Column]) -> None:
        maker: dict[str, str] = {}
        for name, calendar in calendars.items():
            for column in calendar.columns:
                if column in maker:
                    self.faults.append(f"calendars/{name}.yaml: {maker[column]} makes the column {column!r} already")
                maker[column] = f"calendars/{name}.yaml"
                if column not in columns:
                    self.faults.append(
                        f"calendars/{name}.yaml: makes the column {column!r}; describe it in columns.yaml"
                    )

    def _check_planted(
        self, simulation: Simulation, events: Mapping[str, Event], states: Mapping[str, CompiledState | None]
    ) -> None:
        state_ids = [ALL_STATES, *(state_id for state in states.values() if state for state_id in state.values)]
        for edge in simulation.planted_edges:
            for field, name, known in (("event_type", edge.event_type, events), ("state_id", edge.state_id, state_ids)):
                if name not in known:
                    self.faults.append(
                        f"simulation.yaml: planted_edges name the {field} {name!r}, which does not exist."
                        f"{did_you_mean(name, known)}"
                    )

    def _check_defects(self, defects: tuple[KnownDefect, ...], columns: Mapping[str, Column]) -> None:
        """A data set nothing rests on would be matched with nothing, which is most likely a slip of the pen."""
        known = sorted({column.dataset for column in columns.values()} | {"ohlcv_1m"})
        for number, defect in enumerate(defects, start=1):
            if defect.dataset not in known:
                self.faults.append(
                    f"known_defects.yaml: entry {number} names the data set {defect.dataset!r}, which no column comes from."
                    f"{did_you_mean(defect.dataset, known)}"
                )

    def _check_templates(self, templates: Mapping[str, Template]) -> None:
        """Two verbs with one policy that share a side would test the same series twice; mirrors are one test."""
        seen: dict[tuple[str, str], str] = {}
        for verb, template in templates.items():
            for side in template.sides:
                key = (side, template.policy.policy_id)
                if key in seen:
                    self.faults.append(
                        f"templates/{verb}.yaml: trades the same series as templates/{seen[key]}.yaml (side "
                        f"{side!r}, policy {template.policy.policy_id}); give it another entry or exit, or remove it"
                    )
                    break
            for side in template.sides:
                seen.setdefault((side, template.policy.policy_id), verb)

    def _check_filters(self, filters: Mapping[str, Filter], templates: Mapping[str, Template]) -> None:
        for verb, one in filters.items():
            file, bases = f"templates/{verb}.yaml", {}
            for field, side in (("base_with", "with"), ("base_against", "against")):
                base = getattr(one, field)
                if base is None:
                    continue
                if base not in templates:
                    self.faults.append(
                        f"{file}: {field} is {base!r}, no verb with a trade.{did_you_mean(base, templates)}"
                    )
                elif side not in templates[base].sides:
                    self.faults.append(f"{file}: {field} is {base!r}, which trades {templates[base].side} the event")
                else:
                    bases[base] = templates[base].policy.policy_id
            if len(set(bases.values())) > 1:
                shown = " and ".join(f"{base} ({policy})" for base, policy in bases.items())
                self.faults.append(
                    f"{file}: its bases {shown} are no mirrors of each other; a filter has one base trade"
                )

    def _check_filtered_events(
        self,
        events: Mapping[str, Event],
        filters: Mapping[str, CompiledFilter],
        states: Mapping[str, CompiledState | None],
    ) -> None:
        """A filter needs its base trade beside it; one that repeats another condition of the event asks the same twice."""
        for event_type, event in events.items():
            conditioned = states if event.states is None else event.states
            known = [found for state in conditioned if (found := states.get(state)) is not None]
            asked = {_normalised(value.text): name for state in known for name, value in state.values.items()}
            for verb in sorted(filters.keys() & set(event.templates)):
                model, text = filters[verb].model, _normalised(filters[verb].condition.text)
                if not {model.base_with, model.base_against} & set(event.templates):
                    bases = " or ".join(base for base in (model.base_with, model.base_against) if base)
                    self.faults.append(f"events/{event_type}.yaml: {verb} filters {bases}, which templates do not name")
                if text in asked:
                    self.faults.append(
                        f"events/{event_type}.yaml: {verb} has the condition of {asked[text]}, which the event is tested "
                        "under already; remove one of them"
                    )
                asked.setdefault(text, verb)


def _template_model(content: Any) -> type[Template | Filter]:
    """A file with a condition is a filter."""
    return Filter if isinstance(content, dict) and "condition" in content else Template


def _normalised(expression: str) -> str:
    return "".join(expression.split())


def _described(error: Mapping[str, Any], content: Any) -> str:
    """One pydantic error as a sentence: field, what was found, what is allowed."""
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{where}: is missing"
    if error["type"] == "extra_forbidden":
        return f"{where}: is no field that is known here"
    if error["type"] == "value_error":
        return f"{where}: {message}"
    found = str(error.get("input", content))[:60]
    return f"{where}: found {found!r}; {message[:1].lower()}{message[1:]}"


def _known(compiled: Mapping[str, T | None]) -> dict[str, T]:
    """Those that could be compiled."""
    return {name: one for name, one in compiled.items() if one is not None}
