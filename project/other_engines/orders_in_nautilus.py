"""Trades with fees and funding in NautilusTrader, in its own environment; prints a line of JSON a case.

    python orders_in_nautilus.py case.npz …

Each bar is two trade ticks, its open at its open time and its close a millisecond before the next. A market order is sent
at the open of the bar it is meant for; the taker's fill is one tick worse than the open. Trades do not overlap.

NautilusTrader 1.221 charges no funding. A module of the simulated exchange does it here, on the positions that the exchange
holds before it takes the order flow of the stamp's bar: rate × signed quantity × the last price before.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.backtest.modules import SimulationModule, SimulationModuleConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("BINANCE")
START_USD, MILLISECOND = 1_000_000, 1_000_000
"""USD the account starts with; nanoseconds of a millisecond."""


class Funding(SimulationModule):
    """Charges each stamp's rate to the positions carried into it."""

    def __init__(self, rates: dict[int, float]) -> None:
        super().__init__(SimulationModuleConfig())
        self.rates = rates
        self.last_price = float("nan")
        self.paid: dict[str, float] = {}

    def pre_process(self, data: TradeTick) -> None:
        rate = self.rates.get(data.ts_event, 0.0)
        if rate:
            for position in self.cache.positions_open():
                paid = position.signed_qty * self.last_price * rate
                self.exchange.adjust_account(Money(-paid, USDT))
                self.paid[position.id.value] = self.paid.get(position.id.value, 0.0) + paid
        self.last_price = data.price.as_double()

    def process(self, ts_now: int) -> None:
        pass

    def log_diagnostics(self, logger: object) -> None:
        pass

    def reset(self) -> None:
        pass


class Orders(Strategy):
    """Sends each order at the open it is meant for."""

    def __init__(self, instrument: CryptoPerpetual, orders: dict[int, list[tuple[int, str]]]) -> None:
        super().__init__()
        self.instrument = instrument
        self.orders = orders

    def on_start(self) -> None:
        self.subscribe_trade_ticks(self.instrument.id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        for side, quantity in self.orders.get(tick.ts_event, ()):
            if side == 0:
                self.close_all_positions(self.instrument.id)
            else:
                self.submit_order(
                    self.order_factory.market(
                        self.instrument.id,
                        OrderSide.BUY if side > 0 else OrderSide.SELL,
                        Quantity.from_str(quantity),
                    )
                )


def perpetual(tick: str, taker_fee: str) -> CryptoPerpetual:
    return CryptoPerpetual(
        instrument_id=InstrumentId(Symbol("X-PERP"), VENUE),
        raw_symbol=Symbol("X"),
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=len(tick.partition(".")[2]),
        size_precision=3,
        price_increment=Price.from_str(tick),
        size_increment=Quantity.from_str("0.001"),
        max_quantity=Quantity.from_str("10000.000"),
        min_quantity=Quantity.from_str("0.001"),
        max_notional=None,
        min_notional=Money(5.0, USDT),
        max_price=Price.from_str("9000000" + tick[1:].replace("1", "0")),
        min_price=Price.from_str(tick),
        margin_init=Decimal("0.02"),
        margin_maint=Decimal("0.01"),
        maker_fee=Decimal(taker_fee),
        taker_fee=Decimal(taker_fee),
        ts_event=0,
        ts_init=0,
    )


def ticks(instrument: CryptoPerpetual, times: np.ndarray, opens: np.ndarray, closes: np.ndarray) -> list[TradeTick]:
    bar = int(times[1] - times[0])
    made = []
    for number, (time, first, last) in enumerate(zip(times.tolist(), opens.tolist(), closes.tolist(), strict=True)):
        for name, at, price in (("o", time, first), ("c", time + bar - MILLISECOND, last)):
            made.append(
                TradeTick(
                    instrument.id,
                    instrument.make_price(price),
                    Quantity.from_str("1000.000"),
                    AggressorSide.BUYER,
                    TradeId(f"{number}{name}"),
                    at,
                    at,
                )
            )
    return made


def trades(given: dict[str, np.ndarray]) -> dict[str, object]:
    times = given["timestamp"].astype("datetime64[ns]").astype(np.int64)
    instrument = perpetual(str(given["tick"]), str(given["taker_fee"]))
    orders: dict[int, list[tuple[int, str]]] = {}
    for entry, leave, side, quantity in zip(
        *(given[name].tolist() for name in ("entry_bar", "exit_bar", "side", "quantity")), strict=True
    ):
        orders.setdefault(int(times[entry]), []).append((side, f"{quantity:.3f}"))
        orders.setdefault(int(times[leave]), []).append((0, ""))
    funding = Funding(dict(zip(times.tolist(), given["funding"].tolist(), strict=True)))
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False
        )
    )
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.HEDGING,
        account_type=AccountType.MARGIN,
        base_currency=USDT,
        starting_balances=[Money(START_USD, USDT)],
        fill_model=FillModel(prob_fill_on_limit=1.0, prob_slippage=1.0, random_seed=1),
        modules=[funding],
    )
    engine.add_instrument(instrument)
    engine.add_data(ticks(instrument, times, given["open"], given["close"]))
    engine.add_strategy(Orders(instrument, orders))
    engine.run()
    closed = sorted(engine.cache.positions_closed(), key=lambda position: position.ts_opened)
    bar_of = {time: bar for bar, time in enumerate(times.tolist())}
    made = {
        "entry_bar": [bar_of.get(position.ts_opened, -1) for position in closed],
        "exit_bar": [bar_of.get(position.ts_closed, -1) for position in closed],
        "side": [1 if position.entry == OrderSide.BUY else -1 for position in closed],
        "entry_price": [position.avg_px_open for position in closed],
        "exit_price": [position.avg_px_close for position in closed],
        "quantity": [position.peak_qty.as_double() for position in closed],
        "fees": [sum(fee.as_double() for fee in position.commissions()) for position in closed],
        "funding": [funding.paid.get(position.id.value, 0.0) for position in closed],
        "before_funding": [position.realized_pnl.as_double() for position in closed],
        "account": engine.portfolio.account(VENUE).balance_total(USDT).as_double() - START_USD,
    }
    engine.dispose()
    return made


for path in sys.argv[1:]:
    print(json.dumps(trades(dict(np.load(path)))), flush=True)
