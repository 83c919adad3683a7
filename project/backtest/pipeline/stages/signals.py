"""Stage: what the chosen strategies ask to trade on each symbol, and the bars an engine trades them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.lake.months import month_files
from backtest.lake.paths import SIGNAL_PARTS
from backtest.pipeline.frames import BAR, perpetual_bars, perpetual_frame
from backtest.pipeline.quarters import quarter_bounds, quarter_name
from backtest.pipeline.stage import Json, Outcome, Plan, Stage
from backtest.pipeline.window import feature_files, symbol_window, window_parameters

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.forward_returns import Bars
    from backtest.pipeline.chosen_strategies import ChosenRule
    from backtest.spec.compiled import Spec
    from backtest.strategies.compiled import CompiledRule
    from backtest.strategies.signals import Booleans, Integers, SymbolRows


def partitions(plan: Plan) -> Sequence[str]:
    return [symbol for symbol in plan.symbols if symbol_window(plan, symbol)]


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    return load_spec(plan.spec_root).part_hash(
        "columns",
        "calendars",
        "features",
        "states",
        "events",
        "strategies",
        "contracts",
        "costs",
        "discovery",
        "backtest",
    )


def inputs(plan: Plan, symbol: str) -> Sequence[Path]:
    from backtest.pipeline.chosen_strategies import rule_files
    from backtest.spec.loader import load_spec

    start, end = symbol_window(plan, symbol)
    definitions = load_spec(plan.spec_root)
    reach = start - (definitions.feature_lookback_bars + definitions.event_lookback_bars) * BAR
    pair = definitions.discovery.pair(symbol)
    perpetuals = [symbol, *([pair] if pair in plan.symbols else [])]
    folders = [*(_bars(plan, "perp", name) for name in perpetuals), _bars(plan, "spot", symbol)]
    bars = [path for folder in folders for path in month_files(folder, reach, end)]
    own = (plan.root.symbol_events(plan.run_id, symbol), plan.root.states(plan.run_id, symbol))
    return list(dict.fromkeys([*feature_files(plan, symbol), *bars, *own, *rule_files(plan)]))


def _bars(plan: Plan, market: str, symbol: str) -> Path:
    return plan.root.cleaned_bars("spot" if market == "spot" else "perp", symbol)


def parameters(plan: Plan, symbol: str) -> Mapping[str, Json]:
    return {
        **window_parameters(plan, symbol),
        "run_id": plan.run_id,
        "strategies": plan.parameters.get("strategies"),
        "symbols": list(plan.symbols),
    }


def run(plan: Plan, symbol: str) -> Outcome:
    import polars as pl

    from backtest.lake.files import write_parquet
    from backtest.pipeline.chosen_strategies import chosen_rules
    from backtest.spec.loader import load_spec
    from backtest.strategies.compiled import compile_rule
    from backtest.strategies.parity import TESTED_SCHEMA
    from backtest.strategies.rules import SPOT
    from backtest.strategies.signals import SIGNAL_SCHEMA, invalidation_masks, market_rows, rule_signals

    definitions = load_spec(plan.spec_root)
    chosen = [one for one in chosen_rules(plan, definitions) if symbol in one.rule.symbols]
    compiled = {one.name: compile_rule(one.name, one.rule, definitions) for one in chosen}
    rows = symbol_rows(plan, definitions, symbol, list(compiled.values()))
    missing = {name: unavailable(rows.frame, one, definitions) for name, one in compiled.items()}
    able = [one for one in chosen if not missing[one.name]]
    taint = _Taint(plan, definitions, rows)
    instruments = {*plan.symbols, *([symbol + SPOT] if rows.frame["spot_open"].is_not_null().any() else [])}
    signals = [
        rule_signals(compiled[one.name], rows, instruments=instruments, event_taint=taint.of(compiled[one.name]))
        for one in able
    ]
    found = _found(plan, symbol)
    tested = [_tested(plan, one, compiled[one.name], rows, found) for one in able]
    tables = {
        "signals": pl.concat([pl.DataFrame(schema=SIGNAL_SCHEMA), *signals]),
        "bars": market_rows(rows, definitions.bar_expressions),
        "invalidation": invalidation_masks([compiled[one.name] for one in able], rows),
        "tested": pl.concat([pl.DataFrame(schema=TESTED_SCHEMA), *tested]),
    }
    outputs = tuple(plan.root.signals(plan.run_id, symbol, part) for part in SIGNAL_PARTS)
    for part, path in zip(SIGNAL_PARTS, outputs, strict=True):
        write_parquet(path, tables[part])
    entries = tables["signals"].filter(pl.col("skipped").is_null())
    return Outcome(
        outputs=outputs,
        summary={"strategies": len(able), "occurrences": len(tables["signals"]), "entries": len(entries)},
        warnings=tuple(
            f"{name} cannot be traded on {symbol}: needs {', '.join(needs)}" for name, needs in missing.items() if needs
        ),
    )


def symbol_rows(plan: Plan, definitions: Spec, symbol: str, rules: Sequence[CompiledRule]) -> SymbolRows:
    """A symbol's bars and features over the window and the history that the rules, and the search, look back on."""
    from backtest.strategies.signals import SymbolRows

    start, end = symbol_window(plan, symbol)
    searched_from, _ = quarter_bounds(quarter_name(start))
    reach = max(definitions.event_lookback_bars, *(rule.lookback_bars for rule in rules), 0)
    names = {name for rule in rules for name in rule.inputs}
    names |= {name for expression in definitions.bar_expressions.values() for name in expression.inputs}
    frame = perpetual_frame(plan, definitions, symbol, searched_from - reach * BAR, end, names)
    stamps = frame["timestamp"]
    return SymbolRows(symbol, frame, first=int((stamps < start).sum()), chain=int((stamps < searched_from).sum()))


def unavailable(frame: pl.DataFrame, rule: CompiledRule, definitions: Spec) -> list[str]:
    """Data sets (or features) that the rule's trigger, direction or condition needs and the frame has nothing of."""
    named = frozenset().union(*(rule.expressions[part].inputs for part in ("trigger", "event_direction", "condition")))
    empty = sorted(name for name in named if name in frame.columns and frame[name].null_count() == len(frame))
    if not empty:
        return []
    columns = {column for name in empty for column in _columns(name, definitions)}
    datasets = {
        definitions.columns[name].dataset
        for name in columns
        if name in frame.columns and frame[name].null_count() == len(frame)
    }
    return sorted(datasets) or [f"values of {name}" for name in empty]


def _columns(name: str, definitions: Spec) -> frozenset[str]:
    return definitions.features[name].columns if name in definitions.features else frozenset({name})


@dataclass(frozen=True)
class _Found:
    """What the run's search detected on a symbol."""

    events: pl.DataFrame
    states: pl.DataFrame


def _found(plan: Plan, symbol: str) -> _Found | None:
    """None where the run has not searched."""
    from backtest.lake.files import read_parquet

    events, states = plan.root.symbol_events(plan.run_id, symbol), plan.root.states(plan.run_id, symbol)
    return _Found(read_parquet(events), read_parquet(states)) if events.is_file() and states.is_file() else None


def _tested(
    plan: Plan, one: ChosenRule, compiled: CompiledRule, rows: SymbolRows, found: _Found | None
) -> pl.DataFrame:
    """The trades the search measures: of the run's own events and states where it detected the rule's event type."""
    import numpy as np
    import polars as pl

    from backtest.spec.models import ALL_STATES
    from backtest.strategies.parity import TESTED_SCHEMA, tested_trades
    from backtest.strategies.signals import occurrences

    stamps = rows.frame["timestamp"]
    fallback = rows.values(compiled.expressions["fallback_direction"])
    if one.rule.event_type is not None and found is not None:
        events = found.events.filter(pl.col("event_type") == one.rule.event_type).sort("timestamp")
        at = np.searchsorted(stamps.to_numpy(), events["timestamp"].to_numpy()).astype(np.int64)
        stated = events["direction"].to_numpy().astype(np.float64)
    else:
        at = occurrences(compiled, rows)
        stated = np.nan_to_num(np.sign(rows.values(compiled.expressions["event_direction"])[at]))
    if found is not None and one.found_in == plan.run_id and one.state_id in (ALL_STATES, *found.states.columns):
        holds = np.ones(len(at), dtype=bool)
        if one.state_id != ALL_STATES:
            held = found.states.filter(pl.col(one.state_id).fill_null(value=False))["timestamp"]
            holds = stamps[at].is_in(held.implode()).to_numpy()
    else:
        holds = rows.holds(compiled.expressions["condition"])[at]
    direction = np.where(stated != 0, stated, fallback[at])
    leg = compiled.rule.second_legs.get(rows.symbol)
    if leg is None:
        return tested_trades(compiled, rows, at[holds], direction[holds], None)
    second = _second_bars(plan, leg, rows)
    if second is None:
        return pl.DataFrame(schema=TESTED_SCHEMA)
    return tested_trades(compiled, rows, at[holds], direction[holds], second)


def _second_bars(plan: Plan, leg: str, rows: SymbolRows) -> Bars | None:
    """The bars of a second leg beside those of the first; None where it is not among what is traded."""
    from backtest.strategies.parity import bars_of, spot_bars_of
    from backtest.strategies.rules import SPOT

    if leg.endswith(SPOT):
        return spot_bars_of(rows.frame)
    if leg not in plan.symbols:
        return None
    stamps = rows.frame.select("timestamp")
    first, last = stamps["timestamp"][0], stamps["timestamp"][-1]
    other = perpetual_bars(plan.root, leg, first, last + BAR)
    return bars_of(stamps.join(other, on="timestamp", how="left", maintain_order="left"))


class _Taint:
    """Whether what a rule's occurrences rest on is tainted: any bar that its expressions reach, features included."""

    def __init__(self, plan: Plan, definitions: Spec, rows: SymbolRows) -> None:
        self._definitions = definitions
        self._rows = rows
        start, end = symbol_window(plan, rows.symbol)
        reach = (definitions.feature_lookback_bars + definitions.event_lookback_bars) * BAR
        self._bars = perpetual_bars(plan.root, rows.symbol, start - reach, end).select("timestamp", "taint")

    def of(self, rule: CompiledRule) -> Callable[[Integers], Booleans]:
        """A function of rows of the frame."""
        import numpy as np

        from backtest.cleaning.taint import taint_mask
        from backtest.events.taint import event_taint

        spec = self._definitions
        own = [rule.expressions[part] for part in ("trigger", "event_direction", "condition")]
        named = frozenset().union(*(expression.inputs for expression in own))
        parts = [spec.features[name] for name in named if name in spec.features]
        columns = frozenset(named & spec.columns.keys()).union(*(part.columns for part in parts))
        mask = taint_mask(columns, {name: column.dataset for name, column in spec.columns.items()})
        lookback = max(expression.lookback_bars for expression in own)
        lookback += max((part.total_lookback_bars for part in parts), default=0)
        tainted = (self._bars["taint"].to_numpy() & mask) != 0
        stamps, bars = self._rows.frame["timestamp"].to_numpy(), self._bars["timestamp"].to_numpy()
        return lambda at: event_taint(tainted, np.searchsorted(bars, stamps[at]), lookback)


STAGE = Stage(
    name="signals",
    title="Reading signals",
    reads=("features", "events", "states", "blueprints"),
    writes=("signals",),
    run=run,
    partitions=partitions,
    inputs=inputs,
    parameters=parameters,
    spec=spec,
)
