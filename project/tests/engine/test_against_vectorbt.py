"""Our engine beside vectorbt on the same bars: equal trade by trade, each difference one of docs/other_engines.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backtest.engine.ledger import ExitReason
from backtest.engine.signals import Signals
from other_engines import environments
from tests.engine.foreign import SIZE_USD, History, Trades, by_entry, closed_trades, history, real_data, spaced_entries
from tests.engine.markets import flat_rules

pytestmark = pytest.mark.slow

N_COLUMNS, HORIZON, DAYS = 6, 24, 90
# No price in ticks of a tenth lies exactly at an open changed by these: equality of floats decides nothing.
STOP, TARGET, FEE, SLIPPAGE = 0.00413, 0.00517, 5e-4, 2e-4
EXACT = ("entry_bar", "exit_bar", "side")
NEAR = ("entry_price", "exit_price", "quantity", "fees", "net")


@dataclass(frozen=True)
class Case:
    """Signals on the bars of a symbol, and what both engines make of them."""

    bars: History
    signals: Signals
    ours: Trades
    theirs: Trades
    stop: float
    target: float
    slippage: float

    @property
    def differ(self) -> NDArray[np.bool_]:
        return explained(self.bars, self.signals, self.ours, self.theirs, self.stop, self.target, self.slippage)


SYMBOLS = ("BTCUSDT", "ETHUSDT")
KINDS: dict[str, dict[str, Any]] = {
    "stops": {"stop": STOP, "target": np.nan, "slippage": SLIPPAGE, "reverse": False},
    "stops and targets": {"stop": STOP, "target": TARGET, "slippage": 0.0, "reverse": False},
    "turns": {"stop": np.nan, "target": np.nan, "slippage": SLIPPAGE, "reverse": True},
}


@pytest.fixture(scope="module")
def cases() -> dict[tuple[str, str], Case]:
    """Every kind on every symbol, in one call of vectorbt: it takes longer to import than to trade."""
    keys = [(symbol, kind) for symbol in SYMBOLS for kind in KINDS]
    histories = {symbol: history(real_data(), symbol, DAYS) for symbol in SYMBOLS}
    # vectorbt knows no funding.
    histories = {symbol: replace(bars, funding=np.zeros(len(bars))) for symbol, bars in histories.items()}
    asked = [signals_of(histories[symbol], kind) for symbol, kind in keys]
    given = [given_to_vectorbt(histories[key[0]], own, **KINDS[key[1]]) for key, own in zip(keys, asked, strict=True)]
    try:
        answers = environments.run("vectorbt", "signals_in_vectorbt.py", *given, keep=True)
    except environments.NotInstallableError as fault:
        pytest.skip(str(fault))
    made = {}
    for (symbol, kind), signals, answer in zip(keys, asked, answers, strict=True):
        settings = {name: KINDS[kind][name] for name in ("stop", "target", "slippage")}
        rules = flat_rules(taker_fee=[FEE], maker_fee=[FEE], half_spread=settings["slippage"])
        overlap = "flip" if KINDS[kind]["reverse"] else "skip"
        ours = closed_trades(histories[symbol], rules, signals, overlap=overlap)
        made[symbol, kind] = Case(histories[symbol], signals, ours, by_entry(answer), **settings)
    return made


def given_to_vectorbt(bars: History, signals: Signals, **settings: Any) -> dict[str, Any]:
    return {
        **{name: getattr(bars, name) for name in ("timestamp", "open", "high", "low", "close")},
        "n_columns": len(signals.strategies),
        "column": signals.strategy,
        "side": signals.side,
        "entry_bar": signals.decision_bar + 1,
        "exit_bar": signals.decision_bar + 1 + signals.horizon_bars,
        "size_usd": SIZE_USD,
        "fee": FEE,
        **settings,
    }


def signals_of(bars: History, kind: str) -> Signals:
    if KINDS[kind]["reverse"]:
        return entries(bars, 20, len(bars))
    return with_orders(bars, entries(bars, HORIZON + 2, HORIZON), KINDS[kind]["stop"], KINDS[kind]["target"])


def entries(bars: History, apart: int, horizon: int) -> Signals:
    rng = np.random.default_rng(7)
    column, at = spaced_entries(rng, len(bars), N_COLUMNS, apart)
    return Signals(
        strategy=column,
        instrument=np.zeros(len(at), dtype=np.int64),
        decision_bar=at - 1,
        side=rng.choice([-1, 1], len(at)),
        horizon_bars=np.full(len(at), horizon),
        strategies=tuple(f"s{number}" for number in range(N_COLUMNS)),
    )


def with_orders(bars: History, signals: Signals, stop: float, target: float) -> Signals:
    """The signals with a stop and a target at fractions of their entry's open, NaN for none."""
    at_open = bars.open[signals.decision_bar + 1]
    fields = {**vars(signals)}
    fields["stop_price"] = np.where(signals.side > 0, at_open * (1 - stop), at_open * (1 + stop))
    fields["target_price"] = np.where(signals.side > 0, at_open * (1 + target), at_open * (1 - target))
    return Signals(**fields)


def assert_equal(ours: dict[str, Any], theirs: Trades, chosen: Any = slice(None)) -> None:
    """Bars and sides are the same, prices, sizes and profits to 1e-9 relative, and so is the sum of profits."""
    for name in EXACT:
        assert ours[name][chosen].tolist() == theirs[name][chosen].tolist(), name
    for name in NEAR:
        scale = 1e-9 * SIZE_USD if name in ("fees", "net") else 0.0
        np.testing.assert_allclose(ours[name][chosen], theirs[name][chosen], rtol=1e-9, atol=scale, err_msg=name)
    assert ours["net"][chosen].sum() == pytest.approx(theirs["net"][chosen].sum(), rel=1e-6)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_horizons_and_stops_with_fees_and_slippage(cases: dict[tuple[str, str], Case], symbol: str) -> None:
    case = cases[symbol, "stops"]
    assert len(case.ours["net"]) == len(case.theirs["net"]) == len(case.signals) > 1000
    differ = case.differ
    assert_equal(case.ours, case.theirs, ~differ)
    assert (case.ours["reason"][~differ] == ExitReason.STOP).sum() > 100
    assert differ.mean() < 0.2


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_stops_and_targets_of_one_trade(cases: dict[tuple[str, str], Case], symbol: str) -> None:
    case = cases[symbol, "stops and targets"]
    assert len(case.ours["net"]) == len(case.theirs["net"]) == len(case.signals) > 1000
    differ = case.differ
    assert_equal(case.ours, case.theirs, ~differ)
    for reason in (ExitReason.STOP, ExitReason.TARGET, ExitReason.HORIZON):
        assert (case.ours["reason"][~differ] == reason).sum() > 50


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_signals_that_turn_the_position(cases: dict[tuple[str, str], Case], symbol: str) -> None:
    case = cases[symbol, "turns"]
    assert (case.ours["reason"] == ExitReason.FLIP).all()
    assert len(case.ours["net"]) == len(case.theirs["net"]) > 1000
    assert_equal(case.ours, case.theirs)


def explained(
    bars: History,
    signals: Signals,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    stop: float,
    target: float,
    slip: float,
) -> NDArray[np.bool_]:
    """The trades that the three stated rules of vectorbt change, each asserted to be what those rules make of it.

    They are: no order rests in the bar of the entry; in the bar of an exit at its open, orders inside it come first; a target
    that is gapped through fills at the open. An order that is written by them alone is computed here bar by bar.
    """
    differ = np.zeros(len(signals), dtype=bool)
    order = np.lexsort((signals.decision_bar, signals.strategy))
    for place, row in enumerate(order):
        side, entry = int(signals.side[row]), int(signals.decision_bar[row]) + 1
        end, first = entry + HORIZON, float(bars.open[entry])
        at_stop, at_target = first * (1 - side * stop), first * (1 + side * target)

        def hits(
            bar: int, *, side: int = side, at_stop: float = at_stop, at_target: float = at_target
        ) -> tuple[bool, bool]:
            against, favour = (bars.low[bar], bars.high[bar])[::side]
            return side * (against - at_stop) <= 0, side * (favour - at_target) >= 0

        in_entry_bar, in_exit_bar = any(hits(entry)), any(hits(end))
        left_at = int(ours["exit_bar"][place])
        gapped = (
            left_at > entry
            and side * (bars.open[left_at] - at_target) >= 0
            and ours["reason"][place] == ExitReason.TARGET
        )
        if not (in_entry_bar or (in_exit_bar and left_at == end) or gapped):
            continue
        differ[place] = True
        bar = entry + 1
        while bar < end and not any(hits(bar)):
            bar += 1
        stopped, reached = hits(bar)
        price = bars.open[bar]
        if stopped:
            price = min(side * at_stop, side * price) * side
        elif reached:
            price = max(side * at_target, side * price) * side
        assert theirs["exit_bar"][place] == bar
        assert theirs["exit_price"][place] == pytest.approx(price * (1 - side * slip), rel=1e-12)
    return differ
