"""Which occurrences are kept: each kept one silences its event type for its cooldown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.expressions.compiling import Integers, machine_code

if TYPE_CHECKING:
    from backtest.spec.compiled import CompiledEvent

BAR_MS: Final = 300_000
_BEFORE_ALL: Final = np.iinfo(np.int64).min


def outside_cooldowns(hits: pl.DataFrame, events: Iterable[CompiledEvent]) -> pl.DataFrame:
    """The hits of one symbol that are kept, in the events' order; those of other types are not.

    Those of a type are in order of time, wherever other types' hits lie between them.
    """
    cooldowns = {event.model.event_type: event.model.cooldown_bars for event in events}
    numbers = hits["event_type"].cast(pl.Enum(list(cooldowns)), strict=False).to_physical().cast(pl.UInt16)
    types = numbers.fill_null(len(cooldowns)).to_numpy()
    bars = hits["timestamp"].dt.timestamp("ms").to_numpy() // BAR_MS
    kept = np.flatnonzero(_kept(types, bars, np.array([*cooldowns.values()], dtype=np.int64)))
    # A stable sort of small numbers takes time in proportion to the rows.
    return hits[kept[np.argsort(types[kept], kind="stable")]]


def outside_cooldown(hits: Integers, cooldown_bars: int) -> Integers:
    """The hits kept when each kept one silences those at most `cooldown_bars` after it; ascending positions."""
    return hits[_kept(np.zeros(hits.size, np.uint16), hits, np.array([cooldown_bars]))]


@machine_code
def _kept(types: NDArray[np.uint16], bars: Integers, cooldowns: Integers) -> NDArray[np.bool_]:
    """Whether each hit is kept; `types` number the cooldowns, and a number beyond them is of a type that is not kept."""
    silent_until = np.full(cooldowns.size, _BEFORE_ALL)
    kept = np.zeros(types.size, np.bool_)
    for hit in range(types.size):
        own = types[hit]
        if own < cooldowns.size and bars[hit] > silent_until[own]:
            kept[hit] = True
            silent_until[own] = bars[hit] + cooldowns[own]
    return kept
