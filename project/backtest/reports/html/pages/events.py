"""All event types on one page, and a page for each of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backtest.reports.html import figures, formats
from backtest.reports.html.pages.selection import file_name
from backtest.reports.html.pages.verdict import where
from backtest.reports.html.rendering import page
from backtest.reports.html.results import Missing, RunResults

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

COMPANIONS: Final = 10
BEST: Final = 12
WITHIN_BARS: Final = 12


@dataclass(frozen=True)
class Occurrences:
    """What all event pages share: counts per month and type, and how often types meet."""

    months: list[dt.date]
    monthly: Mapping[str, list[int]]
    names: list[str]
    shares: NDArray[np.float64]


def occurrences(events: pl.DataFrame) -> Occurrences:
    """Counts of a run's events by calendar month, and co-occurrence within an hour of the types that occur."""
    import polars as pl

    from backtest.events.co_occurrence import co_occurrence

    month = events.select("event_type", pl.col("timestamp").dt.date().dt.month_start().alias("month"))
    if month.is_empty():
        return Occurrences([], {}, [], np.zeros((0, 0)))
    span = month.select(pl.date_range(pl.col("month").min(), pl.col("month").max(), "1mo"))
    months = span.to_series().to_list()
    counts = {(name, when): n for name, when, n in month.group_by("event_type", "month").len().iter_rows()}
    names = sorted(month["event_type"].unique().to_list())
    return Occurrences(
        months=months,
        monthly={name: [counts.get((name, when), 0) for when in months] for name in names},
        names=names,
        shares=co_occurrence(events, names, WITHIN_BARS),
    )


def event_pages(results: RunResults, colours: Mapping[str, str], paged: set[str]) -> Iterator[tuple[str, str]]:
    """events.html and one page a type, as (place, text)."""
    common: dict[str, Any] = {"run_id": results.run_id, "section": "events.html"}
    if isinstance(results.event_quality, Missing):
        yield "events.html", page("events.html.j2", title="Events", **common, quality_missing=results.event_quality)
        return
    found = (
        Occurrences([], {}, [], np.zeros((0, 0)))
        if isinstance(results.events, Missing)
        else occurrences(results.events)
    )
    families = {name: event.model.family for name, event in results.spec.events.items()}
    quality = results.event_quality.sort("event_type")
    rows = [
        {
            "name": row["event_type"],
            "href": f"events/{file_name(row['event_type'])}.html",
            "colour": colours.get(row["event_type"], ""),
            "family": formats.words(families.get(row["event_type"], "")).lower(),
            "n": formats.count(row["n_events"]),
            "prevalence": formats.decimal(row["per_10000_bars"]),
            "clustered": formats.share(row["clustered_share"]),
            "joined": formats.share(row["join_rate"], 1),
            "spark": figures.sparkline(
                found.monthly[row["event_type"]],
                title=f"{row['event_type']} by month",
                kind=colours.get(row["event_type"], ""),
            )
            if row["event_type"] in found.monthly
            else "",
            "verdict": row["verdict"],
            "tested": row["is_tested"],
        }
        for row in quality.iter_rows(named=True)
    ]
    tested = int(quality["is_tested"].sum())
    yield (
        "events.html",
        page(
            "events.html.j2",
            title="Events",
            **common,
            quality_missing=None,
            summary=f"{formats.plural(len(rows), 'event type')} with {formats.count(int(quality['n_events'].sum()))} "
            f"occurrences; {tested} are fit to be tested. The others are reported and not tested.",
            rows=rows,
            matrix=figures.matrix_figure(found.names, found.shares, title="Co-occurrence of event types within an hour")
            if found.names
            else None,
        ),
    )
    happened, tried = _by_event(results.events), _by_event(results.candidates)
    for row in quality.iter_rows(named=True):
        name = row["event_type"]
        per_symbol, shown = _of_occurrences(happened.get(name), name, colours)
        n_hypotheses, note, best = _hypotheses(results, tried.get(name), name, paged)
        yield (
            f"events/{file_name(name)}.html",
            _event_page(
                results,
                row,
                found,
                colours,
                per_symbol=per_symbol,
                figures=shown,
                hypotheses=n_hypotheses,
                hypotheses_note=note,
                best=best,
            ),
        )


def _by_event(frame: pl.DataFrame | Missing) -> dict[str, pl.DataFrame]:
    if isinstance(frame, Missing):
        return {}
    return {str(name): rows for (name,), rows in frame.partition_by("event_type", as_dict=True).items()}


def _event_page(
    results: RunResults,
    row: Mapping[str, Any],
    found: Occurrences,
    colours: Mapping[str, str],
    **values: Any,
) -> str:
    name = row["event_type"]
    gate = results.spec.gates.gate_e1
    event = results.spec.events.get(name)
    bounds = (gate.min_per_10000_bars, gate.max_per_10000_bars)
    if event is not None:
        own = event.model.prevalence
        fewest, most = own.min_per_10000_bars, own.max_per_10000_bars
        bounds = (bounds[0] if fewest is None else fewest, bounds[1] if most is None else most)
    monthly = None
    if name in found.monthly and row["n_bars"]:
        monthly = figures.monthly_figure(
            found.months,
            [float(n) for n in found.monthly[name]],
            title=f"{name} by month",
            label="occurrences a month",
            kind=colours.get(name, ""),
        )
    return page(
        "event.html.j2",
        run_id=results.run_id,
        title=name,
        section="events.html",
        depth=1,
        name=name,
        colour=colours.get(name, ""),
        family=formats.words(event.model.family).lower() if event is not None else "",
        description=event.model.description if event is not None else "The spec has no such event any more.",
        mechanism=event.model.mechanism if event is not None else "",
        n=formats.count(row["n_events"]),
        prevalence=f"{formats.decimal(row['per_10000_bars'])} per 10,000 bars",
        prevalence_bounds=f"allowed {bounds[0]:g} to {bounds[1]:g}",
        clustered=formats.share(row["clustered_share"]),
        clustered_bound=f"allowed up to {formats.share(gate.max_clustered_share)} within {gate.clustering_bars} bars",
        joined=formats.share(row["join_rate"], 1),
        joined_bound=f"at least {formats.share(gate.min_join_rate)}",
        verdict=row["verdict"],
        monthly=monthly,
        monthly_text=f"All symbols of the run together. The first and the last month may be incomplete. The spec "
        f"allows {bounds[0]:g} to {bounds[1]:g} occurrences per 10,000 bars.",
        companions=_companions(found, name, colours),
        definition=results.definitions.get(name, "The spec has no such event any more.").rstrip(),
        **values,
    )


def _of_occurrences(
    own: pl.DataFrame | None, name: str, colours: Mapping[str, str]
) -> tuple[str, list[dict[str, Any]]]:
    import polars as pl

    if own is None:
        return "", []
    by_symbol = own.group_by("symbol").len().sort("symbol")
    text = ", ".join(f"{symbol} {n:,}" for symbol, n in by_symbol.iter_rows())
    hours = np.bincount(own["timestamp"].dt.hour().to_numpy(), minlength=24)
    gaps = (
        own.sort("symbol", "timestamp")
        .select((pl.col("timestamp").diff().over("symbol").dt.total_minutes() / 60).alias("hours"))["hours"]
        .drop_nulls()
    )
    kind = colours.get(name, "")
    made = [
        {
            "svg": figures.column_figure(
                [f"{hour:02d}" for hour in range(24)],
                hours.astype(float),
                title=f"{name} by hour of the day",
                label="occurrences",
                axis="hour of the day (UTC)",
                kind=kind,
            ),
            "title": "When in the day",
            "text": "",
        }
    ]
    if len(gaps):
        edges = [0, 1, 2, 4, 8, 16, 24, 48, 96, 168, np.inf]
        counts, _ = np.histogram(gaps.to_numpy(), edges)
        names = [_gap_text(high) for high in edges[1:]]
        made.append(
            {
                "svg": figures.column_figure(
                    names,
                    counts.astype(float),
                    title=f"Time between occurrences of {name}",
                    label="occurrences",
                    axis="time since the one before on the symbol",
                    kind=kind,
                ),
                "title": "How they cluster",
                "text": "Many short gaps mean that one happening is counted several times.",
            }
        )
    return text, made


def _gap_text(high: float) -> str:
    if high == np.inf:
        return "> 7 d"
    return f"\N{LESS-THAN OR EQUAL TO} {high:g} h" if high < 24 else f"\N{LESS-THAN OR EQUAL TO} {high / 24:g} d"


def _companions(found: Occurrences, name: str, colours: Mapping[str, str]) -> list[dict[str, Any]]:
    if name not in found.names:
        return []
    row = found.names.index(name)
    order = np.argsort(-np.nan_to_num(found.shares[row]), kind="stable")
    chosen = [index for index in order if index != row and found.shares[row, index] >= 0.02][:COMPANIONS]
    return [
        {
            "name": found.names[index],
            "href": f"{file_name(found.names[index])}.html",
            "colour": colours.get(found.names[index], ""),
            "mine": formats.share(float(found.shares[row, index])),
            "theirs": formats.share(float(found.shares[index, row])),
        }
        for index in chosen
    ]


def _hypotheses(
    results: RunResults, own: pl.DataFrame | None, name: str, paged: set[str]
) -> tuple[str, str, list[dict[str, Any]]]:
    if isinstance(results.candidates, Missing):
        return formats.NOTHING, "", []
    if own is None:
        return "0", "not tested", []
    tested, passed = int(own["gate_eligible"].sum()), int(own["gate_phase2_final"].sum())
    best = (
        own.filter("gate_eligible")
        .sort(
            "gate_phase2_final",
            "after_cost_expectancy",
            "candidate_id",
            descending=[True, True, False],
            nulls_last=True,
        )
        .head(BEST)
    )
    rows = [
        {
            "trade": f"{formats.words(row['template_verb'])} {row['horizon']}",
            "where": where(row),
            "href": f"candidates/{file_name(row['candidate_id'])}.html"
            if row["candidate_id"] in paged
            else f"candidates.html#event_type={name}",
            "n": formats.count(row["n_events"]),
            "mean": formats.bps(row["posterior_mean"]),
            "net": formats.bps(row["after_cost_expectancy"], plus=True),
            "q": formats.small(row["q_value"]),
            "passed": row["gate_phase2_final"],
            "verdict": "passed all" if row["gate_phase2_final"] else formats.words(str(row["fail_reasons"])),
        }
        for row in best.iter_rows(named=True)
    ]
    return formats.count(len(own)), f"{tested:,} with enough events, {passed:,} passed", rows
