"""Calendar quarters, the fixed partitions in which features are built."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable


def quarters(start: dt.datetime, end: dt.datetime) -> list[tuple[int, int]]:
    """Year and number (1 to 4) of the quarters that [start, end) touches, oldest first."""
    last = end - dt.timedelta.resolution
    first_index, last_index = start.year * 4 + (start.month - 1) // 3, last.year * 4 + (last.month - 1) // 3
    return [(index // 4, index % 4 + 1) for index in range(first_index, last_index + 1)]


def quarter_name(moment: dt.datetime) -> str:
    """The quarter a moment lies in, such as ``2024Q1``."""
    return f"{moment.year}Q{(moment.month + 2) // 3}"


def newest_first(partitions: Iterable[str]) -> list[str]:
    """Partitions such as ``perp.BTCUSDT.2024Q1`` by their quarters, those of one quarter in their order.

    New data come at the end: what they change then runs while it is asked whether anything else has changed.
    """
    return sorted(partitions, key=lambda partition: partition.rpartition(".")[2], reverse=True)


def quarter_bounds(quarter: str) -> tuple[dt.datetime, dt.datetime]:
    """First bar and end (exclusive) of a quarter such as ``2024Q1``."""
    year, number = int(quarter[:4]), int(quarter[5])
    start = dt.datetime(year, 3 * number - 2, 1, tzinfo=dt.UTC)
    return start, dt.datetime(year + number // 4, 3 * number % 12 + 1, 1, tzinfo=dt.UTC)
