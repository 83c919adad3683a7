"""What a finished run found, for commands that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.errors import RunError, did_you_mean
from backtest.lake.paths import DataRoot

if TYPE_CHECKING:
    import polars as pl


def run_candidates(root: DataRoot, run_id: str) -> pl.DataFrame:
    """All hypotheses of a run (`candidates.CANDIDATE_SCHEMA`).

    Raises
    ------
    RunError
        Unknown run, or one whose hypotheses are not tested yet.
    DataError
        Where an earlier version wrote them.
    """
    import polars as pl

    from backtest.discovery.candidates import CANDIDATE_SCHEMA
    from backtest.lake.files import read_parquet

    root.require()
    paths = sorted(root.reports("phase2", run_id).glob("*/candidates.parquet"))
    if not paths:
        known = sorted(path.name for path in root.path.glob("reports/phase2/*") if path.is_dir())
        raise RunError(
            f"run {run_id} has no candidates in {root.path}.{did_you_mean(run_id, known)} Runs that have: "
            f"{', '.join(known[-10:]) or 'none'}. Make them: make discover-edges RUN_ID={run_id}"
        )
    return pl.concat([read_parquet(path, CANDIDATE_SCHEMA).select(list(CANDIDATE_SCHEMA)) for path in paths])


def run_placebo(root: DataRoot, run_id: str) -> pl.DataFrame | None:
    """Candidates of a run beside placebo times (`placebo.PLACEBO_SCHEMA`); None where they were not compared."""
    from backtest.discovery.placebo import PLACEBO_SCHEMA
    from backtest.lake.files import read_parquet

    path = root.placebo(run_id)
    return read_parquet(path, PLACEBO_SCHEMA) if path.is_file() else None


def run_robustness(root: DataRoot, run_id: str) -> pl.DataFrame | None:
    """Verdicts on a run's candidates (`robustness.VERDICT_SCHEMA`).

    None where robustness was not assessed, or on other candidates than there are now.
    """
    from backtest.evaluation.robustness import VERDICT_SCHEMA
    from backtest.lake.files import content_hash, read_json, read_parquet

    path, manifest = root.robustness(run_id), root.run(run_id) / "robustness.json"
    if not path.is_file() or not manifest.is_file():
        return None
    recorded = read_json(manifest).get("input_files", {})
    for candidates in root.reports("phase2", run_id).glob("*/candidates.parquet"):
        if recorded.get(candidates.relative_to(root.path).as_posix()) != content_hash(candidates):
            return None
    return read_parquet(path, VERDICT_SCHEMA)


def spec_hash_of(root: DataRoot, run_id: str) -> str | None:
    """The ontology hash in the run's manifest; None where there is no manifest."""
    from backtest.lake.files import read_json

    path = root.run_manifest(run_id)
    return read_json(path).get("ontology_spec_hash") if path.is_file() else None
