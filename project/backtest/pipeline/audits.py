"""The audits on the data in the lake: where the cuts lie, what each reads, and which process does it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.errors import DataError
from backtest.lake.paths import DataRoot
from backtest.pipeline.frames import (
    BAR,
    BAR_DATASETS,
    cleaned_extent,
    cleaned_symbols,
    feature_extent,
    inputs_of,
    perpetual_bars,
    perpetual_frame,
    venue_of,
)
from backtest.pipeline.stage import Plan

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from backtest.audit.look_ahead import Check, Frames
    from backtest.audit.warm_up import WarmUp
    from backtest.lake.paths import Market
    from backtest.spec.compiled import Spec

STRETCH_BARS: Final = 288
"""Bars before a cut at which every definition has its whole look-back."""
AHEAD_BARS: Final = 576
"""Bars behind a cut that a definition could have looked at: six funding stamps, two days."""
WARM_UP_STRETCH_BARS: Final = 2016
LATER_STARTS: Final = (37, 1009, 3457)
"""Bars by which histories are shortened: primes, so that no window's blocks fall into place again."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """One place where the future is cut off; `event_type` names the event that is the last known bar."""

    symbol: str
    at: dt.datetime
    event_type: str | None = None


@dataclasses.dataclass(frozen=True)
class LookAheadReport:
    """What the audit compared, and where."""

    cuts: tuple[Cut, ...]
    checks: tuple[Check, ...]

    @property
    def mismatches(self) -> int:
        return sum(check.mismatches for check in self.checks)


def audit_look_ahead(
    root: DataRoot,
    spec_root: Path,
    symbols: Sequence[str] = (),
    *,
    event_type: str | None = None,
    n_cuts: int = 20,
    seed: int = 0,
    workers: int | None = None,
) -> LookAheadReport:
    """Cut the lake's data at `n_cuts` places and compare every definition before the cut with and without what follows.

    Half of the cuts lie anywhere, half one bar behind an event (of each type in turn). For each, what is computed begins
    at a bar as far before the cut as the longest look-back of events and features together and a day more, and ends at the
    cut, or two days behind it. As both begin at one bar, accumulated values agree; as everything is computed from that
    bar's rows alone, a cut costs the same however long the history is.

    Raises DataError where a symbol has no cleaned bars or features.
    """
    from backtest.audit.look_ahead import merged
    from backtest.pipeline.executors import ProcessWorkers, available_cores
    from backtest.spec.loader import load_spec

    spec = load_spec(spec_root)
    if event_type is not None:
        spec.event(event_type)
    chosen = _audited(root, symbols)
    with ProcessWorkers(workers or available_cores()) as pool:
        found = [pool.submit(occurrences, root, spec_root, symbol, event_type) for symbol in chosen]
        events = {symbol: future.result() for symbol, future in zip(chosen, found, strict=True)}
        cuts = chosen_cuts(root, spec, chosen, events, n_cuts, seed)
        audits = [pool.submit(audit_cut, root, spec_root, cut, event_type) for cut in cuts]
        checks = [check for future in audits for check in future.result()]
    return LookAheadReport(tuple(cuts), tuple(merged(checks)))


def occurrences(root: DataRoot, spec_root: Path, symbol: str, event_type: str | None) -> dict[str, list[dt.datetime]]:
    """Bars at which each event type (or only the one named) occurs on a symbol's features in the lake."""
    from backtest.events.detect import detect_events, missing_datasets
    from backtest.spec.loader import load_spec

    spec = load_spec(spec_root)
    extent = feature_extent(root, symbol)
    if extent is None:
        raise DataError(
            f"there are no features of {symbol} in {root.features(symbol)}. Build them: make discover-edges-from-raw"
        )
    frame = perpetual_frame(_plan(root, spec_root, symbol), spec, symbol, *extent, inputs_of(spec))
    wanted = spec.events.values() if event_type is None else [spec.event(event_type)]
    available = [event for event in wanted if not missing_datasets(frame, event, spec.columns)]
    events = detect_events(frame, available, symbol)
    return {
        str(name): rows["timestamp"].to_list()
        for (name,), rows in events.partition_by("event_type", as_dict=True, maintain_order=True).items()
    }


def chosen_cuts(
    root: DataRoot,
    spec: Spec,
    symbols: Sequence[str],
    events: dict[str, dict[str, list[dt.datetime]]],
    n_cuts: int,
    seed: int,
) -> list[Cut]:
    """Half of the cuts anywhere, half one bar behind an event: event types in turn, symbols in turn."""
    import numpy as np

    rng = np.random.default_rng(seed)
    spans = {symbol: _cut_span(root, spec, symbol) for symbol in symbols}
    behind = {
        (name, symbol): kept
        for symbol, by_type in events.items()
        for name, stamps in by_type.items()
        if (kept := [stamp + BAR for stamp in stamps if spans[symbol][0] <= stamp + BAR <= spans[symbol][1]])
    }
    types = [str(name) for name in rng.permutation(sorted({name for name, _ in behind}))]
    cuts = []
    for turn in range(n_cuts):
        symbol = symbols[turn % len(symbols)]
        if turn >= n_cuts - n_cuts // 2 and types:
            name = types[turn % len(types)]
            having = [other for other in symbols if (name, other) in behind]
            symbol = having[turn % len(having)]
            places = behind[name, symbol]
            cuts.append(Cut(symbol, places[int(rng.integers(len(places)))], name))
        else:
            cuts.append(Cut(symbol, _random_bar(rng, *spans[symbol])))
    return cuts


def _random_bar(rng: np.random.Generator, first: dt.datetime, last: dt.datetime) -> dt.datetime:
    return first + int(rng.integers((last - first) // BAR + 1)) * BAR


def _cut_span(root: DataRoot, spec: Spec, symbol: str) -> tuple[dt.datetime, dt.datetime]:
    """First and last place for a cut: with all look-backs before it, if there is so much, and something behind it."""
    extent = cleaned_extent(root, symbol)
    if extent is None or extent[1] - extent[0] < 2 * STRETCH_BARS * BAR:
        raise DataError(f"the cleaned bars of {symbol} span less than two days; there is nothing to audit.")
    start, last = extent[0], extent[1] - STRETCH_BARS * BAR
    return min(start + _history(spec), start + (last - start) / 2 // BAR * BAR), last


def _history(spec: Spec) -> dt.timedelta:
    return (spec.feature_lookback_bars + spec.event_lookback_bars + STRETCH_BARS) * BAR


def _plan(root: DataRoot, spec_root: Path, symbol: str) -> Plan:
    return Plan(root, spec_root, "audit", (symbol,))


def audit_cut(root: DataRoot, spec_root: Path, cut: Cut, event_type: str | None = None) -> list[Check]:
    """Compare cleaning, cross-section and every definition of one symbol with and without what follows one cut."""
    from backtest.audit.definitions import definition_values
    from backtest.audit.look_ahead import look_ahead
    from backtest.spec.loader import load_spec

    spec = load_spec(spec_root)
    start, end = cut.at - _history(spec), cut.at + AHEAD_BARS * BAR
    bars = {"bars": perpetual_bars(root, cut.symbol, start, end)}
    checks = [] if event_type else _audit_sources(root, spec_root, cut, end)
    checks += look_ahead(bars, lambda known: definition_values(known["bars"], spec, event_type), cut.at, cut.symbol)
    return checks


def _audit_sources(root: DataRoot, spec_root: Path, cut: Cut, end: dt.datetime) -> list[Check]:
    """The same for what comes before the definitions: raw data to cleaned bars, and all symbols' bars to the market's."""
    from backtest.audit.look_ahead import PART, look_ahead
    from backtest.features.cross_section import LOOKBACK_BARS, SOURCE_COLUMNS, market_bars
    from backtest.lake.months import read_months

    checks = []
    start = cut.at - (LOOKBACK_BARS + STRETCH_BARS) * BAR
    markets: tuple[Market, ...] = ("perp", "spot")
    for market in markets:
        raw = _raw_frames(_plan(root, spec_root, cut.symbol), market, start, end)
        if raw is not None:
            checks += look_ahead(raw, functools.partial(_cleaned, market=market), cut.at, cut.symbol)
    symbols = {
        symbol: read_months(root.cleaned_bars("perp", symbol), start, end, columns=list(SOURCE_COLUMNS))
        for symbol in cleaned_symbols(root)
    }

    def across_symbols(known: Frames) -> pl.DataFrame:
        found = market_bars(list(known), known.__getitem__, start, end)
        return found.rename({name: f"cross-section{PART}{name}" for name in found.columns if name != "timestamp"})

    known = {symbol: frame for symbol, frame in symbols.items() if len(frame)}
    return checks + look_ahead(known, across_symbols, cut.at, cut.symbol)


def _raw_frames(plan: Plan, market: Market, start: dt.datetime, end: dt.datetime) -> dict[str, pl.DataFrame] | None:
    """Raw rows by data set; None where there are no bars among them (cleaned bars without raw data are taken as given)."""
    from backtest.cleaning.perpetual import DATASET_COLUMNS
    from backtest.lake.raw import read_raw

    symbol = plan.symbols[0]
    venue = venue_of(plan, market, symbol)
    if venue is None:
        return None
    datasets = (*BAR_DATASETS, *DATASET_COLUMNS) if market == "perp" else BAR_DATASETS
    frames = {dataset: read_raw(plan.root, venue, market, symbol, dataset, start, end) for dataset in datasets}
    return frames if any(len(frames[dataset]) for dataset in BAR_DATASETS) else None


def _cleaned(known: Frames, market: Market) -> pl.DataFrame:
    """Raw rows as cleaned bars, numbers and flags only, named as the audit names them."""
    import polars as pl
    import polars.selectors as cs

    from backtest.audit.look_ahead import PART
    from backtest.cleaning.bars import clean_bars
    from backtest.cleaning.perpetual import join_datasets
    from backtest.cleaning.taint import with_bar_taint, with_taint

    bars = with_bar_taint(clean_bars(*(known[dataset] for dataset in BAR_DATASETS)).bars, (), market, "")
    if market == "perp":
        bars = with_taint(join_datasets(bars, known), (), "")
    columns = bars.select(cs.numeric() | cs.boolean()).columns
    return bars.select("timestamp", *(pl.col(name).alias(f"cleaning {market}{PART}{name}") for name in columns))


def audit_warm_up(root: DataRoot, spec_root: Path, symbols: Sequence[str] = ()) -> list[WarmUp]:
    """Look-back of each feature, and how much its values past it change when the history starts later.

    Measured on the last bars of each symbol: a week behind the longest look-back, from three later beginnings. Raises
    DataError where a symbol has no cleaned bars.
    """
    from backtest.audit.warm_up import measured_warm_up, worst_of
    from backtest.features.bar_columns import with_all_columns
    from backtest.spec.loader import load_spec

    spec = load_spec(spec_root)
    measured = []
    for symbol in _audited(root, symbols):
        _, end = cleaned_extent(root, symbol) or (None, None)
        assert end is not None
        start = end - (spec.feature_lookback_bars + max(LATER_STARTS) + WARM_UP_STRETCH_BARS) * BAR
        bars = with_all_columns(perpetual_bars(root, symbol, start, end), spec.columns, spec.calendars.values())
        measured.append(measured_warm_up(bars, list(spec.features.values()), LATER_STARTS))
    return worst_of(measured)


def _audited(root: DataRoot, symbols: Sequence[str]) -> tuple[str, ...]:
    """The symbols asked for, or all with cleaned bars; DataError where one has none."""
    chosen = tuple(symbols) or tuple(cleaned_symbols(root))
    for symbol in chosen or ("BTCUSDT",):
        if cleaned_extent(root, symbol) is None:
            raise DataError(
                f"there are no cleaned bars of {symbol} in {root.lake}. Get them: make run SYMBOLS={symbol} START=… END=…"
            )
    return chosen
