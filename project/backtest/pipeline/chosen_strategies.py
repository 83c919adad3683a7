"""What STRATEGIES names: strategies of the spec, blueprints of a run, or single blueprints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backtest.errors import MisuseError, did_you_mean
from backtest.lake.paths import DataRoot
from backtest.pipeline.blueprint_files import blueprint, run_blueprints, runs_with_blueprints

if TYPE_CHECKING:
    from backtest.pipeline.stage import Plan
    from backtest.spec.loader import Spec
    from backtest.strategies.blueprints import Blueprint
    from backtest.strategies.rules import TradingRule

BLUEPRINTS: Final = "blueprints"
EXAMPLE: Final = "Example: STRATEGIES=vol_shock_mr_v1, or STRATEGIES=blueprints for what the run itself finds."


@dataclass(frozen=True)
class ChosenRule:
    """A rule to backtest.

    Attributes
    ----------
    name : of the strategy, or the blueprint's id.
    found_in : run that found it, None for a strategy.
    read_until : last day (inclusive) of the data that it was found on, from `read_since`; None for a strategy.
    state_id : the state a blueprint was tested in; None for a strategy.
    """

    name: str
    rule: TradingRule
    found_in: str | None = None
    read_since: str | None = None
    read_until: str | None = None
    state_id: str | None = None


def asked_names(text: str | None) -> tuple[str, ...]:
    """The distinct names in STRATEGIES; MisuseError where there is none."""
    names = tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    if not names:
        raise MisuseError(f"STRATEGIES is needed: the strategies to backtest. {EXAMPLE}")
    return names


def check_names(text: str | None, spec: Spec, root: DataRoot, run_id: str | None) -> tuple[str, ...]:
    """The names in STRATEGIES, before anything runs; MisuseError for one that is nothing, with the nearest names.

    A blueprint of the run itself is not looked for: the run may be about to write it.
    """
    names = asked_names(text)
    known = {alias: name for name, found in spec.strategies.items() for alias in (name, *found.model.aliases)}
    for name in names:
        if name in known or name == BLUEPRINTS or (run_id is not None and name.startswith(f"{run_id}.")):
            continue
        if any(name.startswith(f"{run}.") for run in runs_with_blueprints(root)):
            blueprint(root, name)
            continue
        raise MisuseError(
            f"STRATEGIES names {name[:80]!r}, which is no strategy.{did_you_mean(name, [*known, BLUEPRINTS])} "
            f"There are: {', '.join(spec.strategies)}; {BLUEPRINTS} for all of the run, or the id of a blueprint. "
            "Add one: docs/adding_a_strategy.md"
        )
    return tuple(dict.fromkeys(known.get(name, name) for name in names))


def chosen_rules(plan: Plan, spec: Spec) -> list[ChosenRule]:
    """The rules that a run's STRATEGIES names, in its order, each once; blueprints best first."""
    found: dict[str, ChosenRule] = {}
    for name in check_names(str(plan.parameters.get("strategies") or ""), spec, plan.root, plan.run_id):
        for rule in _rules(name, plan, spec):
            found.setdefault(rule.name, rule)
    return list(found.values())


def _rules(name: str, plan: Plan, spec: Spec) -> Sequence[ChosenRule]:
    from backtest.strategies.rules import rule_of_strategy

    if name == BLUEPRINTS:
        return [_of_blueprint(entry) for entry in run_blueprints(plan.root, plan.run_id)]
    if name in spec.strategies:
        rule = rule_of_strategy(spec.strategies[name], spec, plan.symbols, spec.backtest.sizing)
        return [ChosenRule(name, rule)]
    return [_of_blueprint(blueprint(plan.root, name))]


def _of_blueprint(entry: Blueprint) -> ChosenRule:
    return ChosenRule(
        entry.blueprint_id,
        entry,
        entry.run_id,
        entry.discovery_start,
        entry.discovery_end,
        entry.state_id,
    )
