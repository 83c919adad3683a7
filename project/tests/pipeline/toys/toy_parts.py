"""A stage whose number of files is a parameter."""

from __future__ import annotations

from backtest.lake.files import write_json
from backtest.pipeline.stage import Outcome, Plan, Stage


def parts(plan: Plan, _partition: str) -> Outcome:
    paths = tuple(plan.root.run_lake(plan.run_id) / f"part{number}.json" for number in range(int(plan.parameters["n"])))
    for number, path in enumerate(paths):
        write_json(path, number)
    return Outcome(paths)


PARTS = Stage("parts", "Making parts", (), ("parts",), parts)
