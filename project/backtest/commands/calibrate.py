"""`backtest calibrate`: error rates and power of the whole search on simulated worlds whose truth is known."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from backtest.command_options import Workers, spec_root
from backtest.errors import RunError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    quick: Annotated[
        bool, typer.Option("--quick", envvar="BACKTEST_QUICK", help="26 worlds instead of 480: minutes, not an hour.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other worlds for another seed.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON instead of tables.")] = False,
    workers: Workers = None,
) -> None:
    """Run the search on simulated worlds, with and without planted edges, and compare with the truth.

    Ends with 1 where an error rate is beyond its limit.

    Example: backtest calibrate --quick
    """
    import json

    from backtest.evaluation.calibration import limits, summary
    from backtest.pipeline.calibration import calibrate as search_worlds
    from backtest.pipeline.calibration import full_worlds, quick_worlds
    from backtest.pipeline.executors import SCHEDULER_VARIABLE, available_cores, executor_factory_for
    from backtest.reports.calibration import calibration_text
    from backtest.spec.loader import load_spec

    root = spec_root()
    load_spec(root)
    worlds = quick_worlds() if quick else full_worlds()

    def told(done: int, total: int) -> None:
        if done == total or done % 10 == 0:
            print(f"{done} of {total} worlds", file=sys.stderr)

    pool = executor_factory_for(os.environ.get(SCHEDULER_VARIABLE))(workers or available_cores())
    try:
        found = search_worlds(worlds, root, seed=seed, workers=pool, progress=told)
    except BaseException:
        pool.kill()
        raise
    pool.shutdown()
    report = summary(found)
    held = limits(report)
    if as_json:
        verdicts = [{**vars(limit), "is_kept": limit.is_kept} for limit in held]
        print(json.dumps({"seed": seed, "groups": report, "limits": verdicts}, indent=2))
    else:
        print(calibration_text(report, held))
    broken = [limit.text for limit in held if not limit.is_kept]
    if broken:
        raise RunError(f"{len(broken)} of {len(held)} limits broken: {'; '.join(broken)}")
