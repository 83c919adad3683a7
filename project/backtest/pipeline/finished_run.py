"""A finished run again, for stages that come after its discovery."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from backtest.errors import DataError, MisuseError, RunError, did_you_mean
from backtest.lake.files import read_json
from backtest.lake.paths import DataRoot, checked_symbol
from backtest.pipeline.runs import Request


def request_for_run(root: DataRoot, spec_root: Path, run_id: str) -> Request:
    """The request of a run whose discovery is there; RunError, with the nearest run, where it is not."""
    root.require()
    if not root.run_manifest(run_id).is_file() or not root.design(run_id).is_file():
        known = sorted(path.parent.name for path in root.path.glob("lake/runs/*/design.json"))
        raise RunError(
            f"there is no discovery of a run {run_id} in {root.path}.{did_you_mean(run_id, known)} Runs: "
            f"{', '.join(known[-10:]) or 'none'}. Make one: make discover-edges RUN_ID={run_id}"
        )
    path = root.run_manifest(run_id)
    manifest = read_json(path)
    try:
        start, end = (
            dt.datetime.fromisoformat(manifest[name]) if manifest.get(name) else None for name in ("start", "end")
        )
        symbols = tuple(checked_symbol(str(symbol)) for symbol in manifest["symbols"])
        parameters = dict(manifest["parameters"])
    except (AttributeError, KeyError, TypeError, ValueError, MisuseError) as fault:
        raise DataError(
            f"{path} is not the manifest of a run: {fault!r:.200}. Make the run again: make discover-edges RUN_ID={run_id}"
        ) from None
    return Request(
        root=root, spec_root=spec_root, run_id=run_id, symbols=symbols, start=start, end=end, parameters=parameters
    )
