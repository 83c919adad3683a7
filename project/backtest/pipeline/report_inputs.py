"""What the report of a run is made from, read from wherever the run left it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError, RunError, SpecError
from backtest.lake.cleaned import read_cleaned_quality
from backtest.lake.files import read_json, read_parquet
from backtest.lake.monitors import last_words
from backtest.lake.months import month_files, read_months
from backtest.lake.paths import DataRoot, Market
from backtest.outside_bytes import parsed_json
from backtest.pipeline.history import manifest_of
from backtest.pipeline.manifests import earlier_record
from backtest.pipeline.results import (
    PROMOTION_FILES,
    WALK_FORWARD_FILES,
    run_candidates,
    run_placebo,
    run_promotion,
    run_robustness,
    run_robustness_checks,
)
from backtest.reports.html.results import BacktestResults, DataQuality, Missing, MonitorStatus, RunResults

if TYPE_CHECKING:
    import polars as pl

    from backtest.discovery.folds import Folds
    from backtest.evaluation.measured import MeasuredErrorRates
    from backtest.spec.compiled import Spec

SIMULATED: Final = "simulated"
BACKTEST_SUMMARY: Final = "summary.json"
BACKTEST_TABLES: Final = {
    name: f"{name}.parquet"
    for name in ("metrics", "equity", "strategy_returns", "monthly", "costs", "capacity", "correlation", "trades")
}
LIVE_EDGE: Final = "live_edge"
MONITORS: Final = {
    "data_freshness": (
        "Data freshness",
        "Nobody has asked whether the lake's data are fresh.",
        "backtest monitor-data-freshness",
    ),
    "kill_switch": (
        "Kill switch",
        "The kill switch has not been asked for this run.",
        "backtest kill-switch --run-id {run_id} --symbol SYMBOL",
    ),
    "feature_drift": (
        "Feature drift",
        "No drift of features has been measured against this run.",
        "backtest monitor-feature-drift --run-id {run_id} --symbol SYMBOL",
    ),
    "oos_window": (
        "Out-of-sample window",
        "No evaluation window has been checked against this run's search.",
        "backtest validate-oos-window --run-id {run_id} --eval-start DAY --eval-end DAY",
    ),
    "watch": ("Watch", "This run is not being watched.", "backtest watch --run-id {run_id}"),
}
"""By the name a monitor leaves its word under: its title, what is said where it left none, and how it is asked."""
MARKETS: Final[tuple[Market, ...]] = ("perp", "spot")


def gathered(root: DataRoot, spec_root: Path, run_id: str) -> RunResults:
    """Everything a run has, and for each section it lacks a sentence with the command that makes it.

    Raises
    ------
    RunError, MisuseError
        Unknown run, or no data root.
    DataError
        A file of the run that is there and cannot be read.
    """
    from backtest.discovery.folds import Folds
    from backtest.spec.loader import load_spec

    manifest, spec = manifest_of(root, run_id), load_spec(spec_root)
    folds = Folds.from_json(read_json(root.design(run_id))) if root.design(run_id).is_file() else None
    candidates = _candidates(root, run_id)
    blueprints = _blueprints(root, run_id)
    symbols = tuple(str(symbol) for symbol in manifest.get("symbols") or ())
    is_simulated = _is_simulated(root, symbols, manifest)
    events = _events(root, run_id)
    found = _studies(root, spec_root, spec, run_id, symbols, folds, candidates, events)
    studies, studies_missing = ({}, found) if isinstance(found, Missing) else (found, None)
    return RunResults(
        run_id=run_id,
        manifest=manifest,
        spec=spec,
        spec_is_unchanged=manifest.get("ontology_spec_hash") in (None, spec.ontology_hash),
        folds=folds,
        search=_search(root, run_id),
        candidates=candidates,
        event_quality=_event_quality(root, run_id),
        events=events,
        studies=studies,
        studies_missing=studies_missing,
        blueprints=blueprints,
        definitions=_definitions(spec_root, spec),
        data=_data_quality(root, spec, run_id, symbols, folds),
        monitors=_monitors(root, run_id),
        calibration=_calibration(),
        backtest=_backtest(root, run_id),
        robustness=run_robustness(root, run_id),
        robustness_checks=run_robustness_checks(root, run_id),
        promotion=run_promotion(root, run_id),
        placebo=run_placebo(root, run_id),
        is_simulated=is_simulated,
        is_demonstration=is_simulated and _is_demonstration(root, spec),
        warnings=_warnings(manifest),
        stages=_stages(manifest),
    )


def input_files(root: DataRoot, run_id: str, symbols: Sequence[str]) -> list[Path]:
    """The files that decide what the report shows, for the stage's cache."""
    folders = [root.cleaned_bars(market, symbol) for market in MARKETS for symbol in symbols]
    folders += [root.features(symbol) for symbol in symbols]
    return [
        root.design(run_id),
        root.register(run_id),
        *sorted(root.reports("phase2", run_id).glob("*/candidates.parquet")),
        root.blueprints(run_id),
        root.events(run_id),
        root.event_quality(run_id),
        *root.monitor_words(None),
        *root.monitor_words(run_id),
        root.placebo(run_id),
        root.robustness(run_id),
        root.robustness_checks(run_id),
        *(root.promotions(run_id, file) for file in PROMOTION_FILES),
        *(root.walk_forward(run_id, file) for file in WALK_FORWARD_FILES),
        *(root.backtest(run_id, file) for file in (BACKTEST_SUMMARY, *BACKTEST_TABLES.values())),
        *(path for market in MARKETS for symbol in symbols for path in _quality_files(root, market, symbol)),
        *(path for folder in folders for path in month_files(folder)),
    ]


# -- discovery ----------------------------------------------------------------------------------------------


def _candidates(root: DataRoot, run_id: str) -> pl.DataFrame | Missing:
    if not any(root.reports("phase2", run_id).glob("*/candidates.parquet")):
        return Missing("This run has tested no hypotheses.", f"make discover-edges RUN_ID={run_id}")
    return run_candidates(root, run_id)


def _events(root: DataRoot, run_id: str) -> pl.DataFrame | Missing:
    if not root.events(run_id).is_file():
        return Missing("This run has detected no events.", f"make discover-edges RUN_ID={run_id}")
    return read_parquet(root.events(run_id))


def _event_quality(root: DataRoot, run_id: str) -> pl.DataFrame | Missing:
    if not root.event_quality(run_id).is_file():
        return Missing("This run has detected no events.", f"make discover-edges RUN_ID={run_id}")
    return read_parquet(root.event_quality(run_id))


def _search(root: DataRoot, run_id: str) -> Mapping[str, Any] | None:
    """What the ledger said when the hypotheses were tested."""
    record = earlier_record(root.run(run_id) / "candidates.json") or {}
    found = (record.get("summary") or {}).get("search")
    return found if isinstance(found, dict) else None


def _blueprints(root: DataRoot, run_id: str) -> dict[str, dict[str, Any]]:
    """Blueprints by the id of their candidate."""
    path = root.blueprints(run_id)
    if not path.is_file():
        return {}
    found = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            blueprint = parsed_json(line)
            found[str(blueprint["blueprint_id"]).removeprefix(f"{run_id}.")] = blueprint
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(f"{path} is unreadable: {fault}. Write it again: make discover-edges RUN_ID={run_id}") from None
    return found


def _definitions(spec_root: Path, spec: Spec) -> dict[str, str]:
    from backtest.spec.texts import definition_text

    named = [("events", name) for name in spec.events]
    named += [("templates", name) for name in (*spec.templates, *spec.filters)]
    named += [("states", name) for name in spec.states]
    return {name: definition_text(spec_root, folder, name) for folder, name in named}


def _studies(
    root: DataRoot,
    spec_root: Path,
    spec: Spec,
    run_id: str,
    symbols: Sequence[str],
    folds: Folds | None,
    candidates: pl.DataFrame | Missing,
    events: pl.DataFrame | Missing,
) -> Any:
    """Studies by candidate; `Missing` where the bars behind the run are not there any more or were made anew otherwise."""
    from backtest.pipeline.candidate_studies import studies
    from backtest.pipeline.stage import Plan
    from backtest.reports.html.pages.selection import with_pages

    if isinstance(candidates, Missing):
        return candidates
    if isinstance(events, Missing):
        return events
    if folds is None:
        return Missing("This run has no record of its folds.", f"make discover-edges RUN_ID={run_id}")
    plan = Plan(root, spec_root, run_id, tuple(symbols))
    try:
        return studies(plan, spec, folds, with_pages(candidates), events)
    except (DataError, RunError, SpecError) as fault:
        return Missing(
            f"The trades cannot be shown, because the bars or features that this run was made from are not there any "
            f"more. {fault}",
            f"make discover-edges RUN_ID={run_id}",
        )


# -- data ---------------------------------------------------------------------------------------------------


def _data_quality(
    root: DataRoot, spec: Spec, run_id: str, symbols: Sequence[str], folds: Folds | None
) -> DataQuality | Missing:
    import polars as pl

    from backtest.cleaning.taint import matched_defects

    there = [(market, symbol) for symbol in symbols for market in MARKETS if _quality_files(root, market, symbol)]
    if not there:
        return Missing(
            "There are no cleaned bars of this run's symbols.", f"make discover-edges-from-raw RUN_ID={run_id}"
        )
    start, end = _bounds(folds)
    days, defects = [], []
    for symbol in symbols:
        for market in MARKETS:
            bars = (
                read_months(
                    root.cleaned_bars(market, symbol), start, end, columns=["timestamp", "is_gap", "is_tainted"]
                )
                if month_files(root.cleaned_bars(market, symbol), start, end)
                else None
            )
            if bars is None:
                continue
            if market == "perp":
                days.append(
                    bars.group_by(pl.col("timestamp").dt.date().alias("day"))
                    .agg((~pl.col("is_gap")).sum().alias("bars"), (~pl.col("is_tainted")).sum().alias("sound_bars"))
                    .with_columns(pl.lit(symbol).alias("symbol"))
                )
            defects += matched_defects(spec.known_defects, market, symbol, bars)
    checks = [read_parquet(root.cross_check(symbol)) for symbol in symbols if root.cross_check(symbol).is_file()]
    months = pl.concat([read_cleaned_quality(root, market, symbol) for market, symbol in there])
    if start is not None and end is not None:
        months = months.filter(pl.col("month").is_between(pl.lit(f"{start:%Y-%m}"), pl.lit(f"{end:%Y-%m}")))
    return DataQuality(
        months=months,
        cross_checks=pl.concat(checks) if checks else pl.DataFrame(),
        days=pl.concat(days).sort("symbol", "day") if days else pl.DataFrame(),
        defects=tuple(dict.fromkeys(defects)),
    )


def _quality_files(root: DataRoot, market: Market, symbol: str) -> list[Path]:
    return sorted(root.cleaned_quality(market, symbol, "").parent.glob("*.parquet"))


def _bounds(folds: Folds | None) -> tuple[dt.datetime | None, dt.datetime | None]:
    if folds is None:
        return None, None
    first, last = (
        dt.datetime.combine(day, dt.time(), dt.UTC) for day in (folds.discovery_start, folds.confirmation_end)
    )
    return first, last


def _backtest(root: DataRoot, run_id: str) -> BacktestResults | None:
    if not root.backtest(run_id, BACKTEST_SUMMARY).is_file():
        return None
    tables = {name: read_parquet(root.backtest(run_id, file)) for name, file in BACKTEST_TABLES.items()}
    return BacktestResults(**tables, summary=read_json(root.backtest(run_id, BACKTEST_SUMMARY)))


# -- operations ---------------------------------------------------------------------------------------------


def _monitors(root: DataRoot, run_id: str) -> list[MonitorStatus | Missing]:
    """The last word of every monitor, each once a symbol; what has not been asked is told with its command."""
    words = last_words(root, run_id)
    found: list[MonitorStatus | Missing] = []
    for monitor, (name, text, command) in MONITORS.items():
        own = [word for word in words if word["monitor"] == monitor]
        asked = command.format(run_id=run_id)
        found += [_word(name, word, asked) for word in own] or [Missing(text, asked)]
        if monitor == "kill_switch":
            found += [
                MonitorStatus(f"Live edge, {word['symbol']}", check["status"], word["time"], _details([check]), asked)
                for word in own
                for check in word["checks"]
                if check["name"] == LIVE_EDGE
            ]
    return found


def _word(name: str, word: Mapping[str, Any], command: str) -> MonitorStatus:
    title = name if word["symbol"] is None else f"{name}, {word['symbol']}"
    return MonitorStatus(title, str(word["status"]), word["time"], _details(word["checks"]), command)


def _details(checks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [(str(check["name"]), str(check["status"]), str(check["text"])) for check in checks]


def _calibration() -> MeasuredErrorRates | Missing:
    from backtest.evaluation.measured import measured_error_rates

    return measured_error_rates() or Missing(
        "No measured error rates are shipped with this version: what a q-value is worth here rests on the method alone.",
        "backtest calibrate --publish",
    )


def _is_simulated(root: DataRoot, symbols: Sequence[str], manifest: Mapping[str, Any]) -> bool:
    """Whether the run's raw bars are of the simulated market: as the run was told, else where no other venue has any."""
    asked = (manifest.get("parameters") or {}).get("venue")
    if asked is not None:
        return bool(asked == SIMULATED)
    venues = {path.parent.parent.name for symbol in symbols for path in root.lake.glob(f"raw/*/perp/{symbol}")}
    return venues == {SIMULATED}


def _is_demonstration(root: DataRoot, spec: Spec) -> bool:
    """Whether the simulated market's planted edges are those that the spec plants now."""
    record = earlier_record(root.lake / "raw" / SIMULATED / "planted_edges.json") or {}
    planted = [edge.model_dump(mode="json") for edge in spec.simulation.planted_edges]
    return bool(planted) and record.get("edges") == planted


def _warnings(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Warnings of the run, each once."""
    found = [str(warning) for warning in manifest.get("warnings") or ()]
    return tuple(dict.fromkeys(found))


def _stages(manifest: Mapping[str, Any]) -> tuple[tuple[str, str, float | None], ...]:
    """Stage instances with status and seconds, in the order they started; the report itself is left out."""
    entries = {
        str(name): entry
        for name, entry in (manifest.get("stages") or {}).items()
        if isinstance(entry, dict) and name != "report"
    }
    in_order = sorted(
        entries.items(), key=lambda item: (item[1].get("started_at") is None, str(item[1].get("started_at")), item[0])
    )
    return tuple((name, str(entry.get("status")), entry.get("duration_seconds")) for name, entry in in_order)
