"""How many hypotheses are left after each step, and why the others were lost there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest.reports.html.formats import share

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.models import GateProfile


@dataclass(frozen=True)
class FunnelStep:
    """What a step left; `reasons` say why what came to it was lost, the most frequent one first."""

    name: str
    term: str
    left: int
    lost: int
    reasons: str


def funnel(
    candidates: pl.DataFrame, profile: GateProfile, later: Sequence[tuple[str, str, Mapping[str, str | None]]] = ()
) -> list[FunnelStep]:
    """The steps from all hypotheses to those that passed every gate, each over what the one before left.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`.
    profile : the limits that the reasons are told by.
    later : further steps (name, term, reason of failure by candidate id, None where passed) over those that passed every gate;
        a candidate that is not in the mapping has not been judged.
    """
    import polars as pl

    steps = [FunnelStep("Hypotheses", "hypothesis", len(candidates), 0, "")]
    rest = candidates
    for name, term, passes, reason in _steps(profile):
        judged = rest.with_columns(pl.when(passes).then(None).otherwise(reason).alias("_reason"))
        lost = judged.filter(pl.col("_reason").is_not_null())
        rest = judged.filter(pl.col("_reason").is_null()).drop("_reason")
        steps.append(FunnelStep(name, term, len(rest), len(lost), _told(lost["_reason"])))
    for name, term, reasons in later:
        told = pl.Series([reasons.get(one, "not judged") for one in rest["candidate_id"]], dtype=pl.String)
        judged = rest.with_columns(told.alias("_reason"))
        lost = judged.filter(pl.col("_reason").is_not_null())
        rest = judged.filter(pl.col("_reason").is_null()).drop("_reason")
        steps.append(FunnelStep(name, term, len(rest), len(lost), _told(lost["_reason"])))
    return steps


def _steps(profile: GateProfile) -> list[tuple[str, str, pl.Expr, pl.Expr]]:
    import polars as pl

    few = (
        pl.when(pl.col("n_events") < profile.min_events)
        .then(pl.lit(f"fewer than {profile.min_events} trades"))
        .when(pl.col("n_days") < profile.min_days)
        .then(pl.lit(f"trades on fewer than {profile.min_days} days"))
        .when(pl.col("confirmation_n_days") < profile.min_confirmation_days)
        .then(pl.lit(f"fewer than {profile.min_confirmation_days} days to confirm on"))
        .otherwise(pl.lit("too many trades on one day"))
    )
    poor = (
        pl.when(pl.col("after_cost_expectancy").is_null())
        .then(pl.lit("too few trades for an estimate"))
        .when(pl.col("posterior_mean") <= 0)
        .then(pl.lit("shrunk mean not positive"))
        .when(pl.col("after_cost_expectancy") <= 0)
        .then(pl.lit("shrunk mean below cost"))
        .when(~pl.col("gate_economic"))
        .then(pl.lit("not sure enough to exceed cost"))
        .otherwise(pl.lit(f"below {profile.conservative_cost_multiple:g} × cost"))
    )
    unconfirmed = (
        pl.when(pl.col("confirmation_expectancy") <= 0)
        .then(pl.lit("the other sign on the untouched days"))
        .otherwise(pl.lit("not significant on the untouched days"))
    )
    unstable = (
        pl.when(~pl.col("gate_stability"))
        .then(pl.lit("sign not stable over time"))
        .otherwise(pl.lit("one day makes too much of the sum"))
    )
    return [
        ("Enough events", "eligible", pl.col("gate_eligible"), few),
        ("Economic", "economic", pl.col("gate_economic") & pl.col("gate_economic_conservative"), poor),
        (
            "Significant over the whole search",
            "tree_bh",
            pl.col("gate_significant"),
            pl.lit("could be luck, given how many were tried"),
        ),
        ("Confirmed", "confirmed", pl.col("gate_confirmed"), unconfirmed),
        (
            "Stable: passed every gate",
            "stability",
            pl.col("gate_stability") & pl.col("gate_day_concentration"),
            unstable,
        ),
    ]


def _told(reasons: pl.Series) -> str:
    """The reasons by how often they struck, at most three."""
    if reasons.is_empty():
        return ""
    counts = reasons.value_counts(sort=True).sort("count", reasons.name, descending=[True, False])
    if len(counts) == 1:
        return str(counts[reasons.name][0])
    shares = [(reason, count / len(reasons)) for reason, count in counts.head(3).iter_rows()]
    return "; ".join(f"{reason} ({share(part) if part >= 0.01 else f'under {share(0.01)}'})" for reason, part in shares)
