"""Live equity and live fills: their schema, and the drawdown, slippage and positions that follow from them.

Equity: ``timestamp``, ``equity_usd``; optionally ``cash_flow_usd`` (deposits positive, withdrawals negative, since the row
before). Fills: ``timestamp``, ``symbol``, ``side`` (buy or sell), ``price``, ``quantity`` (base currency), ``expected_price``
(the price the decision was made at), ``modelled_slippage_bps`` (what the cost model expected); optionally ``fill_id`` and
``blueprint_id`` (whose trade it is).
Timestamps are ISO 8601 with an offset or ``Z``, or milliseconds since 1970-01-01 UTC. Other columns are ignored.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from backtest.errors import DataError, did_you_mean

EQUITY_COLUMNS: Final = ("timestamp", "equity_usd")
FILL_COLUMNS: Final = ("timestamp", "symbol", "side", "price", "quantity", "expected_price", "modelled_slippage_bps")
BPS: Final = 1e-4
_STAMP: Final = pl.Datetime("ms", "UTC")


def sound_equity(rows: pl.DataFrame, now: dt.datetime) -> pl.DataFrame:
    """Equity rows with their types, oldest first.

    Returns
    -------
    DataFrame
        ``timestamp``, ``equity_usd``, ``cash_flow_usd`` (0 where it is not told).

    Raises
    ------
    DataError
        A column is missing, a value is no number, a stamp is no UTC time or of after `now`, rows are not in the order of time.
    """
    _require(rows, EQUITY_COLUMNS, "equity")
    flows = _numbers(rows, "cash_flow_usd", "equity") if "cash_flow_usd" in rows.columns else [0.0] * len(rows)
    stamps = _stamps(rows, now, "equity")
    if any(later <= earlier for earlier, later in itertools.pairwise(stamps)):
        raise DataError("equity: two rows have one timestamp, or they are not in the order of time")
    columns = {"timestamp": stamps, "equity_usd": _numbers(rows, "equity_usd", "equity"), "cash_flow_usd": flows}
    return pl.DataFrame(
        columns, schema={"timestamp": _STAMP, "equity_usd": pl.Float64(), "cash_flow_usd": pl.Float64()}
    )


def sound_fills(rows: pl.DataFrame, now: dt.datetime) -> pl.DataFrame:
    """Fills with their types, in the order of time, with ``signed_quantity`` (buys positive) and ``blueprint_id`` (null where
    it is not told).

    Raises
    ------
    DataError
        As `sound_equity`; also where a price or quantity is not positive, a side is unknown, or a ``fill_id`` occurs twice.
    """
    _require(rows, FILL_COLUMNS, "fills")
    sides = [str(side).strip().lower() for side in rows["side"]]
    for side in sides:
        if side not in ("buy", "sell"):
            raise DataError(f"fills: side {side[:40]!r} is neither buy nor sell")
    if "fill_id" in rows.columns:
        told = [str(identity) for identity in rows["fill_id"] if identity not in (None, "")]
        if len(set(told)) != len(told):
            raise DataError("fills: a fill_id occurs twice")
    numbers = {name: _numbers(rows, name, "fills") for name in FILL_COLUMNS[3:]}
    for name in ("price", "quantity", "expected_price"):
        if any(value <= 0 for value in numbers[name]):
            raise DataError(f"fills: {name} is not positive")
    if any(value < 0 for value in numbers["modelled_slippage_bps"]):
        raise DataError("fills: modelled_slippage_bps is negative")
    symbols = list(rows["symbol"])
    if not all(isinstance(symbol, str) and symbol for symbol in symbols):
        raise DataError("fills: a row has no symbol")
    columns: dict[str, Any] = {"timestamp": _stamps(rows, now, "fills"), "symbol": symbols, "side": sides, **numbers}
    named = rows["blueprint_id"].to_list() if "blueprint_id" in rows.columns else [None] * len(rows)
    identities = rows["fill_id"].to_list() if "fill_id" in rows.columns else [None] * len(rows)
    columns["fill_id"] = [str(value) if value not in (None, "") else None for value in identities]
    columns["blueprint_id"] = [str(value) if value not in (None, "") else None for value in named]
    schema = {"timestamp": _STAMP, "symbol": pl.String(), "side": pl.String()}
    schema |= {"fill_id": pl.String(), "blueprint_id": pl.String()}
    frame = pl.DataFrame(columns, schema=schema | dict.fromkeys(numbers, pl.Float64()))
    sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    return frame.with_columns((pl.col("quantity") * sign).alias("signed_quantity")).sort(
        "timestamp", maintain_order=True
    )


def drawdowns(equity: pl.DataFrame) -> tuple[float, float]:
    """Deepest and latest fall from the highest value so far, as positive fractions; cash flows are no profit or loss.

    The value is the product of 1 + (equity − cash flow) / equity of the row before − 1. An equity of zero or less is a
    fall of 1, and stays one. Zero for fewer than two rows unless the only one is not positive.
    """
    values, flows = equity["equity_usd"].to_numpy(), equity["cash_flow_usd"].to_numpy()
    index = np.ones(len(values))
    for row in range(len(values)):
        if values[row] <= 0 or (row and index[row - 1] == 0):
            index[row] = 0.0
        elif row:
            index[row] = index[row - 1] * max(0.0, (values[row] - flows[row]) / values[row - 1])
    if len(index) == 0:
        return 0.0, 0.0
    falls = 1.0 - index / np.maximum(np.maximum.accumulate(index), 1.0)
    return float(falls.max()), float(falls[-1])


def slippage_ratio(fills: pl.DataFrame) -> float:
    """Realised over modelled slippage of some fills, weighted by notional: Σ notional·realised / Σ notional·modelled.

    Realised slippage is how much worse than `expected_price` the fill was (negative where it was better). Raises
    DataError where no slippage was modelled at all: there is nothing to compare with.
    """
    sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    notional = pl.col("quantity") * pl.col("expected_price")
    realised = sign * (pl.col("price") / pl.col("expected_price") - 1.0)
    sums = fills.select(
        (notional * realised).sum().alias("realised"),
        (notional * pl.col("modelled_slippage_bps") * BPS).sum().alias("modelled"),
    ).row(0)
    if sums[1] <= 0:
        raise DataError("fills: modelled_slippage_bps is zero throughout; realised slippage cannot be compared with it")
    return float(sums[0] / sums[1])


def positions_usd(fills: pl.DataFrame, prices: Mapping[str, float]) -> dict[str, float]:
    """Signed value of each symbol's position: all its fills summed, at `prices` or else the price of its last fill."""
    grouped = fills.group_by("symbol", maintain_order=True).agg(
        pl.col("signed_quantity").sum(), pl.col("price").last().alias("last_price")
    )
    return {symbol: quantity * prices.get(symbol, last) for symbol, quantity, last in grouped.iter_rows()}


def _require(rows: pl.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise DataError(
            f"{what}: the column {missing[0]} is missing.{did_you_mean(missing[0], rows.columns)} Needed: {', '.join(columns)}"
        )


def _numbers(rows: pl.DataFrame, name: str, what: str) -> list[float]:
    found = []
    for value in rows[name]:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{what}: {name} {str(value)[:40]!r} is no number") from None
        if not math.isfinite(number) or isinstance(value, bool):
            raise DataError(f"{what}: {name} {str(value)[:40]!r} is no finite number")
        found.append(number)
    return found


def _stamps(rows: pl.DataFrame, now: dt.datetime, what: str) -> list[dt.datetime]:
    stamps = [_stamp(value, what) for value in rows["timestamp"]]
    for stamp in stamps:
        if stamp > now:
            raise DataError(f"{what}: a row of {stamp.isoformat()} lies after now, {now.isoformat()}")
        if stamp.year < 2009:
            raise DataError(f"{what}: a row of {stamp.isoformat()} is too old; are the timestamps milliseconds?")
    return stamps


def _stamp(value: Any, what: str) -> dt.datetime:
    try:
        if isinstance(value, str):
            value = int(value) if value.isdecimal() else dt.datetime.fromisoformat(value)
        if isinstance(value, int) and not isinstance(value, bool):
            value = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        value = str(value)
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise DataError(
            f"{what}: timestamp {str(value)[:40]!r} is no time with an offset, such as 2025-02-28T12:00:00Z"
        )
    return value.astimezone(dt.UTC)
