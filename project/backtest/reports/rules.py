"""What a rule trades, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backtest.spec.strategies import Sizing
    from backtest.strategies.rules import TradingRule

BARS_PER_HOUR = 12


def rule_rows(rule: TradingRule) -> dict[str, str]:
    """What a rule trades, label and text."""
    side = "with" if rule.direction == 1 else "against"
    parameters = ", ".join(f"{name} = {value:g}" for name, value in rule.parameters.items())
    exits = [f"at the open {bars_and_hours(rule.exits.horizon_bars)} after the entry"]
    at_close = {"target": rule.exits.close_target_atr, "stop": rule.exits.close_stop_atr}
    resting = {"target": rule.exits.intrabar_target_atr, "stop": rule.exits.intrabar_stop_atr}
    exits += [f"{name}: a close {atr:g} ATR away" for name, atr in at_close.items() if atr is not None]
    exits += [f"{name}: an order {atr:g} ATR away" for name, atr in resting.items() if atr is not None]
    exits += [f"a close at which {rule.exits.invalidation}"] if rule.exits.invalidation else []
    return {
        "event": f"{rule.event_type or 'its own trigger'}, family {rule.family}",
        "symbols": ", ".join(rule.symbols),
        "trigger": rule.trigger,
        "parameters": parameters or "none",
        "condition": rule.condition,
        "cooldown": bars_and_hours(rule.cooldown_bars),
        "side": f"{side} {rule.event_direction} (where that is 0: {rule.fallback_direction})",
        "entry": _entry(rule),
        "exit": "; or ".join(exits),
        "ATR": rule.average_true_range,
        "size": sizing_text(rule.sizing),
    }


def sizing_text(sizing: Sizing) -> str:
    """How large a trade is, in words."""
    if sizing.method == "fixed_fraction":
        return f"notional {sizing.fraction:.4g} of equity"
    if sizing.method == "fixed_notional":
        return f"notional {sizing.notional_usd:,.0f} USD"
    return (
        f"one expected standard deviation of the trade is {sizing.volatility_per_trade:.4g} of equity, notional at most "
        f"{sizing.max_fraction:.4g} of equity"
    )


def _entry(rule: TradingRule) -> str:
    lag = f"at the open {rule.entry_lag_bars} bar{'s' if rule.entry_lag_bars > 1 else ''} later"
    if rule.policy.retrace_fraction is None:
        return f"{lag} than the event's bar"
    return (
        f"{lag} than the first close within {rule.policy.retrace_within_bars} bars that gives back "
        f"{rule.policy.retrace_fraction:g} of {rule.event_move}"
    )


def bars_and_hours(bars: int) -> str:
    """``288 bars (24 hours)``."""
    hours = bars / BARS_PER_HOUR
    return f"{bars:,} bars ({hours:,.4g} hour{'' if hours == 1 else 's'})"
