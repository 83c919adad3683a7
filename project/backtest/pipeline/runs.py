"""The runs an operator can ask for: which stages each is, and what is checked before the first one starts."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backtest.errors import MisuseError
from backtest.lake.paths import DataRoot

if TYPE_CHECKING:
    from backtest.pipeline.runner import RunReport
    from backtest.pipeline.stage import JsonScalar, Plan

BOOTSTRAP: Final = ("ingest", "clean", "cross_check", "cross_section", "features")
DISCOVERY: Final = ("detect", "occurrences", "register", "scores", "candidates", "placebo", "blueprints", "report")
EVALUATION: Final = ("expectancy", "variations", "robustness")
WALK_FORWARD: Final = ("walk_forward_scores", "walk_forward_folds", "walk_forward")
PROMOTION: Final = ("promotion",)
"""Last of all: it reads robustness, walk-forward and, where there is one, the backtest."""
FROM_RAW: Final = ("clean", "cross_check", "cross_section", "features", *DISCOVERY)
HYBRID: Final = (*FROM_RAW, *EVALUATION)
TRADED: Final = ("signals", "backtest")
"""What comes after a discovery where strategies are backtested."""
BASELINE: Final = (*BOOTSTRAP, *DISCOVERY, *EVALUATION, *TRADED, *WALK_FORWARD, *PROMOTION)
"""Everything there is, from fetching to the promotion."""
DEMONSTRATION: Final = (*BOOTSTRAP, *DISCOVERY, *TRADED)
HYBRID_BACKTEST: Final = (*HYBRID, *TRADED, *WALK_FORWARD, *PROMOTION)
SCHEDULER_VARIABLE: Final = "BACKTEST_SCHEDULER"
DEFAULT_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")


@dataclass(frozen=True)
class Request:
    """What an operator asked a run for; bounds are the half-open span [start, end)."""

    root: DataRoot
    spec_root: Path
    run_id: str | None = None
    symbols: tuple[str, ...] = ()
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    workers: int | None = None
    cache: bool = False
    parameters: Mapping[str, JsonScalar] = field(default_factory=dict)


def execute(request: Request, stages: tuple[str, ...], *, now: dt.datetime, command: str) -> RunReport:
    """Run the named stages; the spec is checked first, and the data root made where the run brings data in.

    `command` is how the operator called it, for the hint on how to continue after a failure.

    Raises what the checks and `run_stages` raise; a failed stage is in the report.
    """
    from backtest.pipeline.display import display_for
    from backtest.pipeline.executors import executor_factory_for
    from backtest.pipeline.graph import find_stages
    from backtest.pipeline.runner import run_stages
    from backtest.spec.loader import load_spec

    spec = load_spec(request.spec_root)
    if "ingest" in stages:
        request.root.create()
    request.root.require()
    plan = planned(request, stages, now=now)
    found = {stage.name: stage for stage in find_stages()}
    run_id_flag = "RUN_ID=" if command.startswith("make ") else "--run-id "
    return run_stages(
        plan,
        [found[name] for name in stages],
        display=display_for(sys.stderr),
        facts={"ontology_spec_hash": spec.ontology_hash},
        cache=request.cache,
        workers=request.workers,
        executor_factory=executor_factory_for(os.environ.get(SCHEDULER_VARIABLE)),
        command=command if request.run_id else f"{command} {run_id_flag}{plan.run_id}",
    )


def planned(request: Request, stages: tuple[str, ...], *, now: dt.datetime) -> Plan:
    """The plan of a request: symbols, window and run id filled in where they were left out."""
    from backtest.pipeline.frames import symbols_in_lake
    from backtest.pipeline.stage import Plan

    start, end = request.start, request.end
    if "ingest" in stages:
        symbols = request.symbols or DEFAULT_SYMBOLS
        if start is None:
            raise MisuseError("START is needed to fetch data. Example: make run START=2023-01-01 END=2023-12-31")
        end = end or now.replace(hour=0, minute=0, second=0, microsecond=0)
        if end <= start:
            raise MisuseError(f"START {start:%Y-%m-%d} is not in the past; there is nothing to fetch yet.")
        if request.parameters.get("source") != "simulated" and end > now + dt.timedelta(days=1):
            raise MisuseError(
                f"END {end - dt.timedelta(days=1):%Y-%m-%d} is in the future; today is {now:%Y-%m-%d} (UTC)."
            )
    else:
        symbols = request.symbols or tuple(symbols_in_lake(request.root)) or DEFAULT_SYMBOLS
    return Plan(
        root=request.root,
        spec_root=request.spec_root,
        run_id=request.run_id or f"run_{now:%Y%m%dT%H%M%SZ}",
        symbols=symbols,
        start=start,
        end=end,
        parameters=request.parameters,
    )
