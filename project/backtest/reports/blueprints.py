"""Blueprints in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backtest.reports.operations import plain_table
from backtest.reports.rules import rule_rows
from backtest.spec.models import POOLED

if TYPE_CHECKING:
    from rich.table import Table

    from backtest.strategies.blueprints import Blueprint


def blueprint_table(blueprints: Sequence[Blueprint]) -> Table:
    """One row a blueprint; returns and costs in bps per trade."""
    rows = [
        (
            entry.blueprint_id,
            ",".join(entry.symbols),
            f"{entry.n_events:,}",
            *(f"{value * 1e4:z.1f}" for value in (entry.posterior_mean, entry.cost, entry.after_cost_expectancy)),
            f"{entry.q_value:.2g}",
            f"{entry.confirmation_q:.2g}",
        )
        for entry in blueprints
    ]
    columns = ("blueprint", "symbols", "n", "shrunk bps", "cost bps", "net bps", "q", "confirm q")
    return plain_table("Blueprints, best first", columns, rows, right=columns[2:])


def blueprint_text(entry: Blueprint, certificates: Sequence[Mapping[str, Any]] = ()) -> str:
    """All of a blueprint in lines: what is traded, what speaks for it, what it assumes.

    `certificates` are rows of `parity.CERTIFICATE_SCHEMA` from the backtest of its run; none where it was not in one.
    """
    return "\n".join(
        [
            f"{entry.blueprint_id} (version {entry.version})",
            *_rows(rule_rows(entry)),
            "evidence",
            *_rows(_evidence_rows(entry) | {"parity": _parity(certificates)}),
            "features it rests on",
            *_rows(dict(entry.definitions.items())),
        ]
    )


def _evidence_rows(entry: Blueprint) -> dict[str, str]:
    def bps(value: float) -> str:
        return f"{value * 1e4:z.2f} bps"

    confirmed_on = f"{entry.confirmation_n_events:,} events on {entry.confirmation_n_days:,} days"
    return {
        "search": f"run {entry.run_id}, from {entry.discovery_start} to before {entry.discovery_end}, scope {_scope(entry)}",
        "trades": f"{entry.n_events:,} on {entry.n_days:,} days, worth {entry.effective_n_days:.0f} equal days",
        "estimate": f"{bps(entry.posterior_mean)}, 90 % between {bps(entry.posterior_low)} and {bps(entry.posterior_high)} "
        f"(raw {bps(entry.expectancy)} ± {bps(entry.expectancy_standard_error)})",
        "cost": f"{bps(entry.cost)}; after it {bps(entry.after_cost_expectancy)}; break-even {bps(entry.break_even_cost)}",
        "capacity": f"{entry.capacity_usd:,.0f} USD an order",
        "test": f"t {entry.t_stat:z.2f}, p {entry.p_value:.2g}, q {entry.q_value:.2g}",
        "confirmation": f"{bps(entry.confirmation_expectancy)} in {confirmed_on}, q {entry.confirmation_q:.2g} "
        f"at level {entry.confirmation_level:.2g} (opening {entry.confirmation_openings})",
        "tainted": f"{entry.tainted_share:.1%} of the trades",
        "robustness": entry.robustness,
        "calibration": _calibration(entry),
        "data hash": entry.data_hash,
        "spec hash": entry.ontology_spec_hash,
        "register hash": entry.register_hash,
    }


def _parity(certificates: Sequence[Mapping[str, Any]]) -> str:
    """Whether a backtest traded what was tested, symbol by symbol."""
    if not certificates:
        return "no certificate: not in its run's backtest"
    return "; ".join(
        f"{row['symbol']} {row['verdict']}, {row['n_equal']:,} of {row['n_tested']:,} trades" for row in certificates
    )


def _calibration(entry: Blueprint) -> str:
    found = entry.calibration_reference
    note = f"; {entry.calibration_note}" if entry.calibration_note else ""
    if found is None:
        return f"none{note}"
    share, low, high = found.null_worlds_with_any_passed
    kept = f"{found.n_limits - found.n_broken_limits} of {found.n_limits} limits kept"
    return (
        f"{found.measured_on}: something passed in {share:.1%} [{low:.1%}, {high:.1%}] of {found.null_worlds:,} worlds "
        f"without an edge, {kept} ({found.page}){note}"
    )


def _scope(entry: Blueprint) -> str:
    return "all symbols pooled" if entry.scope == POOLED else entry.scope


def _rows(rows: dict[str, str]) -> list[str]:
    width = max((len(label) for label in rows), default=0)
    return [f"  {label:<{width}}  {text}" for label, text in rows.items()]
