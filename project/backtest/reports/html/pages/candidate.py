"""One candidate: what happens around its trades, whether it is the same everywhere, its gates, its rule, its blueprint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest.reports.html import figures, formats
from backtest.reports.html.figures import Interval, Path, Step
from backtest.reports.html.pages.promotion import not_promoted_yet, promotion_gates
from backtest.reports.html.pages.rule import rule_in_words
from backtest.reports.html.pages.selection import file_name
from backtest.reports.html.pages.verdict import where
from backtest.reports.html.rendering import page
from backtest.reports.html.results import CandidateStudy, Missing, Occurrence, RunResults
from backtest.reports.html.svg import signed
from backtest.spec.models import ALL_STATES, horizon_bars

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.models import GateProfile

HOURS_A_BLOCK: Final = 3
BPS: Final = 1e4
NOT_DRAWN: Final = (
    "The trades cannot be drawn: the spec has no such event or trade any more, or its second leg is not in the lake."
)


def candidate_page(results: RunResults, row: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    """The page of one candidate."""
    study = results.studies.get(row["candidate_id"])
    profile = results.spec.gates.discovery_profile(row["event_type"])
    net_low, net_high = _less(row["posterior_low"], row["cost"]), _less(row["posterior_high"], row["cost"])
    failed = [formats.words(reason) for reason in str(row["fail_reasons"] or "").split(", ") if reason]
    blueprint = results.blueprints.get(row["candidate_id"])
    return page(
        "candidate.html.j2",
        run_id=results.run_id,
        title=row["candidate_id"],
        section="candidates.html",
        depth=1,
        candidate_id=row["candidate_id"],
        heading=f"{row['event_type']} {formats.words(row['template_verb'])}, {row['horizon']}, {where(dict(row))}",
        event_type=row["event_type"],
        event_href=f"events/{file_name(row['event_type'])}.html",
        colour=colours.get(row["event_type"], ""),
        rule=rule_in_words(row, results.spec),
        passed=row["gate_phase2_final"],
        fail_text=", ".join(failed),
        in_short=_in_short(row),
        net=formats.bps(row["after_cost_expectancy"], plus=True),
        net_interval=f"90 % interval {formats.bps_interval(net_low, net_high)}",
        shrunk=formats.bps(row["posterior_mean"]),
        shrunk_interval=f"90 % interval {formats.bps_interval(row['posterior_low'], row['posterior_high'])}",
        raw=formats.bps(row["expectancy"]),
        raw_error=_raw_interval(row),
        cost=formats.bps(row["cost"]),
        break_even=f"break-even at {formats.bps(row['break_even_cost'])}",
        confirmation=formats.bps(row["confirmation_expectancy"]),
        confirmation_note=f"{_confirmation_interval(study)}{row['confirmation_n_events']:,} trades on "
        f"{row['confirmation_n_days']:,} days, p {formats.small(row['confirmation_p'])}",
        q=formats.small(row["q_value"]),
        tests=f"p {formats.small(row['p_value'])}, family-wise p {formats.small(row['family_wise_p'])}",
        t=formats.decimal(row["t_stat"]),
        adjusted_t=formats.decimal(row["adjusted_t_stat"]),
        n=formats.count(row["n_events"]),
        days=f"on {row['n_days']:,} days of the discovery fold",
        capacity=formats.usd(row["capacity_usd"]),
        capacity_note="an order",
        study=_study(study, row) if study is not None else None,
        beside=[
            (key, text)
            for key, text in (
                ("placebo_times", _placebo(results, row)),
                ("excursions", _excursions(row)),
                ("deflated_sharpe", _deflated(row)),
                ("overfitting", _overfitting(row)),
                ("cusum", _cusum(row)),
            )
            if text
        ],
        studies_missing=results.studies_missing or Missing(NOT_DRAWN, f"make discover-edges RUN_ID={results.run_id}"),
        gates=_gates(row, profile),
        promotion=promotion_gates(results.promotion, row["candidate_id"]) if results.promotion is not None else [],
        promotion_missing=_promotion_missing(results, row),
        checks=_checks(results, row),
        robustness=[*_verdict(results, row), *_robustness(row, profile, study)],
        robustness_missing=None
        if results.robustness is not None
        else Missing(
            "The robustness analysis has not been made for this run.", f"make discover-hybrid RUN_ID={results.run_id}"
        ),
        definitions=_definitions(results, row),
        blueprint=json.dumps(blueprint, indent=2, ensure_ascii=False) if blueprint is not None else None,
    )


def _less(value: float | None, cost: float | None) -> float | None:
    return None if value is None or cost is None else value - cost


def _in_short(row: Mapping[str, Any]) -> str:
    if row["posterior_mean"] is None:
        return "There are too few trades for an estimate."
    return (
        f"Probability that the mean exceeds the cost: {formats.probability(row['probability_above_cost'])}; that it is "
        f"not positive at all: "
        f"{formats.small(row['local_false_sign_rate'])}."
    )


def _raw_interval(row: Mapping[str, Any]) -> str:
    """The 95 % interval of the raw mean, by its standard error and degrees of freedom."""
    from scipy.special import stdtrit

    mean, error, freedom = row["expectancy"], row["expectancy_standard_error"], row["degrees_of_freedom"]
    if mean is None or error is None or freedom is None:
        return ""
    reach = float(stdtrit(freedom, 0.975)) * error
    return f"95 % interval {formats.bps_interval(mean - reach, mean + reach)}"


def _confirmation_interval(study: CandidateStudy | None) -> str:
    """The 95 % interval of the confirmation mean; nothing for a filter, whose mean is a difference of two."""
    import polars as pl

    from backtest.discovery.event_study import clustered_means

    if study is None or study.without is not None:
        return ""
    trades = study.trades.filter(pl.col("fold") == 2)
    if trades.is_empty():
        return ""
    found = clustered_means(
        trades["abnormal"].to_numpy(),
        trades["day"].to_numpy(),
        np.zeros(len(trades), dtype=np.int64),
        1,
        cluster_days=study.cluster_days,
        origin=study.cluster_origin,
    )
    text = formats.bps_interval(float(found.low[0]), float(found.high[0]))
    return "" if text == formats.NOTHING else f"95 % interval {text}; "


# -- figures of the trades ----------------------------------------------------------------------------------


def _study(study: CandidateStudy, row: Mapping[str, Any]) -> dict[str, Any]:
    import polars as pl

    first = study.trades.filter(pl.col("fold") == 1)
    shown = [_occurrence(one) for one in study.occurrences]
    return {
        **_path(study, row),
        **_distribution(first, row),
        **_waterfall(first, row, is_filter=study.without is not None),
        "breakdowns": _breakdowns(first, row, study),
        "clusters": _cluster_text(study),
        "occurrences": shown,
        "occurrences_title": f"{len(shown)} real occurrences",
    }


def _path(study: CandidateStudy, row: Mapping[str, Any]) -> dict[str, Any]:
    def bps(mean: Any) -> Path:
        return Path(mean.mean * BPS, mean.low * BPS, mean.high * BPS)

    discovery, confirmation = study.discovery, study.confirmation
    placebo = (
        Path(np.zeros(0), discovery.placebo_low * BPS, discovery.placebo_high * BPS)
        if discovery.placebo_draws
        else None
    )
    figure = figures.event_study_figure(
        discovery.offsets.tolist(),
        bps(discovery.path),
        bps(confirmation.path) if confirmation.n_events else None,
        placebo,
        without=bps(study.without.path) if study.without is not None and study.without.n_events else None,
        horizon_bars=horizon_bars(row["horizon"]),
        cost_bps=(row["cost"] or 0.0) * BPS,
        title=f"Mean path around the trades of {row['candidate_id']}",
    )
    text = (
        f"Zero is the open the trade enters at. Band: 95 % by {_cluster_text(study)}, "
        f"{formats.plural(discovery.n_events, 'trade')} in {formats.plural(discovery.n_days, 'cluster')}."
    )
    if study.second_leg is not None:
        other = "spot" if study.second_leg == "spot" else "the symbol's pair"
        text = f"Return of the perpetual less that of {other}, as both legs are traded together. {text}"
    if study.without is not None:
        text += (
            f" Only trades that the filter holds for; dotted: the {study.without.n_events:,} of the same trade that it does "
            "not hold for. The difference of the two is what was tested."
        )
    if placebo is not None:
        text += f" Grey: where 95 % of the mean paths lie at {discovery.placebo_draws} sets of placebo times."
    if confirmation.n_events:
        text += f" Dashed: the {confirmation.n_events:,} trades of the untouched days."
    return {"path": figure, "path_text": text}


def _distribution(trades: pl.DataFrame, row: Mapping[str, Any]) -> dict[str, Any]:
    values = trades["abnormal"].to_numpy() * BPS
    mean = float(values.mean()) if len(values) else 0.0
    median = float(np.median(values)) if len(values) else 0.0
    won = float((values > (row["cost"] or 0.0) * BPS).mean()) if len(values) else 0.0
    return {
        "histogram": figures.histogram_figure(
            values, mean=mean, cost=(row["cost"] or 0.0) * BPS, title="Distribution of returns per trade"
        ),
        "histogram_text": f"Median {formats.decimal(median)} bps; {formats.share(won)} of the trades earned more than "
        f"the average cost. The outermost bars hold everything beyond them.",
    }


def _cluster_text(study: CandidateStudy) -> str:
    return "day clusters" if study.cluster_days == 1 else f"clusters of {study.cluster_days} days"


def _waterfall(trades: pl.DataFrame, row: Mapping[str, Any], *, is_filter: bool) -> dict[str, Any]:
    if row["posterior_mean"] is None or row["cost"] is None or trades.is_empty():
        return {
            "waterfall": figures.waterfall_figure(
                [Step("raw mean", (row["expectancy"] or 0.0) * BPS, is_total=True)], title="Raw mean"
            ),
            "waterfall_text": "There is no shrunk estimate.",
        }
    parts = {name: float(trades[name].mean() or 0.0) for name in ("fees", "spread", "impact", "funding")}  # type: ignore[arg-type]
    # Of a filter the tested mean is a difference; what is shrunk and costs is the trade it holds for.
    raw = float(trades["abnormal"].mean()) if is_filter else row["expectancy"]  # type: ignore[arg-type]
    steps = [
        Step("raw mean", raw * BPS, is_total=True),
        Step("shrink- age", (row["posterior_mean"] - raw) * BPS),
        *(Step(name, -value * BPS) for name, value in parts.items()),
        Step("net", row["after_cost_expectancy"] * BPS, is_total=True),
    ]
    net = ((row["posterior_low"] - row["cost"]) * BPS, (row["posterior_high"] - row["cost"]) * BPS)
    return {
        "waterfall": figures.waterfall_figure(steps, title="From the raw mean to the net return", net=net),
        "waterfall_text": f"Costs are means over the trades of the discovery fold, {formats.bps(row['cost'])} bps in "
        f"all. The line on the last bar is the 90 % interval.",
    }


def _breakdowns(trades: pl.DataFrame, row: Mapping[str, Any], study: CandidateStudy) -> list[dict[str, Any]]:
    import polars as pl

    hours = (pl.col("entry_time").dt.hour() // HOURS_A_BLOCK * HOURS_A_BLOCK).cast(pl.Int64)
    block = pl.format(
        "{}–{} h", hours.cast(pl.String).str.zfill(2), (hours + HOURS_A_BLOCK).cast(pl.String).str.zfill(2)
    )
    by_time = trades.with_columns(pl.col("entry_time").dt.year().cast(pl.String).alias("_year"), block.alias("_hour"))
    cost = (row["cost"] or 0.0) * BPS
    made = [
        _breakdown(by_time, [("_year", "")], "By year", cost, study),
        _breakdown(by_time, [("symbol", "")], "By symbol", cost, study),
        _breakdown(by_time, [("_hour", "")], "By hour of the entry (UTC)", cost, study),
    ]
    known = {*_TRADE_COLUMNS}
    dimensions = [name for name in trades.columns if name not in known]
    values = trades.select(pl.col(dimensions).n_unique()).row(0, named=True) if dimensions else {}
    states = [name for name, n_values in values.items() if n_values > 1]
    if states:
        made.append(
            _breakdown(
                by_time,
                [(name, f"{formats.words(name)}: ") for name in states],
                "By market state at the event",
                cost,
                study,
            )
        )
    if row["state_id"] != ALL_STATES:
        made[-1]["text"] = f"All of these trades were made in state {formats.words(row['state_id'])}."
    return made


_TRADE_COLUMNS: Final = frozenset(
    {
        "event_bar",
        "entry_bar",
        "exit_bar",
        "event_direction",
        "fold",
        "day",
        "gross",
        "abnormal",
        "fees",
        "spread",
        "impact",
        "funding",
        "favourable",
        "adverse",
    }
    | {"symbol", "event_time", "entry_time", "exit_time"}
)


def _breakdown(
    trades: pl.DataFrame, groups: Sequence[tuple[str, str]], title: str, cost: float, study: CandidateStudy
) -> dict[str, Any]:
    rows = [interval for column, prefix in groups for interval in _intervals(trades, column, prefix, study)]
    left = min(190, 14 + int(5.6 * max((len(row.label) for row in rows), default=6)))
    svg = figures.interval_figure(
        rows,
        title=f"{title}: mean return per trade",
        label="mean return per trade (bps)",
        cost=cost,
        left=max(left, 70),
    )
    return {"svg": svg, "title": title, "text": ""}


def _intervals(trades: pl.DataFrame, column: str, prefix: str, study: CandidateStudy) -> Iterable[Interval]:
    from backtest.discovery.event_study import clustered_means

    values = trades[column].to_list()
    names = sorted(set(values) - {None})
    if not names:
        return []
    code = {name: number for number, name in enumerate(names)} | {None: -1}
    group = np.array([code[value] for value in values], dtype=np.int64)
    found = clustered_means(
        np.where(group >= 0, trades["abnormal"].to_numpy() * BPS, np.nan),
        trades["day"].to_numpy(),
        group,
        len(names),
        cluster_days=study.cluster_days,
        origin=study.cluster_origin,
    )
    return [
        Interval(
            f"{prefix}{formats.words(str(name))}",
            found.mean[index],
            found.low[index],
            found.high[index],
            f"{int(found.n_events[index]):,}",
        )
        for index, name in enumerate(names)
    ]


def _occurrence(one: Occurrence) -> dict[str, Any]:
    side = "long" if one.candles.is_long else "short"
    return {
        "title": f"{one.symbol}, {one.entry_time:%Y-%m-%d %H:%M} UTC",
        "svg": figures.candle_figure(
            one.candles,
            title=f"Bars around the {side} trade of {one.symbol} entered at {one.entry_time:%Y-%m-%d %H:%M} UTC",
        ),
        "text": f"{side}, {formats.bps(one.net, plus=True)} bps after cost, held "
        f"{figures.minutes_text((one.exit_time - one.entry_time).total_seconds() / 60)}",
    }


def _promotion_missing(results: RunResults, row: Mapping[str, Any]) -> Missing | None:
    return not_promoted_yet(results) if results.promotion is None and row["gate_phase2_final"] else None


# -- gates and robustness -----------------------------------------------------------------------------------


def _gates(row: Mapping[str, Any], profile: GateProfile) -> list[dict[str, Any]]:
    from backtest.discovery.gates import GATES
    from backtest.reports.terminal import MARGIN_TEXTS
    from backtest.reports.why_not import gate_asks

    asks = gate_asks(row, profile)
    return [
        {
            "name": formats.words(gate.removeprefix("gate_")),
            "asks": asks[gate],
            "passed": row[gate],
            "margin": "not computed"
            if (margin := row[gate.replace("gate_", "margin_", 1)]) is None
            else signed(MARGIN_TEXTS[gate].format(margin)),
        }
        for gate in GATES
    ]


def _verdict(results: RunResults, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The verdict on a candidate; none where the analysis was not made at all."""
    import polars as pl

    from backtest.evaluation.robustness import NOT_ASSESSED

    if results.robustness is None:
        return []
    own = results.robustness.filter(pl.col("candidate_id") == row["candidate_id"])
    if own.is_empty():
        return [{"name": "Verdict", "value": f"{NOT_ASSESSED}: only what passed and the nearest misses are"}]
    found = own.row(0, named=True)
    why = found["reason"] or found["failed_checks"]
    return [{"name": "Verdict", "value": f"{found['verdict']}: {why}" if why else found["verdict"]}]


CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "sub_periods": ("Six spans of the fold", "{value:.0%} of the spans gained; at least {limit:.0%}"),
    "leave_one_symbol_out": ("Without a symbol", "{value:.0%} of the mean is kept; at least {limit:.0%}"),
    "leave_one_month_out": ("Without a month", "{value:.0%} of the mean is kept; at least {limit:.0%}"),
    "entry_delay": ("Entered later", "{value:.0%} of the mean is kept; at least {limit:.0%}"),
    "horizon_neighbours": ("Held shorter, longer", "{value:.0%} of the mean is kept; at least {limit:.0%}"),
    "parameter_neighbours": ("Parameters changed", "{value:.0%} of the mean is kept; above {limit:.0%}"),
    "costs": ("Higher costs", "{bps} bps left after them; above 0"),
    "bootstrap": ("Days drawn again", "{value:.1%} of the draws earned less than the cost; at most {limit:.0%}"),
}
"""What was changed, and how the figure of a variation is told."""


def _checks(results: RunResults, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each check of the robustness with the variation that came out worst; empty where the candidate was not assessed."""
    import polars as pl

    if results.robustness_checks is None:
        return []
    rows = results.robustness_checks.filter(pl.col("candidate_id") == row["candidate_id"]).to_dicts()
    made = []
    for check, (name, text) in CHECKS.items():
        own = [one for one in rows if one["check"] == check]
        judged = [one for one in own if one["passed"] is not None and one["value"] is not None]
        if own and not judged:
            note = own[0]["note"] or ""
            made.append({"name": name, "kind": "soft", "verdict": "not judged", "worst": "", "text": note})
        if not judged:
            continue
        worst = (max if check == "bootstrap" else min)(judged, key=lambda one: one["value"])
        passed = all(one["passed"] for one in judged)
        told = text.format(**worst, bps=formats.bps(worst["value"], plus=True))
        made.append(
            {
                "name": name,
                "kind": "pass" if passed else "fail",
                "verdict": "passed" if passed else "failed",
                "worst": worst["variation"] if len(judged) == 1 else f"{worst['variation']} (worst of {len(judged)})",
                "text": told.replace("-", "\N{MINUS SIGN}"),
            }
        )
    return made


def _placebo(results: RunResults, row: Mapping[str, Any]) -> str:
    """What the same trade earned at placebo times; empty where it was not compared."""
    import polars as pl

    if results.placebo is None:
        return ""
    own = results.placebo.filter(pl.col("candidate_id") == row["candidate_id"])
    if own.is_empty():
        return ""
    found = own.row(0, named=True)
    interval = formats.bps_interval(found["placebo_low"], found["placebo_high"])
    n, p = formats.count(found["placebo_n_events"]), formats.small(found["placebo_p"])
    return (
        f"{formats.bps(found['placebo_mean'])} bps (90 % interval {interval}) in {n} trades at the same hours and volatilities "
        f"without an event; p of the difference {p}"
    )


def _excursions(row: Mapping[str, Any]) -> str:
    """How far a usual trade runs for and against it; empty where that is not known."""
    if row["mean_favourable_excursion"] is None or row["mean_adverse_excursion"] is None:
        return ""
    return (
        f"{formats.bps(row['mean_favourable_excursion'])} bps in its favour, {formats.bps(row['mean_adverse_excursion'])} bps "
        "against it, on average, while held"
    )


def _deflated(row: Mapping[str, Any]) -> str:
    if row["deflated_sharpe"] is None or row["sharpe_ratio"] is None:
        return ""
    return (
        f"{formats.decimal(row['deflated_sharpe'], 2)}: probability that the Sharpe ratio of "
        f"{formats.decimal(row['sharpe_ratio'], 2)} a year exceeds the best of {formats.count(row['n_trials'])} trials by luck"
    )


def _overfitting(row: Mapping[str, Any]) -> str:
    value = row["backtest_overfitting"]
    return "" if value is None else f"{formats.decimal(value, 2)} over the trades of this event"


def _cusum(row: Mapping[str, Any]) -> str:
    value = row["cusum_p"]
    return (
        ""
        if value is None
        else f"p {formats.small(value)}; small where the mean came or went within the discovery fold"
    )


def _robustness(row: Mapping[str, Any], profile: GateProfile, study: CandidateStudy | None) -> list[dict[str, str]]:
    rows = [
        {
            "name": "Same sign over time",
            "value": f"{row['spans_same_sign']} of {profile.stability.spans} equal spans of the discovery fold",
        },
        {"name": "Sum by year", "value": str(row["signs_by_year"] or formats.NOTHING).replace("-", "\N{MINUS SIGN}")},
        {
            "name": "Sum by symbol",
            "value": str(row["signs_by_symbol"] or formats.NOTHING).replace("-", "\N{MINUS SIGN}"),
        },
        {"name": "Largest day", "value": f"{formats.share(row['largest_day_share'])} of the sum"},
        {
            "name": "Tainted trades",
            "value": f"{formats.share(row['tainted_share'], 1)} rest on a bar that cannot be trusted",
        },
    ]
    if study is not None and study.discovery.n_events != row["n_events"]:
        rows.append(
            {
                "name": "Trades made again",
                "value": f"The bars in the lake now give {study.discovery.n_events:,} trades where the run had "
                f"{row['n_events']:,}: they have changed since.",
            }
        )
    return rows


def _definitions(results: RunResults, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = [
        (row["event_type"], f"Event {row['event_type']} as it is defined (YAML)"),
        (row["template_verb"], f"Trade {row['template_verb']} (YAML)"),
    ]
    for name, state in results.spec.states.items():
        if row["state_id"] in state.values:
            named.append((name, f"State {name} (YAML)"))
    return [(title, results.definitions[name].rstrip()) for name, title in named if name in results.definitions]
