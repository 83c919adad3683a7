"""What a calibration is held to: the bounds of its error rates, power and estimates, each with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from backtest.evaluation.calibration import PROCEDURES
from backtest.evaluation.error_rates import ALL_PLANTED

FULL_NULL_WORLDS: Final = 100
"""From so many null worlds on, half of what is planned, the limits of the full size hold."""
FULL_PLANTED_WORLDS: Final = 20
"""The same for worlds with edges of one strength."""
NULL_KINDS: Final = ("null", "random signs", "shifted days")
"""Kinds of worlds in which every discovery is false, simulated or made of real bars."""
NOMINAL: Final = {"tree_bh": 0.07, "tier_a": 0.02, "significant": 0.07, "confirmed": 0.10}
POWER: Final = {5.0: {"tree_bh": 0.72, "tier_a": 0.55}, 10.0: {"tree_bh": 0.96, "tier_a": 0.85}}
"""What the study behind the method measured, by planted bps; our 95 % interval may not lie below."""


@dataclass(frozen=True)
class Limit:
    """One bound of the benchmark and what was found; nothing found (None) breaks it."""

    text: str
    found: float | None
    least: float
    most: float

    @property
    def is_kept(self) -> bool:
        return self.found is not None and self.least <= self.found <= self.most


def limits(report: Mapping[str, Any]) -> list[Limit]:
    """Every bound that the groups of this report are held to; those of the full size only where there are worlds enough."""
    kept: list[Limit] = []
    for name, group in report.items():
        if group["kind"] in NULL_KINDS:
            is_full = group["worlds"] >= FULL_NULL_WORLDS
            kept += _full_null(name, group) if is_full else _quick_null(name, group)
        elif group["is_planted"]:
            kept += _planted(name, group)
    return kept


def _quick_null(name: str, group: Mapping[str, Any]) -> Iterator[Limit]:
    rate = group["rejection"]["cluster"]["all"]
    yield Limit(f"{name}: rejected at 5 %", rate["0.05"][0], 0.03, 0.075)
    yield Limit(f"{name}: rejected at 1 %", rate["0.01"][0], 0.0, 0.022)
    yield from _counted(name, group, {"tier_a": 0.2, "tree_bh": 0.2, "confirmed": 0.1})
    yield from _tails(name, group)


def _full_null(name: str, group: Mapping[str, Any]) -> Iterator[Limit]:
    rate = group["rejection"]["cluster"]
    yield Limit(f"{name}: rejected at 5 %", rate["all"]["0.05"][0], 0.04, 0.06)
    yield Limit(f"{name}: rejected at 0.1 %", rate["all"]["0.001"][0], 0.0, 0.0015)
    for horizon, entry in rate.items():
        if horizon != "all" and entry["hypotheses"]:
            yield Limit(f"{name}: rejected at 5 %, {horizon}", entry["0.05"][0], 0.0, 0.065)
    share = group["procedures"]["significant"]["share_with_any"]
    yield Limit(f"{name}: share of worlds with any by {PROCEDURES['significant']}", share[0], 0.0, 0.05)
    if group["kind"] == "null":
        yield Limit(f"{name}: upper end of its 95 % interval", share[2], 0.0, 0.08)
    yield from _counted(name, group, {"tier_a": 0.09, "tree_bh": 0.12, "confirmed": 0.04})
    yield from _tails(name, group)


def _counted(name: str, group: Mapping[str, Any], shares: Mapping[str, float]) -> Iterator[Limit]:
    """Worlds with any discovery, at most these shares of the worlds."""
    for procedure, share in shares.items():
        most = float(np.floor(share * group["worlds"] + 1e-9))
        found = group["procedures"][procedure]["worlds_with_any"]
        yield Limit(f"{name}: worlds with any by {PROCEDURES[procedure]}", found, 0.0, most)


def _tails(name: str, group: Mapping[str, Any]) -> Iterator[Limit]:
    """A world of independent normal returns would be passed by any test."""
    tails = group.get("tails")
    if group["kind"] == "null" and tails is not None:
        yield Limit(f"{name}: kurtosis of 5-minute returns", tails["kurtosis"], 20.0, np.inf)
        yield Limit(f"{name}: autocorrelation of |r| at lag 1", tails["autocorrelation_1"], 0.15, np.inf)
        yield Limit(f"{name}: autocorrelation of |r| at lag 288", tails["autocorrelation_288"], 0.05, np.inf)


def _planted(name: str, group: Mapping[str, Any]) -> Iterator[Limit]:
    procedures, worlds = group["procedures"], group["worlds"]
    if worlds < FULL_PLANTED_WORLDS:
        if group["kind"] == "planted" and group["bps"] == 10.0 and name != ALL_PLANTED:
            share = procedures["tree_bh"]["event_found"][0]
            yield Limit(f"{name}: share of worlds in which TreeBH finds the planted event", share, 5 / 6 - 1e-9, 1.0)
        return
    for procedure, most in NOMINAL.items():
        share = procedures[procedure]["false_share"][0]
        yield Limit(f"{name}: false share by {PROCEDURES[procedure]}", share, 0.0, most)
    for procedure in ("significant", "confirmed"):
        if procedures[procedure]["means"]:
            covered = procedures[procedure]["coverage"][0]
            yield Limit(f"{name}: coverage of 90 % intervals, {PROCEDURES[procedure]}", covered, 0.85, 1.0)
    if name == ALL_PLANTED:
        below = procedures["economic"]["pooled_false_share"][0]
        yield Limit(f"{name}: share of those {PROCEDURES['economic']} whose true effect is below", below, 0.0, 0.05)
    if procedures["confirmed"]["means"] and procedures["confirmed"]["mean_truth_bps"][0]:
        shrunk, truth = (procedures["confirmed"][f"mean_{each}_bps"][0] for each in ("shrunk", "truth"))
        yield Limit(f"{name}: mean shrunk estimate over mean truth, confirmed", shrunk / truth, 0.85, 1.15)
    ratio = group["squared_error_ratio"].get("ratio")
    yield Limit(f"{name}: error of the shrunk estimates over that of the raw ones", ratio, 0.0, 0.5)
    if group["kind"] == "planted" and name != ALL_PLANTED:
        for procedure, least in POWER.get(group["bps"], {}).items():
            upper = procedures[procedure]["trade_found"][2]
            yield Limit(
                f"{name}: upper end of the share that finds the trade, {PROCEDURES[procedure]}", upper, least, 1.0
            )
    if group["kind"] == "net":
        share = procedures["confirmed"]["trade_found"][0]
        yield Limit(f"{name}: share of worlds in which the planted trade is confirmed", share, 0.90, 1.0)
