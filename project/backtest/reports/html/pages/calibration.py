"""calibration.html: the measured error rates of the procedure, and whether they are of the run's own spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.evaluation.calibration import LEVELS, PROCEDURES
from backtest.reports.calibration import share_text
from backtest.reports.html.rendering import page

if TYPE_CHECKING:
    from backtest.evaluation.measured import MeasuredErrorRates
    from backtest.reports.html.results import RunResults


@dataclass(frozen=True)
class Table:
    title: str
    text: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def calibration_report_page(results: RunResults, rates: MeasuredErrorRates) -> str:
    """The page, from the figures that are shipped with the program."""
    run_hash = str(results.manifest.get("ontology_spec_hash") or "unknown")
    worlds = f"{rates.worlds['simulated']} simulated ones"
    if copies := rates.worlds["copies_of_real_bars"]:
        worlds += f" and {copies} copies of real bars"
    return page(
        "calibration.html.j2",
        run_id=results.run_id,
        title="Calibration",
        section="calibration.html",
        worlds=worlds,
        measured_on=rates.measured_on,
        commit=(rates.commit or "")[:12],
        spec_hash=rates.ontology_spec_hash,
        run_spec_hash=run_hash,
        is_same_spec=rates.is_of_spec(run_hash),
        broken=rates.broken_limits,
        n_limits=len(rates.limits),
        tables=list(_tables(rates.groups)),
    )


def _tables(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    # What most worlds speak for comes first; the stored figures are by name.
    groups = dict(sorted(groups.items(), key=lambda entry: -entry[1]["worlds"]))
    nulls = {name: group for name, group in groups.items() if not group["is_planted"]}
    planted = {name: group for name, group in groups.items() if group["is_planted"]}
    if nulls:
        yield Table(
            "Worlds without an edge",
            "Share of the worlds in which a procedure finds anything at all; whatever it finds there is false.",
            ("Procedure", *(f"{name} ({group['worlds']} worlds)" for name, group in nulls.items())),
            [
                (text, *(share_text(group["procedures"][key]["share_with_any"], 1) for group in nulls.values()))
                for key, text in PROCEDURES.items()
            ],
        )
        yield Table(
            "Rejections where there is nothing",
            "Share of the hypotheses whose p-value is at most a level. It should be the level.",
            ("Worlds", *(f"p ≤ {100 * level:g} %" for level in LEVELS)),
            [
                (name, *(share_text(group["rejection"]["cluster"]["all"][f"{level:g}"]) for level in LEVELS))
                for name, group in nulls.items()
            ],
        )
    for title, key, text in (
        (
            "False ones among what is found",
            "false_share",
            "Mean over worlds of the share of discoveries that are false.",
        ),
        ("Power", "power", "Of the hypotheses on planted events that have at least half of the edge, the share found."),
    ):
        if planted:
            yield Table(
                title,
                text,
                ("Procedure", *(f"{name} ({group['worlds']} worlds)" for name, group in planted.items())),
                [
                    (words, *(share_text(group["procedures"][procedure][key], 1) for group in planted.values()))
                    for procedure, words in PROCEDURES.items()
                ],
            )
