"""Error rates and power of the search, from worlds in which the truth of every hypothesis is known.

Compares what the gates let through with what plainer procedures would have found in the same worlds.

References
----------
Clopper & Pearson (1934), Biometrika 26: intervals of a share of worlds. Benjamini & Hochberg (1995), JRSS-B 57.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from backtest.discovery.day_rows import DayRows
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import KEY
from backtest.discovery.inference import segment_sums
from backtest.discovery.multiplicity import benjamini_hochberg

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

LEVELS: Final = (0.05, 0.01, 0.001)
PLAIN_LEVEL: Final = 0.05
PROCEDURES: Final = {
    "naive_bh": "naive t + BH .05",
    "grouped_bh": "BH .05 within event, verb and horizon",
    "cluster_bh": "day clusters + BH .05",
    "bonferroni": "day clusters + Bonferroni .05",
    "tree_bh": "day clusters + TreeBH",
    "tier_a": "tier A (family-wise)",
    "confirmed": "confirmed on the untouched fold",
    "final": "all gates",
}
"""Name of a procedure and how it reads in the report, plain ones first."""
ECONOMIC: Final = frozenset({"final"})
"""Procedures that claim a return above costs: a discovery is false where the truth is at most its cost."""
RELEVANT_SHARE: Final = 0.5
"""Power counts hypotheses whose truth is at least this share of the planted mean return."""


@dataclass(frozen=True)
class Judged:
    """Every hypothesis of one world with its truth, in the order of the register; figures in the register's own direction.

    `truth` and `cost` are fractions per trade; `found` says by procedure what it reports, `sign` in which direction.
    """

    horizon: Sequence[str]
    eligible: Booleans
    p_cluster: Floats
    p_naive: Floats
    truth: Floats
    cost: Floats
    found: Mapping[str, Booleans]
    sign: Mapping[str, Floats]
    expectancy: Floats


@dataclass(frozen=True)
class WorldFigures:
    """What one world contributes to the report: counts only."""

    kind: str
    bps: float
    n_eligible: int
    rejected: dict[str, dict[str, list[int]]]
    """By kind of p-value (``cluster``, ``naive``) and horizon: hypotheses tested, then rejected at each of `LEVELS`."""
    discoveries: dict[str, int]
    false: dict[str, int]
    n_relevant: int
    relevant_found: dict[str, int]
    event_found: dict[str, bool]
    """Whether a procedure reports the planted event at all, in the planted direction."""
    effect: dict[str, list[float]] = field(default_factory=dict)
    """Of confirmed and final ones: number, Σ estimate and Σ truth in bps."""
    planted: str = ""


def judged(register: pl.DataFrame, rows: DayRows, candidates: pl.DataFrame, folds: Folds) -> Judged:
    """Truth and verdicts of each hypothesis; p-values and truth from the discovery fold.

    Parameters
    ----------
    register, rows, candidates : of one search; the truth is zero where `rows` have no ``sum_truth``.
    folds : Folds
    """
    size = len(register)
    ordered = register.select(KEY).join(candidates, on=KEY, how="left", maintain_order="left")
    cut = int(np.datetime64(folds.confirmation_start, "D").astype(np.int64))
    first = rows.where(rows.day < cut)
    n = segment_sums(first.n.astype(np.float64), first.owner, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = segment_sums(first.sums["sum_y"], first.owner, size) / n
        variance = (segment_sums(first.sums["sum_y2"], first.owner, size) - n * mean**2) / (n - 1)
        naive_t = mean / np.sqrt(variance / n)
        summed = first.sums.get("sum_truth")
        truth = np.zeros(size) if summed is None else segment_sums(summed, first.owner, size) / n
    eligible = ordered["gate_eligible"].to_numpy()
    can_with, can_against = (register[name].is_not_null().to_numpy() for name in ("with_verb", "against_verb"))
    naive_sign = np.where(can_with & can_against, np.where(naive_t < 0, -1.0, 1.0), np.where(can_with, 1.0, -1.0))
    one_sided = stats.t.sf(naive_sign * naive_t, np.maximum(n - 1, 1))
    p_naive = np.where(eligible, np.where(can_with & can_against, 2 * one_sided, one_sided), np.nan)
    p_cluster = ordered["p_value"].fill_null(np.nan).to_numpy()
    sign = ordered["direction"].to_numpy().astype(np.float64)
    group = register.select(pl.concat_str("event_type", "policy", "horizon", separator="/")).to_series().to_list()
    found = {
        "naive_bh": _within(p_naive, eligible, ["all"] * size),
        "grouped_bh": _within(p_naive, eligible, group),
        "cluster_bh": _within(p_cluster, eligible, ["all"] * size),
        "bonferroni": eligible & (p_cluster <= PLAIN_LEVEL / max(int(eligible.sum()), 1)),
        "tree_bh": ordered["gate_tree_bh"].to_numpy(),
        "tier_a": ordered["gate_tier_a"].to_numpy(),
        "confirmed": ordered["gate_confirmed"].to_numpy(),
        "final": ordered["gate_phase2_final"].to_numpy(),
    }
    return Judged(
        horizon=register["horizon"].to_list(),
        eligible=eligible,
        p_cluster=p_cluster,
        p_naive=p_naive,
        truth=np.nan_to_num(truth),
        cost=ordered["cost"].fill_null(np.nan).to_numpy(),
        found=found,
        sign={name: naive_sign if name in ("naive_bh", "grouped_bh") else sign for name in PROCEDURES},
        expectancy=ordered["expectancy"].fill_null(np.nan).to_numpy(),
    )


def _within(p: Floats, eligible: Booleans, groups: Sequence[str]) -> Booleans:
    """Benjamini–Hochberg at the plain level among the eligible of each group."""
    found = np.zeros(len(p), dtype=bool)
    names = np.asarray(groups)
    for name in np.unique(names):
        at = np.flatnonzero(eligible & (names == name))
        found[at] = benjamini_hochberg(p[at], PLAIN_LEVEL)
    return found


def world_figures(world: Judged, *, kind: str, bps: float, planted: str, of_event: Booleans) -> WorldFigures:
    """Counts of one world.

    Parameters
    ----------
    world : Judged
    kind : ``null``, ``planted`` or the name of a stress.
    bps : mean return planted over the edge's horizon; 0 in a null world.
    planted : the edge in words.
    of_event : (m,) hypotheses of the planted event type.
    """
    relevant = world.eligible & (np.abs(world.truth) >= max(RELEVANT_SHARE * bps * 1e-4, 1e-9)) & of_event
    discoveries, false, relevant_found, event_found, effect = {}, {}, {}, {}, {}
    for name in PROCEDURES:
        found, gained = world.found[name], world.sign[name] * world.truth
        bound = np.maximum(world.cost, 0.0) if name in ECONOMIC else np.zeros(len(gained))
        discoveries[name] = int(found.sum())
        false[name] = int((found & (gained <= bound)).sum())
        relevant_found[name] = int((found & relevant & (gained > 0)).sum())
        event_found[name] = bool((found & of_event & (gained > 0)).any())
        if name in ("confirmed", "final"):
            estimated = world.expectancy[found]
            effect[name] = [float(found.sum()), float(estimated.sum() * 1e4), float(gained[found].sum() * 1e4)]
    return WorldFigures(
        kind=kind,
        bps=bps,
        n_eligible=int(world.eligible.sum()),
        rejected={"cluster": _rejected(world, world.p_cluster), "naive": _rejected(world, world.p_naive)},
        discoveries=discoveries,
        false=false,
        n_relevant=int(relevant.sum()),
        relevant_found=relevant_found,
        event_found=event_found,
        effect=effect,
        planted=planted,
    )


def _rejected(world: Judged, p: Floats) -> dict[str, list[int]]:
    horizons = np.asarray(world.horizon)
    counts = {}
    for horizon in sorted(set(world.horizon)):
        own = p[world.eligible & (horizons == horizon)]
        counts[horizon] = [len(own), *(int((own <= level).sum()) for level in LEVELS)]
    return counts


# -- over worlds --------------------------------------------------------------------------------------------


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial share; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = float(stats.beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(stats.beta.ppf(1.0 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean over worlds and its Student interval: worlds are independent, hypotheses in one are not."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return float("nan"), float("nan"), float("nan")
    mean = float(array.mean())
    if len(array) == 1:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.5 + confidence / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return mean, mean - half, mean + half


def summary(worlds: Sequence[WorldFigures]) -> dict[str, Any]:
    """The report of a calibration as plain numbers, by kind of world and planted bps."""
    groups: dict[str, list[WorldFigures]] = {}
    for world in worlds:
        groups.setdefault(f"{world.kind} {world.bps:g} bps" if world.bps else world.kind, []).append(world)
    return {name: _group(members) for name, members in groups.items()}


def _group(worlds: Sequence[WorldFigures]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "worlds": len(worlds),
        "eligible": float(np.mean([world.n_eligible for world in worlds])),
        "rejection": {kind: _rates(worlds, kind) for kind in ("cluster", "naive")},
        "procedures": {},
    }
    is_planted = worlds[0].bps > 0
    for name in PROCEDURES:
        any_found = sum(world.discoveries[name] > 0 for world in worlds)
        entry: dict[str, Any] = {
            "worlds_with_any": any_found,
            "share_with_any": [any_found / len(worlds), *clopper_pearson(any_found, len(worlds))],
            "mean_discoveries": float(np.mean([world.discoveries[name] for world in worlds])),
            "false_share": list(
                mean_interval([world.false[name] / max(world.discoveries[name], 1) for world in worlds])
            ),
        }
        if is_planted:
            powers = [world.relevant_found[name] / world.n_relevant for world in worlds if world.n_relevant]
            entry["power"] = list(mean_interval(powers))
            entry["event_found"] = sum(world.event_found[name] for world in worlds)
        if name in worlds[0].effect:
            count, estimate, truth = np.sum([world.effect[name] for world in worlds], axis=0)
            if count:
                entry["mean_estimate_bps"], entry["mean_truth_bps"] = float(estimate / count), float(truth / count)
        figures["procedures"][name] = entry
    if is_planted:
        figures["planted"] = [world.planted for world in worlds]
    return figures


def _rates(worlds: Sequence[WorldFigures], kind: str) -> dict[str, dict[str, Any]]:
    """By horizon and over all: hypotheses, and at each level the pooled rate with its interval over worlds."""
    horizons = sorted(
        {horizon for world in worlds for horizon in world.rejected[kind]}, key=lambda text: (len(text), text)
    )
    rates = {}
    for horizon in ("all", *horizons):
        counts = np.array(
            [
                np.sum([c for name, c in world.rejected[kind].items() if horizon in ("all", name)] or [[0] * 4], axis=0)
                for world in worlds
            ]
        )
        entry: dict[str, Any] = {"hypotheses": int(counts[:, 0].sum())}
        for column, level in enumerate(LEVELS, start=1):
            tested = counts[counts[:, 0] > 0]
            pooled = float(counts[:, column].sum() / max(counts[:, 0].sum(), 1))
            _, low, high = mean_interval(list(tested[:, column] / tested[:, 0]))
            entry[f"{level:g}"] = [pooled, low, high]
        rates[horizon] = entry
    return rates


@dataclass(frozen=True)
class Limit:
    """One bound of the benchmark and what was found."""

    text: str
    found: float
    least: float
    most: float

    @property
    def is_kept(self) -> bool:
        return self.least <= self.found <= self.most


def limits(report: Mapping[str, Any]) -> list[Limit]:
    """The bounds a calibration is held to; counts of worlds scale with their number."""
    kept = []
    null = report.get("null")
    if null is not None:
        worlds = null["worlds"]
        is_full = worlds >= 100
        rate = null["rejection"]["cluster"]
        least, most = (0.04, 0.06) if is_full else (0.03, 0.075)
        kept.append(Limit("null: rejected at 5 %", rate["all"]["0.05"][0], least, most))
        if is_full:
            kept.append(Limit("null: rejected at 0.1 %", rate["all"]["0.001"][0], 0.0, 0.002))
            kept += [
                Limit(f"null: rejected at 5 %, {horizon}", entry["0.05"][0], 0.0, 0.065)
                for horizon, entry in rate.items()
                if horizon != "all"
            ]
        else:
            kept.append(Limit("null: rejected at 1 %", rate["all"]["0.01"][0], 0.0, 0.022))
        shares = {"tier_a": 0.09, "tree_bh": 0.12, "confirmed": 0.04} if is_full else None
        shares = shares or {"tier_a": 0.2, "tree_bh": 0.2, "confirmed": 0.1}
        kept += [
            Limit(f"null: worlds with any by {PROCEDURES[name]}", null["procedures"][name]["worlds_with_any"], 0,
                  float(np.floor(share * worlds + 1e-9)))
            for name, share in shares.items()
        ]  # fmt: skip
    for name, group in report.items():
        if not name.startswith("planted"):
            continue
        procedures, worlds = group["procedures"], group["worlds"]
        if worlds >= 20:
            for procedure, most in {"tree_bh": 0.10, "confirmed": 0.10, "tier_a": 0.05}.items():
                share = procedures[procedure]["false_share"][0]
                kept.append(Limit(f"{name}: false share by {PROCEDURES[procedure]}", share, 0.0, most))
        if name == "planted 10 bps":
            found = procedures["tree_bh"]["event_found"]
            kept.append(
                Limit(f"{name}: worlds in which TreeBH finds the planted event", found, worlds * 5 // 6, worlds)
            )
    return kept
