"""Stage: raw data into the lake, from the venue or from a simulated market."""

from __future__ import annotations

from collections.abc import Mapping

from backtest.errors import MisuseError
from backtest.pipeline.stage import Json, Outcome, Plan, Stage

SOURCES = ("binance", "simulated")


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    return {
        "source": plan.parameters.get("source"),
        "symbols": list(plan.symbols),
        "start": plan.start.isoformat() if plan.start else None,
        "end": plan.end.isoformat() if plan.end else None,
    }


def spec(plan: Plan, _partition: str) -> str:
    from backtest.spec.loader import load_spec

    definitions = load_spec(plan.spec_root)
    return definitions.part_hash("simulation") + definitions.ontology_hash


def run(plan: Plan, _partition: str) -> Outcome:
    if plan.parameters.get("source") == "simulated":
        return _simulated(plan)
    return _binance(plan)


def _simulated(plan: Plan) -> Outcome:
    from backtest.pipeline.simulation import simulate_into_lake
    from backtest.spec.loader import load_spec

    if plan.start is None or plan.end is None:
        raise MisuseError("a simulated market needs START and END.")
    summary = simulate_into_lake(
        plan.root, load_spec(plan.spec_root), plan.symbols, plan.start, (plan.end - plan.start).days
    )
    return Outcome(outputs=tuple(summary.pop("outputs")), summary=summary)


def _binance(plan: Plan) -> Outcome:
    raise NotImplementedError


STAGE = Stage(
    name="ingest",
    title="Fetching raw data",
    reads=(),
    writes=("raw",),
    run=run,
    parameters=parameters,
    spec=spec,
    shared=True,
)
