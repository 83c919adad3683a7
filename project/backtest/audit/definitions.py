"""Everything the research computes from one symbol's bars, side by side, as the audits compare it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import polars as pl

from backtest.audit.look_ahead import PART
from backtest.events.detect import detect_events
from backtest.expressions import CompiledExpression
from backtest.features.bar_columns import with_all_columns
from backtest.features.build import build_features
from backtest.states.evaluate import evaluate_states

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledEvent, CompiledFeature, Spec


def definition_values(bars: pl.DataFrame, spec: Spec, event_type: str | None = None) -> pl.DataFrame:
    """Features, states, discovery expressions and events of every bar, with the numbers behind each condition.

    Parameters
    ----------
    bars : one symbol's bars, the full grid, oldest first; calendar columns are added, absent data sets are null.
    spec : the definitions.
    event_type : only this event, and the features it rests on.

    Returns
    -------
    ``timestamp`` and columns ``feature NAME``, ``state NAME: VALUE``, ``discovery NAME`` and ``event NAME: PART``, where a
    part is ``when``, ``direction``, ``occurs`` (outside the cooldown), or a number that is compared with something.
    """
    features = list(spec.features.values()) if event_type is None else _features_of(spec, event_type)
    events = list(spec.events.values()) if event_type is None else [spec.event(event_type)]
    bars = with_all_columns(bars, spec.columns, spec.calendars.values())
    built = build_features(bars, features)
    frame = pl.concat([bars, built.drop("timestamp")], how="horizontal")
    parts = [built.rename({name: f"feature {name}" for name in built.columns if name != "timestamp"})]
    if event_type is None:
        parts.append(_state_values(frame, spec))
        parts.append(
            frame.select(value.polars().alias(f"discovery {name}") for name, value in spec.bar_expressions.items())
        )
    parts += [_event_values(frame, event) for event in events]
    return pl.concat(parts, how="horizontal")


def _features_of(spec: Spec, event_type: str) -> list[CompiledFeature]:
    """The features an event rests on, directly or through others, in an order in which they can be built."""
    needed = set(spec.event(event_type).inputs)
    for name, feature in reversed(list(spec.features.items())):
        if name in needed:
            needed |= feature.expression.inputs
    return [feature for name, feature in spec.features.items() if name in needed]


def _state_values(frame: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Each state and the numbers behind it."""
    states = evaluate_states(frame, spec.states.values()).drop("timestamp")
    definition = {state_id: f"state {name}" for name, state in spec.states.items() for state_id in state.values}
    numbers = frame.select(
        column
        for name, state in spec.states.items()
        for state_id, expression in state.values.items()
        for column in _numbers(expression, f"state {name}{PART}{state_id}")
    )
    named = states.select(pl.col(name).alias(f"{definition[name]}{PART}{name}") for name in states.columns)
    return pl.concat([named, numbers], how="horizontal")


def _event_values(frame: pl.DataFrame, event: CompiledEvent) -> pl.DataFrame:
    """Each expression of an event and the numbers behind it, and the bars at which it occurs."""
    name = event.model.event_type
    prefix = f"event {name}{PART}"
    columns: list[pl.Expr] = []
    for field in dataclasses.fields(event):
        expression = getattr(event, field.name)
        if isinstance(expression, CompiledExpression):
            columns.append(expression.polars().alias(f"{prefix}{field.name}"))
            columns += _numbers(expression, f"{prefix}{field.name}")
    stamps = detect_events(frame, [event], "")["timestamp"]
    occurs = frame["timestamp"].is_in(stamps.implode()).alias(f"{prefix}occurs")
    return frame.select(*columns, occurs)


def _numbers(expression: CompiledExpression, prefix: str) -> list[pl.Expr]:
    return [number.alias(f"{prefix}, number {place}") for place, number in enumerate(expression.thresholded(), 1)]
