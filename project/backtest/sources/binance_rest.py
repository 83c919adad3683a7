"""Binance's REST interface: what it has of days the archive does not hold yet.

Bars, mark, index and premium klines and funding reach back to the listing; open interest and the ratios only thirty
days; liquidations and the book have no history there.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import polars as pl

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.outside_bytes import parsed_json
from backtest.sources.binance_archive import INTERVALS, Market, start_ms
from backtest.sources.columns import KLINE_COLUMNS
from backtest.sources.download import OK, Host, Sleep
from backtest.sources.rows import BAR_MS, STEP_MS, Parsed, raw_rows

# Rows a page, and the pause between pages that keeps well below the venue's limits per minute.
PAGE_ROWS: Final[dict[tuple[str, str], int]] = {
    ("perp", "klines"): 1500,
    ("spot", "klines"): 1000,
    ("perp", "funding"): 1000,
}
_PATHS: Final[dict[tuple[str, str], str]] = {
    ("perp", "klines"): "fapi/v1/klines",
    ("spot", "klines"): "api/v3/klines",
    ("perp", "funding"): "fapi/v1/fundingRate",
}
PAUSE_SECONDS: Final = 0.25
_KLINE_PATHS: Final[dict[str, str]] = {
    "mark_5m": "fapi/v1/markPriceKlines",
    "index_5m": "fapi/v1/indexPriceKlines",
    "premium_5m": "fapi/v1/premiumIndexKlines",
}
# What the metrics files hold is spread over five paths: field of the answer → column of the raw data set.
_METRICS_PATHS: Final[dict[str, dict[str, str]]] = {
    "futures/data/openInterestHist": {
        "sumOpenInterest": "open_interest",
        "sumOpenInterestValue": "open_interest_usd",
    },
    "futures/data/topLongShortAccountRatio": {"longShortRatio": "top_trader_account_ratio"},
    "futures/data/topLongShortPositionRatio": {"longShortRatio": "top_trader_position_ratio"},
    "futures/data/globalLongShortAccountRatio": {"longShortRatio": "global_account_ratio"},
    "futures/data/takerlongshortRatio": {"buySellRatio": "taker_volume_ratio"},
}
METRICS_PAGE_ROWS: Final = 500
# The venue keeps thirty days; the oldest of them may run out while it is asked for.
_METRICS_REACH_DAYS: Final = 29
_NO_HISTORY: Final = frozenset({"liquidations", "book_ticker", "book_depth"})


def rest_reaches_back_days(dataset: str) -> int | None:
    """How many days back REST has the data set; null for all of them, zero for none."""
    if dataset in _NO_HISTORY:
        return 0
    return _METRICS_REACH_DAYS if dataset == "metrics" else None


async def fetch_rest(
    host: Host,
    market: Market,
    dataset: str,
    symbol: str,
    first_day: dt.date,
    last_day: dt.date,
    *,
    now: dt.datetime,
    sleep: Sleep,
    page_rows: int | None = None,
) -> Parsed:
    """Rows of [first_day, last_day] that are complete at `now`, in the raw schema; empty where the venue has none.

    The bar that is still forming is left out. Raises DataError where the venue refuses, NetworkError where it cannot
    be reached.
    """
    if dataset == "metrics":
        return await _metrics(host, symbol, first_day, last_day, now=now, sleep=sleep, page_rows=page_rows)
    kind = "funding" if dataset == "funding" else "klines"
    size = page_rows or PAGE_ROWS[market, kind]
    parameters: dict[str, str | int] = {"pair" if dataset == "index_5m" else "symbol": symbol, "limit": size}
    path = _KLINE_PATHS.get(dataset, _PATHS[market, kind])
    if kind == "klines":
        parameters["interval"] = INTERVALS[dataset]
    now_ms = int(now.timestamp() * 1000)
    position, end = start_ms(first_day), min(start_ms(last_day + dt.timedelta(days=1)), now_ms)
    rows: list[tuple[Any, ...]] = []
    while position < end:
        if rows:
            await sleep(PAUSE_SECONDS)
        page = await _page(host, path, {**parameters, "startTime": position, "endTime": end - 1})
        fresh = [row for row in page if row[0] >= position]
        rows += fresh
        if len(page) < size or not fresh:
            break
        position = max(row[0] for row in fresh) + 1
    if kind == "klines":
        rows = [row for row in rows if row[0] + STEP_MS[dataset] <= now_ms]
    file = f"REST {symbol} {dataset}"
    if not rows:
        return Parsed(pl.DataFrame())
    period = start_ms(first_day), start_ms(last_day + dt.timedelta(days=1))
    table = _table(rows, kind)
    known = [name for name in table.columns if name == "row" or name in RAW_SCHEMAS[dataset]]
    return raw_rows(table.select(known), dataset, file, period)


async def _metrics(
    host: Host,
    symbol: str,
    first_day: dt.date,
    last_day: dt.date,
    *,
    now: dt.datetime,
    sleep: Sleep,
    page_rows: int | None,
) -> Parsed:
    """Open interest and ratios of the days, joined by stamp; a ratio the venue does not have at a stamp is null."""
    now_ms = int(now.timestamp() * 1000)
    period = start_ms(first_day), start_ms(last_day + dt.timedelta(days=1))
    size = page_rows or METRICS_PAGE_ROWS
    by_stamp: dict[int, dict[str, str]] = {}
    is_first = True
    for path, fields in _METRICS_PATHS.items():
        # Each page asks for no more time than it can hold: of a longer one the venue answers the newest rows.
        for begin in range(period[0], min(period[1], now_ms), size * BAR_MS):
            if not is_first:
                await sleep(PAUSE_SECONDS)
            is_first = False
            end = min(begin + size * BAR_MS, period[1]) - 1
            asked: dict[str, str | int] = {
                "symbol": symbol,
                "period": "5m",
                "limit": size,
                "startTime": begin,
                "endTime": end,
            }
            for stamp, row in await _metrics_page(host, path, asked):
                if stamp <= now_ms:
                    values = by_stamp.setdefault(stamp, {})
                    values.update({column: str(row[field]) for field, column in fields.items() if field in row})
    if not by_stamp:
        return Parsed(pl.DataFrame())
    columns = [name for name in RAW_SCHEMAS["metrics"] if name != "timestamp"]
    rows = [(stamp, *(values.get(name) for name in columns)) for stamp, values in sorted(by_stamp.items())]
    schema = {"timestamp": pl.Int64, **dict.fromkeys(columns, pl.String)}
    table = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("row", offset=1)
    return raw_rows(table, "metrics", f"REST {symbol} metrics", period)


async def _metrics_page(host: Host, path: str, parameters: dict[str, str | int]) -> list[tuple[int, dict[str, object]]]:
    answer = await host.get(path, parameters)
    if answer.status != OK:
        raise DataError(f"{host.address} answers {answer.status} {_message(answer.body)}".rstrip())
    try:
        return [(_stamp(row["timestamp"]), dict(row)) for row in parsed_json(answer.body)]
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{host.address} answers something that is not {path.rpartition('/')[2]}") from None


async def _page(host: Host, path: str, parameters: dict[str, str | int]) -> list[tuple[Any, ...]]:
    """Rows of one page, the stamp first."""
    answer = await host.get(path, parameters)
    if answer.status != OK:
        raise DataError(f"{host.address} answers {answer.status} {_message(answer.body)}".rstrip())
    try:
        page = parsed_json(answer.body)
        if "fundingRate" in path:
            return [(_stamp(row["fundingTime"]), str(row["fundingRate"])) for row in page]
        return [
            (_stamp(row[0]), *(str(value) for value in row[1:12])) for row in page if len(row) >= len(KLINE_COLUMNS)
        ]
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{host.address} answers something that is not {path.rpartition('/')[2]}") from None


def _stamp(value: Any) -> int:
    """Milliseconds since 1970 of an answer; ValueError where they are no time at all."""
    stamp = int(value)
    if not 0 <= stamp < 1 << 53:
        raise ValueError(f"{stamp} is no time")
    return stamp


def _message(body: bytes) -> str:
    """What the venue says about a refusal."""
    try:
        return str(parsed_json(body)["msg"])[:120]
    except (ValueError, TypeError, KeyError):
        return ""


def _table(rows: list[tuple[Any, ...]], kind: str) -> pl.DataFrame:
    names = ("timestamp", "funding_rate") if kind == "funding" else KLINE_COLUMNS
    schema = {name: pl.Int64 if name == "timestamp" else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("row", offset=1)
