"""What a run needs so that one of its event types can be scored again."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from backtest.errors import MisuseError, RunError
from backtest.lake.files import read_json
from backtest.lake.paths import DataRoot
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
    """
    root.require()
    if not root.run_manifest(run_id).is_file():
        known = sorted(path.parent.name for path in root.path.glob("runs/*/run_manifest.json"))
        raise RunError(
            f"there is no run {run_id} in {root.path}. Runs: {', '.join(known[-10:]) or 'none'}. "
            "Make one: make discover-edges RUN_ID=…"
        )
    manifest = read_json(root.run_manifest(run_id))
    if not root.design(run_id).is_file():
        raise RunError(f"run {run_id} has no events yet. Run the discovery first: make discover-edges RUN_ID={run_id}")
    tested = read_json(root.design(run_id))["tested"]
    if event_type not in tested:
        raise RunError(
            f"run {run_id} did not test {event_type} (see {root.event_quality(run_id)}). It tested: {', '.join(tested)}."
        )
    of_run = tuple(manifest["symbols"])
    if symbols and set(symbols) != set(of_run):
        raise MisuseError(
            f"run {run_id} is a search over {','.join(of_run)}; {','.join(symbols)} would be another one. "
            f"Leave the symbols out, or start a new run: make discover-edges SYMBOLS={','.join(symbols)}"
        )
    return Request(
        root=root,
        spec_root=spec_root,
        run_id=run_id,
        symbols=of_run,
        start=_instant(manifest.get("start")),
        end=_instant(manifest.get("end")),
        parameters={**manifest["parameters"], "event_type": event_type},
    )


def _instant(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
