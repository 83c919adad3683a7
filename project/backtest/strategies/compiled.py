"""A rule ready to be evaluated bar by bar, checked against the definitions of the spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backtest.errors import DataError, did_you_mean, listed
from backtest.expressions import CompiledExpression, ExpressionError
from backtest.strategies.rules import TradingRule, compiled_text, definitions_of, names_of, one_line

if TYPE_CHECKING:
    from backtest.expressions import Kind
    from backtest.spec.compiled import Spec

KINDS: Final[dict[str, Kind]] = {
    "trigger": "boolean",
    "event_direction": "number",
    "condition": "boolean",
    "fallback_direction": "number",
    "average_true_range": "number",
    "event_move": "number",
    "expected_volatility": "number",
    "bar_turnover_usd": "number",
    "spot_gap": "number",
    "spot_turnover_usd": "number",
}
"""What each expression of a rule is; the invalidation, where there is one, is a boolean."""
INVALIDATION: Final = "exits.invalidation"


@dataclass(frozen=True)
class CompiledRule:
    """A rule with its expressions.

    Attributes
    ----------
    name : of the strategy, or the blueprint's id.
    expressions : by field (`KINDS`, and `INVALIDATION` where the rule has one).
    """

    name: str
    rule: TradingRule
    expressions: dict[str, CompiledExpression]

    @property
    def lookback_bars(self) -> int:
        """Bars of *features* that its expressions reach before the current one."""
        return max(expression.lookback_bars for expression in self.expressions.values())

    @property
    def inputs(self) -> frozenset[str]:
        """Columns and features it names."""
        return frozenset().union(*(expression.inputs for expression in self.expressions.values()))


def compile_rule(name: str, rule: TradingRule, spec: Spec) -> CompiledRule:
    """The rule with its expressions compiled; DataError that lists every reason why it cannot be traded as it was tested.

    Each expression must be one of the causal language over columns and features that the spec has (so that it is known at a
    bar's close), of its kind, and every feature it rests on must mean today what the rule says it meant.
    """
    names = names_of(spec)
    expressions: dict[str, CompiledExpression] = {}
    faults: list[str] = []
    for field, kind, text in _texts(rule):
        try:
            compiled = compiled_text(text, names, rule.parameters)
        except ExpressionError as fault:
            faults.append(f"{field}: {str(fault).strip()}".replace("\n", "\n      "))
            continue
        if compiled.kind != kind:
            faults.append(f"{field}: is a {compiled.kind}; a {kind} is needed here: {text[:200]}")
        expressions[field] = compiled
    if not faults:
        faults = definition_faults(rule, spec)
    if faults:
        raise DataError(f"{name} cannot be traded bar by bar as it was tested:\n{listed(faults)}")
    return CompiledRule(name, rule, expressions)


def definition_faults(rule: TradingRule, spec: Spec) -> list[str]:
    """A sentence for each feature that means something else in the spec than in the rule."""
    today = definitions_of(spec, [text for _, _, text in _texts(rule)], rule.parameters)
    faults = []
    for name in sorted(today.keys() | rule.definitions.keys()):
        was, now = rule.definitions.get(name), today.get(name)
        if was is None:
            faults.append(f"definitions: the feature {name!r}, which it rests on, is missing")
        elif now is None:
            faults.append(f"definitions: nothing rests on {name[:60]!r}.{did_you_mean(name, today)}")
        elif one_line(was) != now:
            faults.append(
                f"definitions: {name} was {one_line(was)[:120]!r} when it was tested; the spec says {now[:120]!r}"
            )
    return faults


def _texts(rule: TradingRule) -> list[tuple[str, Kind, str]]:
    texts: list[tuple[str, Kind, str]] = [(field, kind, getattr(rule, field)) for field, kind in KINDS.items()]
    if rule.exits.invalidation is not None:
        texts.append((INVALIDATION, "boolean", rule.exits.invalidation))
    return texts
