"""Which of a search's blueprints one account trades: few, each on another event, and not the same bet twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from backtest.spec.strategies import PortfolioSettings
    from backtest.strategies.blueprints import Blueprint


def few_of(
    blueprints: Sequence[Blueprint], days: Mapping[str, Mapping[int, float]], settings: PortfolioSettings
) -> list[Blueprint]:
    """The blueprints that an account trades together, the surest first.

    They are asked in the order of the lower end of the 90 % interval of what is left after cost. One is taken where its event
    has fewer than ``most_per_event`` already, and where the results of its days correlate with those of each one taken by at
    most ``max_correlation``; until there are ``most``. The states, symbols and horizons of one event overlap: traded together
    they would be one bet many times over.

    Parameters
    ----------
    days : by blueprint id the sum of its trades' returns on each day of the discovery fold (fraction); a day without is zero.
    settings : PortfolioSettings
    """
    taken: list[Blueprint] = []
    for one in sorted(blueprints, key=lambda each: (each.cost - each.posterior_low, each.blueprint_id)):
        if len(taken) == settings.most:
            break
        if sum(other.event_type == one.event_type for other in taken) >= settings.most_per_event:
            continue
        own = days[one.blueprint_id]
        if all(correlation(own, days[other.blueprint_id]) <= settings.max_correlation for other in taken):
            taken.append(one)
    return taken


def correlation(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """Correlation of two series of days over all days that either has, a missing one being zero; 0 where one is constant."""
    every = sorted(first.keys() | second.keys())
    x, y = (np.array([series.get(day, 0.0) for day in every]) for series in (first, second))
    if len(every) < 2 or not x.std() or not y.std():
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
