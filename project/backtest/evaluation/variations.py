"""A candidate's trade changed a little: entered later, held for another time, after a slightly different event."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl

from backtest.discovery.day_scores import SCORE_SCHEMA
from backtest.discovery.hypotheses import effective_policy
from backtest.discovery.scoring import score_event
from backtest.errors import SpecError
from backtest.events.detect import detect_events
from backtest.expressions import ExpressionError, compile_expression
from backtest.spec.models import BAR_MINUTES, LONGEST_HORIZON_BARS, POOLED, horizon_bars

if TYPE_CHECKING:
    from backtest.discovery.scoring import SymbolMarket
    from backtest.spec.compiled import CompiledEvent, Spec
    from backtest.spec.evaluation import Robustness

Check = Literal["unchanged", "entry_delay", "horizon_neighbours", "parameter_neighbours"]
TRADE: Final = ("event_type", "template_verb", "mirror_verb", "policy", "horizon", "state_id")
"""Columns of a candidate that say what is traded, besides the side and the symbols."""
SUMS: Final = ("n", "sum_y", "sum_cost", "sum_funding")
VARIED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "check": pl.String(),
    "variation": pl.String(),
    "event_type": pl.String(),
    "policy": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "symbol": pl.String(),
    "day": SCORE_SCHEMA["day"],
    **{name: SCORE_SCHEMA[name] for name in SUMS},
}
"""Day scores of the changed trades under the policy, horizon and state of the candidate they were made from."""


@dataclass(frozen=True)
class Variation:
    """One change; `label` is what a reader sees of it."""

    check: Check
    label: str
    delay_bars: int = 0
    horizon_factor: float = 1.0
    parameter: str | None = None
    value: float | int | None = None

    @property
    def is_detected_anew(self) -> bool:
        return self.parameter is not None


def variations(event: CompiledEvent, settings: Robustness, features: Sequence[str]) -> list[Variation]:
    """The unchanged trade, then every change that is made to an event's candidates.

    Parameters
    ----------
    features : names of columns and features, with which changed parameters are compiled.
    """
    made = [Variation("unchanged", "")]
    made += [
        Variation("entry_delay", f"{bars} bar{'s' if bars > 1 else ''} later", delay_bars=bars)
        for bars in settings.entry_delay.bars
    ]
    made += [
        Variation("horizon_neighbours", f"{factor:g} x horizon", horizon_factor=factor)
        for factor in settings.horizon_neighbours.factors
    ]
    for name, value in sorted(event.model.parameters.items()):
        for changed in neighbours(event, name, settings.parameter_neighbours.change, features):
            made.append(
                Variation("parameter_neighbours", f"{name} {value:g} to {changed:g}", parameter=name, value=changed)
            )
    return made


def neighbours(event: CompiledEvent, parameter: str, change: float, names: Sequence[str]) -> list[float | int]:
    """The values below and above a parameter's own at which the event can still be defined.

    A share between one half and one is a quantile, rank or level near its end: what is left to one is changed, since a
    fifth more of 0.97 would be no quantile and a fifth less of it another event. A whole number changes by one at least.
    """
    value = event.model.parameters[parameter]
    if isinstance(value, int):
        step = max(1, round(abs(value) * change))
        candidates: list[float | int] = [value - step, value + step]
    elif 0.5 < value < 1.0:
        rest = 1.0 - value
        candidates = [round(1.0 - rest * (1.0 + change), 12), round(1.0 - rest * (1.0 - change), 12)]
    else:
        candidates = [round(value * (1.0 - change), 12), round(value * (1.0 + change), 12)]
    return [changed for changed in candidates if _compiled(event, {parameter: changed}, names) is not None]


def _compiled(event: CompiledEvent, changed: dict[str, Any], names: Sequence[str]) -> CompiledEvent | None:
    """The event with some parameters changed; None where its expressions do not allow the values."""
    parameters = {**event.model.parameters, **changed}
    try:
        when = compile_expression(event.model.when, names, parameters=parameters)
        direction = compile_expression(event.model.direction, names, parameters=parameters)
    except ExpressionError:
        return None
    return dataclasses.replace(
        event,
        model=event.model.model_copy(update={"parameters": parameters}),
        when=when,
        direction=direction,
        strength=None,
        lookback_bars=max(when.lookback_bars, direction.lookback_bars),
    )


def score_variations(
    market: SymbolMarket, frame: pl.DataFrame, occurrences: pl.DataFrame, candidates: pl.DataFrame, spec: Spec
) -> pl.DataFrame:
    """Day scores of all variations of the candidates of one event type, on one symbol.

    Parameters
    ----------
    market : SymbolMarket
    frame : the bars and features that `market` was made of, on which a changed event is detected.
    occurrences : ``timestamp`` and ``direction`` of the symbol's events of this type, in time order.
    candidates : `TRADE` of the candidates, all of one event type.
    spec : Spec

    Returns
    -------
    `VARIED_SCHEMA`. A candidate whose trade cannot be stated again from its verb has no rows, not even unchanged ones.
    """
    event_type = candidates["event_type"][0]
    names = [*spec.columns, *spec.features]
    wanted = candidates.select(TRADE).unique().sort(TRADE)
    wanted = wanted.filter(pl.Series([_policy_id(spec, row) == row["policy"] for row in wanted.iter_rows(named=True)]))
    found = [pl.DataFrame(schema=VARIED_SCHEMA)]
    for variation in variations(spec.events[event_type], spec.evaluation.robustness, names) if len(wanted) else ():
        varied, keys = _varied(spec, event_type, wanted, variation, names)
        if keys.is_empty():
            continue
        events = occurrences
        if variation.is_detected_anew:
            events = detect_events(frame, [varied.events[event_type]], market.symbol)
        scores = score_event(market, event_type, events, varied)
        found.append(
            scores.join(keys, on=["policy", "horizon", "state_id"], how="inner").select(
                pl.lit(variation.check).alias("check"),
                pl.lit(variation.label).alias("variation"),
                pl.lit(event_type).alias("event_type"),
                pl.col("own_policy").alias("policy"),
                pl.col("own_horizon").alias("horizon"),
                "state_id",
                pl.lit(market.symbol).alias("symbol"),
                "day",
                *SUMS,
            )
        )
    return pl.concat(found)


def _policy_id(spec: Spec, row: dict[str, Any], delay_bars: int = 0, bars: int | None = None) -> str | None:
    """The policy by which a candidate's verb trades at its horizon, or entered later and held for `bars`.

    None where the verb is no template: what a filter tests is a difference between trades.
    """
    if row["template_verb"] not in spec.templates:
        return None
    policy = spec.templates[row["template_verb"]].policy
    delayed = policy.model_copy(update={"entry_lag_bars": policy.entry_lag_bars + delay_bars})
    return effective_policy(delayed, bars or horizon_bars(row["horizon"])).policy_id


def _varied(
    spec: Spec, event_type: str, wanted: pl.DataFrame, variation: Variation, names: Sequence[str]
) -> tuple[Spec, pl.DataFrame]:
    """The spec with the change made to one event, and where its scores belong.

    The second has ``policy``, ``horizon`` and ``state_id`` of the changed trade, and ``own_policy`` and ``own_horizon`` of
    the candidate's. A horizon that would not be another one, or not a horizon, is left out.
    """
    rows = []
    for row in wanted.iter_rows(named=True):
        own = horizon_bars(row["horizon"])
        bars = round(own * variation.horizon_factor)
        if (variation.horizon_factor != 1.0 and bars == own) or not 1 <= bars <= LONGEST_HORIZON_BARS:
            continue
        horizon = row["horizon"] if bars == own else f"{bars * BAR_MINUTES}m"
        policy = _policy_id(spec, row, variation.delay_bars, bars)
        rows.append((policy, horizon, row["state_id"], row["policy"], row["horizon"], row["template_verb"]))
    columns = ("policy", "horizon", "state_id", "own_policy", "own_horizon", "verb")
    keys = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String()), orient="row")
    if keys.is_empty():
        return spec, keys
    event = spec.events[event_type]
    if variation.parameter is not None:
        changed = _compiled(event, {variation.parameter: variation.value}, names)
        if changed is None:
            raise SpecError(f"{event_type} cannot have {variation.parameter} = {variation.value:g}.")
        event = changed
    verbs, horizons = (tuple(keys[name].unique().sort()) for name in ("verb", "horizon"))
    states = tuple(name for name, state in spec.states.items() if set(state.values) & set(keys["state_id"]))
    model = event.model.model_copy(update={"templates": verbs, "horizons": horizons, "states": states})
    templates = {verb: _delayed(spec.templates[verb], variation.delay_bars) for verb in verbs}
    varied = dataclasses.replace(
        spec,
        events={event_type: dataclasses.replace(event, model=model)},
        templates=templates,
        discovery=spec.discovery.model_copy(update={"atom_states": ()}),
    )
    return varied, keys.drop("verb").unique()


def _delayed(template: Any, bars: int) -> Any:
    entry = template.entry.model_copy(update={"lag_bars": template.entry.lag_bars + bars})
    return template.model_copy(update={"entry": entry})


def by_event(candidates: pl.DataFrame, symbol: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """For each event type the candidates that trade a symbol, on its own or pooled."""
    own = candidates.filter(pl.col("symbol").is_in([symbol, POOLED])).sort("event_type", "candidate_id")
    for (event_type,), rows in own.group_by("event_type", maintain_order=True):
        yield str(event_type), rows
