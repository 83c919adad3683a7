"""May trading go on: checks of a value against a limit, and the verdict over all of them. Fails closed."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import polars as pl

from backtest.errors import DataError
from backtest.monitoring.freshness import Freshness
from backtest.monitoring.live_account import drawdowns, positions_usd, slippage_ratio
from backtest.monitoring.live_edge import EDGE_LEVEL, EdgeEvidence

Status = Literal["PASS", "WARN", "HALT"]

EXIT_CODES: Final[dict[Status, int]] = {"PASS": 0, "WARN": 1, "HALT": 2}
WARN_SHARE: Final = 0.8
"""Share of a limit from which a value is a warning."""
SLIPPAGE_FILLS: Final = 50
"""Newest fills that realised slippage is taken from: enough to average, few enough to show a change within days."""
MIN_FILLS: Final = 10
MAX_EQUITY_AGE: Final = dt.timedelta(days=1)
FUNDING_HOURS: Final = 8.0
MAX_FUNDING_AGE_INTERVALS: Final = 2
MIN_EDGE_DAYS: Final = 5


@dataclass(frozen=True)
class Check:
    """One check; ``margin`` is the distance from the limit (negative: beyond it), ``data`` what the value was taken from.

    A check without its data is WARN, never PASS; one whose data are unreadable or contradict themselves is HALT.
    """

    name: str
    status: Status
    text: str
    value: float | None = None
    limit: float | None = None
    margin: float | None = None
    unit: str | None = None
    data: str | None = None
    data_time: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verdict(checks: Sequence[Check]) -> Status:
    """The gravest status of the checks; HALT where there are none."""
    return max((check.status for check in checks), key=EXIT_CODES.__getitem__, default="HALT")


def against_limit(
    name: str,
    value: float,
    limit: float,
    unit: str,
    *,
    data: str,
    time: dt.datetime | None = None,
    at_best: Status = "PASS",
    remark: str = "",
) -> Check:
    """HALT beyond the limit, WARN from 80 % of it, else PASS (or `at_best`); a value that is no number is HALT."""
    if not math.isfinite(value):
        return Check(name, "HALT", f"the value is {value}", limit=limit, unit=unit, data=data)
    status: Status = "HALT" if value > limit else "WARN" if value > 0 and value >= WARN_SHARE * limit else "PASS"
    shown = f"{_number(value)} of at most {_number(limit)} {unit}" + (f"; {remark}" if remark else "")
    return Check(
        name,
        max(status, at_best, key=EXIT_CODES.__getitem__),
        shown,
        value,
        limit,
        limit - value,
        unit,
        data,
        None if time is None else time.isoformat(),
    )


def _number(value: float) -> str:
    """Four digits, or all of a whole number: ``0.01695``, ``183,694``."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:.4g}"


def without_data(name: str, text: str) -> Check:
    return Check(name, "WARN", f"no data: {text}")


def broken(name: str, text: str) -> Check:
    return Check(name, "HALT", text)


def staleness_check(freshness: Freshness | None, max_staleness_bars: int) -> Check:
    """Bars of the symbol that are not there; none at all, unreadable ones and ones of the future are HALT."""
    if freshness is None or freshness.staleness_bars is None:
        text = "the lake has no bars of the symbol" if freshness is None else f"{freshness.status}: {freshness.text}"
        return broken("staleness", text)
    newest = freshness.newest
    return against_limit(
        "staleness",
        freshness.staleness_bars,
        max_staleness_bars,
        "bars",
        data=f"{newest.layer} {newest.dataset} {newest.symbol}",
        time=newest.stamp,
    )


def drawdown_check(equity: pl.DataFrame, max_drawdown: float, now: dt.datetime, *, data: str) -> Check:
    """Deepest fall of the live equity over its whole record (between two calls it may have recovered)."""
    if equity.is_empty():
        return without_data("drawdown", f"{data} has no rows")
    deepest, latest = drawdowns(equity)
    time: dt.datetime = equity["timestamp"][-1]
    is_old = now - time > MAX_EQUITY_AGE
    remark = f"now {latest:.6g}" + (f"; the newest row is older than {MAX_EQUITY_AGE.days} day" if is_old else "")
    return against_limit(
        "drawdown",
        deepest,
        max_drawdown,
        "of the highest equity",
        data=data,
        time=time,
        at_best="WARN" if is_old or len(equity) < 2 else "PASS",
        remark=remark,
    )


def slippage_check(fills: pl.DataFrame, symbol: str, max_ratio: float, *, data: str) -> Check:
    """Realised over modelled slippage of the symbol's newest fills; fewer than ten are WARN at best."""
    newest = fills.filter(pl.col("symbol") == symbol).tail(SLIPPAGE_FILLS)
    if newest.is_empty():
        return without_data("slippage", f"{data} has no fills of {symbol}")
    try:
        ratio = slippage_ratio(newest)
    except DataError as fault:
        return broken("slippage", str(fault))
    few = len(newest) < MIN_FILLS
    remark = f"{len(newest)} fills" + (f", fewer than {MIN_FILLS}" if few else "")
    return against_limit(
        "slippage",
        ratio,
        max_ratio,
        "times the modelled slippage",
        data=data,
        time=newest["timestamp"][-1],
        at_best="WARN" if few else "PASS",
        remark=remark,
    )


def position_check(fills: pl.DataFrame, symbol: str, price: float | None, limit_usd: float, *, data: str) -> Check:
    """Value of the symbol's position, long or short, from all its fills."""
    values = positions_usd(fills, {} if price is None else {symbol: price})
    time = fills["timestamp"][-1] if len(fills) else None
    return against_limit("position", abs(values.get(symbol, 0.0)), limit_usd, "USD", data=data, time=time)


def exposure_check(
    fills: pl.DataFrame, equity: pl.DataFrame, prices: dict[str, float], limit: float, *, data: str
) -> Check:
    """Sum of the values of all positions, long and short, as a multiple of the latest equity."""
    if equity.is_empty():
        return without_data("exposure", "there is no live equity to compare positions with")
    latest: float = equity["equity_usd"][-1]
    if latest <= 0:
        return broken("exposure", f"the latest equity is {latest:.6g} USD")
    gross = sum(abs(value) for value in positions_usd(fills, prices).values())
    time = equity["timestamp"][-1]
    return against_limit("exposure", gross / latest, limit, "times the equity", data=data, time=time)


def funding_check(
    rate: float, interval_hours: float, stamp: dt.datetime, now: dt.datetime, limit_bps: float, *, data: str
) -> Check:
    """Size of the newest funding rate, scaled to eight hours; older than two intervals it is WARN at best."""
    if not (math.isfinite(rate) and math.isfinite(interval_hours) and interval_hours > 0):
        return broken("funding", f"the newest funding rate is {rate} in {interval_hours} hours")
    is_old = now - stamp > MAX_FUNDING_AGE_INTERVALS * dt.timedelta(hours=interval_hours)
    return against_limit(
        "funding",
        abs(rate) * 1e4 * FUNDING_HOURS / interval_hours,
        limit_bps,
        "bps per 8 hours",
        data=data,
        time=stamp,
        at_best="WARN" if is_old else "PASS",
        remark=f"the newest rate is of {stamp:%Y-%m-%d %H:%M} UTC" if is_old else "",
    )


def backtest_drawdown_check(equity: pl.DataFrame, max_drawdown: float, *, data: str) -> Check:
    """Deepest fall of the run's backtest, where there is no live account; the text says so."""
    if equity.is_empty():
        return without_data("drawdown", f"there is no live account, and {data} has no rows")
    deepest, _ = drawdowns(equity)
    remark = "of the run's backtest: there is no live account"
    time = equity["timestamp"][-1]
    return against_limit(
        "drawdown", deepest, max_drawdown, "of the highest equity", data=data, time=time, remark=remark
    )


def drift_check(drifted: Sequence[tuple[str, int]], n_features: int, *, data: str, time: dt.datetime) -> Check:
    """HALT where a feature that a blueprint stands on has drifted, WARN where another one has, else PASS.

    `drifted` are the names of features with significant and large drift, each with the number of blueprints that use it.
    """
    status: Status
    used = [name for name, n_blueprints in drifted if n_blueprints]
    named = ", ".join(used or [name for name, _ in drifted][:5])
    if used:
        status, text = "HALT", f"{len(used)} of {n_features} features that blueprints use have drifted: {named}"
    elif drifted:
        status, text = (
            "WARN",
            f"{len(drifted)} of {n_features} features have drifted, none that a blueprint uses: {named}",
        )
    else:
        status, text = "PASS", f"none of {n_features} features has drifted"
    found, limit = float(len(used)), 0.0
    return Check("feature_drift", status, text, found, limit, limit - found, "features", data, time.isoformat())


def edge_check(evidence: Sequence[EdgeEvidence], n_blueprints: int, *, data: str) -> Check:
    """The strongest evidence that a blueprint's mean live return lies below its interval; wealth is compared on the scale of
    its logarithm, and the level is shared equally by all of the run's blueprints."""
    if not evidence:
        return without_data("live_edge", f"{data} has no day of closed trades with a blueprint_id yet")
    worst = evidence[0]
    remark = (
        f"{worst.blueprint_id}: mean {worst.mean_return * 1e4:.3g} bps over {worst.n_trades} trades on {worst.n_days} days, "
        f"promised at least {worst.low * 1e4:.3g} bps"
    )
    few = worst.n_days < MIN_EDGE_DAYS
    return against_limit(
        "live_edge",
        math.log10(max(worst.highest_wealth, 1.0)),
        math.log10(n_blueprints / EDGE_LEVEL),
        "(logarithm of the evidence against the edge)",
        data=data,
        at_best="WARN" if few else "PASS",
        remark=remark + (f"; fewer than {MIN_EDGE_DAYS} days" if few else ""),
    )
