"""What a rule trades is what the search measures: the same bars, the same trades, on a simulated market."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtest.discovery.hypotheses import event_trials
from backtest.discovery.second_legs import spot_cost
from backtest.engine.account import neutral_account
from backtest.engine.ledger import ExitReason
from backtest.engine.simulation import simulate
from backtest.evaluation.backtest_tables import traded_like_tested
from backtest.events.detect import detect_events
from backtest.pipeline.worlds import inputs_of, with_features, world_bars
from backtest.sources.simulated import SimulationSettings, simulate_market
from backtest.spec.compiled import Spec
from backtest.strategies import parity
from backtest.strategies.blueprints import Blueprint
from backtest.strategies.compiled import CompiledRule, compile_rule
from backtest.strategies.parity import certificates
from backtest.strategies.portfolio import portfolio_market, portfolio_signals
from backtest.strategies.rules import SPOT, rule_of_strategy
from backtest.strategies.signals import (
    SIGNAL_SCHEMA,
    SymbolRows,
    invalidation_masks,
    market_rows,
    occurrences,
    rule_signals,
)
from tests.strategies.cases import blueprints_from, passed

pytestmark = pytest.mark.slow
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
SYMBOL = "BTCUSDT"
EVENTS = ("VOL_SHOCK", "BREAKOUT_TRIGGER")
STRATEGY = "liquidity_dislocation_mr_v1"


@pytest.fixture(scope="module")
def worlds() -> dict[str, pl.DataFrame]:
    """Sixty days of two simulated symbols."""
    return dict(world_bars(simulate_market(SimulationSettings(start=START, days=60, seed=11))))


@pytest.fixture(scope="module")
def frame(spec: Spec, worlds: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """A symbol with the features that the rules name."""
    bars = worlds[SYMBOL]
    rule = compile_rule("x", rule_of_strategy(spec.strategies[STRATEGY], spec, [SYMBOL], spec.backtest.sizing), spec)
    return with_features(bars, spec, inputs_of(spec, EVENTS) | rule.inputs)


@pytest.fixture(scope="module")
def rules(spec: Spec) -> list[CompiledRule]:
    """Every trial of one leg of two event types as blueprints, unconditioned."""
    made: list[Blueprint] = []
    for event_type in EVENTS:
        for trial in event_trials(spec, event_type):
            if trial.policy.second_leg is None and trial.filter_verb is None:
                side = 1 if trial.with_verb else -1
                verb = str(trial.with_verb or trial.against_verb)
                row = passed(
                    verb, trial.policy.policy_id, side, event_type=event_type, horizon=trial.horizon, symbol=SYMBOL
                )
                made += blueprints_from(
                    spec, row | {"candidate_id": f"{event_type}.{trial.policy.policy_id}.{trial.horizon}"}
                )
    return [compile_rule(one.blueprint_id, one, spec) for one in made]


def test_entries_exits_and_returns_are_those_of_events_and_forward_trades(
    spec: Spec, frame: pl.DataFrame, rules: list[CompiledRule]
) -> None:
    rows = SymbolRows(SYMBOL, frame)
    events = detect_events(frame, [spec.events[name] for name in EVENTS], SYMBOL)
    tested = []
    for compiled in rules:
        own = events.filter(pl.col("event_type") == compiled.rule.event_type)
        at = np.searchsorted(frame["timestamp"].to_numpy(), own["timestamp"].to_numpy()).astype(np.int64)
        stated = own["direction"].to_numpy().astype(np.float64)
        fallback = rows.values(compiled.expressions["fallback_direction"])[at]
        tested.append(parity.tested_trades(compiled, rows, at, np.where(stated != 0, stated, fallback), None))
    signals = pl.concat([rule_signals(compiled, rows) for compiled in rules])
    bars = {SYMBOL: market_rows(rows, spec.bar_expressions)}
    market = portfolio_market(bars, {SYMBOL: spec.contract(SYMBOL)}, spec.costs, spec.backtest.spot_margin)
    made, _ = portfolio_signals(signals, {}, market, [compiled.name for compiled in rules])
    neutral = simulate(market.without_costs(), made, neutral_account())
    found = certificates(pl.concat(tested), traded_like_tested(neutral, market, made), rules)
    assert len(rules) >= 20
    assert found["n_tested"].min() > 10
    assert found.filter(pl.col("verdict") != "equal").is_empty()
    assert (found["n_equal"] == found["n_tested"]).all()


BASIS_EVENT = "CROSS_VENUE_DESYNC"


def test_trades_against_spot_are_the_searchs_and_pay_what_it_counts(
    spec: Spec, worlds: dict[str, pl.DataFrame]
) -> None:
    frame = with_features(worlds[SYMBOL], spec, inputs_of(spec, (BASIS_EVENT,)))
    trial = next(
        trial
        for trial in event_trials(spec, BASIS_EVENT)
        if trial.policy.second_leg == "spot" and trial.policy.upper_barrier_atr and trial.filter_verb is None
    )
    verb, side = str(trial.with_verb or trial.against_verb), 1 if trial.with_verb else -1
    row = passed(verb, trial.policy.policy_id, side, event_type=BASIS_EVENT, horizon=trial.horizon, symbol=SYMBOL)
    (one,) = blueprints_from(spec, row | {"family": spec.events[BASIS_EVENT].model.family})
    compiled, rows = compile_rule("s", one, spec), SymbolRows(SYMBOL, frame)
    spot = SYMBOL + SPOT
    signals = rule_signals(compiled, rows, instruments={spot})
    events = detect_events(frame, [spec.events[BASIS_EVENT]], SYMBOL)
    at = np.searchsorted(frame["timestamp"].to_numpy(), events["timestamp"].to_numpy()).astype(np.int64)
    stated = events["direction"].to_numpy().astype(np.float64)
    fallback = rows.values(compiled.expressions["fallback_direction"])[at]
    direction = np.where(stated != 0, stated, fallback)
    tested = parity.tested_trades(compiled, rows, at, direction, parity.spot_bars_of(frame))
    traded = {SYMBOL: market_rows(rows, spec.bar_expressions)}
    market = portfolio_market(traded, {SYMBOL: spec.contract(SYMBOL)}, spec.costs, spec.backtest.spot_margin, [SYMBOL])
    made, _ = portfolio_signals(signals, {}, market, ["s"])
    neutral = simulate(market.without_costs(), made, neutral_account())
    found = certificates(tested, traded_like_tested(neutral, market, made), [compiled]).row(0, named=True)
    assert found["n_tested"] > 10
    assert (found["verdict"], found["n_equal"]) == ("equal", found["n_tested"])
    # Barriers in gaps decide: not all leave at the horizon.
    assert len(set(neutral.ledger["reason"].tolist())) >= 2
    without_impact = replace(market, rules=tuple(replace(rules, impact_coefficient=0.0) for rules in market.rules))
    paid = simulate(without_impact, made, neutral_account()).ledger
    legs = paid[(paid["leg"] == 1) & (paid["exit_bar"] >= 0)]
    held = legs["exit_bar"] - legs["entry_bar"]
    interest = legs["quantity"] * legs["entry_reference"] * spec.costs.spot.borrow_bps_per_day * 1e-4 * held / 288
    np.testing.assert_allclose(legs["funding"], interest, rtol=1e-9)
    days = market.day[legs["entry_bar"]], market.day[legs["exit_bar"]]
    expected = spot_cost(spec.costs, SYMBOL, *days, held, np.zeros(len(held))).total
    cost = (legs["fees"] + legs["spread"] + legs["funding"]) / (legs["quantity"] * legs["entry_reference"])
    # The exit's costs are of the price then, and prices are rounded to ticks.
    np.testing.assert_allclose(cost, expected, rtol=0.03, atol=2e-6)


PAIR_EVENT, PAIR_FIRST, PAIR_SECOND = "LEAD_LAG_BREAK", "ETHUSDT", "BTCUSDT"


def test_a_pair_of_perpetuals_is_certified_leg_against_leg(spec: Spec, worlds: dict[str, pl.DataFrame]) -> None:
    frames = {name: with_features(worlds[name], spec, inputs_of(spec, (PAIR_EVENT,))) for name in worlds}
    assert spec.discovery.pair(PAIR_FIRST) == PAIR_SECOND
    trial = next(
        trial
        for trial in event_trials(spec, PAIR_EVENT)
        if trial.policy.second_leg == "pair" and trial.filter_verb is None
    )
    verb, side = str(trial.with_verb or trial.against_verb), 1 if trial.with_verb else -1
    row = passed(verb, trial.policy.policy_id, side, event_type=PAIR_EVENT, horizon=trial.horizon, symbol=PAIR_FIRST)
    (one,) = blueprints_from(spec, row | {"family": spec.events[PAIR_EVENT].model.family})
    compiled = compile_rule("s", one, spec)
    rows = {name: SymbolRows(name, frame) for name, frame in frames.items()}
    signals = rule_signals(compiled, rows[PAIR_FIRST], instruments=set(rows))
    at = occurrences(compiled, rows[PAIR_FIRST])
    stated = np.sign(rows[PAIR_FIRST].values(compiled.expressions["event_direction"])[at])
    fallback = rows[PAIR_FIRST].values(compiled.expressions["fallback_direction"])[at]
    second = parity.bars_of(frames[PAIR_SECOND])
    tested = parity.tested_trades(compiled, rows[PAIR_FIRST], at, np.where(stated != 0, stated, fallback), second)
    bars = {name: market_rows(own, spec.bar_expressions) for name, own in rows.items()}
    contracts = {name: spec.contract(name) for name in rows}
    market = portfolio_market(bars, contracts, spec.costs, spec.backtest.spot_margin)
    made, _ = portfolio_signals(signals, {}, market, ["s"])
    neutral = simulate(market.without_costs(), made, neutral_account())
    assert set(neutral.ledger["leg"].tolist()) == {0, 1}
    found = certificates(tested, traded_like_tested(neutral, market, made), [compiled]).row(0, named=True)
    assert found["n_tested"] > 10
    assert (found["verdict"], found["n_equal"]) == ("equal", found["n_tested"])
    # A second leg a bar late is another trade, and the certificate says so.
    late = parity.bars_of(frames[PAIR_SECOND].with_columns(pl.col("open", "close").shift(1)))
    other = parity.tested_trades(compiled, rows[PAIR_FIRST], at, np.where(stated != 0, stated, fallback), late)
    assert certificates(other, traded_like_tested(neutral, market, made), [compiled])["verdict"].item() == "differs"


@pytest.mark.parametrize("name", [STRATEGY, "sweep_stoprun_reversal_v1"])
def test_a_strategy_by_hand_with_orders_at_rest_or_an_invalidation_is_certified_too(
    spec: Spec, worlds: dict[str, pl.DataFrame], name: str
) -> None:
    rule = rule_of_strategy(spec.strategies[name], spec, [SYMBOL], spec.backtest.sizing)
    compiled = compile_rule(name, rule, spec)
    rows = SymbolRows(SYMBOL, with_features(worlds[SYMBOL], spec, compiled.inputs))
    at = occurrences(compiled, rows)
    at = at[rows.holds(compiled.expressions["condition"])[at]]
    stated = np.nan_to_num(np.sign(rows.values(compiled.expressions["event_direction"])[at]))
    fallback = rows.values(compiled.expressions["fallback_direction"])[at]
    tested = parity.tested_trades(compiled, rows, at, np.where(stated != 0, stated, fallback), None)
    traded = {SYMBOL: market_rows(rows, spec.bar_expressions)}
    market = portfolio_market(traded, {SYMBOL: spec.contract(SYMBOL)}, spec.costs, spec.backtest.spot_margin)
    masks = {SYMBOL: invalidation_masks([compiled], rows)}
    made, _ = portfolio_signals(rule_signals(compiled, rows), masks, market, [name])
    neutral = simulate(market.without_costs(), made, neutral_account())
    found = certificates(tested, traded_like_tested(neutral, market, made), [compiled]).row(0, named=True)
    assert found["n_tested"] >= 5
    assert (found["verdict"], found["n_equal"]) == ("equal", found["n_tested"])
    assert found["note"] == parity.STUDIED
    reasons = {ExitReason(reason).name for reason in neutral.ledger["reason"]}
    assert reasons & {"STOP", "TARGET", "CLOSE_STOP"}


def test_a_certificate_without_a_trade_certifies_nothing(rules: list[CompiledRule]) -> None:
    none = pl.DataFrame(schema=parity.TESTED_SCHEMA)
    found = certificates(none, none, rules[:1]).row(0, named=True)
    assert (found["verdict"], found["note"]) == ("not comparable", "there is no trade to compare")


def test_a_certificate_tells_trades_that_differ(frame: pl.DataFrame, rules: list[CompiledRule]) -> None:
    compiled, rows = rules[0], SymbolRows(SYMBOL, frame)
    signals = rule_signals(compiled, rows).filter(pl.col("skipped").is_null())
    at = np.searchsorted(frame["timestamp"].to_numpy(), signals["event_time"].to_numpy()).astype(np.int64)
    tested = parity.tested_trades(
        compiled, rows, at, compiled.rule.direction * signals["side"].to_numpy().astype(np.float64), None
    )
    later = tested.with_columns(pl.col("exit_time") + pl.duration(minutes=5))
    assert certificates(tested, tested, [compiled])["verdict"].to_list() == ["equal"]
    assert certificates(tested, later, [compiled])["n_different"].to_list() == [len(tested)]
    missing = certificates(tested, tested.head(5), [compiled]).row(0, named=True)
    assert (missing["verdict"], missing["n_only_tested"]) == ("differs", len(tested) - 5)


def test_cutting_off_the_future_changes_nothing_before_the_cut(
    frame: pl.DataFrame, rules: list[CompiledRule], spec: Spec
) -> None:
    cut = 12_000
    own = compile_rule("x", rule_of_strategy(spec.strategies[STRATEGY], spec, [SYMBOL], spec.backtest.sizing), spec)
    whole, part = SymbolRows(SYMBOL, frame), SymbolRows(SYMBOL, frame.head(cut))
    known = frame["timestamp"][cut - 1]
    for compiled in (*rules, own):
        full = rule_signals(compiled, whole).filter(pl.col("decision_time") <= known)
        short = rule_signals(compiled, part).filter(pl.col("decision_time").is_not_null())
        assert short.equals(full)
    masks = invalidation_masks([own], whole)
    assert invalidation_masks([own], part).equals(masks.head(cut))


def test_what_lies_before_the_window_only_counts_for_cooldowns(frame: pl.DataFrame, rules: list[CompiledRule]) -> None:
    compiled = rules[0]
    whole = rule_signals(compiled, SymbolRows(SYMBOL, frame))
    late = rule_signals(compiled, SymbolRows(SYMBOL, frame, first=9_000))
    assert late.equals(whole.filter(pl.col("event_time") >= frame["timestamp"][9_000]))
    assert whole.schema == pl.Schema(SIGNAL_SCHEMA)


def test_an_occurrence_without_an_entry_says_why(frame: pl.DataFrame, rules: list[CompiledRule]) -> None:
    retraces = next(compiled for compiled in rules if compiled.rule.policy.retrace_fraction is not None)
    found = rule_signals(retraces, SymbolRows(SYMBOL, frame))
    never = found.filter(pl.col("skipped") == "no close that it waited for")
    assert len(never) > 0
    assert never["decision_time"].null_count() == len(never)
    # The first day of the frame has no expected volatility or usual turnover yet.
    blind = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("ex_ante_vol"))
    assert set(rule_signals(retraces, SymbolRows(SYMBOL, blind))["skipped"]) == {"volatility or turnover unknown"}
