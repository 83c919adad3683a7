"""Error rates and power of the search, from worlds in which the truth of every hypothesis is known.

Compares what the gates let through with what plainer procedures would have found in the same worlds.

References
----------
Clopper & Pearson (1934), Biometrika 26: intervals of a share of worlds. Benjamini & Hochberg (1995), JRSS-B 57.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    "grouped_bh": "naive t + BH .05 within event, verb and horizon",
    "bonferroni": "day clusters + Bonferroni .05",
    "cluster_bh": "day clusters + BH .05",
    "tree_bh": "day clusters + TreeBH",
    "tier_a": "tier A (family-wise)",
    "significant": "TreeBH or tier A (default level)",
    "confirmed": "confirmed on the untouched fold",
    "economic": "confirmed and above cost",
    "final": "all gates",
}
"""Name of a procedure and how it reads in the report, plain ones first."""
PLAIN: Final = ("naive_bh", "grouped_bh", "bonferroni", "cluster_bh")
"""Procedures that others use, in the same worlds."""
ON_NAIVE_T: Final = frozenset({"naive_bh", "grouped_bh"})
ECONOMIC: Final = frozenset({"economic", "final"})
"""Procedures that claim a return above costs: a discovery is false where the truth is at most its cost."""
RELEVANT_SHARE: Final = 0.5
"""Power counts hypotheses whose truth is at least this share of the planted mean return."""
SAME_TRADE: Final = 0.8
"""A hypothesis at the planted horizon is the planted trade where its truth is at least this share of what was planted."""
BPS: Final = 1e-4
PLANTED: Final = {
    "planted": "planted {bps:g} bps",
    "net": "planted cost + {bps:g} bps",
    "weak": "many weak edges of {bps:g} bps",
}
"""Kinds of worlds that hold edges, and how a group of them is called; every other kind is called by its own name."""


@dataclass(frozen=True)
class Judged:
    """Every hypothesis of one world with its truth, in the order of the register.

    `truth` and `cost` are fractions per trade, truth in the event's own direction; `found` says by procedure what it
    reports, `sign` in which direction. `expectancy` and the posterior figures are those of the trade, in its direction.
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
    posterior_mean: Floats
    posterior_low: Floats
    posterior_high: Floats


@dataclass(frozen=True)
class Found:
    """What one procedure reported in one world; sums over its discoveries, in bps per trade."""

    discoveries: int = 0
    false: int = 0
    relevant: int = 0
    """How many of the relevant hypotheses it found, in the right direction."""
    has_trade: bool = False
    """Whether it reports a planted trade itself: over all states and symbols, at the planted horizon."""
    has_event: bool = False
    """Whether it reports a planted event at all, in the planted direction."""
    truth: float = 0.0
    raw: float = 0.0
    shrunk: float = 0.0
    covered: int = 0
    """Discoveries whose 90 % interval holds the truth."""


@dataclass(frozen=True)
class WorldFigures:
    """What one world contributes to the report: counts and sums only.

    Attributes
    ----------
    kind, bps : of the world; bps is 0 where nothing is planted.
    n_hypotheses, n_eligible : in the register, and those that were tested.
    rejected : by kind of p-value (``cluster``, ``naive``) and horizon: tested, then rejected at each of `LEVELS`.
    found : by procedure.
    n_relevant : hypotheses of planted events whose truth is at least half of what was planted.
    squared_errors : of all eligible hypotheses with an estimate: their number, Σ(raw − truth)² and Σ(shrunk − truth)², bps².
    planted : the edges in words.
    n_planted_events : occurrences of the planted events over all symbols.
    tails : kurtosis of 5-minute returns, autocorrelation of their size at lags 1 and 288; the least over symbols.
    seconds : CPU time the world took.
    """

    kind: str
    bps: float
    n_hypotheses: int
    n_eligible: int
    rejected: dict[str, dict[str, list[int]]]
    found: dict[str, Found]
    n_relevant: int = 0
    squared_errors: tuple[float, float, float] = (0.0, 0.0, 0.0)
    planted: str = ""
    n_planted_events: int = 0
    tails: tuple[float, float, float] | None = None
    seconds: float = 0.0

    @property
    def group(self) -> str:
        return PLANTED[self.kind].format(bps=self.bps) if self.kind in PLANTED else self.kind

    @property
    def is_planted(self) -> bool:
        return self.kind in PLANTED

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> WorldFigures:
        """Figures from what `dataclasses.asdict` made of them."""
        tails = value["tails"]
        return cls(
            **{
                **value,
                "found": {name: Found(**entry) for name, entry in value["found"].items()},
                "squared_errors": tuple(value["squared_errors"]),
                "tails": None if tails is None else tuple(tails),
            }
        )


def judged(register: pl.DataFrame, rows: DayRows, candidates: pl.DataFrame, folds: Folds) -> Judged:
    """Truth and verdicts of each hypothesis; p-values and truth from the discovery fold.

    Parameters
    ----------
    register, rows, candidates : of one search; the truth is zero where `rows` have no ``sum_truth``.
    folds : Folds
    """
    size = len(register)
    ordered = register.select(KEY).join(candidates, on=KEY, how="left", maintain_order="left")
    first = rows.where(rows.day < folds.first_confirmation_day)
    n = segment_sums(first.n.astype(np.float64), first.owner, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = segment_sums(first.sums["sum_y"], first.owner, size) / n
        variance = (segment_sums(first.sums["sum_y2"], first.owner, size) - n * mean**2) / (n - 1)
        naive_t = mean / np.sqrt(variance / n)
        summed = first.sums.get("sum_truth")
        truth = np.zeros(size) if summed is None else segment_sums(summed, first.owner, size) / n

    def figures(name: str) -> Floats:
        return ordered[name].fill_null(np.nan).to_numpy()

    eligible = ordered["gate_eligible"].to_numpy()
    can_with, can_against = (register[name].is_not_null().to_numpy() for name in ("with_verb", "against_verb"))
    naive_sign = np.where(can_with & can_against, np.where(naive_t < 0, -1.0, 1.0), np.where(can_with, 1.0, -1.0))
    one_sided = stats.t.sf(naive_sign * naive_t, np.maximum(n - 1, 1))
    p_naive = np.where(eligible, np.where(can_with & can_against, 2 * one_sided, one_sided), np.nan)
    p_cluster = figures("p_value")
    sign = ordered["direction"].to_numpy().astype(np.float64)
    everything = np.zeros(size, dtype=np.int64)
    groups = register.select(pl.struct("event_type", "policy", "horizon").rank("dense")).to_series().to_numpy()
    gates = {name: ordered[f"gate_{name}"].to_numpy() for name in ("tree_bh", "tier_a", "significant", "confirmed")}
    above_cost = ordered["gate_economic"].to_numpy() & ordered["gate_economic_conservative"].to_numpy()
    found = {
        "naive_bh": _within(p_naive, eligible, everything),
        "grouped_bh": _within(p_naive, eligible, groups),
        "bonferroni": eligible & (p_cluster <= PLAIN_LEVEL / max(int(eligible.sum()), 1)),
        "cluster_bh": _within(p_cluster, eligible, everything),
        **gates,
        "economic": gates["confirmed"] & above_cost,
        "final": ordered["gate_phase2_final"].to_numpy(),
    }
    return Judged(
        horizon=register["horizon"].to_list(),
        eligible=eligible,
        p_cluster=p_cluster,
        p_naive=p_naive,
        truth=np.nan_to_num(truth),
        cost=figures("cost"),
        found=found,
        sign={name: naive_sign if name in ON_NAIVE_T else sign for name in PROCEDURES},
        expectancy=figures("expectancy"),
        posterior_mean=figures("posterior_mean"),
        posterior_low=figures("posterior_low"),
        posterior_high=figures("posterior_high"),
    )


def _within(p: Floats, eligible: Booleans, groups: NDArray[np.integer[Any]]) -> Booleans:
    """Benjamini–Hochberg at the plain level among the eligible of each group."""
    found = np.zeros(len(p), dtype=bool)
    chosen = np.flatnonzero(eligible)
    by_group = chosen[np.argsort(groups[chosen], kind="stable")]
    for at in np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1):
        found[at] = benjamini_hochberg(p[at], PLAIN_LEVEL)
    return found


def world_figures(
    world: Judged,
    *,
    kind: str,
    bps: float,
    planted_bps: float,
    of_event: Booleans,
    of_trade: Booleans,
    **described: Any,
) -> WorldFigures:
    """Counts of one world.

    Parameters
    ----------
    world : Judged
    kind, bps : of the world.
    planted_bps : mean return planted over an edge's horizon; 0 in a world without edges.
    of_event, of_trade : (m,) hypotheses of planted event types; those at the planted horizon over all states and symbols,
        the planted trade among them.
    described : further fields of `WorldFigures`, taken as they are.
    """
    relevant = world.eligible & (np.abs(world.truth) >= max(RELEVANT_SHARE * planted_bps * BPS, 1e-9)) & of_event
    same = of_trade & (np.abs(world.truth) >= SAME_TRADE * planted_bps * BPS)
    turned = world.sign["significant"]
    raw, shrunk = (
        (each - turned * world.truth)[world.eligible] / BPS for each in (world.expectancy, world.posterior_mean)
    )
    known = np.isfinite(raw) & np.isfinite(shrunk)
    return WorldFigures(
        kind=kind,
        bps=bps,
        n_hypotheses=len(world.eligible),
        n_eligible=int(world.eligible.sum()),
        rejected={"cluster": _rejected(world, world.p_cluster), "naive": _rejected(world, world.p_naive)},
        found={name: _found(world, name, relevant, of_event, same) for name in PROCEDURES},
        n_relevant=int(relevant.sum()),
        squared_errors=(float(known.sum()), float((raw[known] ** 2).sum()), float((shrunk[known] ** 2).sum())),
        **described,
    )


def _found(world: Judged, name: str, relevant: Booleans, of_event: Booleans, of_trade: Booleans) -> Found:
    found, gained = world.found[name], world.sign[name] * world.truth
    bound = np.maximum(world.cost, 0.0) if name in ECONOMIC else np.zeros(len(gained))
    inside = (world.posterior_low <= gained) & (gained <= world.posterior_high)
    return Found(
        discoveries=int(found.sum()),
        false=int((found & (gained <= bound)).sum()),
        relevant=int((found & relevant & (gained > 0)).sum()),
        has_trade=bool((found & of_trade & (gained > 0)).any()),
        has_event=bool((found & of_event & (gained > 0)).any()),
        truth=float(gained[found].sum() / BPS),
        # The plain procedures have no shrunk estimates, and where they take the other side not these raw ones.
        raw=0.0 if name in ON_NAIVE_T else float(np.nan_to_num(world.expectancy[found]).sum() / BPS),
        shrunk=0.0 if name in ON_NAIVE_T else float(np.nan_to_num(world.posterior_mean[found]).sum() / BPS),
        covered=0 if name in ON_NAIVE_T else int((found & inside).sum()),
    )


def _rejected(world: Judged, p: Floats) -> dict[str, list[int]]:
    horizons = np.asarray(world.horizon)
    counts = {}
    for horizon in sorted(set(world.horizon)):
        own = p[world.eligible & (horizons == horizon)]
        counts[horizon] = [len(own), *(int((own <= level).sum()) for level in LEVELS)]
    return counts


def tails_of(closes: Floats) -> tuple[float, float, float]:
    """Kurtosis of log returns, and the autocorrelation of their size at lags 1 and 288, of one symbol's closes (NaN: none)."""
    returns = np.diff(np.log(closes))
    size = np.abs(returns)
    usable = returns[np.isfinite(returns)]

    def autocorrelation(lag: int) -> float:
        pairs = np.isfinite(size[:-lag]) & np.isfinite(size[lag:])
        return float(np.corrcoef(size[:-lag][pairs], size[lag:][pairs])[0, 1])

    return float(stats.kurtosis(usable, fisher=False)), autocorrelation(1), autocorrelation(288)
