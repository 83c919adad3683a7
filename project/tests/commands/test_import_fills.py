"""Exports of Binance, freqtrade and NautilusTrader become live fills, once each; a wrong row is named."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.lake.live import read_live
from backtest.lake.months import write_months
from backtest.monitoring.live_account import sound_fills

from .conftest import BAR, Desk
from .test_kill_switch import BLUEPRINT, _write_blueprints

FILLED = dt.datetime(2025, 1, 2, 10, 3, 7, 512000, tzinfo=dt.UTC)
MILLISECONDS = int(FILLED.timestamp() * 1000)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def bars(desk: Desk) -> Desk:
    """A finished run, and a day of bars of BTCUSDT; the newest one complete at `FILLED` closes at 100.1."""
    desk.write_run("r1")
    last = FILLED.replace(minute=0, second=0, microsecond=0)
    closes = np.where(np.arange(200) % 2, 100.1, 100.0)[::-1]
    frame = pl.DataFrame(
        {"timestamp": [last - BAR * back for back in reversed(range(200))], "close": closes, "volume": [1000.0] * 200}
    ).cast({"timestamp": pl.Datetime("ms", "UTC")})
    write_months(desk.root.cleaned_bars("perp", "BTCUSDT"), frame)
    return desk


def _import(desk: Desk, origin: str, path: Path) -> int:
    return desk.run("import-fills", "--run-id", "r1", "--from", origin, str(path))


def _fills(desk: Desk) -> pl.DataFrame:
    return sound_fills(read_live(desk.root.live("r1") / "fills.csv"), NOW)


def _write(tmp_path: Path, name: str, content: object) -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


USER_TRADE = {
    "symbol": "BTCUSDT", "id": 698759, "orderId": 25851813, "side": "SELL", "price": "101.5", "qty": "0.002",
    "quoteQty": "15.6384", "realizedPnl": "-0.91539999", "commission": "0.07", "commissionAsset": "USDT",
    "time": MILLISECONDS, "positionSide": "SHORT", "buyer": False, "maker": False,
}  # fmt: skip
FUTURES_CSV = (
    "Time(UTC),Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Buyer,Maker,Trade ID,Order ID\n"
    "2025-01-02 10:03:07.512,BTCUSDT,SELL,101.5,0.002,0.203,0.0001USDT,0,false,false,698759,25851813\n"
)
SPOT_CSV = (
    "\ufeffDate(UTC),Pair,Side,Price,Executed,Amount,Fee\n"
    '"2025-01-02 10:03:07",BTCUSDT,BUY,"1,101.5",0.0020000000BTC,2.203USDT,0.0000001BTC\n'
)
# What the venue's pages export today: no zone in the column, two digits of the year, the zone in the file's name.
FUTURES_NOW = (
    "Uid,Time,Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Buyer,Maker,Trade ID,Order ID\n"
    "99,25-01-02 13:03:07,BTCUSDT,SELL,101.5,0.002,0.203,0.00010000 USDT,0,false,false,698759,25851813\n"
)
SPOT_NOW = (
    "Date(UTC),Pair,Base Asset,Quote Asset,Type,Price,Amount,Total,Fee,Fee Coin\n"
    "2025-01-02 10:03:07,BTC/USDT,BTC,USDT,BUY,1101.5,0.002,2.203,0.0001,BNB\n"
)
SPOT_ONCE = (
    "Date(UTC),Market,Type,Price,Amount,Total,Fee,Fee Coin\n"
    "2025-01-02 10:03:07,BTCUSDT,BUY,1101.5,0.002,2.203,0.0001,BNB\n"
)
TRADE = {
    "trade_id": 7, "pair": "BTC/USDT:USDT", "is_short": True, "enter_tag": "r1.b",
    "orders": [
        {"order_id": "a1", "ft_order_side": "sell", "filled": 0.5, "average": 101.5, "ft_price": 101.4,
         "order_filled_timestamp": MILLISECONDS, "status": "closed"},
        {"order_id": "a2", "ft_order_side": "stoploss", "filled": 0.5, "average": 99.0, "ft_price": 99.1,
         "order_filled_timestamp": MILLISECONDS + 60_000, "status": "closed"},
        {"order_id": "a3", "ft_order_side": "buy", "filled": 0.0, "average": 0, "order_filled_timestamp": None},
    ],
}  # fmt: skip
NAUTILUS_CSV = (
    "client_order_id,trader_id,strategy_id,instrument_id,venue_order_id,trade_id,order_side,last_qty,last_px,ts_event\n"
    f"O-1,T-1,S-1,BTCUSDT-PERP.BINANCE,V-1,T-9,BUY,0.250,101.5,{MILLISECONDS * 1_000_000}\n"
    "O-2,T-1,S-1,BTCUSDT-PERP.BINANCE,V-2,T-10,SELL,0.250,101.6,2025-01-02 10:03:07.512000+00:00\n"
)


@pytest.mark.parametrize(
    ("origin", "name", "content", "expected"),
    [
        ("binance", "a.json", [USER_TRADE], [("sell", 101.5, 0.002)]),
        ("binance", "a.csv", FUTURES_CSV, [("sell", 101.5, 0.002)]),
        ("binance", "a.csv", SPOT_CSV, [("buy", 1101.5, 0.002)]),
        (
            "binance",
            "Binance-Futures-Trade-History-202501050000(UTC+3)-part1-of1.csv",
            FUTURES_NOW,
            [("sell", 101.5, 0.002)],
        ),
        (
            "binance",
            "Binance-Futures-Trade-History-202501050000(UTC--6).csv",
            FUTURES_NOW.replace("25-01-02 13", "2025-01-02 04"),
            [("sell", 101.5, 0.002)],
        ),
        ("binance", "a.csv", FUTURES_NOW.replace("Time", "Time(UTC+3)"), [("sell", 101.5, 0.002)]),
        ("binance", "a.csv", SPOT_NOW, [("buy", 1101.5, 0.002)]),
        ("binance", "a.csv", SPOT_ONCE, [("buy", 1101.5, 0.002)]),
        ("freqtrade", "a.json", {"trades": [TRADE]}, [("sell", 101.5, 0.5), ("buy", 99.0, 0.5)]),
        ("freqtrade", "a.json", {"strategy": {"S": {"trades": [TRADE]}}}, [("sell", 101.5, 0.5), ("buy", 99.0, 0.5)]),
        ("nautilus", "a.csv", NAUTILUS_CSV, [("sell", 101.6, 0.25), ("buy", 101.5, 0.25)]),
    ],
)
def test_exports_become_fills_once_however_often_they_are_imported(
    bars: Desk, tmp_path: Path, origin: str, name: str, content: object, expected: list[tuple[str, float, float]]
) -> None:
    _write_blueprints(bars, BLUEPRINT)
    path = _write(tmp_path, name, content)
    assert _import(bars, origin, path) == 0
    fills = _fills(bars)
    assert fills.select("side", "price", "quantity").rows() == expected
    assert set(fills["symbol"]) == {"BTCUSDT"}
    assert abs(fills["timestamp"][0] - FILLED) < dt.timedelta(seconds=1)
    if origin == "freqtrade":
        assert fills["expected_price"].to_list() == [101.4, 99.1]
        assert fills["blueprint_id"].to_list() == ["r1.b", "r1.b"]
    else:
        assert fills["expected_price"].to_list() == [100.1] * len(fills)
        assert fills["blueprint_id"].to_list() == [None] * len(fills)
    assert (fills["modelled_slippage_bps"] > 0.1).all()
    before = (bars.root.live("r1") / "fills.csv").read_bytes()
    assert _import(bars, origin, path) == 0
    assert (bars.root.live("r1") / "fills.csv").read_bytes() == before


def test_json_and_csv_of_the_same_trade_are_one_fill(bars: Desk, tmp_path: Path) -> None:
    assert _import(bars, "binance", _write(tmp_path, "a.json", [USER_TRADE])) == 0
    assert _import(bars, "binance", _write(tmp_path, "a.csv", FUTURES_CSV)) == 0
    assert len(_fills(bars)) == 1


def test_a_database_of_freqtrade_is_read_and_not_changed(bars: Desk, tmp_path: Path) -> None:
    path = tmp_path / "trades v3.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE trades (id INTEGER, pair TEXT, is_short BOOLEAN, enter_tag TEXT)")
        database.execute(
            "CREATE TABLE orders (id INTEGER, ft_trade_id INTEGER, ft_order_side TEXT, order_id TEXT, status TEXT, "
            "average FLOAT, price FLOAT, filled FLOAT, ft_price FLOAT, order_filled_date DATETIME)"
        )
        database.execute("INSERT INTO trades VALUES (1, 'BTC/USDT:USDT', 0, 'x')")
        database.execute(
            "INSERT INTO orders VALUES (5, 1, 'buy', 'o5', 'closed', 101.5, 101.4, 0.5, 101.4, '2025-01-02 10:03:07.512000')"
        )
    database.close()
    before = path.read_bytes()
    assert _import(bars, "freqtrade", path) == 0
    assert _fills(bars).select("side", "price", "quantity", "expected_price").rows() == [("buy", 101.5, 0.5, 101.4)]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([USER_TRADE, {**USER_TRADE, "id": 2, "price": "-1"}], "a.json, row 2: price '-1' is no positive number"),
        ([{**USER_TRADE, "side": "HOLD"}], "row 1: side 'hold' is neither buy nor sell"),
        ([{**USER_TRADE, "symbol": "../x"}], "row 1: symbol '../x' cannot be one"),
        ([{**USER_TRADE, "time": 1}], "row 1: its time 1970-01-01"),
        ([{**USER_TRADE, "time": 9e15}], "row 1: its time 2255"),
        ([{**USER_TRADE, "time": "9" * 400}], "row 1: time '9999"),
        ([{**USER_TRADE, "time": float("inf")}], "row 1: time 'inf' is no time"),
        (
            [USER_TRADE, {**USER_TRADE, "qty": "9"}],
            "row 2: fill 'binance/BTCUSDT/698759' came before with other values",
        ),
        ([{"price": "1"}], "row 1: it has no symbol or pair"),
        ({"a": 1}, "holds no list of fills"),
        ("[" * 100_000, "is unreadable"),
        (
            FUTURES_NOW,
            "row 1: time '25-01-02 13:03:07' of column 'Time' tells no zone and neither does the file's name",
        ),
        ("PK\x03\x04", "is packed, or a spreadsheet"),
        ("a,b\n1\n", "line 2 has more or fewer fields than the header"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_is_written(
    bars: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, told: str
) -> None:
    assert _import(bars, "binance", _write(tmp_path, "a.json", content)) == 1
    assert told in capsys.readouterr().err
    assert not (bars.root.live("r1") / "fills.csv").exists()


def test_a_fill_that_contradicts_what_is_there_is_refused(
    bars: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _import(bars, "binance", _write(tmp_path, "a.json", [USER_TRADE])) == 0
    assert _import(bars, "binance", _write(tmp_path, "a.json", [{**USER_TRADE, "price": "102"}])) == 1
    assert "with other values than in the import" in capsys.readouterr().err
    assert _fills(bars)["price"].to_list() == [101.5]


def test_a_fill_without_bars_names_the_command_that_gets_them(
    bars: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = {**USER_TRADE, "time": MILLISECONDS + 3_600_000}
    assert _import(bars, "binance", _write(tmp_path, "a.json", [late])) == 1
    assert "make run SYMBOLS=BTCUSDT START=2025-01-01 END=2025-01-02" in capsys.readouterr().err


def test_an_unknown_run_leaves_nothing_behind(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("import-fills", "--run-id", "r9", "--from", "binance", str(tmp_path / "none.json")) == 1
    assert not desk.root.live("r9").exists()
