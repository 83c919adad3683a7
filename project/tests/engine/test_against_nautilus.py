"""Our engine beside NautilusTrader on the same bars, with fees, ticks and funding; see docs/other_engines.md."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.engine.signals import Signals
from other_engines import environments
from tests.engine.foreign import SIZE_USD, Trades, by_entry, closed_trades, history, real_data, spaced_entries
from tests.engine.markets import flat_rules

pytestmark = pytest.mark.slow

HORIZON, DAYS, FEE, LOT = 48, 80, "0.0005", 0.001
TICKS = {"BTCUSDT": "0.1", "ETHUSDT": "0.01"}
MOST_TRADES = 300


@pytest.fixture(scope="module")
def both() -> dict[str, tuple[Trades, Trades]]:
    """Trades of both engines by symbol."""
    ours, given = {}, []
    for symbol, tick in TICKS.items():
        bars, rng = history(real_data(), symbol, DAYS), np.random.default_rng(11)
        _, entry = spaced_entries(rng, len(bars), 1, HORIZON + 2)
        # A market order leaves a quantity behind where it is rounded: sizes are whole lots.
        quantity = np.floor(SIZE_USD / bars.open[entry] / LOT + 1e-9) * LOT
        signals = Signals(
            strategy=np.zeros(len(entry), dtype=np.int64),
            instrument=np.zeros(len(entry), dtype=np.int64),
            decision_bar=entry - 1,
            side=rng.choice([-1, 1], len(entry)),
            horizon_bars=rng.integers(1, HORIZON, len(entry)),
            strategies=("s",),
        )
        rules = flat_rules(taker_fee=[float(FEE)], maker_fee=[float(FEE)], tick_size=float(tick), lot_size=LOT)
        ours[symbol] = closed_trades(bars, rules, signals)
        given.append(
            {
                **{name: getattr(bars, name) for name in ("timestamp", "open", "close", "funding")},
                "entry_bar": entry,
                "exit_bar": entry + signals.horizon_bars,
                "side": signals.side,
                "quantity": quantity,
                "tick": tick,
                "taker_fee": FEE,
            }
        )
    try:
        answers = environments.run("nautilus", "orders_in_nautilus.py", *given, keep=True)
    except environments.NotInstallableError as fault:
        pytest.skip(str(fault))
    return {symbol: (ours[symbol], answer) for symbol, answer in zip(TICKS, answers, strict=True)}


@pytest.mark.parametrize("symbol", TICKS)
def test_trades_with_fees_and_funding_are_equal_one_by_one(both: dict[str, tuple[Trades, Trades]], symbol: str) -> None:
    ours, answer = both[symbol]
    account = answer.pop("account")
    theirs = by_entry({"column": np.zeros(len(answer["side"])), **answer})
    assert 150 < len(ours["net"]) == len(theirs["side"]) <= MOST_TRADES
    for name in ("entry_bar", "exit_bar", "side"):
        assert ours[name].tolist() == theirs[name].tolist(), name
    for name in ("entry_price", "exit_price", "quantity"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, err_msg=name)
    # Their money has eight decimals.
    for name in ("fees", "funding"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=2e-8, err_msg=name)
    net = theirs["before_funding"] - theirs["funding"]
    np.testing.assert_allclose(ours["net"], net, rtol=1e-6, atol=2e-8)
    assert ours["net"].sum() == pytest.approx(account, rel=1e-6)
    assert (ours["funding"] != 0).sum() > 30
