"""Drift of a run's features on what the lake has of a symbol, and which of the run's results stand on each feature."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError, RunError, TooLittleDataError
from backtest.lake.files import parquet_metadata, read_parquet
from backtest.lake.months import month_files, read_months
from backtest.lake.paths import DataRoot, checked_symbol
from backtest.outside_bytes import parsed_json
from backtest.pipeline.frames import BAR, FEATURES_HASH, features_hash
from backtest.pipeline.history import manifest_of, shown_symbols

if TYPE_CHECKING:
    import polars as pl

    from backtest.monitoring.feature_drift import DriftWindows, FeatureDrift
    from backtest.spec.compiled import Spec

DAY: Final = dt.timedelta(days=1)
MAX_BLUEPRINT_BYTES: Final = 1 << 27
EXPRESSIONS: Final = (
    "trigger", "event_direction", "fallback_direction", "condition", "average_true_range", "event_move",
)  # fmt: skip
"""Fields of a blueprint that hold an expression."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Usage:
    """What stands on a feature, itself or through other features: event types, candidates that passed, blueprints (ids)."""

    events: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    blueprints: tuple[str, ...] = ()


@dataclass(frozen=True)
class DriftReport:
    """The verdict on every feature of a symbol, the gravest first; spans are half-open and in UTC."""

    run_id: str
    symbol: str
    reference: tuple[dt.datetime, dt.datetime]
    live: tuple[dt.datetime, dt.datetime]
    history_days: int
    features: tuple[FeatureDrift, ...]
    usage: Mapping[str, Usage]

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        return tuple(drift for drift in self.features if drift.status == "drift")

    def as_json(self) -> dict[str, Any]:
        return {
            "status": "drift" if self.drifted else "ok",
            "run_id": self.run_id,
            "symbol": self.symbol,
            "reference": [moment.isoformat() for moment in self.reference],
            "live": [moment.isoformat() for moment in self.live],
            "history_days": self.history_days,
            "features": [drift.as_json() | vars(self.usage[drift.feature]) for drift in self.features],
        }


def examine_drift(root: DataRoot, spec_root: Path, run_id: str, symbol: str, windows: DriftWindows) -> DriftReport:
    """Compare the newest whole days of a symbol's features with those before them.

    Raises
    ------
    MisuseError
        No data root, a RUN_ID or symbol that cannot be one.
    RunError
        No such run, or the symbol is none of its symbols.
    DataError
        Features are missing, too few, damaged, or built from other definitions than the spec's.
    """
    from backtest.monitoring.feature_drift import feature_drifts
    from backtest.spec.loader import load_spec

    manifest = manifest_of(root, run_id)
    symbols = manifest.get("symbols")
    if not isinstance(symbols, list) or checked_symbol(symbol) not in symbols:
        raise RunError(
            f"{symbol} is not among the symbols of run {run_id}: {shown_symbols(symbols)}. Name one: --symbol …"
        )
    spec = load_spec(spec_root)
    frame = _newest_features(root, spec, symbol, windows)
    values = {name: frame[name].to_numpy() for name in spec.features}
    units = {name: feature.model.unit for name, feature in spec.features.items()}
    drifts = feature_drifts(values, units, windows)
    end = frame["timestamp"][-1] + BAR
    middle = end - windows.live_days * DAY
    return DriftReport(
        run_id,
        symbol,
        (middle - windows.reference_days * DAY, middle),
        (middle, end),
        len(frame) // (DAY // BAR) - windows.live_days,
        tuple(drifts),
        usage_of_features(root, spec, run_id, symbol),
    )


def _newest_features(root: DataRoot, spec: Spec, symbol: str, windows: DriftWindows) -> pl.DataFrame:
    """Whole days of every feature up to the newest bar, as many as there are and as the windows can use."""
    import polars as pl

    files = month_files(root.features(symbol))
    again = f"Build them: make discover-edges-from-raw SYMBOLS={symbol}"
    if not files:
        raise TooLittleDataError(f"there are no features of {symbol} in {root.features(symbol)}. {again}")
    newest = read_parquet(files[-1], columns=["timestamp"])["timestamp"].max()
    if not isinstance(newest, dt.datetime):
        raise DataError(f"{files[-1]} has no rows. {again}")
    end = newest + BAR
    start = end - (windows.history_days + windows.live_days) * DAY
    expected = features_hash(spec)
    for path in month_files(root.features(symbol), start, end):
        if parquet_metadata(path).get(FEATURES_HASH) != expected:
            raise DataError(f"{path} was built from other feature definitions than the spec's. {again}")
    frame = read_months(root.features(symbol), start, end, columns=["timestamp", *spec.features])
    steps = frame["timestamp"].diff().drop_nulls()
    if not (steps == BAR).all():
        raise DataError(
            f"the features of {symbol} are not on the full grid of bars: a bar is missing or twice. {again}"
        )
    whole = len(frame) // (DAY // BAR) * (DAY // BAR)
    return frame.tail(whole).with_columns(pl.col(list(spec.features)).cast(pl.Float64).fill_null(float("nan")))


# -- what stands on a feature -------------------------------------------------------------------------------


def usage_of_features(root: DataRoot, spec: Spec, run_id: str, symbol: str) -> dict[str, Usage]:
    """For each feature the event types of the spec, and the passed candidates and blueprints of the run that trade the
    symbol; DataError where a file of the run is damaged."""
    events = {name: _closure(spec, event.inputs) for name, event in spec.events.items()}
    states = {
        state_id: _closure(spec, value.inputs)
        for state in spec.states.values()
        for state_id, value in state.values.items()
    }
    candidates = {
        row["candidate_id"]: events.get(row["event_type"], set()) | states.get(row["state_id"], set())
        for row in _passed(root, run_id, symbol)
    }
    blueprints = {
        str(blueprint.get("blueprint_id")): _closure(spec, _names(blueprint))
        for blueprint in read_blueprints(root, run_id)
        if symbol in (blueprint.get("symbols") or ())
    }
    return {
        name: Usage(*(_that_use(name, named) for named in (events, candidates, blueprints))) for name in spec.features
    }


def _that_use(feature: str, named: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    return tuple(sorted(name for name, features in named.items() if feature in features))


def _closure(spec: Spec, names: Collection[str]) -> set[str]:
    from backtest.features.build import needed_features

    return {feature.model.name for feature in needed_features(spec.features, names)}


def _passed(root: DataRoot, run_id: str, symbol: str) -> list[dict[str, Any]]:
    import polars as pl

    from backtest.spec.models import POOLED

    columns = ["candidate_id", "event_type", "state_id", "symbol", "gate_phase2_final"]
    rows: list[dict[str, Any]] = []
    for path in sorted(root.reports("phase2", run_id).glob("*/candidates.parquet")):
        frame = read_parquet(path, columns=columns)
        rows += frame.filter(pl.col("gate_phase2_final") & pl.col("symbol").is_in([symbol, POOLED])).to_dicts()
    return rows


def read_blueprints(root: DataRoot, run_id: str) -> list[dict[str, Any]]:
    """The run's blueprints as they lie in its file; none where it has no file. DataError where a line is no blueprint."""
    path = root.blueprints(run_id)
    try:
        if path.stat().st_size > MAX_BLUEPRINT_BYTES:
            raise DataError(f"{path} is larger than {MAX_BLUEPRINT_BYTES >> 20} MiB, so it is no file of blueprints.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path} is unreadable: {fault}.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            blueprint = parsed_json(line)
        except ValueError as fault:
            raise DataError(f"{path}, line {number}, is no JSON: {fault}.") from None
        if not isinstance(blueprint, dict) or not isinstance(blueprint.get("symbols"), list):
            raise DataError(f"{path}, line {number}, is no blueprint: it has no list of symbols.")
        found.append(blueprint)
    return found


def _names(blueprint: Mapping[str, Any]) -> set[str]:
    """Identifiers in a blueprint's expressions: columns, features, functions and parameters."""
    return {name for field in EXPRESSIONS for name in _NAME.findall(str(blueprint.get(field) or ""))}
