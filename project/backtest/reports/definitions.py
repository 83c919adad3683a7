"""A definition of the spec in words: what it says and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest.errors import SpecError, did_you_mean
from backtest.reports.rules import bars_and_hours, rule_rows

if TYPE_CHECKING:
    from backtest.spec.compiled import (
        CompiledEvent,
        CompiledFeature,
        CompiledFilter,
        CompiledState,
        CompiledStrategy,
        Spec,
    )
    from backtest.spec.models import Template


@dataclass(frozen=True)
class Definition:
    """What a definition says and what follows from it: its name, what it is one of, and a text by label."""

    name: str
    kind: str
    rows: Mapping[str, str]

    @property
    def text(self) -> str:
        """The same as lines for a terminal."""
        width = max(len(label) for label in self.rows)
        return "\n".join(
            [f"{self.name} ({self.kind})", *(f"  {label:<{width}}  {text}" for label, text in self.rows.items())]
        )


def described(spec: Spec, name: str) -> Definition:
    """The definition of that name; SpecError with the nearest name where there is none."""
    if name in spec.events:
        return _event(spec, spec.events[name])
    if name in spec.features:
        return _feature(spec, spec.features[name])
    if name in spec.states:
        return _state(spec.states[name])
    if name in spec.templates:
        return _template(spec, spec.templates[name])
    if name in spec.filters:
        return _filter(spec, spec.filters[name])
    if any(name == found or name in strategy.model.aliases for found, strategy in spec.strategies.items()):
        return _strategy(spec, spec.strategy(name))
    if name in spec.columns:
        column = spec.columns[name]
        return Definition(
            name, "bar column", {"unit": column.unit, "data set": column.dataset, "meaning": column.description}
        )
    known = [
        *spec.events,
        *spec.features,
        *spec.states,
        *spec.templates,
        *spec.filters,
        *spec.strategies,
        *spec.columns,
    ]
    raise SpecError(
        f"the spec has no {name[:60]!r}.{did_you_mean(name, known)} It has the events {', '.join(spec.events)}; "
        f"{len(spec.features)} features; the states {', '.join(spec.states)}; the templates {', '.join(spec.templates)}; "
        f"the filters {', '.join(spec.filters)}; the strategies {', '.join(spec.strategies)}."
    )


def _event(spec: Spec, event: CompiledEvent) -> Definition:
    from backtest.discovery.hypotheses import event_trials

    model = event.model
    reach = max((spec.features[name].total_lookback_bars for name in event.inputs & spec.features.keys()), default=0)
    trials = event_trials(spec, model.event_type)
    n_filters = sum(trial.filter_verb is not None for trial in trials)
    states = spec.state_ids(model.event_type)
    datasets = sorted({spec.columns[column].dataset for column in event.columns if column in spec.columns})
    rows = {
        "meaning": model.description,
        "mechanism": model.mechanism,
        "when": " ".join(model.when.split()),
        "direction": " ".join(model.direction.split()),
        "strength": " ".join(event.strength.text.split()) if event.strength is not None else "not defined",
        "parameters": ", ".join(f"{name} = {value:g}" for name, value in model.parameters.items()) or "none",
        "cooldown": bars_and_hours(model.cooldown_bars),
        "inputs": ", ".join(sorted(event.inputs)),
        "data sets": ", ".join(datasets) or "the clock alone",
        "look-back": bars_and_hours(event.lookback_bars + reach),
        "states": ", ".join(states),
        "tested as": f"{len(trials) - n_filters} trades x {len(states)} states and {n_filters} filters of trades, each x "
        "each symbol and all of them pooled",
    }
    for trial in trials:
        if trial.filter_verb is None:
            verbs = " or ".join(verb for verb in (trial.with_verb, trial.against_verb) if verb)
            sides = "two-sided" if trial.with_verb and trial.against_verb else "one-sided"
            rows[f"  {trial.horizon} {trial.policy.policy_id}"] = f"{verbs} ({sides})"
        else:
            label = f"  {trial.horizon} filters of {trial.policy.policy_id}"
            rows[label] = f"{rows[label]}, {trial.filter_verb}" if label in rows else trial.filter_verb
    return Definition(model.event_type, f"event of the family {model.family}", rows)


def _feature(spec: Spec, feature: CompiledFeature) -> Definition:
    used_by = [name for name, event in spec.events.items() if feature.model.name in event.inputs]
    rows = {
        "meaning": feature.model.description,
        "unit": feature.model.unit,
        "expression": " ".join(feature.model.expression.split()),
        "source": feature.model.source or "",
        "inputs": ", ".join(sorted(feature.expression.inputs)),
        "bar columns": ", ".join(sorted(feature.columns)),
        "look-back": bars_and_hours(feature.total_lookback_bars),
        "events that use it": ", ".join(used_by) or "none directly",
    }
    return Definition(feature.model.name, "feature", {label: text for label, text in rows.items() if text})


def _state(state: CompiledState) -> Definition:
    rows = {"meaning": state.model.description}
    rows |= {state_id: " ".join(value.text.split()) for state_id, value in state.values.items()}
    return Definition(state.model.name, "state", rows)


def _template(spec: Spec, template: Template) -> Definition:
    mirror = [
        verb
        for verb, other in spec.templates.items()
        if other.side != template.side and other.policy == template.policy
    ]
    rows = {
        "meaning": template.description,
        "side": f"{template.side} the event's direction",
        "policy": template.policy.policy_id,
        "mirror": f"{mirror[0]}: the same trade on the other side, tested as one two-sided hypothesis"
        if mirror
        else "none",
    }
    return Definition(template.template_verb, "template", rows)


def _filter(spec: Spec, found: CompiledFilter) -> Definition:
    model = found.model
    reach = max(
        (spec.features[name].total_lookback_bars for name in found.condition.inputs & spec.features.keys()), default=0
    )
    rows = {
        "meaning": model.description,
        "condition": " ".join(found.condition.text.split()),
        "trade with the event": model.base_with or "none",
        "trade against the event": model.base_against or "none",
        "tested as": "the mean of the trades it holds for less that of the trades it is known not to hold for",
        "inputs": ", ".join(sorted(found.condition.inputs)),
        "look-back": bars_and_hours(found.condition.lookback_bars + reach),
        "events that use it": ", ".join(
            name for name, event in spec.events.items() if model.template_verb in event.model.templates
        )
        or "none",
    }
    return Definition(model.template_verb, "filter", rows)


def _strategy(spec: Spec, strategy: CompiledStrategy) -> Definition:
    from backtest.strategies.rules import rule_of_strategy

    model = strategy.model
    rule = rule_of_strategy(strategy, spec, model.symbols or (), spec.backtest.sizing)
    rows = {
        "meaning": model.description,
        "mechanism": model.mechanism,
        "aliases": ", ".join(model.aliases) or "none",
        **rule_rows(rule),
        "symbols": ", ".join(model.symbols or ()) or "those of the run",
    }
    return Definition(model.strategy, f"strategy of the family {model.family}", rows)
