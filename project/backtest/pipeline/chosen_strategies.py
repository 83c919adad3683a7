"""What STRATEGIES names: strategies of the spec, blueprints of a run, or single blueprints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.errors import MisuseError, did_you_mean
from backtest.lake.files import read_json
from backtest.lake.paths import DataRoot
from backtest.pipeline.blueprint_files import blueprint, run_blueprints, runs_with_blueprints
from backtest.pipeline.run_tables import candidate_files, read_long_scores, score_files

if TYPE_CHECKING:
    from backtest.pipeline.stage import Plan
    from backtest.spec.compiled import Spec
    from backtest.strategies.blueprints import Blueprint
    from backtest.strategies.rules import TradingRule

BLUEPRINTS: Final = "blueprints"
PORTFOLIO: Final = "portfolio"
"""Few of the run's blueprints, chosen by the rule of spec/backtest.yaml; `BLUEPRINTS` are all of them."""
EXAMPLE: Final = (
    "Example: STRATEGIES=vol_shock_mr_v1, or STRATEGIES=portfolio for a few of what the run itself finds, "
    "STRATEGIES=blueprints for all of it."
)


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
        if name in known or name in (BLUEPRINTS, PORTFOLIO) or (run_id is not None and name.startswith(f"{run_id}.")):
            continue
        if any(name.startswith(f"{run}.") for run in runs_with_blueprints(root)):
            blueprint(root, name)
            continue
        raise MisuseError(
            f"STRATEGIES names {name[:80]!r}, which is no strategy.{did_you_mean(name, [*known, BLUEPRINTS, PORTFOLIO])} "
            f"There are: {', '.join(spec.strategies)}; {BLUEPRINTS} for all of the run, {PORTFOLIO} for few of them, or the id "
            "of a blueprint. "
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


def rule_files(plan: Plan) -> Sequence[Path]:
    """The files that `chosen_rules` reads: blueprints; for the few that are traded together, what their days earned too."""
    names = asked_names(str(plan.parameters.get("strategies") or ""))
    runs = [run for run in runs_with_blueprints(plan.root) if any(name.startswith(f"{run}.") for name in names)]
    files = [plan.root.blueprints(run) for run in dict.fromkeys([plan.run_id, *runs])]
    if PORTFOLIO in names:
        design = plan.root.design(plan.run_id)
        files += [design, *candidate_files(plan), *score_files(plan, read_json(design)["tested"])]
    return files


def _rules(name: str, plan: Plan, spec: Spec) -> Sequence[ChosenRule]:
    from backtest.strategies.rules import rule_of_strategy

    if name == PORTFOLIO:
        return [_of_blueprint(entry) for entry in _few(plan, spec)]
    if name == BLUEPRINTS:
        return [_of_blueprint(entry) for entry in run_blueprints(plan.root, plan.run_id)]
    if name in spec.strategies:
        rule = rule_of_strategy(spec.strategies[name], spec, plan.symbols, spec.backtest.sizing)
        return [ChosenRule(name, rule)]
    return [_of_blueprint(blueprint(plan.root, name))]


def _few(plan: Plan, spec: Spec) -> list[Blueprint]:
    """The run's blueprints that are traded together, by the results of their days in the discovery fold."""
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.spec.models import POOLED
    from backtest.strategies.selection import few_of

    found = run_blueprints(plan.root, plan.run_id)
    design = read_json(plan.root.design(plan.run_id))
    end = Folds.from_json(design).discovery_end_day
    days: dict[str, dict[int, float]] = {}
    for one in found:
        event = str(one.event_type)
        scopes = design["tested"][event] if one.scope == POOLED else [one.scope]
        scores = [read_long_scores(plan, event, symbol) for symbol in scopes]
        policy, horizon, direction = _traded(plan, event, one.blueprint_id.removeprefix(f"{plan.run_id}."))
        own = pl.concat(scores).filter(
            (pl.col("policy") == policy)
            & (pl.col("horizon") == horizon)
            & (pl.col("state_id") == one.state_id)
            & (pl.col("day") < end)
        )
        sums = own.group_by("day").agg((direction * pl.col("sum_y").sort().sum()).alias("y"))
        days[one.blueprint_id] = dict(sums.select("day", "y").iter_rows())
    return few_of(found, days, spec.backtest.portfolio)


def _traded(plan: Plan, event_type: str, candidate_id: str) -> tuple[str, str, int]:
    """Policy, horizon and direction of a candidate."""
    import polars as pl

    from backtest.lake.files import read_parquet

    rows = read_parquet(
        plan.root.candidates(plan.run_id, event_type), columns=["candidate_id", "policy", "horizon", "direction"]
    )
    policy, horizon, direction = rows.filter(pl.col("candidate_id") == candidate_id).row(0)[1:]
    return str(policy), str(horizon), int(direction)


def _of_blueprint(entry: Blueprint) -> ChosenRule:
    return ChosenRule(
        entry.blueprint_id,
        entry,
        entry.run_id,
        entry.discovery_start,
        entry.discovery_end,
        entry.state_id,
    )
