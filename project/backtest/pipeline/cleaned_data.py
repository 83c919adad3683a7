"""Which cleaned bars a search was made on, as one hash."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from backtest.lake.months import month_files
from backtest.lake.paths import DataRoot, Market
from backtest.lake.values_hash import values_hash_of
from backtest.pipeline.cache import canonical_hash

MARKETS: Final[tuple[Market, ...]] = ("perp", "spot")


def cleaned_data_hash(root: DataRoot, symbols: Sequence[str], first: dt.date, end: dt.date) -> str:
    """Hash of the cleaned bars of the symbols on the days [first, end), which all that is tested comes from.

    It is of their values, so that bars that are written anew, by another version, are the same data. Months are taken whole.
    """
    start, stop = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (first, end))
    datasets = [root.cleaned_bars(market, symbol) for market in MARKETS for symbol in symbols]
    files = [path for dataset in datasets for path in month_files(dataset, start, stop)]
    return canonical_hash({path.relative_to(root.path).as_posix(): values_hash_of(path) for path in files})
