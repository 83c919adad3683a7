"""The rules of the engine by hand, a few bars each."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from backtest.engine.account import FixedFraction, FixedNotional, VolatilityTarget
from backtest.engine.ledger import Backtest, ExitReason, Outcome, equity_frame, trade_frame
from backtest.engine.market import Market, SpotMargin
from backtest.engine.simulation import simulate, simulate_bounds
from backtest.errors import AccountingError, MisuseError
from tests.engine.markets import account, by_hand, flat_rules, many_signals, one_signal

FLAT = [(100.0, 101.0, 99.0, 100.0)] * 6


def only_row(backtest: Backtest) -> np.void:
    assert len(backtest.ledger) == 1
    return backtest.ledger[0]  # type: ignore[no-any-return]


def reason(backtest: Backtest) -> ExitReason:
    return ExitReason(only_row(backtest)["reason"])


def test_a_signal_at_a_close_fills_at_the_next_open_and_leaves_at_the_open_of_its_horizon() -> None:
    market = by_hand([(90, 91, 89, 90), (100, 103, 99, 102), (104, 106, 103, 105), (110, 111, 109, 110)])
    made = simulate(market, one_signal(), account())
    row = only_row(made)
    assert (row["entry_bar"], row["exit_bar"], reason(made)) == (1, 3, ExitReason.HORIZON)
    assert (row["quantity"], row["gross"], row["net"]) == (10.0, 100.0, 100.0)
    assert made.equity.tolist() == [10_000, 10_020, 10_050, 10_100]
    assert (row["mfe"], row["mae"]) == pytest.approx((0.10, 0.01))


def test_the_entry_bar_cannot_be_the_decision_bar() -> None:
    with pytest.raises(MisuseError, match="entry_lag_bars is 0 in row 0"):
        simulate(by_hand(FLAT), one_signal(entry_lag_bars=0), account())


def test_a_horizon_is_counted_in_bars_that_fit_into_the_ledger() -> None:
    with pytest.raises(MisuseError, match="at least one bar, and at most 1073741824"):
        simulate(by_hand(FLAT), one_signal(horizon_bars=2**31), account())


def test_columns_may_be_read_only_or_of_a_narrower_type() -> None:
    signals = one_signal(horizon_bars=2)
    locked = signals.decision_bar.copy()
    locked.flags.writeable = False
    other = dataclasses.replace(signals, decision_bar=locked, side=signals.side.astype(np.int8))
    first, second = simulate(by_hand(FLAT), signals, account()), simulate(by_hand(FLAT), other, account())
    assert first.ledger.tobytes() == second.ledger.tobytes()


def test_a_bar_with_target_and_stop_gives_both_bounds_and_the_worst_by_default() -> None:
    market = by_hand([*FLAT[:1], (100, 110, 90, 100), *FLAT[:3]])
    signals = one_signal(target_distance=5.0, stop_distance=4.0)
    bounds = simulate_bounds(market, signals, account())
    assert simulate(market, signals, account()).profit == bounds.worst.profit == -40.0
    assert bounds.best.profit == 50.0
    assert (reason(bounds.worst), reason(bounds.best)) == (ExitReason.STOP, ExitReason.TARGET)
    assert only_row(bounds.worst)["ambiguous"] == only_row(bounds.best)["ambiguous"] == 1


def test_a_stop_that_is_gapped_through_fills_at_the_open_and_a_target_at_its_own_price() -> None:
    falls = by_hand([*FLAT[:2], (80, 85, 79, 84), *FLAT[:2]])
    made = simulate(falls, one_signal(stop_distance=5.0, horizon_bars=3), account())
    assert reason(made) is ExitReason.STOP_GAP
    assert (only_row(made)["exit_price"], made.profit) == (80.0, -200.0)
    rises = by_hand([*FLAT[:2], (120, 125, 119, 124), *FLAT[:2]])
    made = simulate(rises, one_signal(target_distance=5.0, horizon_bars=3), account())
    assert (reason(made), only_row(made)["exit_price"]) == (ExitReason.TARGET, 105.0)


def test_a_target_counts_as_filled_once_the_price_has_passed_it_by_the_stated_ticks() -> None:
    market = by_hand([*FLAT[:1], (100, 105, 99, 100), (100, 105.5, 99, 100), *FLAT[:2]], flat_rules(tick_size=0.5))
    signals = one_signal(target_distance=5.0, horizon_bars=3)
    assert only_row(simulate(market, signals, account(target_through_ticks=0.0)))["exit_bar"] == 1
    assert only_row(simulate(market, signals, account(target_through_ticks=1.0)))["exit_bar"] == 2


def test_a_close_barrier_leaves_at_the_next_open() -> None:
    market = by_hand([*FLAT[:1], (100, 104, 97, 103), (102, 103, 101, 102), *FLAT[:2]])
    made = simulate(market, one_signal(close_target=3.0, close_stop=3.0, horizon_bars=4), account())
    assert (reason(made), only_row(made)["exit_bar"], made.profit) == (ExitReason.CLOSE_TARGET, 2, 20.0)
    made = simulate(market, one_signal(side=-1, close_target=3.0, close_stop=3.0, horizon_bars=4), account())
    assert (reason(made), made.profit) == (ExitReason.CLOSE_STOP, -20.0)


def test_an_invalidation_leaves_at_the_next_open() -> None:
    masks = np.array([[False, False, True, False, False, False]])
    made = simulate(by_hand(FLAT), one_signal(invalidation=0, invalidation_masks=masks, horizon_bars=4), account())
    assert (reason(made), only_row(made)["exit_bar"]) == (ExitReason.INVALIDATION, 3)


@pytest.mark.parametrize("mask", ["halted", "tainted", "tradable"])
def test_nothing_fills_in_a_halted_tainted_or_dead_bar_and_the_position_is_carried(mask: str) -> None:
    flags = np.array([0, 0, 0, 1, 1, 0], dtype=bool)
    market = by_hand([*FLAT[:5], (90, 91, 89, 90)], **{mask: ~flags if mask == "tradable" else flags})
    made = simulate(market, one_signal(), account())
    row = only_row(made)
    assert (row["planned_exit_bar"], row["exit_bar"], made.profit) == (3, 5, -100.0)
    assert row["tainted"] == (mask == "tainted")
    assert trade_frame(made, market, one_signal())["bars_carried"].to_list() == [2]
    blocked = simulate(market, one_signal(decision_bar=2), account())
    assert len(blocked.ledger) == 0
    assert blocked.outcomes.tolist() == [Outcome.NOT_FILLABLE]


def test_funding_is_paid_at_its_stamp_on_the_last_mark_by_what_was_carried_into_it() -> None:
    funding = np.array([0.0, 0.01, 0.0, 0.01, 0.0, 0.0])
    market = by_hand(FLAT, funding=funding, mark=np.array([100.0, 100, 120, 100, 100, 100]))
    made = simulate(market, one_signal(), account())
    # The stamp of bar 1 is not paid by what is entered there; that of bar 3 is, on the mark of bar 2, before the exit.
    assert only_row(made)["funding"] == pytest.approx(0.01 * 120 * 10)
    assert only_row(made)["funding_rate"] == 0.01
    assert simulate(market, one_signal(side=-1), account()).profit == pytest.approx(12.0)


def test_fees_spread_and_impact_are_charged_on_each_side() -> None:
    rules = flat_rules(taker_fee=[5e-4], half_spread=1e-4, impact_coefficient=2.0)
    market = by_hand(FLAT, rules)
    row = only_row(simulate(market, one_signal(), account()))
    # A side's impact is half of 2 x 0.001 x sqrt(1000 / 1e6).
    impact = 1000 * 0.001 * np.sqrt(1e-3)
    assert row["impact"] == pytest.approx(2 * impact)
    assert row["spread"] == pytest.approx(2 * 0.1)
    assert row["fees"] == pytest.approx(5e-4 * 10 * (row["entry_price"] + row["exit_price"]))
    assert row["entry_price"] == pytest.approx(100 * (1 + 1e-4 + impact / 1000))
    assert row["net"] == pytest.approx(-row["fees"] - row["spread"] - row["impact"])


def test_a_target_pays_the_maker_fee_and_no_spread() -> None:
    rules = flat_rules(taker_fee=[5e-4], maker_fee=[1e-4], half_spread=1e-3)
    market = by_hand([*FLAT[:1], (100, 106, 99, 100), *FLAT[:3]], rules)
    row = only_row(simulate(market, one_signal(target_distance=5.0), account()))
    assert row["spread"] == pytest.approx(1.0)
    assert row["fees"] == pytest.approx(10 * (100.1 * 5e-4 + 105 * 1e-4))


def test_prices_are_rounded_to_ticks_against_the_order_and_quantities_down_to_lots() -> None:
    rules = flat_rules(tick_size=0.5, lot_size=3.0, half_spread=1e-3)
    row = only_row(simulate(by_hand(FLAT, rules), one_signal(), account()))
    assert (row["quantity"], row["entry_price"], row["exit_price"]) == (9.0, 100.5, 99.5)


def test_an_entry_below_the_smallest_order_is_refused() -> None:
    market = by_hand(FLAT, flat_rules(lot_size=3.0, min_notional_usd=901.0))
    assert simulate(market, one_signal(), account()).outcomes.tolist() == [Outcome.TOO_SMALL]


def test_unknown_impact_refuses_an_entry_but_not_an_exit() -> None:
    rules = flat_rules(impact_coefficient=1.0)
    unknown = np.array([1e6, 1e6, np.nan, 1e6, 1e6, 1e6])
    row = only_row(simulate(by_hand(FLAT, rules, turnover_usd=unknown), one_signal(), account()))
    assert row["impact"] == pytest.approx(1000 * 0.001 * np.sqrt(1e-3))
    later = simulate(by_hand(FLAT, rules, turnover_usd=unknown), one_signal(decision_bar=2), account())
    assert later.outcomes.tolist() == [Outcome.UNKNOWN_COST]


def test_orders_of_one_open_meet_in_the_account_and_only_the_rest_goes_to_the_market() -> None:
    market = by_hand(FLAT, flat_rules(taker_fee=[1e-3]))
    signals = many_signals(
        {
            "strategy": [0, 1],
            "instrument": [0, 0],
            "decision_bar": [0, 0],
            "side": [1, -1],
            "horizon_bars": [2, 2],
            "weight": [1, 0.25],
        }
    )
    netted = simulate(market, signals, account())
    # 1000 bought and 250 sold: 750 go to the market and the buyer pays for them, on both ways.
    assert netted.ledger["fees"].tolist() == pytest.approx([1.5, 0.0])
    assert simulate(market, signals, account(net_orders=False)).ledger["fees"].tolist() == pytest.approx([2.0, 0.5])
    assert netted.traded_usd.tolist() == [0, 750, 0, 750, 0, 0]


@pytest.mark.parametrize(("overlap", "traded"), [("stack", [0, 1, 2]), ("skip", [0]), ("flip", [0, 2])])
def test_overlapping_signals_of_a_strategy_follow_the_stated_rule(overlap: str, traded: list[int]) -> None:
    signals = many_signals(
        {
            "strategy": [0] * 3,
            "instrument": [0] * 3,
            "decision_bar": [0, 1, 2],
            "side": [1, 1, -1],
            "horizon_bars": [4] * 3,
        }
    )
    made = simulate(by_hand([*FLAT, *FLAT]), signals, account(overlap=overlap))
    assert made.ledger["signal"].tolist() == traded
    if overlap == "flip":
        assert made.ledger["reason"].tolist() == [ExitReason.FLIP, ExitReason.HORIZON]
        assert made.ledger["exit_bar"].tolist() == [3, 7]


@pytest.mark.parametrize(
    ("limits", "quantity"),
    [
        ({"max_strategy_leverage": 0.06}, 6.0),
        ({"max_symbol_leverage": 0.04}, 4.0),
        ({"max_leverage": 0.03}, 3.0),
        ({"max_participation": 2e-4}, 2.0),
        ({"leverage": 0.05}, 5.0),
    ],
)
def test_caps_make_an_entry_smaller(limits: dict[str, float], quantity: float) -> None:
    row = only_row(simulate(by_hand(FLAT), one_signal(), account(**limits)))
    assert row["quantity"] == pytest.approx(quantity)


def test_a_cap_that_leaves_too_little_refuses_the_entry() -> None:
    market = by_hand(FLAT, flat_rules(min_notional_usd=500.0))
    assert simulate(market, one_signal(), account(max_leverage=0.04)).outcomes.tolist() == [Outcome.LIMITED]


def test_sizes_follow_the_equity_at_the_close_before_and_the_expected_volatility() -> None:
    market = by_hand(FLAT)
    assert only_row(simulate(market, one_signal(), account(sizing=FixedFraction(0.5))))["quantity"] == 50.0
    target = VolatilityTarget(volatility_per_trade=0.0005, max_fraction=2.0)
    made = simulate(market, one_signal(horizon_bars=4), account(sizing=target))
    assert only_row(made)["quantity"] == pytest.approx(10_000 * 0.0005 / (0.001 * 2) / 100)


def test_equity_below_maintenance_margin_liquidates_inside_the_bar_with_a_fee() -> None:
    rules = flat_rules(liquidation_fee=0.02, maintenance_rate=[0.01])
    market = by_hand([*FLAT[:1], (100, 101, 80, 95), *FLAT[:4]], rules)
    made = simulate(market, one_signal(), account(sizing=FixedFraction(10.0)))
    row = only_row(made)
    assert reason(made) is ExitReason.LIQUIDATION
    # 10,000 + 1000 (P - 100) = 0.01 x 1000 P
    price = 90_000 / 990
    assert row["exit_price"] == pytest.approx(price)
    assert row["liquidation_fee"] == pytest.approx(0.02 * 1000 * price)
    assert made.equity[-1] == pytest.approx(10_000 + 1000 * (price - 100) - 20 * price)


def test_a_stop_before_the_liquidation_price_saves_the_account() -> None:
    market = by_hand([*FLAT[:1], (100, 101, 80, 95), *FLAT[:4]])
    made = simulate(market, one_signal(stop_distance=5.0), account(sizing=FixedFraction(10.0)))
    assert (reason(made), made.equity[-1]) == (ExitReason.STOP, pytest.approx(5000.0))


def test_a_liquidation_in_a_bar_that_cannot_be_filled_waits_for_the_next_that_can() -> None:
    halted = np.array([0, 0, 1, 0, 0, 0], dtype=bool)
    bars = [*FLAT[:2], (80, 81, 79, 80), (85, 86, 84, 85), *FLAT[:2]]
    mark = np.array([100.0, 90.5, 80, 85, 100, 100])
    made = simulate(
        by_hand(bars, halted=halted, mark=mark), one_signal(horizon_bars=4), account(sizing=FixedFraction(10.0))
    )
    assert (reason(made), only_row(made)["exit_bar"], only_row(made)["exit_price"]) == (ExitReason.LIQUIDATION, 3, 85.0)


def test_a_position_open_at_the_end_is_marked() -> None:
    market = by_hand([*FLAT[:2], (100, 109, 99, 108)], mark=np.array([100.0, 100.0, 107.0]))
    made = simulate(market, one_signal(horizon_bars=50), account())
    assert (reason(made), only_row(made)["net"], made.profit) == (ExitReason.STILL_OPEN, 70.0, 70.0)
    assert trade_frame(made, market, one_signal())["exit_time"].to_list() == [None]
    late = simulate(market, one_signal(decision_bar=2), account())
    assert late.outcomes.tolist() == [Outcome.BEYOND_DATA]


def pair(market: Market) -> Market:
    """The market with a second instrument Y at half the price that does not move."""
    flat = np.full((1, market.n_bars), 50.0)
    both = {name: np.vstack([getattr(market, name), flat]) for name in ("open", "high", "low", "close", "mark")}
    doubled = {
        name: np.vstack([getattr(market, name)] * 2) for name in ("funding", "tradable", "volatility", "turnover_usd")
    }
    return Market(("X", "Y"), market.timestamp, **both, **doubled, rules=(flat_rules(), flat_rules()))


def test_two_legs_are_entered_and_left_together() -> None:
    market = pair(by_hand([*FLAT[:3], (110, 111, 109, 110), *FLAT[:2]]))
    made = simulate(market, one_signal(hedge_instrument=1, hedge_ratio=0.5), account())
    assert made.ledger["side"].tolist() == [1, -1]
    assert made.ledger["quantity"].tolist() == [10.0, 10.0]
    assert made.ledger["exit_bar"].tolist() == [3, 3]
    assert made.profit == 100.0
    halted = np.array([[0] * 6, [0, 0, 0, 1, 0, 0]], dtype=bool)
    waits = Market(
        **{name: getattr(market, name) for name in vars(market) if name not in ("day", "halted")}, halted=halted
    )
    assert simulate(waits, one_signal(hedge_instrument=1), account()).ledger["exit_bar"].tolist() == [4, 4]
    refused = simulate(waits, one_signal(hedge_instrument=1, decision_bar=2), account())
    assert refused.outcomes.tolist() == [Outcome.NOT_FILLABLE]


def against_spot(market: Market, **rates: float) -> Market:
    """The perpetual X and its spot market at the same prices: paid in full, or borrowed at 50 % and kept at 10 %."""
    both = {
        name: np.vstack([getattr(market, name)] * 2)
        for name in ("open", "high", "low", "close", "mark", "funding", "tradable", "volatility", "turnover_usd")
    }
    margin = SpotMargin(
        **{"initial_long": 1.0, "maintenance_long": 1.0, "initial_short": 0.5, "maintenance_short": 0.1, **rates}
    )
    rules = (market.rules[0], flat_rules(spot_margin=margin, max_leverage=[1e9]))
    return Market(("X", "X/spot"), market.timestamp, **both, rules=rules)


@pytest.mark.parametrize(("side", "rate_of_spot"), [(-1, 1.0), (1, 0.5)])
def test_spot_is_paid_in_full_and_borrowed_with_collateral(side: int, rate_of_spot: float) -> None:
    # 10,000 USD, the perpetual at 1/10: each USD of the trade needs 0.1 for it and the rate of spot beside it.
    made = simulate(
        against_spot(by_hand(FLAT)),
        one_signal(side=side, hedge_instrument=1),
        account(sizing=FixedFraction(50.0), leverage=10.0),
    )
    assert made.ledger["quantity"].tolist() == pytest.approx([10_000 / (0.1 + rate_of_spot) / 100] * 2)


def test_coins_held_take_what_the_venue_does_not_lend_on_them_from_the_equity_behind_a_perpetual() -> None:
    # Short 90 X, long 90 coins, 10,000 USD. In the bar X goes to its high of 130 and the coins to their low of 100: equity is
    # 10,000 - 2,700, kept are 0.01 x 11,700 for X and 9,000 for the coins, more than there is; or half of 9,000.
    rising = by_hand([*FLAT[:2], (100, 130, 100, 120), *FLAT[:3]])
    fully = account(sizing=FixedNotional(9000.0))
    alone = simulate(against_spot(rising), one_signal(side=-1, horizon_bars=4, hedge_instrument=1), fully)
    assert [ExitReason(reason) for reason in alone.ledger["reason"]] == [ExitReason.LIQUIDATION] * 2
    lent = against_spot(rising, maintenance_long=0.5)
    kept = simulate(lent, one_signal(side=-1, horizon_bars=4, hedge_instrument=1), fully)
    assert [ExitReason(reason) for reason in kept.ledger["reason"]] == [ExitReason.HORIZON] * 2
    assert kept.maintenance_margin[1] == pytest.approx(9000 * 0.01 + 9000 * 0.5)


def test_borrowed_coins_are_bought_back_below_their_collateral() -> None:
    made = simulate(against_spot(by_hand(FLAT)), one_signal(hedge_instrument=1), account(sizing=FixedNotional(1000.0)))
    assert made.maintenance_margin[1] == pytest.approx(1000 * 0.01 + 1000 * 0.1)


def test_hedged_trades_take_no_resting_orders() -> None:
    with pytest.raises(MisuseError, match="a hedged trade takes no resting orders"):
        simulate(pair(by_hand(FLAT)), one_signal(hedge_instrument=1, stop_distance=1.0), account())


def test_money_that_does_not_add_up_is_an_error_of_its_own() -> None:
    made = simulate(by_hand(FLAT), one_signal(), account())
    made.equity[-1] += 1e-3
    with pytest.raises(AccountingError, match=r"equity changed by 0\.001 USD, the trades' profits sum to 0 USD"):
        made.check_money()


def test_fees_fall_with_the_volume_of_the_thirty_days_before() -> None:
    days = 40
    bars = [(100.0, 101.0, 99.0, 100.0)] * (288 * days)
    rules = flat_rules(tier_volume_usd=[0.0, 1500.0], taker_fee=[1e-3, 5e-4], maker_fee=[1e-3, 5e-4])
    at = np.array([10, 288 + 10, 288 * 35])
    signals = many_signals(
        {"strategy": [0] * 3, "instrument": [0] * 3, "decision_bar": at, "side": [1] * 3, "horizon_bars": [2] * 3}
    )
    # 2,000 USD on the first day; from the second day on that counts, and 31 days later it no longer does.
    assert simulate(by_hand(bars, rules), signals, account()).ledger["fees"].tolist() == pytest.approx([2.0, 1.0, 2.0])


def test_frames_have_names_times_and_reasons() -> None:
    market = by_hand(FLAT)
    made = simulate(market, one_signal(event_id=7), account())
    trade = trade_frame(made, market, one_signal(event_id=7)).row(0, named=True)
    assert (trade["event_id"], trade["strategy"], trade["instrument"], trade["reason"]) == (7, "s0", "X", "horizon")
    assert trade["entry_time"].isoformat() == "2024-01-01T00:05:00+00:00"
    assert equity_frame(made, market)["equity"].to_list() == [10_000.0] * 6
