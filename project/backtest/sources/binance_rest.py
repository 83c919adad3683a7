"""Binance's REST interface: bars and funding payments of days the archive does not hold yet."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

import polars as pl

from backtest.errors import DataError
from backtest.sources.binance_archive import INTERVALS, Market, start_ms
from backtest.sources.columns import KLINE_COLUMNS
from backtest.sources.download import OK, Host, Sleep
from backtest.sources.rows import STEP_MS, Parsed, raw_rows

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
    kind = "funding" if dataset == "funding" else "klines"
    size = page_rows or PAGE_ROWS[market, kind]
    parameters: dict[str, str | int] = {"symbol": symbol, "limit": size}
    if kind == "klines":
        parameters["interval"] = INTERVALS[dataset]
    now_ms = int(now.timestamp() * 1000)
    position, end = start_ms(first_day), min(start_ms(last_day + dt.timedelta(days=1)), now_ms)
    rows: list[tuple[Any, ...]] = []
    while position < end:
        if rows:
            await sleep(PAUSE_SECONDS)
        page = await _page(host, _PATHS[market, kind], {**parameters, "startTime": position, "endTime": end - 1})
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
    return raw_rows(_table(rows, kind), dataset, file, period)


async def _page(host: Host, path: str, parameters: dict[str, str | int]) -> list[tuple[Any, ...]]:
    """Rows of one page, the stamp first."""
    answer = await host.get(path, parameters)
    if answer.status != OK:
        raise DataError(f"{host.address} answers {answer.status} {_message(answer.body)}".rstrip())
    try:
        page = json.loads(answer.body)
        if "fundingRate" in path:
            return [(int(row["fundingTime"]), str(row["fundingRate"])) for row in page]
        return [(int(row[0]), *(str(value) for value in row[1:12])) for row in page if len(row) >= len(KLINE_COLUMNS)]
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{host.address} answers something that is not {path.rpartition('/')[2]}") from None


def _message(body: bytes) -> str:
    """What the venue says about a refusal."""
    try:
        return str(json.loads(body)["msg"])[:120]
    except (ValueError, TypeError, KeyError):
        return ""


def _table(rows: list[tuple[Any, ...]], kind: str) -> pl.DataFrame:
    names = ("timestamp", "funding_rate") if kind == "funding" else KLINE_COLUMNS
    schema = {name: pl.Int64 if name == "timestamp" else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("row", offset=1)
