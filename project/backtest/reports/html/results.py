"""All that a report is made from: what a run left, as frames and values, and a sentence for whatever it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from backtest.discovery.event_study import EventStudy
    from backtest.discovery.folds import Folds
    from backtest.evaluation.measured import MeasuredErrorRates
    from backtest.reports.html.figures import Candles
    from backtest.spec.compiled import Spec


@dataclass(frozen=True)
class Missing:
    """A section that a run has no data for: one plain sentence, and the command that makes them."""

    text: str
    command: str


@dataclass(frozen=True)
class Occurrence:
    """One real trade of a candidate with the bars around it; `net` is a fraction after costs."""

    symbol: str
    event_time: dt.datetime
    entry_time: dt.datetime
    exit_time: dt.datetime
    net: float
    candles: Candles


@dataclass(frozen=True)
class CandidateStudy:
    """What happened around the trades of one candidate.

    `trades` has the columns of `event_study.TRADE_SCHEMA` with ``symbol``, ``entry_time`` and a text column a state dimension;
    returns and funding are turned to the trade's side.
    """

    discovery: EventStudy
    confirmation: EventStudy
    trades: pl.DataFrame
    occurrences: Sequence[Occurrence]
    cluster_days: int = 1
    """Length of the clusters of all intervals, those of the candidate's own test, in days."""
    cluster_origin: int = 0
    """A day, counted from 1970-01-01, at which a cluster begins."""
    second_leg: str | None = None
    """``spot`` or ``pair`` where a second leg is traded against the first."""
    without: EventStudy | None = None
    """Of a filter the trades of the discovery fold that it does not hold for; all else is of those that it holds for."""


@dataclass(frozen=True)
class DataQuality:
    """Cleaned bars of the run's symbols: months with counts, disagreements between sources, and coverage per day.

    `days` has ``symbol``, ``day``, ``bars``, ``sound_bars``; `defects` are known defects in words.
    """

    months: pl.DataFrame
    cross_checks: pl.DataFrame
    days: pl.DataFrame
    defects: Sequence[str]


@dataclass(frozen=True)
class MonitorStatus:
    """The last word of one monitor on this run."""

    name: str
    status: str
    checked_at: str | None
    details: Sequence[tuple[str, str, str]]
    """(check, status, what was found)."""
    command: str


@dataclass(frozen=True)
class BacktestResults:
    """The tables of a run's backtest as docs/backtest.md describes them, and ``summary.json``."""

    metrics: pl.DataFrame
    equity: pl.DataFrame
    strategy_returns: pl.DataFrame
    monthly: pl.DataFrame
    costs: pl.DataFrame
    capacity: pl.DataFrame
    correlation: pl.DataFrame
    trades: pl.DataFrame
    """Under cautious fills."""
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class PromotionResults:
    """What the promotion asked of the candidates that passed every gate, and the walk-forward behind it.

    `promotions` and `gates` have the columns of `promotion.PROMOTION_SCHEMA` and `promotion.GATE_SCHEMA`, `folds` those of
    `walk_forward.FOLD_SCHEMA`; `overfitting` is what walk_forward.json says of the search and of what passed.
    """

    promotions: pl.DataFrame
    gates: pl.DataFrame
    folds: pl.DataFrame
    overfitting: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class RunResults:
    """One run, as far as it went. A section is its data, or `Missing`."""

    run_id: str
    manifest: Mapping[str, Any]
    spec: Spec
    spec_is_unchanged: bool
    folds: Folds | None
    search: Mapping[str, Any] | None
    candidates: pl.DataFrame | Missing
    event_quality: pl.DataFrame | Missing
    events: pl.DataFrame | Missing
    studies: Mapping[str, CandidateStudy]
    studies_missing: Missing | None
    blueprints: Mapping[str, Mapping[str, Any]]
    definitions: Mapping[str, str]
    """YAML text by name of event, template and state."""
    data: DataQuality | Missing
    monitors: Sequence[MonitorStatus | Missing]
    calibration: MeasuredErrorRates | Missing
    """What is shipped with the program."""
    backtest: BacktestResults | None = None
    """None where no strategy was backtested."""
    robustness: pl.DataFrame | None = None
    """`robustness.VERDICT_SCHEMA` of the candidates that were assessed; None where none was."""
    robustness_checks: pl.DataFrame | None = None
    """`robustness.DETAIL_SCHEMA` behind it."""
    promotion: PromotionResults | None = None
    """None where no candidate was held to the promotion."""
    placebo: pl.DataFrame | None = None
    """`placebo.PLACEBO_SCHEMA` of the candidates that were compared; None where none was."""
    is_simulated: bool = False
    """Whether the bars come from a simulated market."""
    is_demonstration: bool = False
    """Whether that market has the edges planted that the spec names now."""
    warnings: Sequence[str] = ()
    stages: Sequence[tuple[str, str, float | None]] = field(default=())
    """(instance, status, seconds)."""
