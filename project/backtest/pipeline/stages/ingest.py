"""Stage: raw data into the lake, from the venue or from a simulated market."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from backtest.errors import DataError, MisuseError
from backtest.pipeline.stage import Json, Outcome, Plan, Stage


def parameters(plan: Plan, _partition: str) -> Mapping[str, Json]:
    """What decides the result; of the venue also the day, since an archive grows and a gap in it may be filled."""
    import datetime as dt

    is_simulated = plan.parameters.get("source") == "simulated"
    return {
        "asked_on": None if is_simulated else dt.datetime.now(dt.UTC).date().isoformat(),
        "source": plan.parameters.get("source"),
        "symbols": list(plan.symbols),
        "datasets": plan.parameters.get("datasets"),
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
    import datetime as dt

    from backtest.lake.months import month_files
    from backtest.pipeline.ingestion import (
        OPTIONAL_SERIES,
        REQUIRED_SERIES,
        VENUE,
        Addresses,
        chosen_series,
        events_that_need,
        ingest_binance,
        missing_text,
        optional_series,
        optional_text,
        parsed_datasets,
        plain_progress,
    )
    from backtest.spec.loader import load_spec

    if plan.start is None or plan.end is None:
        raise MisuseError("fetching data needs START and END.")
    first, last = plan.start.date(), (plan.end - dt.timedelta(days=1)).date()
    named = parsed_datasets(cast("str | None", plan.parameters.get("datasets")))
    # Named data sets come on top of the bars and the funding, without which nothing after this stage can run.
    series = list(dict.fromkeys((*REQUIRED_SERIES, *OPTIONAL_SERIES, *(chosen_series([], named) if named else ()))))
    optional = optional_series([]) - frozenset(chosen_series([], named) if named else ())
    ingested = ingest_binance(
        plan.root,
        plan.symbols,
        first,
        last,
        series,
        optional=optional,
        addresses=Addresses.from_environment(),
        now=dt.datetime.now(dt.UTC),
        progress=plain_progress(print),
    )
    for defect in ingested.defects:
        print(defect)
    left_out = optional_text(ingested.missing_optional, events_that_need(load_spec(plan.spec_root), optional))
    for line in left_out:
        print(line)
    if ingested.missing and not plan.parameters.get("allow_missing"):
        raise DataError(missing_text(ingested.missing, "ALLOW_MISSING=1 with make (--allow-missing)"))
    return Outcome(
        outputs=tuple(
            path
            for symbol in plan.symbols
            for market, dataset in series
            for path in month_files(plan.root.raw(VENUE, market, symbol, dataset), plan.start, plan.end)
        ),
        summary=ingested.summary(),
        warnings=(
            *(f"could not be had: {line}" for line in ingested.missing),
            *(str(defect) for defect in ingested.defects),
            *left_out,
            *ingested.notes,
        ),
    )


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
