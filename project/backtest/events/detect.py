"""Occurrences of event types in one symbol's features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from backtest.expressions.arrays import TRUE
from backtest.expressions.evaluation import Evaluation, as_numbers
from backtest.states.evaluate import evaluate_states

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledEvent, CompiledState
    from backtest.spec.models import Column

EVENT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_id": pl.String(),
    "event_type": pl.String(),
    "symbol": pl.String(),
    "timestamp": pl.Datetime("ms", "UTC"),
    "direction": pl.Int8(),
    "strength": pl.Float64(),
}
"""The columns every event has; `event_schema` adds one a state dimension."""
_NO_STATES: Final[Mapping[str, CompiledState]] = MappingProxyType({})


def event_schema(states: Iterable[str]) -> dict[str, pl.DataType]:
    """Columns of an event table: `EVENT_SCHEMA` and a text column a state dimension, such as ``vol_regime``."""
    return {**EVENT_SCHEMA, **dict.fromkeys(states, pl.String())}


def detect_events(
    frame: pl.DataFrame,
    events: Sequence[CompiledEvent],
    symbol: str,
    states: Mapping[str, CompiledState] = _NO_STATES,
) -> pl.DataFrame:
    """Every occurrence, ordered by event type and time.

    Parameters
    ----------
    frame : bar columns and features of one symbol, the full grid, oldest first.
    events : the types to look for.
    symbol : str
    states : the state dimensions to note at each event.

    Returns
    -------
    `event_schema`: ``timestamp`` is the open time of the bar at whose close the event is known; ``direction`` is −1, 0
    or +1; ``strength`` says how far the event lies beyond its threshold, null where that is not defined; a state
    dimension holds the value in force at the event's bar, null where none is known. After an occurrence the same type is
    silent for its cooldown. Row t uses rows ≤ t only.
    """
    from backtest.events.cooldowns import outside_cooldowns

    return outside_cooldowns(detect_hits(frame, events, symbol, states), events)


def detect_hits(
    frame: pl.DataFrame,
    events: Sequence[CompiledEvent],
    symbol: str,
    states: Mapping[str, CompiledState] = _NO_STATES,
    held: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Every bar at which a type's condition holds, as `detect_events` gives them but without silence after any.

    `held` is what `evaluate_states` gives for the rows of `frame`, where that is at hand.
    """
    if not events:
        return pl.DataFrame(schema=event_schema(states))
    evaluation = Evaluation.of_frame(frame)
    types, rows, directions, strengths = [], [], [], []
    for event in events:
        holds = evaluation.values(event.when.program) == TRUE
        holds[: event.lookback_bars] = False
        hits = np.flatnonzero(holds)
        direction = np.nan_to_num(np.sign(as_numbers(evaluation.values(event.direction.program))[hits]))
        strength = np.full(len(hits), np.nan)
        if event.strength is not None:
            strength = as_numbers(evaluation.values(event.strength.program))[hits]
        types += [event.model.event_type] * len(hits)
        rows.append(hits)
        directions.append(direction.astype(np.int8))
        strengths.append(strength)
    at = np.concatenate(rows)
    stamp = pl.col("timestamp").dt.strftime("%Y%m%dT%H%M")
    return (
        _conditions((evaluate_states(frame, states.values()) if held is None else held)[at], states)
        .with_columns(
            pl.Series("event_type", types, dtype=pl.String),
            pl.lit(symbol).alias("symbol"),
            pl.Series("direction", np.concatenate(directions)),
            pl.Series("strength", np.concatenate(strengths), nan_to_null=True),
        )
        .with_columns(pl.concat_str("event_type", "symbol", stamp, separator=".").alias("event_id"))
        .select(pl.col(name).cast(dtype) for name, dtype in event_schema(states).items())
    )


def _conditions(held: pl.DataFrame, states: Mapping[str, CompiledState]) -> pl.DataFrame:
    """``timestamp`` and a text column a state dimension: the value that holds at the bar, null where none does."""
    return held.select(
        "timestamp",
        *(
            pl.coalesce(
                pl.lit(None, dtype=pl.String),
                *(pl.when(pl.col(state.model.state_id(value))).then(pl.lit(value)) for value in state.model.values),
            ).alias(name)
            for name, state in states.items()
        ),
    )


def missing_datasets(frame: pl.DataFrame, event: CompiledEvent, columns: Mapping[str, Column]) -> list[str]:
    """Data sets an event needs and the frame has nothing of; empty where the event can be detected.

    An event is missing something where one of the columns or features it names holds no value at all; what it misses are
    the data sets of the empty bar columns it rests on. Where there are none, the features themselves are named: their
    history is too short, or they are not defined for this symbol.
    """

    def is_empty(name: str) -> bool:
        return name in frame.columns and frame[name].null_count() == len(frame)

    empty = sorted(name for name in event.when.inputs | event.direction.inputs if is_empty(name))
    if not empty:
        return []
    datasets = {columns[name].dataset for name in event.columns if is_empty(name)}
    return sorted(datasets) or [f"values of {name}" for name in empty]


def event_flags(events: pl.DataFrame, bars: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Bar × event: ``timestamp``, ``symbol`` and one Boolean column an event type that occurs, one row a bar."""
    types = sorted(events["event_type"].unique())
    frames = []
    for symbol, stamps in bars.items():
        own = events.filter(pl.col("symbol") == symbol)
        frames.append(
            pl.DataFrame({"timestamp": stamps}).with_columns(
                pl.lit(symbol).alias("symbol"),
                *(
                    pl.col("timestamp")
                    .is_in(own.filter(pl.col("event_type") == name)["timestamp"].implode())
                    .alias(name)
                    for name in types
                ),
            )
        )
    return pl.concat(frames)
