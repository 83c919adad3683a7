"""What was planted into a simulated market beside what the search made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from backtest.spec.models import ALL_STATES, POOLED, PlantedEdge, Policy

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

PLANTED_POLICY: Final = Policy(entry_lag_bars=1).policy_id
"""An edge is planted from the open after its event to its horizon: the trade without barriers earns it."""
COLUMNS: Final = ("planted edge", "state", "n", "planted bps", "found bps", "± 1.96 se", "cost bps", "t", "verdict")


def planted_comparison(edges: Sequence[PlantedEdge], candidates: pl.DataFrame) -> list[dict[str, Any]]:
    """One row (`COLUMNS`) an edge: the estimate of the very trade it was planted into, and the verdict on it.

    An edge planted in one state has a second row: the same trade in all states, where it is diluted.

    Parameters
    ----------
    edges : what was planted.
    candidates : `discovery.candidates.CANDIDATE_SCHEMA`; of the scopes there are, the pooled one counts.
    """
    rows = []
    for edge in edges:
        name = f"{edge.event_type} {edge.side} {edge.horizon}"
        rows.append(_row(name, edge, edge.state_id, edge.bps, candidates))
        if edge.state_id != ALL_STATES:
            rows.append(_row("  the same trade", edge, ALL_STATES, None, candidates))
    return rows


def _row(name: str, edge: PlantedEdge, state_id: str, bps: float | None, candidates: pl.DataFrame) -> dict[str, Any]:
    import polars as pl

    found = candidates.filter(
        (pl.col("event_type") == edge.event_type)
        & (pl.col("policy") == PLANTED_POLICY)
        & (pl.col("horizon") == edge.horizon)
        & (pl.col("state_id") == state_id)
    )
    scope = POOLED if POOLED in found["symbol"] else (found["symbol"].sort().to_list() or [POOLED])[0]
    match = found.filter(pl.col("symbol") == scope).rows(named=True)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"planted edge": name, "state": state_id, "planted bps": bps}
    if not match:
        return row | {"verdict": "not tested: the event or the trade is not in the search"}
    candidate = match[0]
    # The search picks the side; turned to the planted one, a wrong pick shows as a negative estimate.
    turned = edge.sign * candidate["direction"]
    if candidate["expectancy"] is not None:
        row |= {"found bps": turned * candidate["expectancy"] * 1e4, "cost bps": candidate["cost"] * 1e4}
    if candidate["expectancy_standard_error"] is not None:
        row["± 1.96 se"] = 1.96e4 * candidate["expectancy_standard_error"]
    if candidate["t_stat"] is not None:
        row["t"] = turned * candidate["t_stat"]
    return row | {"n": candidate["n_events"], "verdict": _verdict(candidate, turned)}


def _verdict(candidate: Mapping[str, Any], turned: int) -> str:
    if not candidate["gate_eligible"]:
        return "too few events to be tested"
    if turned < 0:
        return "the search prefers the other side" + (": an error" if candidate["gate_phase2_final"] else "; refused")
    if candidate["gate_phase2_final"]:
        return "found"
    is_real = candidate["gate_significant"] and candidate["gate_confirmed"]
    failed = candidate["fail_reasons"].replace("_", " ")
    return f"seen, and refused: {failed}" if is_real else f"not found: {failed}"


def planted_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The comparison as a table for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Planted and found: mean return of a pooled trade over its horizon, on the discovery fold",
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in COLUMNS:
        is_text = name in ("planted edge", "state", "verdict")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "verdict", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in COLUMNS))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:z.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
