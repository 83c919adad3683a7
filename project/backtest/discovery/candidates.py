"""From day scores to candidates: tests on the discovery fold, control over the whole search, confirmation, gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.consistency import signs_by_symbol, signs_by_year
from backtest.discovery.effect_sizes import capacity_usd, effect_sizes
from backtest.discovery.folds import BARS_PER_DAY, Folds
from backtest.discovery.hypotheses import KEY
from backtest.discovery.inference import (
    WIDE_BLOCK_RATIO,
    ClusterT,
    block_days,
    cluster_t,
    effective_events,
    merged_days,
    segment_sums,
    wide_block_days,
)
from backtest.discovery.multiplicity import benjamini_hochberg_q, sign_flip_step_down, tree_bh
from backtest.spec.models import POOLED, GateProfile, horizon_bars

if TYPE_CHECKING:
    from backtest.spec.loader import Spec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

GATES: Final = (
    "gate_eligible",
    "gate_significant",
    "gate_day_concentration",
    "gate_confirmed",
    "gate_economic",
    "gate_economic_conservative",
    "gate_stability",
)
"""In the order in which a candidate is held to them; all of them make ``gate_phase2_final``."""

CANDIDATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "event_type": pl.String(),
    "family": pl.String(),
    "symbol": pl.String(),
    "template_verb": pl.String(),
    "mirror_verb": pl.String(),
    "policy": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "direction": pl.Int8(),
    "n_events": pl.Int64(),
    "n_days": pl.Int64(),
    "effective_n": pl.Float64(),
    "cluster_days": pl.Int64(),
    "standard_error_ratio": pl.Float64(),
    "expectancy": pl.Float64(),
    "expectancy_standard_error": pl.Float64(),
    "cost": pl.Float64(),
    "posterior_mean": pl.Float64(),
    "posterior_sd": pl.Float64(),
    "posterior_low": pl.Float64(),
    "posterior_high": pl.Float64(),
    "local_false_sign_rate": pl.Float64(),
    "p_block_null": pl.Float64(),
    "after_cost_expectancy": pl.Float64(),
    "break_even_cost": pl.Float64(),
    "capacity_usd": pl.Float64(),
    "probability_above_cost": pl.Float64(),
    "mean_standardised_return": pl.Float64(),
    "t_stat": pl.Float64(),
    "degrees_of_freedom": pl.Float64(),
    "p_value": pl.Float64(),
    "q_value": pl.Float64(),
    "family_wise_p": pl.Float64(),
    "confirmation_n_events": pl.Int64(),
    "confirmation_n_days": pl.Int64(),
    "confirmation_expectancy": pl.Float64(),
    "confirmation_p": pl.Float64(),
    "confirmation_q": pl.Float64(),
    "confirmation_level": pl.Float64(),
    "confirmation_openings": pl.Int64(),
    "largest_day_share": pl.Float64(),
    "tainted_share": pl.Float64(),
    "spans_same_sign": pl.Int64(),
    "signs_by_year": pl.String(),
    "signs_by_symbol": pl.String(),
    "gate_tree_bh": pl.Boolean(),
    "gate_tier_a": pl.Boolean(),
    "is_confirmation_candidate": pl.Boolean(),
    **{gate: pl.Boolean() for gate in GATES},
    "gate_phase2_final": pl.Boolean(),
    **{gate.replace("gate_", "margin_", 1): pl.Float64() for gate in GATES},
    "fail_reasons": pl.String(),
}
"""Returns and costs are fractions per trade; a null is a figure that was not computed because the hypothesis is not
eligible (or, for confirmation figures, not a candidate). ``direction`` is +1 for a trade with the event, −1 against it.
``expectancy`` is the raw mean of what was selected; ``posterior_…`` are its shrunk estimate with the bounds of the 90 %
interval, and ``after_cost_expectancy`` is posterior mean less cost. ``break_even_cost`` is the largest cost besides funding
that leaves a posterior mean of zero, ``capacity_usd`` the order at which half of the net return is left.
``signs_by_year`` and ``signs_by_symbol`` tell where the trade's raw returns summed to a gain, such as ``2023+ 2024-``.
``effective_n`` is how many independent events would have the standard error of ``mean_standardised_return``;
``standard_error_ratio`` compares that of blocks of five days (whole clusters) with that of clusters, and ``cluster_days`` is
the length of the clusters that were used. ``tainted_share`` is the share of its trades, of both folds, that rest on a bar
that cannot be trusted."""


@dataclass(frozen=True)
class DayRows:
    """Day scores of all hypotheses, one row a hypothesis and day, sorted by both; `owner` indexes the register."""

    owner: Integers
    day: Integers
    n: Integers
    sums: Mapping[str, Floats]

    def merged(self, length: Integers, origin: int) -> DayRows:
        """The rows in clusters of `length` days, one length an owner, counted from `origin`."""
        start, day = merged_days(self.owner, self.day, length, origin)
        if len(start) == len(self.owner):
            return self
        return DayRows(
            self.owner[start],
            day,
            np.add.reduceat(self.n, start),
            {name: np.add.reduceat(values, start) for name, values in self.sums.items()},
        )

    def where(self, chosen: Booleans) -> DayRows:
        return DayRows(
            self.owner[chosen],
            self.day[chosen],
            self.n[chosen],
            {name: values[chosen] for name, values in self.sums.items()},
        )


def collect_rows(register: pl.DataFrame, scores: pl.DataFrame, folds: Folds) -> DayRows:
    """Day scores of every registered hypothesis, pooled ones summed over symbols day by day.

    Where a horizon's clusters are longer than a day they are counted from the first day of the confirmation fold, so that
    none has days of both folds.

    Parameters
    ----------
    register : `hypotheses.REGISTER_SCHEMA`.
    scores : `day_scores.SCORE_SCHEMA` with ``event_type`` and ``symbol``.
    """
    owners = register.select(KEY).with_row_index("owner")
    own = scores.join(owners, on=KEY, how="inner")
    pooled = scores.with_columns(pl.lit(POOLED).alias("symbol")).join(owners, on=KEY, how="inner")
    rows = pl.concat([own, pooled.sort("owner", "day", maintain_order=True)])
    blocks = _horizon_cluster_days(register)
    owner = rows["owner"].to_numpy().astype(np.int64)
    day = rows["day"].to_numpy().astype(np.int64)
    length = blocks[owner] if len(owner) else np.ones(0, np.int64)
    cut = folds.first_confirmation_day
    day = cut + (day - cut) // length * length
    span = int(day.max(initial=0)) + 1
    key, group = np.unique(owner * span + day, return_inverse=True)
    return DayRows(
        key // span,
        key % span,
        np.bincount(group, weights=rows["n"].to_numpy(), minlength=len(key)).astype(np.int64),
        {
            name: segment_sums(rows[name].to_numpy(), group, len(key))
            for name in rows.columns
            if name.startswith("sum_") or name == "n_tainted"
        },
    )


def assess(
    register: pl.DataFrame, scores: pl.DataFrame, folds: Folds, spec: Spec, *, confirmation_openings: int = 1
) -> pl.DataFrame:
    """Every registered hypothesis with its estimates, p- and q-values and gates (`CANDIDATE_SCHEMA`).

    The tests read the discovery fold alone; the confirmation fold is read for the hypotheses that the discovery fold
    made candidates, in the direction it chose. A two-sided hypothesis takes the verb of its sign. `confirmation_openings`
    is how many searches have read that fold, this one included; each further one has less of the confirmation level
    (`Gates.share_of_level`).
    """
    rows = collect_rows(register, scores, folds)
    return assess_rows(register, rows, scores, folds, spec, confirmation_openings=confirmation_openings)


def assess_rows(
    register: pl.DataFrame,
    rows: DayRows,
    scores: pl.DataFrame,
    folds: Folds,
    spec: Spec,
    *,
    confirmation_openings: int = 1,
) -> pl.DataFrame:
    """`assess` on `rows` that are collected from `scores` already."""
    size = len(register)
    cut = folds.first_confirmation_day
    first, second = rows.where(rows.day < cut), rows.where(rows.day >= cut)
    profiles = {event: spec.gates.discovery_profile(event) for event in register["event_type"].unique()}
    limits = _Limits([profiles[event] for event in register["event_type"]])

    cluster_days, ratio = _cluster_days(register, first, folds)
    clusters, later_clusters = (part.merged(cluster_days, cut) for part in (first, second))
    z = cluster_t(clusters.sums["sum_z"], clusters.n, clusters.owner, size)
    y = cluster_t(clusters.sums["sum_y"], clusters.n, clusters.owner, size)
    later = cluster_t(later_clusters.sums["sum_z"], later_clusters.n, later_clusters.owner, size)
    later_y = cluster_t(later_clusters.sums["sum_y"], later_clusters.n, later_clusters.owner, size)
    n_days, later_days = (np.bincount(part.owner, minlength=size) for part in (first, second))
    busiest = _largest_per_owner(first.n, first.owner, size) / np.maximum(z.n_events, 1)
    eligible = (
        (z.n_events >= limits("min_events"))
        & (n_days >= limits("min_days"))
        & (later_days >= limits("min_confirmation_days"))
        & (busiest <= limits("max_day_share_of_events"))
        & np.isfinite(z.t)
    )

    can_with, can_against = (
        register["with_verb"].is_not_null().to_numpy(),
        register["against_verb"].is_not_null().to_numpy(),
    )
    two_sided = can_with & can_against
    sign = np.where(two_sided, np.where(z.t < 0, -1.0, 1.0), np.where(can_with, 1.0, -1.0))
    p = np.where(two_sided, z.two_sided_p(), z.one_sided_p(sign))
    chosen = np.flatnonzero(eligible)
    q = _filled(size, chosen, benjamini_hochberg_q(p[chosen]))
    tree = np.zeros(size, dtype=bool)
    tree[chosen] = _tree(p, register, chosen, spec)
    family_wise = _filled(size, chosen, _family_wise(clusters, z, sign, two_sided, chosen, spec))
    tier_a = family_wise <= limits("family_wise_level")

    candidate = eligible & ((q <= limits("candidate_level")) | tree | tier_a)
    confirmation_p = np.where(candidate, np.nan_to_num(later.one_sided_p(sign), nan=1.0), np.nan)
    tested = np.flatnonzero(candidate)
    confirmation_q = _filled(size, tested, benjamini_hochberg_q(confirmation_p[tested]))
    confirmation_level = limits("confirmation_level") * spec.gates.share_of_level(confirmation_openings)
    confirmed = candidate & (confirmation_q <= confirmation_level)

    with np.errstate(divide="ignore", invalid="ignore"):
        cost = segment_sums(first.sums["sum_cost"], first.owner, size) / z.n_events
        funding = sign * segment_sums(first.sums["sum_funding"], first.owner, size) / z.n_events
        cost = cost + funding
        impact = segment_sums(first.sums["sum_impact"], first.owner, size) / z.n_events
        turnover = np.exp(segment_sums(first.sums["sum_log_turnover"], first.owner, size) / z.n_events)
        largest = _largest_per_owner(np.abs(first.sums["sum_z"]), first.owner, size) / np.abs(z.mean * z.n_events)
    expectancy = sign * y.mean
    effect = effect_sizes(register, scores, folds, spec).figures(sign, cost)
    above, net = effect["probability_above_cost"], effect["posterior_mean"] - cost
    conservative = effect["posterior_mean"] - limits("conservative_cost_multiple") * np.maximum(cost, 0.0)
    same_sign, spans, needed = _stability(first, sign, size, folds, limits)
    with np.errstate(divide="ignore", invalid="ignore"):
        tainted_share = segment_sums(rows.sums["n_tainted"], rows.owner, size) / (z.n_events + later.n_events)
    significant = tree | tier_a
    gates = {
        "gate_eligible": (eligible, _eligibility_margin(z.n_events, n_days, later_days, busiest, limits)),
        "gate_significant": (significant, _significance_margin(q, family_wise, significant, limits)),
        "gate_day_concentration": (largest <= limits("max_day_share_of_sum"), limits("max_day_share_of_sum") - largest),
        "gate_confirmed": (confirmed, confirmation_level - confirmation_q),
        "gate_economic": (
            (net > 0) & (above >= limits("min_probability_above_cost")),
            above - limits("min_probability_above_cost"),
        ),
        "gate_economic_conservative": (conservative > 0, conservative * 1e4),
        "gate_stability": (same_sign >= needed, (same_sign - needed) / spans),
    }
    final = np.logical_and.reduce([passed for passed, _ in gates.values()])
    return _frame(
        register,
        sign,
        {
            "n_events": z.n_events,
            "n_days": n_days,
            "effective_n": effective_events(z, segment_sums(first.sums["sum_z2"], first.owner, size)),
            "cluster_days": cluster_days,
            "standard_error_ratio": ratio,
            "expectancy": expectancy,
            "expectancy_standard_error": y.standard_error,
            "cost": cost,
            **effect,
            "after_cost_expectancy": net,
            "break_even_cost": effect["posterior_mean"] - funding,
            "capacity_usd": capacity_usd(net, impact, spec.costs.order_usd, turnover),
            "mean_standardised_return": sign * z.mean,
            "t_stat": sign * z.t,
            "degrees_of_freedom": z.degrees_of_freedom,
            "p_value": np.where(eligible, p, np.nan),
            "q_value": q,
            "family_wise_p": family_wise,
            "confirmation_n_events": later.n_events,
            "confirmation_n_days": later_days,
            "confirmation_expectancy": np.where(candidate, sign * later_y.mean, np.nan),
            "confirmation_p": confirmation_p,
            "confirmation_q": confirmation_q,
            "confirmation_level": confirmation_level,
            "confirmation_openings": np.full(size, confirmation_openings),
            "largest_day_share": largest,
            "tainted_share": tainted_share,
            "spans_same_sign": same_sign,
            "signs_by_year": signs_by_year(first.owner, first.day, first.sums["sum_y"], sign),
            "signs_by_symbol": signs_by_symbol(
                register, segment_sums(first.sums["sum_y"], first.owner, size), z.n_events, sign
            ),
            "gate_tree_bh": tree,
            "gate_tier_a": tier_a,
            "is_confirmation_candidate": candidate,
        },
        gates,
        final,
        eligible,
    )


def _cluster_days(register: pl.DataFrame, first: DayRows, folds: Folds) -> tuple[Integers, Floats]:
    """Length of each hypothesis's clusters, and the ratio of standard errors that decided on it.

    Clusters are those of its horizon, or blocks of whole ones where these show that clusters depend on each other.
    """
    size, cut = len(register), folds.first_confirmation_day
    own = _horizon_cluster_days(register)
    wide = wide_block_days(own)
    narrow, blocks = (
        cluster_t(rows.sums["sum_z"], rows.n, rows.owner, size).standard_error
        for rows in (first, first.merged(wide, cut))
    )
    with np.errstate(invalid="ignore"):
        ratio = blocks / narrow
    return np.where(ratio > WIDE_BLOCK_RATIO, wide, own), ratio


def _horizon_cluster_days(register: pl.DataFrame) -> Integers:
    lengths = {name: block_days(horizon_bars(name), BARS_PER_DAY) for name in register["horizon"].unique()}
    return np.array([lengths[name] for name in register["horizon"]], dtype=np.int64)


class _Limits:
    """One array a limit, a value for each hypothesis, by the profile of its event."""

    def __init__(self, profiles: list[GateProfile]) -> None:
        self.profiles = profiles
        self.arrays: dict[str, Floats] = {}

    def __call__(self, name: str) -> Floats:
        if name not in self.arrays:
            self.arrays[name] = np.array([float(getattr(profile, name)) for profile in self.profiles])
        return self.arrays[name]


def _filled(size: int, at: Integers, values: Floats) -> Floats:
    filled = np.full(size, np.nan)
    filled[at] = values
    return filled


def _largest_per_owner(values: NDArray[np.generic], owner: Integers, owners: int) -> Floats:
    largest = np.zeros(owners)
    np.maximum.at(largest, owner, values.astype(np.float64))
    return largest


def _tree(p: Floats, register: pl.DataFrame, chosen: Integers, spec: Spec) -> Booleans:
    families, events = register["family"][chosen.tolist()].to_list(), register["event_type"][chosen.tolist()].to_list()
    return tree_bh(p[chosen], families, events, spec.gates.profiles["discovery"].tree_level)


def _family_wise(rows: DayRows, z: ClusterT, sign: Floats, two_sided: Booleans, chosen: Integers, spec: Spec) -> Floats:
    """Sign-flip step-down p of the chosen hypotheses; one-sided ones are turned so that their verb's side is up."""
    position = np.full(len(sign), -1)
    position[chosen] = np.arange(len(chosen))
    kept = rows.where(position[rows.owner] >= 0)
    days, day = np.unique(kept.day, return_inverse=True)
    sums = np.zeros((len(days), len(chosen)))
    counts = np.zeros((len(days), len(chosen)))
    column = position[kept.owner]
    sums[day, column] = kept.sums["sum_z"] * np.where(two_sided, 1.0, sign)[kept.owner]
    counts[day, column] = kept.n
    return sign_flip_step_down(
        sums,
        counts,
        z.degrees_of_freedom[chosen],
        one_sided=~two_sided[chosen],
        draws=spec.discovery.sign_flip_draws,
        rng=np.random.default_rng(spec.discovery.seed),
    )


def _stability(
    rows: DayRows, sign: Floats, size: int, folds: Folds, limits: _Limits
) -> tuple[Integers, Floats, Floats]:
    """In how many equal spans of the discovery fold the summed standardised return has the chosen sign."""
    spans = np.array([profile.stability.spans for profile in limits.profiles], dtype=np.int64)
    needed = np.array([profile.stability.min_same_sign for profile in limits.profiles], dtype=np.float64)
    start = int((np.datetime64(folds.discovery_start, "D") - np.datetime64("1970-01-01", "D")).astype(np.int64))
    length = (folds.discovery_end - folds.discovery_start).days
    widest = int(spans.max(initial=1))
    span = np.minimum((rows.day - start) * spans[rows.owner] // max(length, 1), spans[rows.owner] - 1)
    sums = np.bincount(rows.owner * widest + span, weights=rows.sums["sum_z"], minlength=size * widest)
    agreeing = (sums.reshape(size, widest) * sign[:, None] > 0).sum(axis=1)
    return agreeing, spans.astype(np.float64), needed


def _eligibility_margin(
    n_events: Integers, n_days: Integers, later_days: Integers, busiest: Floats, limits: _Limits
) -> Floats:
    """Smallest relative distance to the count limits; negative where one is missed."""
    margins: Floats = np.minimum.reduce(
        [
            n_events / limits("min_events") - 1.0,
            n_days / limits("min_days") - 1.0,
            later_days / limits("min_confirmation_days") - 1.0,
            limits("max_day_share_of_events") - busiest,
        ]
    )
    return margins


def _significance_margin(q: Floats, family_wise: Floats, significant: Booleans, limits: _Limits) -> Floats:
    """Distance of q to the tree's level or of the family-wise p to its own: the larger where passed, the nearer miss else.

    A q below the tree's level is no pass where the tree did not select the leaf; then the family-wise distance counts.
    """
    tree, tier_a = limits("tree_level") - q, limits("family_wise_level") - family_wise
    missed = np.where(tree < 0, np.fmax(tree, tier_a), tier_a)
    return np.asarray(np.where(significant, np.fmax(np.fmax(tree, tier_a), 0.0), missed))


def _frame(
    register: pl.DataFrame,
    sign: Floats,
    figures: Mapping[str, NDArray[np.generic] | pl.Series],
    gates: Mapping[str, tuple[Booleans, Floats]],
    final: Booleans,
    eligible: Booleans,
) -> pl.DataFrame:
    direction = pl.Series("direction", sign.astype(np.int8))
    frame = register.with_columns(
        direction,
        *(pl.Series(name, values) for name, values in figures.items()),
        *(pl.Series(gate, passed) for gate, (passed, _) in gates.items()),
        *(pl.Series(gate.replace("gate_", "margin_", 1), margin) for gate, (_, margin) in gates.items()),
        pl.Series("gate_phase2_final", final),
    ).with_columns(
        pl.when(pl.col("direction") > 0).then("with_verb").otherwise("against_verb").alias("template_verb"),
        pl.when(pl.col("direction") > 0).then("against_verb").otherwise("with_verb").alias("mirror_verb"),
        pl.when(pl.Series(eligible))
        .then(
            pl.concat_list(pl.when(~pl.col(gate)).then(pl.lit(gate.removeprefix("gate_"))) for gate in GATES)
            .list.drop_nulls()
            .list.join(", ")
        )
        .otherwise(pl.lit("insufficient_data"))
        .alias("fail_reasons"),
    )
    return (
        frame.with_columns(
            pl.concat_str("event_type", "template_verb", "horizon", "state_id", "symbol", separator=".").alias(
                "candidate_id"
            )
        )
        .select(pl.col(name).cast(dtype) for name, dtype in CANDIDATE_SCHEMA.items())
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .sort("candidate_id")
    )
