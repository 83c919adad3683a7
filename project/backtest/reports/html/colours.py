"""One fixed colour for each event type: its family's hue, in a shade of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

N_HUES: Final = 10
N_SHADES: Final = 3


def event_classes(families: Mapping[str, str]) -> dict[str, str]:
    """CSS classes of each event type, from the family of every event type there is.

    The hue is the family's and the shade the event's rank in it, so that an event looks the same on every page of every report
    made with the same spec. Colour is never the only sign: wherever several events are shown, their names stand beside them.
    """
    hues = {family: number % N_HUES for number, family in enumerate(sorted(set(families.values())))}
    ranks: dict[str, int] = {}
    classes = {}
    for event, family in sorted(families.items()):
        rank = ranks.get(family, 0)
        ranks[family] = rank + 1
        classes[event] = f"hue{hues[family]} shade{rank % N_SHADES}"
    return classes
