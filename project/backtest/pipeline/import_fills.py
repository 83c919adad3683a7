"""Fills of other programs into a run's live file: each once, however often it is imported."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError
from backtest.lake.live import live_file, read_export, read_live, write_live
from backtest.lake.months import read_months
from backtest.lake.paths import DataRoot, checked_run_id
from backtest.pipeline.frames import BAR
from backtest.pipeline.history import manifest_of
from backtest.pipeline.lock import holding

if TYPE_CHECKING:
    import polars as pl

    from backtest.monitoring.fill_exports import Fill, Origin
    from backtest.spec.compiled import Spec

DAY: Final = dt.timedelta(days=1)
MIN_BARS: Final = 12
"""Bars before a fill that its expected volatility and turnover are taken from, at least."""


@dataclass(frozen=True)
class Imported:
    """How many fills came in, how many were there already, and the file they are in."""

    n_new: int
    n_known: int
    path: Path


def import_fills(
    root: DataRoot, spec_root: Path, run_id: str, origin: Origin, files: Sequence[Path], now: dt.datetime
) -> Imported:
    """Add the fills of `files` to the run's live fills; nothing is written where a single row is wrong.

    What an export does not tell is filled in: ``expected_price`` is the close of the newest complete bar at the fill,
    ``modelled_slippage_bps`` half of the spec's spread and of its impact for the fill's size.

    Raises
    ------
    MisuseError, RunError
        No data root, no such run.
    DataError
        A file or row that cannot be read, a fill that contradicts one that is there, no bars at the time of a fill.
    """
    from backtest.monitoring.fill_exports import fills_of, freqtrade_orders
    from backtest.monitoring.live_account import sound_fills
    from backtest.spec.loader import load_spec

    manifest_of(root, checked_run_id(run_id))
    spec = load_spec(spec_root)
    fills: dict[str, Fill] = {}
    for file in files:
        value = read_export(file)
        try:
            rows = freqtrade_orders(value) if origin == "freqtrade" and not _is_database(value) else value
        except DataError as fault:
            raise DataError(f"{file}: {fault}.") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{file} holds no list of fills.")
        for fill in fills_of(rows, origin, str(file), now):
            if fills.setdefault(fill.fill_id, fill) != fill:
                raise DataError(
                    f"{file}: fill {fill.fill_id} is in another file with other values. Nothing was imported."
                )
    with holding(root.live(run_id) / ".import.lock", now=now, command="backtest import-fills", when_held=_wait):
        path = live_file(root, run_id, "fills") or root.live(run_id) / "fills.csv"
        known = sound_fills(read_live(path), now) if path.exists() else None
        new, n_known = _new_fills(fills, known, path)
        if new:
            frame = _merged(known, _frame(root, spec, run_id, new))
            sound_fills(frame, now)
            write_live(path, frame)
    return Imported(len(new), n_known, path)


def _wait(holder: Mapping[str, Any]) -> None:
    print(f"waiting for process {holder.get('pid')}, which imports fills of this run too", file=sys.stderr)


def _is_database(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "ft_trade_id" in value[0]


def _new_fills(fills: dict[str, Fill], known: pl.DataFrame | None, path: Path) -> tuple[list[Fill], int]:
    """Those that are not there yet, and how many are; DataError where one contradicts what is there."""
    if known is None:
        return list(fills.values()), 0
    there = {row["fill_id"]: row for row in known.to_dicts() if row["fill_id"] is not None}
    for fill in fills.values():
        row = there.get(fill.fill_id)
        told = ("timestamp", "symbol", "side", "price", "quantity")
        if row is not None and any(row[name] != getattr(fill, name) for name in told):
            raise DataError(
                f"fill {fill.fill_id} is in {path} with other values than in the import. Nothing was imported; "
                "keep the one that is right."
            )
    new = [fill for fill in fills.values() if fill.fill_id not in there]
    return new, len(fills) - len(new)


def _frame(root: DataRoot, spec: Spec, run_id: str, fills: list[Fill]) -> pl.DataFrame:
    """Fills in the columns of the live file, with what the exports did not tell."""
    import polars as pl

    from backtest.pipeline.feature_drift import read_blueprints

    blueprints = {str(blueprint.get("blueprint_id")) for blueprint in read_blueprints(root, run_id)}
    rows = []
    for fill in fills:
        row = dict(vars(fill))
        if fill.expected_price is None or fill.modelled_slippage_bps is None:
            close, slippage = _modelled(root, spec, fill)
            row["expected_price"] = close if fill.expected_price is None else fill.expected_price
            row["modelled_slippage_bps"] = (
                slippage if fill.modelled_slippage_bps is None else fill.modelled_slippage_bps
            )
        row["blueprint_id"] = fill.blueprint_id if fill.blueprint_id in blueprints else None
        rows.append(row)
    return pl.DataFrame(rows, schema=_schema())


def _modelled(root: DataRoot, spec: Spec, fill: Fill) -> tuple[float, float]:
    """Close of the newest complete bar at a fill, and the slippage of one side (bps) that the spec's costs expect."""
    import numpy as np
    import polars as pl

    from backtest.engine.costs import BPS, market_impact

    # A bar is complete one step after it opens.
    bars = read_months(
        root.cleaned_bars("perp", fill.symbol),
        fill.timestamp - DAY - BAR,
        fill.timestamp - BAR + dt.timedelta(milliseconds=1),
    )
    bars = bars.filter(pl.col("close").is_not_null()) if "close" in bars.columns else bars.head(0)
    if len(bars) < MIN_BARS or fill.timestamp - bars["timestamp"][-1] > 3 * BAR:
        raise DataError(
            f"fill {fill.fill_id} of {fill.timestamp:%Y-%m-%d %H:%M} UTC: the lake has no bars of {fill.symbol} at that time, "
            "and the export tells no expected price or modelled slippage. Nothing was imported. Get the bars: make run "
            f"SYMBOLS={fill.symbol} START={fill.timestamp - DAY:%Y-%m-%d} END={fill.timestamp:%Y-%m-%d}"
        )
    closes = bars["close"].to_numpy()
    traded = bars["volume"].to_numpy() * closes
    volatility, turnover = float(np.std(np.diff(np.log(closes)))), float(np.nanmedian(traded))
    costs = spec.costs
    impact = market_impact(costs, np.array([volatility]), np.array([turnover]), order_usd=fill.quantity * fill.price)
    half_spread = costs.half_spread_bps.get(fill.symbol, costs.half_spread_bps["default"])
    slippage = half_spread + float(np.nan_to_num(impact[0])) / 2 / BPS
    return float(closes[-1]), slippage


def _schema() -> dict[str, pl.DataType]:
    import polars as pl

    return {
        "timestamp": pl.Datetime("ms", "UTC"),
        "symbol": pl.String(),
        "side": pl.String(),
        "price": pl.Float64(),
        "quantity": pl.Float64(),
        "expected_price": pl.Float64(),
        "modelled_slippage_bps": pl.Float64(),
        "fill_id": pl.String(),
        "blueprint_id": pl.String(),
    }


def _merged(known: pl.DataFrame | None, new: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    frames = [new] if known is None else [known.select(new.columns), new]
    return pl.concat(frames).sort("timestamp", "fill_id", nulls_last=True, maintain_order=True)
