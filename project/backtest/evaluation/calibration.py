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

from backtest.discovery.atoms import ATOM_PREFIX
from backtest.discovery.day_scores import SUM_TRUTH, WITHOUT
from backtest.discovery.folds import Folds
from backtest.discovery.hypotheses import KEY
from backtest.discovery.multiplicity import benjamini_hochberg
from backtest.spec.models import POOLED

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

    Fractions per trade. `truth` is of what is tested and `gain` of its trades, both in the event's own direction; they
    differ for filters, which are tested for a difference. `found` says by procedure what it reports, `sign` in which
    direction; `expectancy` estimates the truth and the posterior figures the gain, in the direction of the trade.
    """

    horizon: Sequence[str]
    eligible: Booleans
    p_cluster: Floats
    p_naive: Floats
    truth: Floats
    gain: Floats
    cost: Floats
    found: Mapping[str, Booleans]
    sign: Mapping[str, Floats]
    expectancy: Floats
    posterior_mean: Floats
    posterior_low: Floats
    posterior_high: Floats


@dataclass(frozen=True)
class Found:
    """What one procedure reported in one world; sums over its discoveries that are means of trades, in bps per trade."""

    discoveries: int = 0
    false: int = 0
    relevant: int = 0
    """How many of the relevant hypotheses it found, in the right direction."""
    has_trade: bool = False
    """Whether it reports a planted trade itself: over all states and symbols, at the planted horizon."""
    has_event: bool = False
    """Whether it reports a planted event at all, in the planted direction."""
    means: int = 0
    """Discoveries that are means of trades: all but the filters."""
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
    squared_errors : of all tested means of trades with an estimate: their number, Σ(raw − truth)² and Σ(shrunk − truth)², bps².
    planted : the edges in words.
    has_tested_trade : whether a planted trade itself is among the tested: a hypothesis at the planted horizon, over all states
        and symbols, whose truth is at least `SAME_TRADE` of what was planted. Planting moves prices and with them events
        that hang on a few bps; some worlds are left without a trade of that size.
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
    has_tested_trade: bool = False
    n_planted_events: int = 0
    tails: tuple[float, float, float] | None = None
    seconds: float = field(default=0.0, compare=False)

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


@dataclass(frozen=True)
class Trades:
    """Of each hypothesis in the discovery fold: number, mean, variance and true mean of its trades (fractions)."""

    n: Floats
    mean: Floats
    variance: Floats
    truth: Floats

    @classmethod
    def of(cls, hypotheses: pl.DataFrame, summed: pl.DataFrame) -> Trades:
        """`hypotheses` are rows of `KEY`; one without trades has NaN; truth is zero where it is not summed."""
        own = hypotheses.join(summed, on=KEY, how="left", maintain_order="left")
        n, total, squares = (own[name].fill_null(0).to_numpy().astype(np.float64) for name in ("n", "sum_y", "sum_y2"))
        truth = own[SUM_TRUTH].fill_null(0.0).to_numpy() if SUM_TRUTH in own.columns else np.zeros(len(own))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / n
            return cls(n, mean, (squares - n * mean**2) / (n - 1), truth / n)


def _summed(scores: pl.DataFrame, folds: Folds) -> pl.DataFrame:
    """Sums over the discovery fold by `KEY`, pooled ones added."""
    columns = ["n", "sum_y", "sum_y2", *({SUM_TRUTH} & set(scores.columns))]
    first = scores.filter(
        (pl.col("day") < folds.first_confirmation_day) & ~pl.col("state_id").str.starts_with(ATOM_PREFIX)
    )
    own = first.group_by(KEY, maintain_order=True).agg(pl.col(columns).sum())
    scopes = [name for name in KEY if name != "symbol"]
    pooled = own.group_by(scopes, maintain_order=True).agg(pl.col(columns).sum())
    return pl.concat([own, pooled.with_columns(pl.lit(POOLED).alias("symbol")).select(own.columns)])


def judged(register: pl.DataFrame, scores: pl.DataFrame, candidates: pl.DataFrame, folds: Folds) -> Judged:
    """Truth and verdicts of each hypothesis; p-values and truth from the discovery fold.

    Parameters
    ----------
    register, candidates : of one search.
    scores : `day_scores.SCORE_SCHEMA` with ``event_type`` and ``symbol``; the truth is zero where they have no ``sum_truth``.
        A hypothesis whose ``state_id`` has trades on both sides (``not:…``) is a filter: what is tested is the difference.
    folds : Folds
    """
    size = len(register)
    ordered = register.select(KEY).join(candidates, on=KEY, how="left", maintain_order="left")
    summed = _summed(scores, folds)
    names = register.select(KEY)
    trades = Trades.of(names, summed)
    others = Trades.of(names.with_columns(pl.concat_str(pl.lit(WITHOUT), "state_id").alias("state_id")), summed)
    verbs = [name.removeprefix(WITHOUT) for name in summed["state_id"].unique() if name.startswith(WITHOUT)]
    is_filter = names["state_id"].is_in(verbs).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        error = trades.variance / trades.n + np.where(is_filter, others.variance / others.n, 0.0)
        naive_t = (trades.mean - np.where(is_filter, others.mean, 0.0)) / np.sqrt(error)
    n = trades.n + np.where(is_filter, others.n - 1, 0.0)
    truth = trades.truth - np.where(is_filter, others.truth, 0.0)

    from scipy import stats

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
        gain=np.nan_to_num(trades.truth),
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
    means = world.eligible & (world.truth == world.gain)
    raw, shrunk = ((each - turned * world.gain)[means] / BPS for each in (world.expectancy, world.posterior_mean))
    known = np.isfinite(raw) & np.isfinite(shrunk)
    return WorldFigures(
        kind=kind,
        bps=bps,
        n_hypotheses=len(world.eligible),
        n_eligible=int(world.eligible.sum()),
        rejected={"cluster": _rejected(world, world.p_cluster), "naive": _rejected(world, world.p_naive)},
        found={name: _found(world, name, relevant, of_event, same) for name in PROCEDURES},
        n_relevant=int(relevant.sum()),
        has_tested_trade=bool((same & world.eligible).any()),
        squared_errors=(float(known.sum()), float((raw[known] ** 2).sum()), float((shrunk[known] ** 2).sum())),
        **described,
    )


def _found(world: Judged, name: str, relevant: Booleans, of_event: Booleans, of_trade: Booleans) -> Found:
    found, sign = world.found[name], world.sign[name]
    tested, gained = sign * world.truth, sign * world.gain
    is_false = gained <= np.maximum(world.cost, 0.0) if name in ECONOMIC else tested <= 0.0
    # The plain procedures have no shrunk estimates, and where they take the other side not these raw ones.
    means = found & (world.truth == world.gain) & np.isfinite(world.posterior_mean) & (name not in ON_NAIVE_T)
    inside = (world.posterior_low <= gained) & (gained <= world.posterior_high)
    return Found(
        discoveries=int(found.sum()),
        false=int((found & is_false).sum()),
        relevant=int((found & relevant & (tested > 0)).sum()),
        has_trade=bool((found & of_trade & (tested > 0)).any()),
        has_event=bool((found & of_event & (tested > 0)).any()),
        means=int(means.sum()),
        truth=float(gained[means].sum() / BPS),
        raw=float(world.expectancy[means].sum() / BPS),
        shrunk=float(world.posterior_mean[means].sum() / BPS),
        covered=int((means & inside).sum()),
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

    from scipy import stats

    return float(stats.kurtosis(usable, fisher=False)), autocorrelation(1), autocorrelation(288)
