"""Error rates and power over many worlds, with intervals: worlds are independent, the hypotheses of one are not.

References
----------
Clopper & Pearson (1934), Biometrika 26: intervals of a share of worlds. Cochran (1977), Sampling Techniques: the ratio of
two sums over independent units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from backtest.evaluation.calibration import LEVELS, PROCEDURES, WorldFigures

Interval = list[float]
"""Value, and the lower and upper end of its 95 % interval; ends are NaN where one world tells nothing of them."""
ALL_PLANTED: Final = "all planted"
WITHOUT_ESTIMATES: Final = frozenset({"naive_bh", "grouped_bh"})


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial share; (0, 1) without trials."""
    from scipy.special import betaincinv

    if trials == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, trials - successes, 1.0 - tail)) if successes < trials else 1.0
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean over worlds and its Student interval."""
    from scipy.special import stdtrit

    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return float("nan"), float("nan"), float("nan")
    mean = float(array.mean())
    if len(array) == 1:
        return mean, float("nan"), float("nan")
    half = float(stdtrit(len(array) - 1, 0.5 + confidence / 2) * array.std(ddof=1) / np.sqrt(len(array)))
    return mean, mean - half, mean + half


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Σ numerator / Σ denominator over worlds and its interval by linearisation; NaN where nothing is counted."""
    from scipy.special import stdtrit

    above, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    total, worlds = float(below.sum()), len(below)
    if total == 0:
        return float("nan"), float("nan"), float("nan")
    ratio = float(above.sum()) / total
    if worlds == 1:
        return ratio, float("nan"), float("nan")
    error = np.sqrt(worlds / (worlds - 1) * ((above - ratio * below) ** 2).sum()) / total
    half = float(stdtrit(worlds - 1, 0.5 + confidence / 2) * error)
    return ratio, ratio - half, ratio + half


def summary(worlds: Sequence[WorldFigures]) -> dict[str, Any]:
    """The report of a calibration as plain numbers, by group of worlds; planted ones also all together.

    Shares are fractions, returns bps per trade; each is an `Interval`, null where there is nothing to tell.
    """
    groups: dict[str, list[WorldFigures]] = {}
    for world in worlds:
        groups.setdefault(world.group, []).append(world)
    planted = [world for world in worlds if world.is_planted]
    if planted:
        groups[ALL_PLANTED] = planted
    return {name: _group(members) for name, members in groups.items()}


def _group(worlds: Sequence[WorldFigures]) -> dict[str, Any]:
    is_planted = worlds[0].is_planted
    figures: dict[str, Any] = {
        "kind": worlds[0].kind,
        "bps": worlds[0].bps,
        "worlds": len(worlds),
        "is_planted": is_planted,
        "hypotheses": float(np.mean([world.n_hypotheses for world in worlds])),
        "eligible": float(np.mean([world.n_eligible for world in worlds])),
        "seconds_per_world": float(np.mean([world.seconds for world in worlds])),
        "procedures": {name: _procedure(worlds, name, is_planted=is_planted) for name in PROCEDURES},
    }
    if is_planted:
        figures["planted"] = [world.planted for world in worlds]
        figures["worlds_with_trade"] = sum(world.has_tested_trade for world in worlds)
        figures["planted_events"] = float(np.mean([world.n_planted_events for world in worlds]))
        figures["squared_error_ratio"] = _squared_error_ratio(worlds)
    else:
        figures["rejection"] = {kind: _rates(worlds, kind) for kind in ("cluster", "naive")}
    tails = [world.tails for world in worlds if world.tails is not None]
    if tails:
        figures["tails"] = dict(
            zip(
                ("kurtosis", "autocorrelation_1", "autocorrelation_288"), np.median(tails, axis=0).tolist(), strict=True
            )
        )
    return figures


def _procedure(worlds: Sequence[WorldFigures], name: str, *, is_planted: bool) -> dict[str, Any]:
    found = [world.found[name] for world in worlds]
    any_found = sum(each.discoveries > 0 for each in found)
    entry: dict[str, Any] = {
        "worlds_with_any": any_found,
        "share_with_any": [any_found / len(worlds), *clopper_pearson(any_found, len(worlds))],
        "mean_discoveries": float(np.mean([each.discoveries for each in found])),
        "false_share": _told(mean_interval([each.false / max(each.discoveries, 1) for each in found])),
    }
    if not is_planted:
        return entry
    counts, means = [each.discoveries for each in found], [each.means for each in found]
    events = sum(each.has_event for each in found)
    tested = [each.has_trade for world, each in zip(worlds, found, strict=True) if world.has_tested_trade]
    entry |= {
        "discoveries": sum(counts),
        "pooled_false_share": _told(ratio_interval([each.false for each in found], counts)),
        "power": _told(
            mean_interval(
                [
                    each.relevant / world.n_relevant
                    for world, each in zip(worlds, found, strict=True)
                    if world.n_relevant
                ]
            )
        ),
        "trade_found": [sum(tested) / len(tested), *clopper_pearson(sum(tested), len(tested))]
        if tested
        else [None] * 3,
        "event_found": [events / len(worlds), *clopper_pearson(events, len(worlds))],
    }
    if name not in WITHOUT_ESTIMATES:
        for field in ("truth", "raw", "shrunk"):
            entry[f"mean_{field}_bps"] = _told(ratio_interval([getattr(each, field) for each in found], means))
        entry["means"] = sum(means)
        entry["coverage"] = _told(ratio_interval([each.covered for each in found], means))
    return entry


def _told(interval: tuple[float, float, float]) -> list[float | None]:
    """An interval with null for what is not a number, so that it can be written as JSON."""
    return [value if np.isfinite(value) else None for value in interval]


def _squared_error_ratio(worlds: Sequence[WorldFigures]) -> dict[str, float]:
    """Root mean squared errors of all eligible hypotheses of all worlds, in bps, and shrunk over raw."""
    n, raw, shrunk = np.sum([world.squared_errors for world in worlds], axis=0)
    if not n:
        return {}
    return {
        "raw_rmse_bps": float(np.sqrt(raw / n)),
        "shrunk_rmse_bps": float(np.sqrt(shrunk / n)),
        "ratio": float(np.sqrt(shrunk / raw)),
    }


def _rates(worlds: Sequence[WorldFigures], kind: str) -> dict[str, dict[str, Any]]:
    """By horizon and over all: hypotheses, and at each level the pooled rate with its interval over worlds."""
    horizons = sorted(
        {horizon for world in worlds for horizon in world.rejected[kind]}, key=lambda text: (len(text), text)
    )
    rates = {}
    for horizon in ("all", *horizons):
        counts = np.array([_counts(world.rejected[kind], horizon) for world in worlds])
        entry: dict[str, Any] = {"hypotheses": int(counts[:, 0].sum())}
        for column, level in enumerate(LEVELS, start=1):
            entry[f"{level:g}"] = _told(ratio_interval(counts[:, column].tolist(), counts[:, 0].tolist()))
        rates[horizon] = entry
    return rates


def _counts(by_horizon: Mapping[str, Sequence[int]], horizon: str) -> list[int]:
    chosen = by_horizon.values() if horizon == "all" else [by_horizon.get(horizon, [0] * (1 + len(LEVELS)))]
    return [sum(column) for column in zip(*chosen, strict=True)] or [0] * (1 + len(LEVELS))
