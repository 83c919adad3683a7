"""Fills in the exports of Binance, freqtrade and NautilusTrader, as rows of one schema.

Binance: the account's ``userTrades`` as JSON, or the trade history as CSV of USD-M futures (``Uid, Time, Symbol, Side, Price,
Quantity, …, Trade ID, Order ID``, or without some of them) or spot (``Pair, Side, Executed`` or ``Pair, Type, Amount, Total``;
older ones name the pair ``Market``). Its times are of the zone that the column, ``Time(UTC)``, or the file's name tells,
``…(UTC+3)…``. freqtrade: its trades as JSON with their ``orders`` (REST, backtest result), or the ``orders`` of its database
joined with ``trades``. NautilusTrader: the fills report (``generate_fills_report``).
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from backtest.errors import DataError, did_you_mean, listed

Origin = Literal["binance", "freqtrade", "nautilus", "backtest"]
Row = Mapping[str, Any]

EARLIEST: Final = dt.datetime(2009, 1, 1, tzinfo=dt.UTC)
QUOTES: Final = ("USDT", "USDC", "BUSD", "FDUSD", "USD")
_SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9_]{1,39}")
_AMOUNT: Final = re.compile(r"([0-9][0-9,]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*[A-Z0-9]*")
_ZONE: Final = re.compile(r"\(UTC(?:([+-])-?(\d{1,2})(?::?(\d{2}))?)?\)", re.IGNORECASE)
"""What Binance writes into names of files and columns; west of Greenwich with two signs, ``(UTC--6)``."""
_SHORT_YEAR: Final = re.compile(r"\d{2}-\d{2}-\d{2} ")
FILLED_STATES: Final = ("closed", "canceled", "cancelled", "expired", "filled", "open", "")


@dataclass(frozen=True)
class Fill:
    """One execution; ``expected_price`` and ``modelled_slippage_bps`` are None where the export does not tell them."""

    fill_id: str
    timestamp: dt.datetime
    symbol: str
    side: Literal["buy", "sell"]
    price: float
    quantity: float
    expected_price: float | None = None
    modelled_slippage_bps: float | None = None
    blueprint_id: str | None = None


def fills_of(rows: Sequence[Row], origin: Origin, file: str, now: dt.datetime) -> list[Fill]:
    """The fills of an export, in the order of time.

    Raises
    ------
    DataError
        Rows that cannot be read, each named by file and row (from 1, without the header); a fill_id twice with other values.
    """
    read = READERS[origin]
    if origin == "binance":
        read = functools.partial(_binance, zone=_zone(file.rpartition("/")[2]))
    fills: dict[str, Fill] = {}
    faults = []
    for number, row in enumerate(rows, start=1):
        try:
            fill = read(row)
            if fill is None:
                continue
            if not EARLIEST <= fill.timestamp <= now:
                raise ValueError(f"its time {fill.timestamp.isoformat()} lies before 2009 or after now")
            if fills.setdefault(fill.fill_id, fill) != fill:
                raise ValueError(f"fill {fill.fill_id[:60]!r} came before with other values")
        except (ValueError, TypeError, OverflowError, KeyError) as fault:
            faults.append(f"{file}, row {number}: {fault}")
    if faults:
        raise DataError(f"nothing was imported; {len(faults)} row(s) are wrong:\n{listed(faults)}")
    return sorted(fills.values(), key=lambda fill: (fill.timestamp, fill.fill_id))


# -- one row of each origin ---------------------------------------------------------------------------------


def _binance(row: Row, zone: dt.tzinfo | None = None) -> Fill:
    named = {re.sub(r"[^a-z]", "", str(key).lower()): value for key, value in row.items()}
    symbol = _symbol(_first(named, "symbol", "pair", "market"))
    side = next((_side(named[name]) for name in ("side", "type") if named.get(name)), None) or _binance_side(named)
    # With a total beside it the amount is one of base currency; beside a quantity it is the total itself.
    amounts = ("qty", "quantity", "executed", *(("amount",) if "total" in named else ()))
    price, quantity = _positive(_first(named, "price"), "price"), _positive(_first(named, *amounts), "quantity")
    time = _binance_time(row, named, zone)
    identity = next((named[name] for name in ("id", "tradeid") if named.get(name) not in (None, "")), None)
    own = f"{time.isoformat()}/{side}/{price!r}/{quantity!r}" if identity is None else _text(identity, "trade id")
    return Fill(f"binance/{symbol}/{own}", time, symbol, side, price, quantity)


def _binance_time(row: Row, named: Row, zone: dt.tzinfo | None) -> dt.datetime:
    """In the zone of the column or else the file; a time that may be of any zone is none."""
    value = _first(named, "time", "timeutc", "dateutc", "date", "datetime", "datetimeutc")
    column = next(str(key) for key in row if row[key] is value)
    if not isinstance(value, str) or value.strip().isdecimal():
        return _time(value)
    text = f"20{value.strip()}" if _SHORT_YEAR.match(value.strip()) else value
    of_column = _zone(column)
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return _time(text)
    if moment.tzinfo is None:
        zone = of_column or zone
        if zone is None:
            raise ValueError(
                f"time {value[:40]!r} of column {column[:40]!r} tells no zone and neither does the file's name; keep the name "
                "the venue gave the file, with (UTC+3) or the like in it"
            )
        moment = moment.replace(tzinfo=zone)
    return _time(moment)


def _zone(text: str) -> dt.tzinfo | None:
    """The zone that a name of Binance tells, ``Time(UTC+3)``."""
    found = _ZONE.search(text)
    if found is None:
        return None
    offset = dt.timedelta(hours=int(found[2] or 0), minutes=int(found[3] or 0))
    return dt.timezone(-offset if found[1] == "-" else offset) if offset < dt.timedelta(hours=15) else None


def _binance_side(named: Row) -> Literal["buy", "sell"]:
    buyer = _first(named, "buyer", "isbuyer")
    if not isinstance(buyer, bool) and str(buyer).lower() not in ("true", "false"):
        raise ValueError(f"buyer {str(buyer)[:40]!r} is neither true nor false")
    return "buy" if str(buyer).lower() == "true" else "sell"


def _freqtrade(row: Row) -> Fill | None:
    """One order with its trade's ``pair``, ``is_short`` and ``enter_tag``; None for one that filled nothing."""
    filled = next((row[name] for name in ("filled", "amount") if row.get(name) is not None), None)
    time = next((row[name] for name in ("order_filled_timestamp", "order_filled_date") if row.get(name)), None)
    if time is None or filled is None or float(filled) == 0:
        return None
    side = str(row.get("ft_order_side") or row.get("side") or "").lower()
    if side == "stoploss":
        side = "buy" if _truth(row.get("is_short")) else "sell"
    price = next((row[name] for name in ("average", "safe_price", "price") if row.get(name)), None)
    expected = row.get("ft_price") or None
    symbol, moment = _symbol(_first(row, "pair", "ft_pair")), _time(time)
    order = row.get("order_id") or f"{row.get('trade_id')}/{moment.isoformat()}/{side}"
    tag = row.get("enter_tag")
    return Fill(
        f"freqtrade/{symbol}/{_text(order, 'order_id')}",
        moment,
        symbol,
        _side(side),
        _positive(price, "price"),
        _positive(filled, "filled"),
        expected_price=None if expected is None else _positive(expected, "ft_price"),
        blueprint_id=None if tag in (None, "") else _text(tag, "enter_tag"),
    )


def _nautilus(row: Row) -> Fill:
    symbol = _symbol(_first(row, "instrument_id"))
    return Fill(
        f"nautilus/{symbol}/{_text(_first(row, 'trade_id'), 'trade_id')}",
        _time(_first(row, "ts_event")),
        symbol,
        _side(_first(row, "order_side")),
        _positive(_first(row, "last_px"), "last_px"),
        _positive(_first(row, "last_qty"), "last_qty"),
        blueprint_id=None if row.get("strategy_id") in (None, "") else _text(row["strategy_id"], "strategy_id"),
    )


def _backtest(row: Row) -> Fill:
    slippage, tag = row.get("modelled_slippage_bps"), row.get("blueprint_id")
    expected = row.get("expected_price")
    modelled = None if slippage in (None, "") else float(slippage)
    if modelled is not None and not (math.isfinite(modelled) and modelled >= 0):
        raise ValueError(f"modelled_slippage_bps {slippage!r} is no number from 0")
    return Fill(
        _text(_first(row, "fill_id"), "fill_id"),
        _time(_first(row, "timestamp")),
        _symbol(_first(row, "symbol")),
        _side(_first(row, "side")),
        _positive(_first(row, "price"), "price"),
        _positive(_first(row, "quantity"), "quantity"),
        expected_price=None if expected in (None, "") else _positive(expected, "expected_price"),
        modelled_slippage_bps=modelled,
        blueprint_id=None if tag in (None, "") else _text(tag, "blueprint_id"),
    )


READERS: Final[Mapping[Origin, Callable[[Row], Fill | None]]] = {
    "binance": _binance,
    "freqtrade": _freqtrade,
    "nautilus": _nautilus,
    "backtest": _backtest,
}


def freqtrade_orders(value: Any) -> list[Row]:
    """The orders of freqtrade's JSON, each with what of its trade a fill needs: a list of trades, ``{"trades": [...]}`` of its
    REST interface, or a backtest result; DataError where it is none of them."""
    if isinstance(value, dict) and isinstance(value.get("strategy"), dict):
        trades: Any = [
            trade
            for result in value["strategy"].values()
            if isinstance(result, dict) and isinstance(result.get("trades"), list)
            for trade in result["trades"]
        ]
    else:
        trades = value.get("trades") if isinstance(value, dict) else value
    if not isinstance(trades, list) or not all(isinstance(trade, dict) for trade in trades):
        raise DataError("it holds no list of freqtrade's trades")
    rows: list[Row] = []
    for number, trade in enumerate(trades, start=1):
        orders = trade.get("orders")
        if not isinstance(orders, list) or not all(isinstance(order, dict) for order in orders):
            raise DataError(f"trade {number} has no list of orders; export the trades with their orders")
        about = {name: trade.get(name) for name in ("pair", "is_short", "enter_tag", "trade_id")}
        rows += [{**about, **order, "pair": trade.get("pair") or order.get("pair")} for order in orders]
    return rows


# -- values -------------------------------------------------------------------------------------------------


def _first(row: Row, *names: str) -> Any:
    for name in names:
        if row.get(name) not in (None, ""):
            return row[name]
    near = did_you_mean(names[0], [str(key) for key in row][:100])
    raise ValueError(f"it has no {' or '.join(names)}.{near}")


def _symbol(value: Any) -> str:
    """``BTC/USDT:USDT``, ``BTCUSDT-PERP.BINANCE`` and ``BTCUSDT`` as ``BTCUSDT``."""
    text = _text(value, "symbol")
    plain = text.partition(":")[0].partition(".")[0].removesuffix("-PERP").replace("/", "").upper()
    if not _SYMBOL.fullmatch(plain):
        raise ValueError(f"symbol {text[:40]!r} cannot be one")
    return plain


def _side(value: Any) -> Literal["buy", "sell"]:
    text = str(value).strip().lower()
    if text == "buy":
        return "buy"
    if text == "sell":
        return "sell"
    raise ValueError(f"side {text[:40]!r} is neither buy nor sell")


def _positive(value: Any, name: str) -> float:
    """A positive number; of Binance's ``1,234.5BTC`` the number."""
    if isinstance(value, str):
        matched = _AMOUNT.fullmatch(value.strip())
        if matched is None:
            raise ValueError(f"{name} {value[:40]!r} is no positive number")
        value = matched[1].replace(",", "")
    if value is None or isinstance(value, bool):
        raise ValueError(f"{name} is missing")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} {number!r} is no positive number")
    return number


def _text(value: Any, name: str) -> str:
    text = str(value)
    if not 0 < len(text) <= 200 or not text.isprintable():
        raise ValueError(f"{name} {text[:40]!r} is empty, longer than 200 characters or not printable")
    return text


def _truth(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")


def _time(value: Any) -> dt.datetime:
    """A time of an export, which is UTC where it names no zone; numbers are seconds, milliseconds, micro- or nanoseconds."""
    if isinstance(value, dt.datetime):
        moment = value
    elif (isinstance(value, int | float) and not isinstance(value, bool)) or str(value).strip().isdecimal():
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"time {str(value)[:40]!r} is no time")
        while number > 1e11:
            number /= 1000
        moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=round(number * 1000))
    else:
        text = str(value).strip()
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"time {text[:40]!r} is no time") from None
    moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
