"""The gates of a profile: each is passed or not, with the distance to its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.spec.models import GateProfile

Floats = NDArray[np.float64]
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

REPORT_GATES: Final = (
    "gate_deflated_sharpe",
    "gate_backtest_overfitting",
    "gate_cusum",
    "gate_placebo",
    "gate_years",
    "gate_symbols",
    "gate_untainted",
)
"""Further gates that a profile may ask for, on what is only reported otherwise."""


class Limits:
    """One array a limit, a value for each hypothesis, by the profile of its event; NaN where it is not asked for."""

    def __init__(self, profiles: Sequence[GateProfile]) -> None:
        # Thousands of hypotheses share a profile.
        place: dict[int, int] = {}
        self._which = np.array([place.setdefault(id(profile), len(place)) for profile in profiles], dtype=np.int64)
        self._profiles = list({id(profile): profile for profile in profiles}.values())
        self.arrays: dict[str, Floats] = {}

    def __call__(self, name: str) -> Floats:
        if name not in self.arrays:
            values = [getattr(profile, name) for profile in self._profiles]
            self.arrays[name] = np.array([np.nan if value is None else float(value) for value in values])[self._which]
        return self.arrays[name]

    @property
    def spans(self) -> NDArray[np.int64]:
        return np.array([profile.stability.spans for profile in self._profiles], dtype=np.int64)[self._which]

    @property
    def spans_needed(self) -> NDArray[np.int64]:
        return np.array([profile.stability.min_same_sign for profile in self._profiles], dtype=np.int64)[self._which]


Verdicts = dict[str, tuple[Booleans, Floats]]
"""By gate whether each hypothesis passes it, and its margin: negative where missed, NaN where the figure was not computed."""


def eligibility(figures: Mapping[str, NDArray[Any]], limits: Limits) -> tuple[Booleans, Floats]:
    """Whether there are enough events and days in both folds, by counts alone, and the smallest relative distance."""
    margin = np.minimum.reduce(
        [
            figures["n_events"] / limits("min_events") - 1.0,
            figures["n_days"] / limits("min_days") - 1.0,
            figures["confirmation_n_days"] / limits("min_confirmation_days") - 1.0,
            limits("max_day_share_of_events") - figures["largest_day_share_of_events"],
        ]
    )
    return (margin >= 0.0) & np.isfinite(np.asarray(figures["t_stat"], dtype=np.float64)), np.asarray(margin)


def candidate_gates(figures: Mapping[str, NDArray[Any]], limits: Limits) -> Verdicts:
    """The verdicts of `GATES`, in their order.

    Parameters
    ----------
    figures : (m,) arrays named as in `candidates.CANDIDATE_SCHEMA`; ``gate_tree_bh`` and ``confirmation_level`` among them.
    """
    f = {name: np.asarray(values) for name, values in figures.items()}
    mean, cost, q = f["posterior_mean"], f["cost"], f["q_value"]
    tier_a = f["family_wise_p"] <= limits("family_wise_level")
    significant = f["gate_tree_bh"] | tier_a
    least = limits("min_probability_above_cost")
    conservative = mean - limits("conservative_cost_multiple") * np.maximum(cost, 0.0)
    spans = f["spans_same_sign"]
    return {
        "gate_eligible": eligibility(f, limits),
        "gate_significant": (significant, _significance_margin(q, f["family_wise_p"], significant, limits)),
        "gate_day_concentration": _at_most(f["largest_day_share"], limits("max_day_share_of_sum")),
        "gate_confirmed": _at_most(f["confirmation_q"], f["confirmation_level"]),
        "gate_economic": (
            (mean - cost > 0) & (f["probability_above_cost"] >= least),
            f["probability_above_cost"] - least,
        ),
        "gate_economic_conservative": (conservative > 0, conservative * 1e4),
        "gate_stability": (spans >= limits.spans_needed, (spans - limits.spans_needed) / limits.spans),
    }


def report_gates(figures: Mapping[str, NDArray[Any]], limits: Limits) -> Verdicts:
    """The verdicts of `REPORT_GATES`: not passed where a figure is missing, passed with a NaN margin where not asked for."""
    least = {
        "gate_deflated_sharpe": ("deflated_sharpe", "min_deflated_sharpe"),
        "gate_cusum": ("cusum_p", "min_cusum_p"),
        "gate_years": ("years_same_sign", "min_years_same_sign"),
        "gate_symbols": ("symbols_same_sign", "min_symbols_same_sign"),
    }
    most = {
        "gate_backtest_overfitting": ("backtest_overfitting", "max_backtest_overfitting"),
        "gate_placebo": ("placebo_p", "max_placebo_p"),
        "gate_untainted": ("tainted_share", "max_tainted_share"),
    }
    found: Verdicts = {}
    for gate in REPORT_GATES:
        name, limit = (least | most)[gate]
        value, bound = np.asarray(figures[name], dtype=np.float64), limits(limit)
        margin = value - bound if gate in least else bound - value
        found[gate] = ((margin >= 0.0) | np.isnan(bound), margin)
    return found


def held_to(
    candidates: pl.DataFrame, profiles: Mapping[str, GateProfile], placebo: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Every gate and margin of `GATES` and `REPORT_GATES` for other limits than candidates were made with.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, of any number of events.
    placebo : `placebo.PLACEBO_SCHEMA`; without it a gate on placebo times is not passed.
    profiles : the limits by event type, such as ``gates.profile("promotion", event_type)``.

    Returns
    -------
    (m,) the ``candidate_id``, Boolean ``gate_…`` and Float64 ``margin_…`` columns, null margins where a figure was not
    computed or not asked for, and ``passed``: all of them.
    """
    limits = Limits([profiles[event_type] for event_type in candidates["event_type"]])
    if placebo is None:
        compared = candidates.with_columns(pl.lit(None, pl.Float64).alias("placebo_p"))
    else:
        compared = candidates.join(
            placebo.select("candidate_id", "placebo_p"), on="candidate_id", how="left", maintain_order="left"
        )
    numbers = compared.with_columns(
        _share_of_gains("signs_by_year").alias("years_same_sign"),
        _share_of_gains("signs_by_symbol").alias("symbols_same_sign"),
    )
    figures: dict[str, NDArray[Any]] = {
        name: numbers[name].fill_null(np.nan).to_numpy() if dtype.is_float() else numbers[name].to_numpy()
        for name, dtype in numbers.schema.items()
        if dtype.is_numeric() or dtype == pl.Boolean
    }
    # The level that candidates hold is of the profile they were made with, after earlier openings of the fold.
    share = figures["confirmation_level"] / figures["confirmation_level_at_first"]
    figures["confirmation_level"] = limits("confirmation_level") * share
    verdicts = candidate_gates(figures, limits) | report_gates(figures, limits)
    every = np.logical_and.reduce([passed for passed, _ in verdicts.values()])
    return candidates.select("candidate_id").with_columns(
        *(pl.Series(gate, passed) for gate, (passed, _) in verdicts.items()),
        *(pl.Series(margin_of(gate), margin).fill_nan(None) for gate, (_, margin) in verdicts.items()),
        pl.Series("passed", every),
    )


def margin_of(gate: str) -> str:
    """The column that holds a gate's margin."""
    return gate.replace("gate_", "margin_", 1)


def _at_most(value: Floats, limit: Floats) -> tuple[Booleans, Floats]:
    return value <= limit, limit - value


def _share_of_gains(column: str) -> pl.Expr:
    """Share of the parts of a text such as ``2023+ 2024-`` in which the trade gained."""
    parts = pl.col(column).str.count_matches(r"[-+0]( |$)")
    return pl.col(column).str.count_matches(r"\+( |$)") / parts


def _significance_margin(q: Floats, family_wise: Floats, significant: Booleans, limits: Limits) -> Floats:
    """Distance of q to the tree's level or of the family-wise p to its own: the larger where passed, the nearer miss else.

    A q below the tree's level is no pass where the tree did not select the leaf; then the family-wise distance counts.
    """
    tree, tier_a = limits("tree_level") - q, limits("family_wise_level") - family_wise
    missed = np.where(tree < 0, np.fmax(tree, tier_a), tier_a)
    return np.asarray(np.where(significant, np.fmax(np.fmax(tree, tier_a), 0.0), missed))
