"""Tables for operators: freshness of data sets, runs and their stages, findings, checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from backtest.monitoring.feature_drift import FeatureDrift
    from backtest.monitoring.freshness import Freshness
    from backtest.monitoring.kill_switch import Check


def plain_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """A table of texts taken literally; the columns named in `right` are right-aligned."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def freshness_table(verdicts: Sequence[Freshness]) -> Table:
    """Each data set with its newest complete row, how far that lies behind, and whether it decides."""
    rows = []
    for verdict in verdicts:
        newest = verdict.newest
        rows.append(
            (
                newest.symbol,
                newest.layer,
                newest.dataset,
                "–" if newest.stamp is None else f"{newest.stamp:%Y-%m-%d %H:%M}",
                "–" if verdict.staleness_bars is None else f"{verdict.staleness_bars:,} × {_step(newest.step.seconds)}",
                verdict.status,
                "required" if newest.is_required else "shown only",
            )
        )
    columns = ("symbol", "layer", "data set", "last complete (UTC)", "behind", "status", "")
    return plain_table("Freshness of the lake", columns, rows, right=("behind",))


def check_table(checks: Sequence[Check]) -> Table:
    """Each check with its verdict, value and limit, and what it was taken from."""
    rows = [(check.name, check.status, check.text, check.data or "–", check.data_time or "–") for check in checks]
    return plain_table("Kill switch", ("check", "status", "value and limit", "taken from", "of"), rows)


def drift_table(drifts: Sequence[FeatureDrift], users: Sequence[str]) -> Table:
    """Features with their index, its usual band, the p-value, the shift in the feature's unit, and what stands on each."""
    rows = [
        (
            drift.feature,
            drift.status,
            _figure(drift.psi, ".3f"),
            drift.band or "–",
            _figure(drift.usual_psi, ".3f"),
            _figure(drift.p_value, ".2g"),
            _figure(drift.q_value, ".2g"),
            _shift(drift),
            "–" if drift.missing_live is None else f"{drift.missing_reference:.1%} → {drift.missing_live:.1%}",
            used,
        )
        for drift, used in zip(drifts, users, strict=True)
    ]
    columns = (
        "feature", "status", "PSI", "band", "95 % below", "p", "q", "median, reference → live", "missing", "used by",
    )  # fmt: skip
    return plain_table("Feature drift", columns, rows, right=("PSI", "95 % below", "p", "q"))


def _shift(drift: FeatureDrift) -> str:
    """Both medians in the feature's unit and their distance in standard deviations."""
    if drift.shift is None:
        return "–"
    spread = "" if drift.shift_sd is None else f" ({drift.shift_sd:+z.2f} sd)"
    return f"{drift.reference_median:.4g} → {drift.live_median:.4g} {drift.unit}{spread}"


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _step(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds // 60} min"
