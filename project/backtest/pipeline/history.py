"""The runs of a data root as their manifests tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest.errors import DataError, RunError, did_you_mean
from backtest.lake.files import read_json
from backtest.lake.paths import DataRoot


def run_ids(root: DataRoot) -> list[str]:
    """Every RUN_ID that has a manifest, sorted."""
    return sorted(path.parent.name for path in root.path.glob("runs/*/run_manifest.json"))


def manifest_of(root: DataRoot, run_id: str) -> Mapping[str, Any]:
    """The run manifest.

    Raises
    ------
    MisuseError
        No data root, or a RUN_ID that cannot be one.
    RunError
        No such run.
    DataError
        An unreadable manifest.
    """
    path = root.run_manifest(run_id)
    root.require()
    if not path.is_file():
        known = run_ids(root)
        raise RunError(
            f"there is no run {run_id} in {root.path}.{did_you_mean(run_id, known)} "
            f"Runs: {', '.join(known[-10:]) or 'none'}. List them: backtest runs"
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise DataError(f"{path} is not a run manifest: it holds a {type(manifest).__name__}.")
    return manifest
