"""Which hypotheses of a run get a page of their own."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

MOST_PASSED: Final = 50
MOST_MISSES: Final = 12
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


def with_pages(candidates: pl.DataFrame) -> pl.DataFrame:
    """The passed ones, the best of each event, verb and horizon first, then the nearest misses; at most 62.

    All other hypotheses have their figures in the table and on one page that shows any of them.
    """
    import polars as pl

    from backtest.reports.terminal import nearest_misses

    kind = ("event_type", "template_verb", "horizon")
    passed = (
        candidates.filter("gate_phase2_final")
        .sort("p_value", "candidate_id")
        .with_columns(pl.int_range(pl.len()).over(kind).alias("_rank"))
        .sort("_rank", "after_cost_expectancy", "candidate_id", descending=[False, True, False])
        .head(MOST_PASSED)
        .drop("_rank")
    )
    misses = nearest_misses(candidates, MOST_MISSES).select(candidates.columns)
    return pl.concat([passed, misses])


def file_name(name: str) -> str:
    """A name as a file's name: itself where it is plain, else its plain letters and a digest that tells it from others."""
    if _PLAIN.fullmatch(name) and ".." not in name:
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    return f"{plain or 'x'}-{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}"
