"""From day scores to candidates: tests on the discovery fold, control over the whole search, confirmation, gates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.consistency import signs_by_symbol, signs_by_year
from backtest.discovery.day_rows import horizon_cluster_days
from backtest.discovery.day_scores import DayScores, in_series
from backtest.discovery.day_statistics import DayStatistics, day_statistics, joined
from backtest.discovery.duplicates import NO_ALIAS, aliases, series_digests
from backtest.discovery.effect_sizes import EventBlocks, capacity_usd, effect_sizes, event_blocks
from backtest.discovery.event_days import event_days
from backtest.discovery.folds import Folds
from backtest.discovery.gates import GATES, Limits, Verdicts, candidate_gates, eligibility, margin_of
from backtest.discovery.inference import ClusterT, effective_events
from backtest.discovery.multiplicity import benjamini_hochberg_q, tree_bh
from backtest.discovery.overfitting import cusum_p, deflated_sharpe, overfitting_probability, sharpe_moments
from backtest.discovery.sign_flips import Clusters, StepDown, effective_tests, step_down
from backtest.discovery.skewness import adjusted_t, pooled_skewness, skewness_of_mean

if TYPE_CHECKING:
    from backtest.spec.compiled import Spec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Figures = dict[str, NDArray[Any] | pl.Series]

TESTED_COLUMNS: Final = ("day", "n", "sum_z", "sum_y")
"""What is read of the days; of everything else the totals."""
EXCURSIONS: Final = ("sum_favourable", "sum_adverse")
"""Of a position in the event's direction; the opposite side's favourable excursion is its adverse one."""
DAYS_PER_YEAR: Final = 365.0
THREADS: Final = 2
_EPOCH: Final = dt.date(1970, 1, 1)

CANDIDATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "alias_of": pl.String(),
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
    "mean_favourable_excursion": pl.Float64(),
    "mean_adverse_excursion": pl.Float64(),
    "mean_standardised_return": pl.Float64(),
    "t_stat": pl.Float64(),
    "skewness": pl.Float64(),
    "adjusted_t_stat": pl.Float64(),
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
    "confirmation_level_at_first": pl.Float64(),
    "confirmation_openings": pl.Int64(),
    "sharpe_ratio": pl.Float64(),
    "deflated_sharpe": pl.Float64(),
    "n_trials": pl.Float64(),
    "backtest_overfitting": pl.Float64(),
    "cusum_p": pl.Float64(),
    "largest_day_share": pl.Float64(),
    "largest_day_share_of_events": pl.Float64(),
    "tainted_share": pl.Float64(),
    "spans_same_sign": pl.Int64(),
    "signs_by_year": pl.String(),
    "signs_by_symbol": pl.String(),
    "gate_tree_bh": pl.Boolean(),
    "gate_tier_a": pl.Boolean(),
    "is_confirmation_candidate": pl.Boolean(),
    "search_scope": pl.String(),
    **{gate: pl.Boolean() for gate in GATES},
    "gate_phase2_final": pl.Boolean(),
    **{margin_of(gate): pl.Float64() for gate in GATES},
    "fail_reasons": pl.String(),
}
"""Returns and costs are fractions per trade; a null is a figure that was not computed because the hypothesis is not
eligible (or, for confirmation figures, not a candidate). ``direction`` is +1 for a trade with the event, −1 against it.
``expectancy`` is the raw mean of what was selected; ``posterior_…`` are its shrunk estimate with the bounds of the 90 %
interval, and ``after_cost_expectancy`` is posterior mean less cost. ``break_even_cost`` is the largest cost besides funding
that leaves a posterior mean of zero, ``capacity_usd`` the order at which half of the net return is left.
``alias_of`` is the candidate with the very same day scores that was tested in the place of this one.
``signs_by_year`` and ``signs_by_symbol`` tell where the trade's raw returns summed to a gain, such as ``2023+ 2024-``.
``p_value`` belongs to ``adjusted_t_stat``: the t without what ``skewness`` has in it, which is that of one cluster's return in
the direction of the trade, pooled over the search's hypotheses of the same policy and horizon.
``effective_n`` is how many independent events would have the standard error of ``mean_standardised_return``;
``standard_error_ratio`` compares that of blocks of five days (whole clusters) with that of clusters, and ``cluster_days`` is
the length of the clusters that were used. ``tainted_share`` is the share of its trades, of both folds, that rest on a bar
that cannot be trusted."""


def assess(
    register: pl.DataFrame,
    scores: pl.DataFrame,
    folds: Folds,
    spec: Spec,
    *,
    confirmation_openings: int = 1,
    hypotheses_ever: int = 0,
) -> pl.DataFrame:
    """`assess_search` on day scores in one frame (`day_scores.SCORE_SCHEMA` with ``event_type`` and ``symbol``)."""
    by_event: dict[str, dict[str, DayScores]] = {}
    for (event_type, symbol), frame in scores.partition_by("event_type", "symbol", as_dict=True).items():
        by_event.setdefault(str(event_type), {})[str(symbol)] = in_series(frame, folds.first_confirmation_day)
    return assess_search(
        register,
        lambda event_type: by_event.get(event_type, {}),
        folds,
        spec,
        confirmation_openings=confirmation_openings,
        hypotheses_ever=hypotheses_ever,
    )


def assess_search(
    register: pl.DataFrame,
    scores_of: Callable[[str], Mapping[str, DayScores]],
    folds: Folds,
    spec: Spec,
    *,
    confirmation_openings: int = 1,
    hypotheses_ever: int = 0,
    is_whole: bool = True,
) -> pl.DataFrame:
    """Every registered hypothesis with its estimates, p- and q-values and gates (`CANDIDATE_SCHEMA`).

    The tests read the discovery fold alone; the confirmation fold is read for the hypotheses that the discovery fold
    made candidates, in the direction it chose. A two-sided hypothesis takes the verb of its sign.

    Parameters
    ----------
    register : `hypotheses.REGISTER_SCHEMA`
    scores_of : the day scores of an event type by symbol, of the days at least `TESTED_COLUMNS`, with the totals of these
        folds; called once for each event, from one of two threads, so that two at a time are in memory.
    folds : Folds
    spec : Spec
    confirmation_openings : how many searches have read that fold, this one included; each further one has less of the
        confirmation level (`Gates.share_of_level`).
    hypotheses_ever : how many distinct hypotheses were ever tested on these data, as the ledger counts them; at least
        those of this search.
    is_whole : whether these are all hypotheses of the search. Where not, nothing is controlled: what rests on the whole
        search is null, its gates are not passed, and the confirmation fold is not read.
    """
    search = _reduced(register, scores_of, folds, spec)
    tested = _tested(search)
    with ThreadPoolExecutor(1) as beside:
        estimates = beside.submit(_estimates, search, tested, spec)
        controlled = _controlled(search, tested, spec) if is_whole else _uncontrolled(len(register))
    figures = estimates.result() | _confirmation(search, tested, controlled, spec, confirmation_openings)
    figures |= _against_luck(search, tested, controlled, max(hypotheses_ever, len(register)))
    figures |= {
        "p_value": np.where(tested.eligible, tested.p, np.nan),
        "q_value": controlled.q,
        "family_wise_p": controlled.family_wise,
        "gate_tree_bh": controlled.tree,
        "gate_tier_a": controlled.tier_a,
        "is_confirmation_candidate": controlled.candidate,
        "search_scope": pl.Series(["whole" if is_whole else "partial"], dtype=pl.String).new_from_index(
            0, len(register)
        ),
    }
    verdicts = candidate_gates(_arrays(figures), search.limits)
    return _frame(search.register, tested.sign, figures, verdicts, search.alias_of)


@dataclass(frozen=True)
class _Search:
    """What the day scores of a search were reduced to; the register in the order of the figures."""

    register: pl.DataFrame
    days: DayStatistics
    blocks: list[EventBlocks]
    limits: Limits
    folds: Folds
    alias_of: Integers
    """The hypothesis that each is another name of (`duplicates`)."""


def _reduced(
    register: pl.DataFrame, scores_of: Callable[[str], Mapping[str, DayScores]], folds: Folds, spec: Spec
) -> _Search:
    parts = register.partition_by("event_type", maintain_order=True) or [register]
    profiles = [spec.gates.discovery_profile(part["event_type"][0]) for part in parts if len(part)]
    limits = Limits([profile for profile, part in zip(profiles, parts, strict=False) for _ in range(len(part))])
    first = np.cumsum([0, *map(len, parts)])

    def reduced_event(part: pl.DataFrame, start: int) -> tuple[DayStatistics, EventBlocks, NDArray[np.uint64]]:
        scores = event_days(scores_of(part["event_type"][0]) if len(part) else {})
        spans = limits.spans[start : start + len(part)]
        return (
            day_statistics(scores, part, folds, horizon_cluster_days(part), spans, spec.filters),
            event_blocks(scores, part, folds, spec),
            series_digests(scores, part, spec.filters),
        )

    with ThreadPoolExecutor(THREADS) as threads:
        days, blocks, digests = zip(*threads.map(reduced_event, parts, first.tolist()), strict=True)
    every, reduced = pl.concat(parts), joined(days)
    alias_of = aliases(every, np.concatenate(digests))
    # Without a t a hypothesis is not tested: equal ones are counted once, under the name of the plainest.
    z = replace(reduced.z, t=np.where(alias_of == NO_ALIAS, reduced.z.t, np.nan))
    return _Search(every, replace(reduced, z=z), list(blocks), limits, folds, alias_of)


@dataclass(frozen=True)
class _Tested:
    """Each hypothesis on its own: its side, its p-value, and whether it may be tested at all."""

    eligible: Booleans
    two_sided: Booleans
    sign: Floats
    skewness: Floats
    """Of an independent cluster, pooled over the hypotheses of its policy and horizon."""
    p: Floats


def _tested(search: _Search) -> _Tested:
    z, register = search.days.z, search.register
    can_with, can_against = (register[name].is_not_null().to_numpy() for name in ("with_verb", "against_verb"))
    two_sided = can_with & can_against
    sign = np.where(two_sided, np.where(z.t < 0, -1.0, 1.0), np.where(can_with, 1.0, -1.0))
    eligible, _ = eligibility({**_counts(search), "t_stat": z.t}, search.limits)
    kinds = (register["policy"].to_numpy(), register["horizon"].to_numpy(), search.days.is_difference)
    skewness = pooled_skewness(search.days.skewness, z.degrees_of_freedom, kinds, eligible)
    symmetric = _symmetric(z, skewness)
    return _Tested(
        eligible, two_sided, sign, skewness, np.where(two_sided, symmetric.two_sided_p(), symmetric.one_sided_p(sign))
    )


def _symmetric(test: ClusterT, skewness: Floats) -> ClusterT:
    """The test without the part that skewness has in its t."""
    return replace(test, t=adjusted_t(test.t, skewness_of_mean(skewness, test.degrees_of_freedom)))


def _counts(search: _Search) -> dict[str, NDArray[Any]]:
    days = search.days
    return {
        "n_events": days.z.n_events,
        "n_days": days.n_days,
        "confirmation_n_events": days.later.n_events,
        "confirmation_n_days": days.later_days,
        "largest_day_share_of_events": days.busiest_share,
    }


@dataclass(frozen=True)
class _Controlled:
    """Control over the whole search; NaN where a hypothesis was not tested."""

    q: Floats
    tree: Booleans
    family_wise: Floats
    tier_a: Booleans
    candidate: Booleans
    effective_tests: float


def _controlled(search: _Search, tested: _Tested, spec: Spec) -> _Controlled:
    size, limits, chosen = len(search.register), search.limits, np.flatnonzero(tested.eligible)
    q = _filled(size, chosen, benjamini_hochberg_q(tested.p[chosen]))
    tree = np.zeros(size, dtype=bool)
    names = search.register[chosen.tolist()]
    tree[chosen] = tree_bh(
        tested.p[chosen],
        names["family"].to_list(),
        names["event_type"].to_list(),
        spec.gates.profiles["discovery"].tree_level,
    )
    flips = _flipped(search, tested, chosen, spec)
    family_wise = _filled(size, chosen, flips.adjusted_p)
    tier_a = family_wise <= limits("family_wise_level")
    candidate = tested.eligible & ((q <= limits("candidate_level")) | tree | tier_a)
    return _Controlled(q, tree, family_wise, tier_a, candidate, effective_tests(flips.largest))


def _uncontrolled(size: int) -> _Controlled:
    nothing, none = np.full(size, np.nan), np.zeros(size, dtype=bool)
    return _Controlled(nothing, none, nothing, none, none, float("nan"))


def _flipped(search: _Search, tested: _Tested, chosen: Integers, spec: Spec) -> StepDown:
    """Sign-flips of the chosen hypotheses; one-sided ones are turned so that their verb's side is up."""
    days = search.days
    side = np.where(tested.two_sided, 1.0, tested.sign)[chosen].astype(np.float32)
    first = (search.folds.discovery_start - _EPOCH).days
    return step_down(
        Clusters(
            days.flip_pointer[chosen],
            days.flip_pointer[chosen + 1],
            side,
            # A cluster that begins before the fold takes the sign of the fold's first day.
            days.flip_day,
            days.flip_sum,
            days.flip_count,
        ),
        days.z.degrees_of_freedom[chosen],
        # A hypothesis that was turned has its skewness turned with it.
        skewness_of_mean(tested.skewness, days.z.degrees_of_freedom)[chosen] * side,
        one_sided=~tested.two_sided[chosen],
        n_days=search.folds.first_confirmation_day - first,
        draws=spec.discovery.sign_flip_draws,
        rng=np.random.default_rng(spec.discovery.seed),
    )


def _estimates(search: _Search, tested: _Tested, spec: Spec) -> Figures:
    """Counts, means, effect sizes, costs, and where in time and on which symbols they come from."""
    days, sign, register = search.days, tested.sign, search.register
    z, y = days.z, days.y
    funding = sign * days.mean_of("sum_funding")
    cost = days.mean_of("sum_cost") + funding
    with np.errstate(divide="ignore", invalid="ignore"):
        tainted = days.totals["n_tainted"].sum(axis=1) / days.totals["n"].sum(axis=1)
    effect = effect_sizes(search.blocks, len(register)).figures(sign, cost)
    net = effect["posterior_mean"] - cost
    return {
        **_counts(search),
        "effective_n": np.where(days.is_difference, np.nan, effective_events(z, days.totals["sum_z2"][:, 0])),
        "cluster_days": days.cluster_days,
        "standard_error_ratio": days.standard_error_ratio,
        "expectancy": sign * y.mean,
        "expectancy_standard_error": y.standard_error,
        "cost": cost,
        **effect,
        "after_cost_expectancy": net,
        "break_even_cost": effect["posterior_mean"] - funding,
        "capacity_usd": capacity_usd(
            net, days.mean_of("sum_impact"), spec.costs.order_usd, np.exp(days.mean_of("sum_log_turnover"))
        ),
        "mean_favourable_excursion": np.where(sign > 0, *(days.mean_of(name) for name in EXCURSIONS)),
        "mean_adverse_excursion": np.where(sign < 0, *(days.mean_of(name) for name in EXCURSIONS)),
        "mean_standardised_return": sign * z.mean,
        "t_stat": sign * z.t,
        "skewness": sign * tested.skewness,
        "adjusted_t_stat": sign * _symmetric(z, tested.skewness).t,
        "degrees_of_freedom": z.degrees_of_freedom,
        "largest_day_share": days.largest_share,
        "tainted_share": tainted,
        "spans_same_sign": (days.by_span * sign[:, None] > 0).sum(axis=1),
        "signs_by_year": signs_by_year(days.years, days.by_year * sign[:, None]),
        "signs_by_symbol": signs_by_symbol(
            register, days.totals["sum_y"][:, 0], days.totals["n"][:, 0].astype(np.int64), sign
        ),
    }


def _confirmation(search: _Search, tested: _Tested, controlled: _Controlled, spec: Spec, openings: int) -> Figures:
    """The confirmation fold, read for the candidates alone and in their direction."""
    days, sign, size = search.days, tested.sign, len(search.register)
    later = _symmetric(days.later, tested.skewness)
    p = np.where(controlled.candidate, np.nan_to_num(later.one_sided_p(sign), nan=1.0), np.nan)
    at = np.flatnonzero(controlled.candidate)
    first_level = search.limits("confirmation_level")
    return {
        "confirmation_expectancy": np.where(controlled.candidate, sign * days.later_y.mean, np.nan),
        "confirmation_p": p,
        "confirmation_q": _filled(size, at, benjamini_hochberg_q(p[at])),
        "confirmation_level": first_level * spec.gates.share_of_level(openings),
        "confirmation_level_at_first": first_level,
        "confirmation_openings": np.full(size, openings),
    }


def _against_luck(search: _Search, tested: _Tested, controlled: _Controlled, hypotheses_ever: int) -> Figures:
    """How much of each result the search itself would make, and whether its mean drifted."""
    days, size, eligible = search.days, len(search.register), tested.eligible
    fold_days = (search.folds.discovery_end - search.folds.discovery_start).days
    periods = np.ceil(fold_days / days.cluster_days)
    sharpe, skewness, kurtosis = sharpe_moments(days.moments, periods, tested.sign)
    # Either side of as many independent tests as the flips amount to, and as many again for each time the ledger counted.
    n_trials = 2.0 * controlled.effective_tests * hypotheses_ever / max(size, 1)
    trials = (sharpe * np.sqrt(periods) * tested.sign)[eligible & np.isfinite(sharpe)]
    spread = max(1.0, float(trials.std(ddof=1))) if len(trials) > 1 else 1.0
    deflated = deflated_sharpe(sharpe, skewness, kurtosis, periods, n_trials=n_trials, spread=spread)
    return {
        "sharpe_ratio": sharpe * np.sqrt(DAYS_PER_YEAR / days.cluster_days),
        "deflated_sharpe": np.where(eligible & np.isfinite(n_trials), deflated, np.nan),
        "n_trials": np.where(eligible, n_trials, np.nan),
        "backtest_overfitting": _overfitting(search, controlled),
        "cusum_p": np.where(eligible, cusum_p(days.cusum), np.nan),
    }


def _overfitting(search: _Search, controlled: _Controlled) -> Floats:
    """Of each event that has a confirmation candidate the probability that picking its best trade overfits."""
    found = np.full(len(search.register), np.nan)
    events = search.register["event_type"].to_numpy()
    can_with, can_against = (search.register[name].is_not_null().to_numpy() for name in ("with_verb", "against_verb"))
    tested = np.isfinite(controlled.q)
    for event_type in np.unique(events[controlled.candidate].astype(str)):
        own = events == event_type
        at = np.flatnonzero(own & tested)
        found[own] = overfitting_probability(search.days.by_block[at], can_with[at], can_against[at])
    return found


def _filled(size: int, at: Integers, values: Floats) -> Floats:
    filled = np.full(size, np.nan)
    filled[at] = values
    return filled


def _arrays(figures: Figures) -> dict[str, NDArray[Any]]:
    return {name: values for name, values in figures.items() if isinstance(values, np.ndarray)}


def _frame(register: pl.DataFrame, sign: Floats, figures: Figures, gates: Verdicts, alias_of: Integers) -> pl.DataFrame:
    final = np.logical_and.reduce([passed for passed, _ in gates.values()])
    frame = register.with_columns(
        pl.Series("direction", sign.astype(np.int8)),
        *(pl.Series(name, values) for name, values in figures.items()),
        *(pl.Series(gate, passed) for gate, (passed, _) in gates.items()),
        *(pl.Series(margin_of(gate), margin) for gate, (_, margin) in gates.items()),
        pl.Series("gate_phase2_final", final),
    )
    with_event = pl.col("direction") > 0
    failed = (
        pl.concat_list(pl.when(~pl.col(gate)).then(pl.lit(gate.removeprefix("gate_"))) for gate in GATES)
        .list.drop_nulls()
        .list.join(", ")
    )
    return (
        frame.with_columns(
            pl.when(with_event).then("with_verb").otherwise("against_verb").alias("template_verb"),
            pl.when(with_event).then("against_verb").otherwise("with_verb").alias("mirror_verb"),
            pl.when("gate_eligible")
            .then(failed)
            .when(pl.Series(alias_of) != NO_ALIAS)
            .then(pl.lit("duplicate"))
            .otherwise(pl.lit("insufficient_data"))
            .alias("fail_reasons"),
        )
        .with_columns(
            pl.concat_str("event_type", "template_verb", "horizon", "state_id", "symbol", separator=".").alias(
                "candidate_id"
            )
        )
        .with_columns(pl.col("candidate_id").gather(pl.Series(alias_of).replace(NO_ALIAS, None)).alias("alias_of"))
        .select(pl.col(name).cast(dtype) for name, dtype in CANDIDATE_SCHEMA.items())
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .sort("candidate_id")
    )
