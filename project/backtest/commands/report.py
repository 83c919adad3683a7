"""`report`: the pages of a run, and the list over all runs."""

from __future__ import annotations

from typing import Annotated

import typer

from backtest.command_options import spec_root

AsJson = Annotated[bool, typer.Option("--json", help="Where the pages are and how large, as JSON.")]
AnyRunId = Annotated[
    str,
    typer.Option("--run-id", "--run_id", envvar="BACKTEST_RUN_ID", help="Name of the run."),
]


def register(app: typer.Typer) -> None:
    """Add `report`."""
    app.command("report")(report)


def report(run_id: AnyRunId, json: AsJson = False) -> None:
    """Write the pages of a run to reports/RUN_ID/index.html: they open from disk, without a network.

    Example: backtest report --run-id run_20250228
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.reporting import make_report

    root = DataRoot.from_environment()
    made = make_report(root, spec_root(), run_id)
    if json:
        import json as json_module

        print(
            json_module.dumps(
                {
                    "index": str(made.index),
                    "files": len(made.files),
                    "size_bytes": made.size_bytes,
                    "verdict": made.summary["verdict"],
                }
            )
        )
        return
    print(made.summary["verdict"])
    print(f"\nWritten to {made.index} ({len(made.files)} files, {made.size_bytes / 1e6:.1f} MB)")
    print(f"All runs: {root.report_list() / 'index.html'}")
    print("\nNext: open it in a browser")
