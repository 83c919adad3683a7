"""Runs the toy stages in a process of their own: ``python toy_run.py <data root> <run id> [name=value ...]``."""

from __future__ import annotations

import sys
from pathlib import Path

import toy_stages

from backtest.errors import BacktestError
from backtest.lake.paths import DataRoot
from backtest.pipeline.display import PlainDisplay
from backtest.pipeline.runner import run_stages
from backtest.pipeline.stage import Plan


def main() -> None:
    root = DataRoot(Path(sys.argv[1]))
    parameters = dict(argument.split("=") for argument in sys.argv[3:])
    plan = Plan(root, root.path / "spec", sys.argv[2], ("AAA", "BBB"), parameters={"scale": 2, **parameters})
    try:
        run_stages(plan, toy_stages.STAGES, display=PlainDisplay(sys.stderr), workers=1).raise_for_failure()
    except BacktestError as fault:
        print(f"error: {fault}", file=sys.stderr)
        raise SystemExit(fault.exit_code) from None


if __name__ == "__main__":
    main()
