"""`candidates` and `explain`: what a run found, and why a hypothesis did or did not pass."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.command_options import RequiredRunId, spec_root
from backtest.errors import MisuseError

if TYPE_CHECKING:
    import polars as pl

    from backtest.spec.compiled import Spec

Event = Annotated[str | None, typer.Option("--event", help="Only this event type, such as VOL_SHOCK.")]
Symbol = Annotated[str | None, typer.Option("--symbol", help="Only this symbol; POOLED for all together.")]
State = Annotated[str | None, typer.Option("--state", help="Only this state, such as vol_regime_high; all for any.")]
Horizon = Annotated[str | None, typer.Option("--horizon", help="Only this horizon, such as 60m.")]
Gate = Annotated[list[str] | None, typer.Option("--gate", help="Only what passed this gate; may be repeated.")]
Passed = Annotated[bool, typer.Option("--passed", help="Only what passed every gate.")]
Sort = Annotated[str | None, typer.Option("--sort", help="Column to rank by, best first, such as q_value.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most this many rows; 20 in a table.")]
AsJson = Annotated[bool, typer.Option("--json", help="All columns as JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="All columns as CSV.")]
CandidateId = Annotated[str, typer.Argument(help="As in the column candidate_id.")]
ROWS_IN_A_TABLE = 20


def register(app: typer.Typer) -> None:
    """Add `candidates` and `explain`."""
    app.command("candidates")(candidates)
    app.command("explain")(explain)


def candidates(
    run_id: RequiredRunId,
    event: Event = None,
    symbol: Symbol = None,
    state: State = None,
    horizon: Horizon = None,
    gate: Gate = None,
    passed: Passed = False,
    sort: Sort = None,
    limit: Limit = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """Rank and filter the hypotheses of a run, as a table, JSON or CSV.

    Example: backtest candidates --run-id run_20250228 --event VOL_SHOCK --passed --sort q_value --limit 10
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.results import run_candidates
    from backtest.reports.candidate_list import chosen_candidates

    if json and csv:
        raise MisuseError("--json and --csv are two forms of the same rows; give one of them.")
    every = run_candidates(DataRoot.from_environment(), run_id)
    rows = chosen_candidates(
        every,
        only={"event_type": event, "symbol": symbol, "state_id": state, "horizon": horizon},
        gates=gate or (),
        passed=passed,
        sort=sort,
        limit=limit if json or csv else None,
    )
    if json:
        print(rows.write_json())
    elif csv:
        print(rows.write_csv(), end="")
    else:
        _print_table(rows, limit or ROWS_IN_A_TABLE, len(every), run_id)


def explain(candidate_id: CandidateId, run_id: RequiredRunId, as_json: AsJson = False) -> None:
    """Why a hypothesis passed or not: estimate, gates with margins, what it would need, relatives that passed.

    Example: backtest explain VOL_SHOCK.mean_reversion.60m.all.POOLED --run-id run_20250228
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.results import run_candidates, run_placebo, spec_hash_of
    from backtest.reports.why_not import explanation, found
    from backtest.run_results import say_next
    from backtest.spec.loader import load_spec

    root, spec = DataRoot.from_environment(), load_spec(spec_root())
    every = run_candidates(root, run_id)
    row = found(every, candidate_id)
    event_type = row["event_type"]
    if spec_hash_of(root, run_id) != spec.ontology_hash:
        print("note: the spec has changed since this run; the limits shown are today's", file=sys.stderr)
    gates = spec.gates
    placebo = run_placebo(root, run_id)
    if as_json:
        _print_explained(every, row, spec, placebo)
        return
    print(
        explanation(
            every,
            candidate_id,
            gates.discovery_profile(event_type),
            gates.profile("promotion", event_type),
            placebo,
        )
    )
    say_next(
        f"its trades and figures, if it has a page: {root.report(run_id) / 'index.html'}; the definition of its event: "
        f"backtest spec show {event_type}"
    )


def _print_explained(every: pl.DataFrame, row: Mapping[str, Any], spec: Spec, placebo: pl.DataFrame | None) -> None:
    """The hypothesis's columns, its placebo times, the limits it was held to, and relatives that passed, as JSON."""
    import polars as pl

    from backtest.reports.why_not import nearest_passing
    from backtest.terminal_output import json_rows, print_json

    own = every.filter(pl.col("candidate_id") == row["candidate_id"])
    beside = pl.DataFrame() if placebo is None else placebo.filter(pl.col("candidate_id") == row["candidate_id"])
    gates = spec.gates
    print_json(
        {
            "candidate": json_rows(own)[0],
            "placebo": json_rows(beside)[0] if len(beside) else None,
            "limits": gates.discovery_profile(row["event_type"]).model_dump(mode="json"),
            "limits_of_promotion": gates.profile("promotion", row["event_type"]).model_dump(mode="json"),
            "relatives_that_passed": nearest_passing(every, row)["candidate_id"].to_list(),
        }
    )


def _print_table(rows: pl.DataFrame, limit: int, n_hypotheses: int, run_id: str) -> None:
    from rich.console import Console

    from backtest.reports.terminal import candidate_table, with_first_failed_gate

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 190
    title = f"{min(limit, len(rows)):,} of {len(rows):,} chosen, of {n_hypotheses:,} hypotheses"
    table = candidate_table(with_first_failed_gate(rows.head(limit)), title, width)
    Console(width=width, highlight=False).print(table)
    if len(rows):
        print(f"Next: why one passed or not: backtest explain {rows['candidate_id'][0]} --run-id {run_id}")
    if len(rows) > limit:
        print(f"{len(rows) - limit:,} more; --limit shows more of them, --csv and --json show all columns of all")
