"""Best bid and ask as Binance's archive publishes them (every change), weighted by time over 5-minute bars.

A day of a liquid symbol has tens of millions of rows, so a file is read in pieces and only sums are kept.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import IO, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.errors import DataError
from backtest.sources.columns import BOOK_TICKER_COLUMNS
from backtest.sources.liquidations import raw_frame
from backtest.sources.rows import BAR_MS, Defect, Parsed, reported, with_stamps, within, without
from backtest.sources.tables import column_positions, first_lines, is_header, text_rows

PIECE_BYTES: Final = 16 << 20
QUOTE_STALE_MS: Final = 60_000
"""A quote is taken to stand until the next one, at most this long; after that the bar counts as not covered."""
_QUOTES: Final = ("best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty")
_SHOWN_DEFECTS: Final = 12

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def pieces(stream: IO[bytes], max_bytes: int, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Whole lines of a stream, about `size` bytes at a time; DataError beyond `max_bytes` or for a line that long."""
    rest, n_read = b"", 0
    while read := stream.read(size):
        n_read += len(read)
        if n_read > max_bytes:
            raise DataError(f"it unpacks to more than the allowed {max_bytes:,} bytes")
        whole, newline, begun = (rest + read).rpartition(b"\n")
        if not newline and len(begun) > size:
            raise DataError(f"it has a line of more than {size:,} bytes")
        if newline:
            yield whole + newline
        rest = begun
    if rest:
        yield rest


def parse_book_ticker(parts: Iterable[bytes], file: str, period_ms: tuple[int, int]) -> Parsed:
    """Quoted spread (bps of mid), depth at best (USD) and imbalance of each bar of the period [first, last) ms.

    Parameters
    ----------
    parts : whole lines in pieces, the first line of all may be a header row.

    Returns
    -------
    Parsed
        Means are over time: a quote stands from its transaction time (event time where that is absent) to the next one,
        at most a minute. The largest spread is the largest that stood for any time. ``book_imbalance`` is
        (bid − ask) / (bid + ask) of the mean depths; ``book_coverage`` the share of the bar in which a quote stood. A bar
        without any has no row. A quote that is crossed, locked or no quote ends the one before it. Rows are put in order
        within a piece; one that belongs before an earlier piece is left out. All of that is reported.

    Raises
    ------
    DataError
        The columns are others, or no row is usable (text starting with ``it``).
    """
    sums = _Sums(period_ms)
    defects: list[Defect] = []
    positions: dict[str, int] | None = None
    width, line = 0, 1
    for part in parts:
        n_lines = part.count(b"\n") + (not part.endswith(b"\n"))
        first_row = line
        line += n_lines
        if positions is None:
            head = first_lines(part, 1)
            if not head:
                continue
            positions, width = _positions(head[0]), len(head[0])
            if is_header(head[0]):
                _, _, part = part.partition(b"\n")
                first_row += 1
        if part and not part.isspace():
            _add(sums, _rows(part, positions, width, file, first_row, defects), period_ms, file, defects)
    if positions is None:
        raise DataError("it is empty")
    bars = sums.bars()
    if bars.is_empty():
        raise DataError("it has no usable row" + (f" ({defects[0].found})" if defects else ""))
    return Parsed(raw_frame(bars, "book_ticker"), _shortened(defects, file))


def _positions(head: list[str]) -> dict[str, int]:
    positions = column_positions(head, "book_ticker", BOOK_TICKER_COLUMNS, _QUOTES, {})
    times = [name for name in ("transaction_time", "event_time") if name in positions]
    if not times:
        raise DataError(f"its header lacks transaction_time; it has {', '.join(head)[:200]}")
    return {**{name: positions[name] for name in _QUOTES}, "timestamp": positions[times[0]]}


def _rows(
    part: bytes, positions: dict[str, int], width: int, file: str, first_row: int, defects: list[Defect]
) -> pl.DataFrame:
    """``row``, ``timestamp`` and the quotes of a piece; typed where every line is sound, else text."""
    columns = [pl.col(str(number)).alias(name) for name, number in positions.items()]
    table = _quick(part, positions, width)
    if table is None:
        table, wrong = text_rows(part, width, file)
        defects += [
            Defect(one.file, first_row + one.row - 1 if one.row else None, one.found, one.done, one.rows)
            for one in wrong
        ]
    return table.select((pl.col("row").cast(pl.Int64) + (first_row - 1)).alias("row"), *columns)


def _quick(part: bytes, positions: dict[str, int], width: int) -> pl.DataFrame | None:
    types: dict[str, type[pl.DataType]] = {str(number): pl.String for number in range(width)}
    for name, number in positions.items():
        types[str(number)] = pl.Int64 if name == "timestamp" else pl.Float64
    try:
        table = pl.read_csv(
            io.BytesIO(part),
            has_header=False,
            schema=types,
            quote_char=None,
            row_index_name="row",
            row_index_offset=1,
        )
    except pl.exceptions.PolarsError:
        return None
    n_lines = part.count(b"\n") + (not part.endswith(b"\n"))
    is_whole = table.height == n_lines and not sum(table.null_count().row(0))
    return table if is_whole else None


def _add(sums: _Sums, table: pl.DataFrame, period_ms: tuple[int, int], file: str, defects: list[Defect]) -> None:
    table = within(with_stamps(table, file, defects), period_ms, file, defects)
    if (np.diff(table["stamp"].to_numpy()) < 0).any():
        late = table.filter(pl.col("stamp") < pl.col("stamp").shift(1))
        found = f"its stamp is earlier than that of the row before ({late.height:,} such rows)"
        defects.append(Defect(file, int(late["row"][0]), found, "rows put in order of time", late.height))
        table = table.sort("stamp", maintain_order=True)
    is_before = pl.col("stamp") < sums.last_ms
    what = "is earlier than rows already summed"
    table = without(table, is_before, "timestamp", file, what, "row left out", defects)
    numbers = [pl.col(name).cast(pl.Float64, strict=False).alias(f"_{name}") for name in _QUOTES]
    table = table.with_columns(numbers)
    bid, ask = pl.col("_best_bid_price"), pl.col("_best_ask_price")
    is_quote = (
        pl.all_horizontal(*(pl.col(f"_{name}").is_finite() & (pl.col(f"_{name}") > 0) for name in _QUOTES))
        & (ask > bid)
    ).fill_null(False)
    table = table.with_columns(is_quote.alias("_is_quote"))
    if not table["_is_quote"].all():
        defects += reported(
            table.filter(~pl.col("_is_quote")),
            "best_ask_price",
            file,
            "and the rest of its row make no quote",
            "no quote from there to the next one",
        )
    quotes = table.select(pl.when(pl.col("_is_quote")).then(pl.col(f"_{name}")).otherwise(np.nan) for name in _QUOTES)
    sums.add(table["stamp"].to_numpy(), *(column.to_numpy() for column in quotes))


def _shortened(defects: list[Defect], file: str) -> list[Defect]:
    if len(defects) <= _SHOWN_DEFECTS:
        return defects
    rest = defects[_SHOWN_DEFECTS:]
    n_rows = sum(one.rows for one in rest)
    return [*defects[:_SHOWN_DEFECTS], Defect(file, rest[0].row, f"and {n_rows:,} more rows", "as above", n_rows)]


class _Sums:
    """Time-weighted sums over the bars of a period; holds nothing but them and the last quote."""

    def __init__(self, period_ms: tuple[int, int]) -> None:
        self._start, self._end = period_ms
        n_bars = -(-(self._end - self._start) // BAR_MS)
        self._weight, self._spread, self._bid, self._ask, self._largest = (np.zeros(n_bars) for _ in range(5))
        self._last: tuple[int, tuple[float, ...]] | None = None

    @property
    def last_ms(self) -> int:
        """Time of the newest quote added."""
        return self._start if self._last is None else self._last[0]

    def add(self, times: Integers, bid: Floats, bid_qty: Floats, ask: Floats, ask_qty: Floats) -> None:
        """Quotes in order of time, NaN where there is none; the last one stands until the next call or the end."""
        if len(times) == 0:
            return
        quotes = np.stack([bid, bid_qty, ask, ask_qty])
        if self._last is not None:
            times = np.concatenate([[self._last[0]], times])
            quotes = np.concatenate([np.array(self._last[1])[:, None], quotes], axis=1)
        self._sum(times, quotes, int(times[-1]))
        self._last = int(times[-1]), tuple(float(value) for value in quotes[:, -1])

    def _sum(self, times: Integers, quotes: Floats, end: int) -> None:
        """Add what stood from the first of `times` to `end`, each stretch cut at the bars' bounds."""
        bounds = np.arange((int(times[0]) // BAR_MS + 1) * BAR_MS, end, BAR_MS, dtype=np.int64)
        edges = np.sort(np.concatenate([times[times < end], bounds, [end]]))
        begins = edges[:-1]
        at = np.searchsorted(times, begins, side="right") - 1
        until = np.minimum(edges[1:], times[at] + QUOTE_STALE_MS)
        bid, bid_qty, ask, ask_qty = quotes[:, at]
        weight = np.where(np.isnan(bid), 0, np.maximum(until - begins, 0)).astype(np.float64)
        stood = weight > 0
        weight, bar = weight[stood], ((begins[stood] - self._start) // BAR_MS).astype(np.int64)
        bid, bid_qty, ask, ask_qty = bid[stood], bid_qty[stood], ask[stood], ask_qty[stood]
        spread = (ask - bid) / ((ask + bid) / 2.0) * 1e4
        for total, values in ((self._spread, spread), (self._bid, bid * bid_qty), (self._ask, ask * ask_qty)):
            total += np.bincount(bar, weights=weight * values, minlength=len(total))
        self._weight += np.bincount(bar, weights=weight, minlength=len(self._weight))
        np.maximum.at(self._largest, bar, spread)

    def bars(self) -> pl.DataFrame:
        """The bars that have any cover, after the last quote stood to its end."""
        if self._last is not None:
            time, quote = self._last
            end = min(self._end, time + QUOTE_STALE_MS)
            if end > time:
                self._sum(np.array([time], dtype=np.int64), np.array(quote)[:, None], end)
            self._last = None
        at = np.flatnonzero(self._weight > 0)
        weight = self._weight[at]
        bid, ask = self._bid[at] / weight, self._ask[at] / weight
        return pl.DataFrame(
            {
                "stamp": self._start + at * BAR_MS,
                "mean_spread_bps": self._spread[at] / weight,
                "max_spread_bps": self._largest[at],
                "best_bid_depth_usd": bid,
                "best_ask_depth_usd": ask,
                "book_imbalance": (bid - ask) / (bid + ask),
                "book_coverage": weight / BAR_MS,
            }
        )
