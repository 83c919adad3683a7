"""A definition of the spec in words: what it says and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.errors import SpecError, did_you_mean
from backtest.reports.rules import bars_and_hours, rule_rows

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledEvent, CompiledFeature, CompiledState, CompiledStrategy, Spec
    from backtest.spec.models import Template


def described(spec: Spec, name: str) -> str:
    """The definition of that name as lines of text; SpecError with the nearest name where there is none."""
    if name in spec.events:
        return _event(spec, spec.events[name])
    if name in spec.features:
        return _feature(spec, spec.features[name])
    if name in spec.states:
        return _state(spec.states[name])
    if name in spec.templates:
        return _template(spec, spec.templates[name])
    if any(name == found or name in strategy.model.aliases for found, strategy in spec.strategies.items()):
        return _strategy(spec, spec.strategy(name))
    if name in spec.columns:
        column = spec.columns[name]
        return _lines(
            name, "bar column", {"unit": column.unit, "data set": column.dataset, "meaning": column.description}
        )
    known = [*spec.events, *spec.features, *spec.states, *spec.templates, *spec.strategies, *spec.columns]
    raise SpecError(
        f"the spec has no {name[:60]!r}.{did_you_mean(name, known)} It has the events {', '.join(spec.events)}; "
        f"{len(spec.features)} features; the states {', '.join(spec.states)}; the templates {', '.join(spec.templates)}; "
        f"the strategies {', '.join(spec.strategies)}."
    )


def _event(spec: Spec, event: CompiledEvent) -> str:
    from backtest.discovery.hypotheses import event_trials

    model = event.model
    reach = max((spec.features[name].total_lookback_bars for name in event.inputs & spec.features.keys()), default=0)
    trials = event_trials(spec, model.event_type)
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
        "tested as": f"{len(trials)} trials x {len(states)} states x each symbol and all of them pooled",
    }
    for trial in trials:
        verbs = " or ".join(verb for verb in (trial.with_verb, trial.against_verb) if verb)
        sides = "two-sided" if trial.with_verb and trial.against_verb else "one-sided"
        rows[f"  {trial.horizon} {trial.policy.policy_id}"] = f"{verbs} ({sides})"
    return _lines(model.event_type, f"event of the family {model.family}", rows)


def _feature(spec: Spec, feature: CompiledFeature) -> str:
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
    return _lines(feature.model.name, "feature", {label: text for label, text in rows.items() if text})


def _state(state: CompiledState) -> str:
    rows = {"meaning": state.model.description}
    rows |= {state_id: " ".join(value.text.split()) for state_id, value in state.values.items()}
    return _lines(state.model.name, "state", rows)


def _template(spec: Spec, template: Template) -> str:
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
    return _lines(template.template_verb, "template", rows)


def _strategy(spec: Spec, strategy: CompiledStrategy) -> str:
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
    return _lines(model.strategy, f"strategy of the family {model.family}", rows)


def _lines(name: str, kind: str, rows: dict[str, str]) -> str:
    width = max(len(label) for label in rows)
    return "\n".join([f"{name} ({kind})", *(f"  {label:<{width}}  {text}" for label, text in rows.items())])
