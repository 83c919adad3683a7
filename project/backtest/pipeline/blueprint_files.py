"""Blueprints in the data root: of a run, of a file, or one by its id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.errors import DataError, RunError, did_you_mean
from backtest.lake.paths import DataRoot

if TYPE_CHECKING:
    from backtest.strategies.blueprints import Blueprint


def runs_with_blueprints(root: DataRoot) -> list[str]:
    """Names of the runs that have written blueprints, be it none, sorted."""
    return sorted(path.parent.name for path in root.path.glob("reports/strategy_blueprints/*/blueprints.jsonl"))


def run_blueprints(root: DataRoot, run_id: str) -> list[Blueprint]:
    """The blueprints of a run; RunError where it has written none, DataError where the file is at fault."""
    path = root.blueprints(run_id)
    if not path.is_file():
        known = runs_with_blueprints(root)
        raise RunError(
            f"run {run_id} has no blueprints in {root.path}.{did_you_mean(run_id, known)} Runs that have: "
            f"{', '.join(known[-10:]) or 'none'}. Make them: make discover-edges RUN_ID={run_id}"
        )
    return file_blueprints(path)


def file_blueprints(path: Path) -> list[Blueprint]:
    """The blueprints of a file of JSON lines; DataError that lists its faults, or says why it cannot be read."""
    from backtest.strategies.reading import MAX_FILE_BYTES, parse_blueprints

    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path} has {size:,} bytes; blueprints of at most {MAX_FILE_BYTES:,} are read.")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is no UTF-8 text: {fault.reason} at byte {fault.start}.") from None
    except (OSError, ValueError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else None
        raise DataError(f"{str(path)[:200]!r} cannot be read: {why or fault}.") from None
    return parse_blueprints(text, str(path))


def names_a_file(text: str) -> bool:
    """Whether there is a file of that path; False for what cannot be one (too long, NUL), where `Path.is_file` may raise."""
    return os.path.isfile(text)  # noqa: PTH113


def blueprints_of(root: DataRoot, file_or_run: str) -> list[Blueprint]:
    """Those of a file where the text is the path of one, else of the run of that name."""
    path = Path(file_or_run)
    if names_a_file(file_or_run) or path.suffix == ".jsonl" or "/" in file_or_run:
        return file_blueprints(path)
    root.require()
    return run_blueprints(root, file_or_run)


def blueprint(root: DataRoot, blueprint_id: str) -> Blueprint:
    """The blueprint of that id, whichever run it is of; RunError with the nearest id where there is none."""
    root.require()
    runs = runs_with_blueprints(root)
    known: list[str] = []
    for run_id in runs:
        if blueprint_id.startswith(f"{run_id}."):
            for found in run_blueprints(root, run_id):
                if found.blueprint_id == blueprint_id:
                    return found
                known.append(found.blueprint_id)
    hint = did_you_mean(blueprint_id, known)
    if not known:
        hint += f" An id begins with its run's name; runs that have blueprints: {', '.join(runs[-10:]) or 'none'}."
    raise RunError(
        f"there is no blueprint {blueprint_id[:120]!r} in {root.path}.{hint} "
        "List a run's: backtest blueprint validate RUN"
    )


def certificates_of(root: DataRoot, entry: Blueprint) -> list[dict[str, Any]]:
    """The parity certificates of a blueprint in its run's backtest, one a symbol; none where it was not traded there."""
    import polars as pl

    from backtest.lake.files import read_parquet

    path = root.backtest(entry.run_id, "parity.parquet")
    if not path.is_file():
        return []
    return read_parquet(path).filter(pl.col("strategy") == entry.blueprint_id).to_dicts()
