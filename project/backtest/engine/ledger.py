"""What a simulation leaves behind: a row for each leg of each trade, what became of each signal, equity at each bar."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from backtest.errors import AccountingError

if TYPE_CHECKING:
    import polars as pl

    from backtest.engine.account import Account
    from backtest.engine.market import Market
    from backtest.engine.signals import Signals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bound = Literal["worst", "best"]
NO_BAR: Final = -1
MONEY_TOLERANCE: Final = 1e-9
"""Largest difference, relative to the account's start, between the change of equity and the sum of profits."""


class ExitReason(enum.IntEnum):
    """Why a position was left; `STILL_OPEN` at the end of the data."""

    STILL_OPEN = 0
    HORIZON = 1
    CLOSE_TARGET = 2
    CLOSE_STOP = 3
    INVALIDATION = 4
    TARGET = 5
    STOP = 6
    STOP_GAP = 7
    FLIP = 8
    LIQUIDATION = 9


class Outcome(enum.IntEnum):
    """What became of a signal."""

    TRADED = 0
    BEYOND_DATA = 1
    """Its entry lies beyond the last bar."""
    NOT_FILLABLE = 2
    """The entry's bar is missing, halted, tainted, or nobody traded in it, in one of its legs."""
    HELD_ALREADY = 3
    """The strategy holds that instrument and does not stack."""
    UNKNOWN_COST = 4
    """Neither volatility nor turnover of the bar before is known, so impact is not."""
    UNKNOWN_SIZE = 5
    """The expected volatility that the size follows from is not known."""
    BEYOND_STOP = 6
    """The entry's open lies at or beyond its stop or target."""
    LIMITED = 7
    """A cap, the margin or the turnover leaves less than the smallest order."""
    TOO_SMALL = 8
    """The size it asks for is less than the smallest order."""
    NO_EQUITY = 9


LEDGER: Final = np.dtype(
    [
        *((name, np.int32) for name in ("signal", "leg", "strategy", "instrument", "side")),
        *((name, np.int32) for name in ("entry_bar", "planned_exit_bar", "exit_bar")),
        *((name, np.int8) for name in ("reason", "ambiguous", "tainted", "intrabar")),
        *(
            (name, np.float64)
            for name in ("quantity", "entry_reference", "entry_price", "exit_reference", "exit_price")
        ),
        *((name, np.float64) for name in ("fees", "spread", "impact", "funding", "liquidation_fee", "gross", "net")),
        *((name, np.float64) for name in ("funding_rate", "mfe", "mae")),
    ],
    align=True,
)
"""One leg of a trade. Money in USD, what was paid is positive; a trade of two legs has two rows with one `signal`.

signal, leg : row of the signals, and 0 or 1 (the hedge).
entry_bar, exit_bar : bars filled in; exit −1 while open. planned_exit_bar : where it would have left if that could be filled.
reason, ambiguous : `ExitReason`; whether target and stop both lay inside the bar of the exit, so that the bound decided.
tainted : a bar from the decision to the exit is known to be wrong. intrabar : left inside a bar, not at its open.
entry_reference, exit_reference : price without slippage; entry_price, exit_price : price with it, after netting.
spread, impact : half-spread with rounding to ticks, and market impact, of both fills.
funding : paid at stamps; of a spot leg interest on what is borrowed, in each bar held.
funding_rate : sum of side × rate over the stamps held over.
gross, net : side × quantity × (exit_reference − entry_reference); gross − fees − spread − impact − funding − liquidation_fee.
    Of open positions at the last mark, without the costs of leaving.
mfe, mae : largest favourable and adverse excursion (fraction of entry_reference, both ≥ 0) of highs and lows while held; of
    a bar left inside, only the exit's price counts.
"""


@dataclass(frozen=True)
class Backtest:
    """One simulation.

    Attributes
    ----------
    bound : which of stop and target is met first where a bar holds both.
    ledger : (r,) `LEDGER` rows in the order of entries.
    outcomes : (n_signals,) `Outcome`.
    equity : (n,) at each bar's close, open positions at mark (USD).
    gross_exposure, net_exposure : (n,) Σ|net notional| over instruments and its signed sum, at mark (USD).
    maintenance_margin : (n,) at mark (USD); 0 without margin.
    traded_usd : (n,) notional that went to the market in each bar.
    n_open : (n,) open legs at each close.
    """

    account: Account
    bound: Bound
    ledger: NDArray[Any]
    outcomes: NDArray[np.int8]
    equity: Floats
    gross_exposure: Floats
    net_exposure: Floats
    maintenance_margin: Floats
    traded_usd: Floats
    n_open: Integers

    @property
    def profit(self) -> float:
        """Change of equity (USD)."""
        return float(self.equity[-1] - self.account.starting_equity_usd)

    def check_money(self) -> None:
        """AccountingError where the change of equity is not the sum of net profits to `MONEY_TOLERANCE`."""
        total = float(np.sum(self.ledger["net"]))
        difference = abs(self.profit - total)
        scale = max(self.account.starting_equity_usd, abs(total))
        if not difference <= MONEY_TOLERANCE * scale:
            raise AccountingError(
                f"equity changed by {self.profit:.10g} USD, the trades' profits sum to {total:.10g} USD: "
                f"{difference:.3g} USD apart. This is a fault of the engine; please report it with the run's spec and data hash"
            )


def trade_frame(backtest: Backtest, market: Market, signals: Signals) -> pl.DataFrame:
    """The ledger as a frame, one row a leg in the order of entries.

    Names, times and reasons in the place of indices (null where there is none yet), ``event_id`` where the signals have it,
    ``slippage`` = spread + impact, ``bars_held``, ``bars_carried`` (bars an exit waited for one that could be filled),
    ``notional`` at entry and ``net_return`` = net / notional. Times are the open times of the bars filled in.
    """
    import polars as pl

    rows = backtest.ledger
    is_open = rows["exit_bar"] == NO_BAR
    last = market.n_bars - 1
    left = np.where(is_open, last, rows["exit_bar"])
    at = market.timestamp.astype("datetime64[ms]")
    signal = rows["signal"]
    notional = rows["quantity"] * rows["entry_reference"]
    carried = np.maximum(left - rows["planned_exit_bar"], 0)
    columns: dict[str, Any] = {
        "signal": signal,
        "leg": rows["leg"],
        "strategy": np.array(signals.strategies, dtype=object)[rows["strategy"]],
        "instrument": np.array(market.instruments, dtype=object)[rows["instrument"]],
        "side": rows["side"],
        "decision_time": at[signals.decision_bar[signal]],
        "entry_time": at[rows["entry_bar"]],
        "exit_time": at[left],
        "reason": np.array([reason.name.lower() for reason in ExitReason], dtype=object)[rows["reason"]],
        **{name: rows[name].astype(bool) for name in ("ambiguous", "tainted", "intrabar")},
        "quantity": rows["quantity"],
        "notional": notional,
        **{name: rows[name] for name in ("entry_reference", "entry_price", "exit_reference", "exit_price")},
        **{name: rows[name] for name in ("fees", "spread", "impact")},
        "slippage": rows["spread"] + rows["impact"],
        **{name: rows[name] for name in ("funding", "liquidation_fee", "gross", "net")},
        "net_return": rows["net"] / notional,
        **{name: rows[name] for name in ("mfe", "mae")},
        "bars_held": left - rows["entry_bar"],
        "bars_carried": carried,
    }
    if signals.event_id is not None:
        columns = {"event_id": signals.event_id[signal], **columns}
    frame = pl.DataFrame({name: _plain(values) for name, values in columns.items()})
    times = [pl.col(name).dt.replace_time_zone("UTC") for name in ("decision_time", "entry_time", "exit_time")]
    closed = pl.Series(~is_open)
    unset = [pl.when(closed).then(pl.col(name)).alias(name) for name in ("exit_time", "exit_reference", "exit_price")]
    return frame.with_columns(times).with_columns(unset)


def equity_frame(backtest: Backtest, market: Market) -> pl.DataFrame:
    """Equity, drawdown (fraction below the highest equity so far) and exposure at each bar; ``timestamp`` is its open."""
    import polars as pl

    highest = np.maximum(np.maximum.accumulate(backtest.equity), backtest.account.starting_equity_usd)
    return pl.DataFrame(
        {
            "timestamp": market.timestamp.astype("datetime64[ms]"),
            "equity": backtest.equity,
            "drawdown": backtest.equity / highest - 1.0,
            "gross_exposure": backtest.gross_exposure,
            "net_exposure": backtest.net_exposure,
            "maintenance_margin": backtest.maintenance_margin,
            "traded_usd": backtest.traded_usd,
            "n_open": backtest.n_open,
        }
    ).with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))


def _plain(values: NDArray[Any]) -> Any:
    """What Polars takes: objects as a list, fields of a structured array contiguous."""
    return values.tolist() if values.dtype == object else np.ascontiguousarray(values)
