"""The register: every hypothesis of a search, frozen and hashed before any return is read."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from backtest.spec.models import ALL_STATES, POOLED, Filter, Policy, Template, horizon_bars

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest.spec.compiled import Spec

REGISTER_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_type": pl.String(),
    "family": pl.String(),
    "policy": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "symbol": pl.String(),
    "with_verb": pl.String(),
    "against_verb": pl.String(),
}
KEY: Final = ("event_type", "policy", "horizon", "state_id", "symbol")


@dataclass(frozen=True)
class Trial:
    """What one event tests at one horizon, before states and scopes.

    With both verbs it is one two-sided test and the sign picks the verb; with one it is one-sided. With a filter it is
    the difference between the trade's mean where the filter holds and where it does not; it has no states.
    """

    policy: Policy
    horizon: str
    with_verb: str | None
    against_verb: str | None
    filter_verb: str | None = None

    @property
    def horizon_bars(self) -> int:
        return horizon_bars(self.horizon)

    def state_ids(self, of_event: Sequence[str]) -> Sequence[str]:
        """The conditions it is tested under: those of the event, or the filter."""
        return of_event if self.filter_verb is None else (self.filter_verb,)


def effective_policy(policy: Policy, horizon: int) -> Policy:
    """The policy without barriers where the horizon is one bar: the first close could only repeat the time exit."""
    if horizon > 1 or not policy.has_barriers:
        return policy
    return policy.model_copy(update={"upper_barrier_atr": None, "lower_barrier_atr": None})


def trials(templates: Sequence[Template], horizons: Sequence[str], filters: Sequence[Filter] = ()) -> list[Trial]:
    """The distinct trials of an event; verbs that trade the same series at a horizon are one, under the first's name.

    A filter has the sides on which its base trade is among `templates`.
    """
    verbs: dict[tuple[str, str], dict[str, str]] = {}
    policies: dict[str, Policy] = {}
    for horizon in horizons:
        for template in templates:
            policy = effective_policy(template.policy, horizon_bars(horizon))
            policies[policy.policy_id] = policy
            for side in template.sides:
                verbs.setdefault((horizon, policy.policy_id), {}).setdefault(side, template.template_verb)
    found = [
        Trial(policies[policy_id], horizon, sides.get("with"), sides.get("against"))
        for (horizon, policy_id), sides in verbs.items()
    ]
    by_verb = {template.template_verb: template for template in templates}
    for one in filters:
        bases = [by_verb[base] for base in (one.base_with, one.base_against) if base in by_verb]
        for horizon in horizons if bases else ():
            found.append(
                Trial(
                    effective_policy(bases[0].policy, horizon_bars(horizon)),
                    horizon,
                    one.template_verb if one.base_with in by_verb else None,
                    one.template_verb if one.base_against in by_verb else None,
                    one.template_verb,
                )
            )
    return found


def event_trials(spec: Spec, event_type: str) -> list[Trial]:
    """The trials of one event type of the spec."""
    event = spec.events[event_type].model
    return trials(
        [spec.templates[verb] for verb in event.templates if verb in spec.templates],
        event.horizons,
        [spec.filters[verb].model for verb in event.templates if verb in spec.filters],
    )


def longest_window_bars(spec: Spec, event_types: Collection[str] | None = None) -> int:
    """Bars from an event to the last price any trade of these events (all where None) may use when nothing is halted."""
    return max(
        (
            trial.policy.longest_window_bars(trial.horizon_bars)
            for event_type in (spec.events if event_types is None else event_types)
            for trial in event_trials(spec, event_type)
        ),
        default=1,
    )


def register(spec: Spec, symbols: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Every hypothesis of a search.

    Parameters
    ----------
    spec : Spec
    symbols : for each event type that is tested, the symbols it can be detected on. The pooled scope is there from two
        symbols on: over one it would be that symbol's own series.

    Returns
    -------
    `REGISTER_SCHEMA`, one row a hypothesis, in a fixed order.
    """
    rows = []
    for event_type, names in symbols.items():
        scopes = [*sorted(names), POOLED] if len(names) > 1 else list(names)
        for trial in event_trials(spec, event_type):
            for state_id in trial.state_ids(spec.state_ids(event_type)):
                for scope in scopes:
                    rows.append(
                        (
                            event_type,
                            spec.events[event_type].model.family,
                            trial.policy.policy_id,
                            trial.horizon,
                            state_id,
                            scope,
                            trial.with_verb,
                            trial.against_verb,
                        )
                    )
    return pl.DataFrame(rows, schema=REGISTER_SCHEMA, orient="row").sort(KEY)


def hypothesis_digests(hypotheses: pl.DataFrame, spec: Spec) -> NDArray[np.uint64]:
    """A 64-bit digest of each hypothesis by what it means: its definitions, features included, not their names alone.

    An event whose threshold was changed is another hypothesis under the same name; one whose data were extended by a
    month is not.
    """
    import numpy as np

    meanings: dict[tuple[str, str], str] = {}
    digests = np.empty(len(hypotheses), dtype=np.uint64)
    for index, row in enumerate(hypotheses.select(KEY).iter_rows()):
        event_type, _, _, state_id, _ = row
        if (event_type, state_id) not in meanings:
            meanings[event_type, state_id] = _meaning(spec, event_type, state_id)
        text = "\x1f".join((*row, meanings[event_type, state_id]))
        digests[index] = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return digests


def _meaning(spec: Spec, event_type: str, state_id: str) -> str:
    """Hash of all definitions that a hypothesis on an event and state comes from."""
    event = spec.events[event_type]
    conditions = [spec.conditions[state_id]] if state_id != ALL_STATES else []
    own = [event.when, event.direction, *conditions, *spec.bar_expressions.values()]
    texts = [expression.text for expression in own]
    waiting, reached = sorted(set().union(*(expression.inputs for expression in own))), set[str]()
    while waiting:
        name = waiting.pop()
        if name in spec.features and name not in reached:
            reached.add(name)
            waiting.extend(spec.features[name].expression.inputs)
    texts += [f"{name}={spec.features[name].expression.text}" for name in sorted(reached)]
    texts += [f"{name}={value!r}" for name, value in sorted(event.model.parameters.items())]
    return hashlib.blake2b("\x1e".join([*texts, str(event.model.cooldown_bars)]).encode(), digest_size=16).hexdigest()


def register_hash(hypotheses: pl.DataFrame) -> str:
    """Hash of the hypotheses, whatever their order."""
    digest = hashlib.blake2b(digest_size=16)
    for row in hypotheses.sort(KEY).iter_rows():
        digest.update("\x1f".join("" if value is None else value for value in row).encode())
        digest.update(b"\x1e")
    return digest.hexdigest()
