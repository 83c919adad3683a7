"""Why a hypothesis passed or did not: its estimate, each gate with its margin, what it would need, relatives that passed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import MisuseError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.models import GateProfile

Row = Mapping[str, Any]
RELATIVES: Final = 5
LIKENESS: Final = (
    ("event_type", 8),
    ("horizon", 3),
    ("template_verb", 3),
    ("state_id", 2),
    ("symbol", 2),
    ("family", 1),
)
"""Columns that two relatives may share, and how much each counts."""


def explanation(
    candidates: pl.DataFrame,
    candidate_id: str,
    profile: GateProfile,
    promotion: GateProfile | None = None,
    placebo: pl.DataFrame | None = None,
) -> str:
    """All there is to say about one hypothesis of a run, as text for a terminal.

    Parameters
    ----------
    candidates : all hypotheses of the run (`candidates.CANDIDATE_SCHEMA`).
    profile : the limits of its event.
    promotion : those it must keep besides to be traded, where they are to be shown.
    placebo : `placebo.PLACEBO_SCHEMA` of the run, where it was compared.

    Raises
    ------
    MisuseError
        An id the run does not have, with the nearest it has.
    """
    import polars as pl

    row = found(candidates, candidate_id)
    failed = _failed(row)
    lines = [row["candidate_id"], f"  {_what(row)}", f"  {_verdict(row, failed)}", "", "Estimate (bps per trade)"]
    lines += [f"  {line}" for line in _estimate(row)]
    lines += ["", "Gates"]
    lines += [f"  {line}" for line in _gates(row, profile)]
    compared = _placebo_row(placebo, row)
    lines += ["", "Against luck (reported; asked for in promotion)"]
    lines += [f"  {line}" for line in _against_luck(row, compared)]
    if promotion is not None and row["gate_eligible"]:
        lines += ["", *_promotion(candidates, row, promotion, placebo)]
    needs = _needs(candidates, row, failed, profile)
    if needs:
        lines += ["", "What it would need", *(f"  {need}" for need in needs)]
    relatives = nearest_passing(candidates, row)
    lines += ["", "Nearest relatives that passed every gate"]
    lines += [
        f"  {other['candidate_id']}: n {other['n_events']:,}, {_bps(other['after_cost_expectancy'])} after cost, "
        f"q {other['q_value']:.2g}"
        for other in relatives.iter_rows(named=True)
    ] or [f"  none: {candidates.filter(pl.col('gate_phase2_final')).height} of the run's hypotheses passed"]
    return "\n".join(lines)


def found(candidates: pl.DataFrame, candidate_id: str) -> Row:
    """The row of an id, or of its mirror's verb where the sign picked the other one; MisuseError where there is none."""
    import polars as pl

    mirrored = pl.concat_str("event_type", "mirror_verb", "horizon", "state_id", "symbol", separator=".")
    rows = candidates.filter((pl.col("candidate_id") == candidate_id) | (mirrored == candidate_id))
    if rows.is_empty():
        raise MisuseError(
            f"the run has no hypothesis {candidate_id[:120]!r}.{did_you_mean(candidate_id, candidates['candidate_id'])} "
            "List them: backtest candidates --run-id … --event …"
        )
    return rows.row(0, named=True)


def nearest_passing(candidates: pl.DataFrame, row: Row) -> pl.DataFrame:
    """The candidates that passed every gate and share the most with `row`, at least its event or its family."""
    import polars as pl

    likeness = pl.sum_horizontal(
        pl.when(pl.col(name) == row[name]).then(weight).otherwise(0) for name, weight in LIKENESS
    )
    return (
        candidates.filter(pl.col("gate_phase2_final") & (pl.col("candidate_id") != row["candidate_id"]))
        .filter((pl.col("event_type") == row["event_type"]) | (pl.col("family") == row["family"]))
        .sort(likeness, "after_cost_expectancy", "candidate_id", descending=[True, True, False])
        .head(RELATIVES)
    )


def _failed(row: Row) -> list[str]:
    from backtest.discovery.gates import GATES

    return [gate for gate in GATES if not row[gate]]


def _what(row: Row) -> str:
    side = "with" if row["direction"] > 0 else "against"
    mirror = f" (its mirror is {row['mirror_verb']})" if row["mirror_verb"] else ", one-sided"
    state = "in all states" if row["state_id"] == "all" else f"in state {row['state_id']}"
    symbol = "all symbols pooled" if row["symbol"] == "POOLED" else row["symbol"]
    if row["state_id"] == row["template_verb"]:
        return (
            f"filter {row['template_verb']} on its base trade {side} the event, held {row['horizon']}, policy "
            f"{row['policy']}, {symbol}: the difference between the trades it holds for and the others; effect size and "
            "cost are of the trades it holds for"
        )
    return f"{row['template_verb']}, {side} the event{mirror}, held {row['horizon']}, policy {row['policy']}, {state}, {symbol}"


def _verdict(row: Row, failed: Sequence[str]) -> str:
    if row["gate_phase2_final"]:
        return "passed every gate"
    if row["search_scope"] == "partial" and row["gate_eligible"]:
        return (
            "not controlled: day scores of other events were missing, so it is not known how many others look as good"
        )
    if not row["gate_eligible"]:
        return "not tested: not enough events or days, so nothing is said for or against it"
    others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"failed; first gate failed: {failed[0].removeprefix('gate_').replace('_', ' ')}{others}"


def _estimate(row: Row) -> list[str]:
    lines = [
        f"events {row['n_events']:,} on {row['n_days']:,} days (discovery), {row['confirmation_n_events']:,} on "
        f"{row['confirmation_n_days']:,} (confirmation)"
    ]
    if row["expectancy"] is None:
        return lines
    lines += [f"raw mean {_bps(row['expectancy'])}, standard error {_bps(row['expectancy_standard_error'])}"]
    if row["posterior_mean"] is not None:
        lines += [
            f"posterior mean {_bps(row['posterior_mean'])}, 90 % interval {_bps(row['posterior_low'])} … "
            f"{_bps(row['posterior_high'])}; false sign rate {row['local_false_sign_rate']:.2g}, P(no effect in its block) "
            f"{row['p_block_null']:.2g}",
            f"cost {_bps(row['cost'])}, after cost {_bps(row['after_cost_expectancy'])}, P(above cost) "
            f"{row['probability_above_cost']:.2f}; break-even cost {_bps(row['break_even_cost'])}, capacity "
            f"{row['capacity_usd']:,.0f} USD",
        ]
    symmetric = f" ({row['adjusted_t_stat']:z.2f} without the skewness of such trades)"
    lines += [
        f"t {row['t_stat']:z.2f}{symmetric if row['adjusted_t_stat'] != row['t_stat'] else ''}, "
        f"{row['degrees_of_freedom']:.0f} degrees of freedom" + _p_values(row)
    ]
    lines += [f"sign by year {row['signs_by_year']}, by symbol {row['signs_by_symbol']}"]
    if row["confirmation_expectancy"] is not None:
        lines += [f"confirmation fold: raw mean {_bps(row['confirmation_expectancy'])}, p {row['confirmation_p']:.2g}"]
    return lines


def _against_luck(row: Row, placebo: Row | None) -> list[str]:
    """What is reported beside the gates: dependence, excursions, the search's own luck, placebo times."""
    lines = []
    if row["standard_error_ratio"] is not None:
        independent = (
            "" if row["effective_n"] is None else f"effective n {row['effective_n']:,.0f} of {row['n_events']:,}, "
        )
        lines.append(
            f"{independent}standard error of five-day blocks {row['standard_error_ratio']:.2f} times that of days; clusters of "
            f"{row['cluster_days']} day(s)"
        )
    if row["mean_favourable_excursion"] is not None:
        lines.append(
            f"largest gain while held {_bps(row['mean_favourable_excursion'])}, largest loss "
            f"{_bps(row['mean_adverse_excursion'])} (means, bps)"
        )
    if row["largest_day_share"] is not None and row["tainted_share"] is not None:
        lines.append(
            f"largest day {row['largest_day_share']:.0%} of the sum; {row['tainted_share']:.1%} of trades tainted"
        )
    if row["sharpe_ratio"] is not None:
        deflated = (
            ""
            if row["deflated_sharpe"] is None
            else (
                f", above the best of {row['n_trials']:,.0f} trials by luck with probability {row['deflated_sharpe']:.2f}"
            )
        )
        lines.append(f"Sharpe ratio {row['sharpe_ratio']:z.2f} per year before costs{deflated}")
    if row["backtest_overfitting"] is not None:
        lines.append(
            f"picking the event's best trade of half the time loses in the other: {row['backtest_overfitting']:.0%}"
        )
    if row["cusum_p"] is not None:
        lines.append(f"drift of the mean within the discovery fold: p {row['cusum_p']:.2g}")
    if placebo is not None and placebo["placebo_mean"] is not None:
        lines.append(
            f"placebo times ({placebo['placebo_n_events']:,}): mean {_bps(placebo['placebo_mean'])}, 90 % interval "
            f"{_bps(placebo['placebo_low'])} … {_bps(placebo['placebo_high'])}; difference "
            f"{_bps(placebo['placebo_difference'])}, p {placebo['placebo_p']:.2g}"
        )
    return lines or ["nothing: too few events"]


def _placebo_row(placebo: pl.DataFrame | None, row: Row) -> Row | None:
    import polars as pl

    found = None if placebo is None else placebo.filter(pl.col("candidate_id") == row["candidate_id"])
    return None if found is None or found.is_empty() else found.row(0, named=True)


def _promotion(candidates: pl.DataFrame, row: Row, promotion: GateProfile, placebo: pl.DataFrame | None) -> list[str]:
    """One line that counts the gates of the promotion profile, and those that are missed with their margins."""
    import polars as pl

    from backtest.discovery.gates import GATES, REPORT_GATES, held_to, margin_of

    own = candidates.filter(pl.col("candidate_id") == row["candidate_id"])
    held = held_to(own, {row["event_type"]: promotion}, placebo).row(0, named=True)
    gates = (*GATES, *REPORT_GATES)
    missed = [gate for gate in gates if not held[gate]]
    lines = [f"Gates of the profile promotion: {len(gates) - len(missed)} of {len(gates)} passed"]
    for gate in missed:
        margin = held[margin_of(gate)]
        distance = "not computed" if margin is None else f"{margin:+.3g}"
        lines.append(f"  FAILED  {gate.removeprefix('gate_').replace('_', ' ')}: {distance}")
    return lines


def _p_values(row: Row) -> str:
    if row["p_value"] is None:
        return ""
    if row["q_value"] is None:
        return f", p {row['p_value']:.2g}"
    return f", p {row['p_value']:.2g}, q {row['q_value']:.2g}, family-wise p {row['family_wise_p']:.2g}"


def gate_asks(row: Row, profile: GateProfile) -> dict[str, str]:
    """What each gate asks of a hypothesis, in words, by gate."""
    return {
        "gate_eligible": f"≥ {profile.min_events} events, {profile.min_days} days, {profile.min_confirmation_days} to confirm",
        "gate_significant": f"TreeBH at {profile.tree_level:g} or family-wise p ≤ {profile.family_wise_level:g}",
        "gate_day_concentration": f"no day with > {profile.max_day_share_of_sum:.0%} of the sum",
        "gate_confirmed": f"confirmation q ≤ {row['confirmation_level']:.3g}"
        + (f" ({row['confirmation_openings']} openings)" if row["confirmation_openings"] > 1 else ""),
        "gate_economic": f"posterior mean above cost, with P ≥ {profile.min_probability_above_cost:.2f}",
        "gate_economic_conservative": f"posterior mean above {profile.conservative_cost_multiple:g} × cost",
        "gate_stability": f"same sign in {profile.stability.min_same_sign} of {profile.stability.spans} spans",
    }


def _gates(row: Row, profile: GateProfile) -> list[str]:
    from backtest.discovery.gates import GATES
    from backtest.reports.terminal import MARGIN_TEXTS

    asks, lines = gate_asks(row, profile), []
    for gate in GATES:
        margin = row[gate.replace("gate_", "margin_", 1)]
        distance = "not computed" if margin is None else MARGIN_TEXTS[gate].format(margin)
        name = gate.removeprefix("gate_").replace("_", " ")
        lines.append(f"{'passed' if row[gate] else 'FAILED'}  {name:<22}  {asks[gate]:<55}  {distance}")
    return lines


def _needs(candidates: pl.DataFrame, row: Row, failed: Sequence[str], profile: GateProfile) -> list[str]:
    """One sentence for each failed gate that more events or a larger effect would mend."""
    needs: list[str] = []
    if "gate_eligible" in failed:
        counts = (
            (profile.min_events - row["n_events"], "events in the discovery fold"),
            (profile.min_days - row["n_days"], "active days in the discovery fold"),
            (profile.min_confirmation_days - row["confirmation_n_days"], "active days in the confirmation fold"),
        )
        return [f"{missing:,} more {what}" for missing, what in counts if missing > 0] or [
            "events spread over more days: one day holds too many of them"
        ]
    if "gate_significant" in failed:
        needs.append(_significance_needed(candidates, row, profile))
    if "gate_day_concentration" in failed and row["largest_day_share"] is not None:
        needs.append(
            f"day concentration: its largest day makes {row['largest_day_share']:.0%} of the sum; {_days_needed(row, profile)}"
        )
    if "gate_stability" in failed:
        missing = profile.stability.min_same_sign - row["spans_same_sign"]
        needs.append(f"stability: the same sign in {missing} more of the {profile.stability.spans} spans")
    if "gate_confirmed" in failed and row["confirmation_p"] is not None:
        needs.append(_confirmation_needed(candidates, row))
    if "gate_economic" in failed:
        needs.append(_economy_needed(row, profile))
    if "gate_economic_conservative" in failed:
        limit = profile.conservative_cost_multiple * max(row["cost"], 0.0)
        needs.append(
            f"economic conservative: a posterior mean above {_bps(limit)} bps; more events alone do not raise it"
        )
    return needs


def _days_needed(row: Row, profile: GateProfile) -> str:
    """About how many more active days like the others until the largest one is no more than the limit's share."""
    factor = row["largest_day_share"] / max(profile.max_day_share_of_sum, 1e-9)
    more = math.ceil(row["n_days"] * (factor - 1.0))
    return f"about {more:,} more days like the others make it {profile.max_day_share_of_sum:.0%}"


def _significance_needed(candidates: pl.DataFrame, row: Row, profile: GateProfile) -> str:
    """By the p of the least significant hypothesis that was selected; by Bonferroni where none was."""
    from scipy.special import stdtrit

    selected = candidates.filter("gate_significant")["p_value"].max()
    tested = int(candidates["gate_eligible"].sum())
    level = float(selected) if selected is not None else profile.family_wise_level / max(tested, 1)  # type: ignore[arg-type]
    needed = -float(stdtrit(row["degrees_of_freedom"], level / 2.0))
    by = "as the least significant one selected in this run" if selected is not None else f"Bonferroni over {tested:,}"
    t = row["adjusted_t_stat"]
    if t <= 0:
        return f"significant: t ≥ {needed:.1f} ({by}); the mean points the other way, so more events would not help"
    if t >= needed:
        return f"significant: |t| is large enough ({by}: {needed:.1f}), but its event or family was not selected"
    return (
        f"significant: t ≥ {needed:.1f} ({by}). With the effect as it is that takes about "
        f"{_more(row['n_events'], needed / t)} more events; with the events as they are, a raw mean of about "
        f"{_bps(row['expectancy'] * needed / t)} bps"
    )


def _confirmation_needed(candidates: pl.DataFrame, row: Row) -> str:
    from scipy.special import ndtri

    n_tested = int(candidates["is_confirmation_candidate"].sum())
    passed = candidates.filter("gate_confirmed")["confirmation_p"].max()
    level = float(passed) if passed is not None else row["confirmation_level"] / max(n_tested, 1)  # type: ignore[arg-type]
    needed, reached = -float(ndtri(level)), -float(ndtri(row["confirmation_p"]))
    if reached <= 0:
        return "confirmed: the confirmation fold points the other way, so more of the same would not help"
    if reached >= needed:
        return "confirmed: its p is small enough, but too few of the other candidates' are"
    return (
        f"confirmed: p ≤ {level:.2g} on the confirmation fold; with its effect there as it is, about "
        f"{_more(row['confirmation_n_events'], needed / reached)} more events"
    )


def _economy_needed(row: Row, profile: GateProfile) -> str:
    from scipy.special import ndtri

    if row["posterior_mean"] is None:
        return "economic: an estimate; none of its cells has 8 events on 5 days"
    reach = float(ndtri(profile.min_probability_above_cost)) * row["posterior_sd"]
    text = f"economic: a posterior mean of about {_bps(row['cost'] + reach)} bps with its uncertainty as it is"
    net = row["after_cost_expectancy"]
    if net <= 0:
        return f"{text}; its mean is below cost, so more events alone would not help"
    return f"{text}, or about {_more(row['n_events'], reach / net)} more events with its mean as it is"


def _more(n: int, factor: float) -> str:
    """Further events until a standard error is `factor` times smaller."""
    return f"{max(math.ceil(n * (factor**2 - 1.0)), 1):,}"


def _bps(fraction: float) -> str:
    return f"{fraction * 1e4:z.1f}"
