"""A small lake for the toy stages, and a way to run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import toy_stages

from backtest.lake.files import read_json, write_json
from backtest.lake.paths import DataRoot
from backtest.pipeline.display import Display, SilentDisplay
from backtest.pipeline.executors import SerialWorkers, Workers
from backtest.pipeline.runner import RunReport, run_stages
from backtest.pipeline.stage import Plan, Stage


@dataclass
class ToyLake:
    """A data root with raw files of three symbols."""

    plan: Plan

    @property
    def root(self) -> DataRoot:
        return self.plan.root

    def run(
        self,
        stages: Sequence[Stage] | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        display: Display | None = None,
        executor_factory: Callable[[int], Workers] = SerialWorkers,
        **changes: Any,
    ) -> RunReport:
        fields = {name: changes.pop(name) for name in ("run_id", "symbols") if name in changes}
        plan = replace(self.plan, parameters={**self.plan.parameters, **(parameters or {})}, **fields)
        return run_stages(
            plan,
            toy_stages.STAGES if stages is None else stages,
            display=display or SilentDisplay(),
            executor_factory=executor_factory,
            command="make toys",
            **changes,
        )

    def manifest(self, instance: str = "run_manifest", run_id: str = "toy") -> dict[str, Any]:
        value = read_json(self.root.run(run_id) / f"{instance}.json")
        assert isinstance(value, dict)
        return value

    def log(self, instance: str) -> str:
        return (self.root.run("toy") / f"{instance}.log").read_text(encoding="utf-8")

    def n_calls(self, instance: str) -> int:
        path = self.root.path / "calls" / instance
        return len(path.read_text().splitlines()) if path.exists() else 0

    def results(self) -> dict[str, bytes]:
        """Every file the stages made, by its name; not manifests, logs and what the tests put there."""
        folders = ("lake/cleaned", "lake/runs", "reports")
        paths = (path for folder in folders for path in (self.root.path / folder).rglob("*") if path.is_file())
        return {path.relative_to(self.root.path).as_posix(): path.read_bytes() for path in paths}


def make_toy_lake(folder: Path) -> ToyLake:
    root = DataRoot(folder)
    root.create()
    for number, symbol in enumerate(("AAA", "BBB", "CCC")):
        write_json(root.lake / "raw" / f"{symbol}.json", [number + 1, number + 2])
    (folder / "spec").mkdir()
    (folder / "spec" / "gates.yaml").write_text("gates: 1\n")
    return ToyLake(Plan(root, folder / "spec", "toy", ("AAA", "BBB", "CCC"), parameters={"scale": 2}))
