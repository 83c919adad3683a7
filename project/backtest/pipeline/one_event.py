"""What a run needs so that one of its event types can be scored again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from backtest.errors import DataError, MisuseError, RunError
from backtest.lake.files import MEND, read_json
from backtest.lake.paths import DataRoot
from backtest.pipeline.finished_run import request_for_run
from backtest.pipeline.history import manifest_of
from backtest.pipeline.runs import Request


def request_for_event(
    root: DataRoot, spec_root: Path, run_id: str, event_type: str, symbols: tuple[str, ...]
) -> Request:
    """The request of a finished run again, for one event type; the other events' day scores of that run are kept.

    The whole search is tested again on all scores, so the control covers every hypothesis of the run. Where day scores of
    other events are missing, the stage `candidates` says so and claims no control over the whole search.

    Raises
    ------
    RunError
        Unknown run, or one whose events are missing or were not tested.
    MisuseError
        Symbols that are not those of the run: a search is over all its symbols.
    DataError
        A manifest or a design that is damaged.
    """
    manifest_of(root, run_id)
    if not root.design(run_id).is_file():
        raise RunError(f"run {run_id} has no events yet. Run the discovery first: make discover-edges RUN_ID={run_id}")
    request = request_for_run(root, spec_root, run_id)
    tested = _tested(root.design(run_id))
    if event_type not in tested:
        raise RunError(
            f"run {run_id} did not test {event_type} (see {root.event_quality(run_id)}). It tested: {', '.join(tested)}."
        )
    of_run = request.symbols
    if symbols and set(symbols) != set(of_run):
        raise MisuseError(
            f"run {run_id} is a search over {','.join(of_run)}; {','.join(symbols)} would be another one. "
            f"Leave the symbols out, or start a new run: make discover-edges SYMBOLS={','.join(symbols)}"
        )
    return dataclasses.replace(request, parameters={**request.parameters, "event_type": event_type})


def _tested(path: Path) -> list[str]:
    """Event types a run has tested; its design maps each to the symbols it was tested on."""
    design = read_json(path)
    tested = design.get("tested") if isinstance(design, dict) else None
    if not isinstance(tested, dict) or not all(isinstance(symbols, list) for symbols in tested.values()):
        raise DataError(f"{path} does not say which event types were tested. {MEND}")
    return list(tested)
