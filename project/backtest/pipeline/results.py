"""What a finished run found, for commands that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backtest.errors import RunError, did_you_mean
from backtest.lake.paths import DataRoot

if TYPE_CHECKING:
    import polars as pl

    from backtest.reports.html.results import PromotionResults

PROMOTION_FILES: Final = ("promotions.parquet", "gates.parquet")
WALK_FORWARD_FILES: Final = ("folds.parquet", "walk_forward.json")


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
    from backtest.lake.files import read_parquet

    path = root.robustness(run_id)
    if not path.is_file() or not _rests_on_candidates(root, run_id, "robustness"):
        return None
    return read_parquet(path, VERDICT_SCHEMA)


def run_robustness_checks(root: DataRoot, run_id: str) -> pl.DataFrame | None:
    """What the verdicts of `run_robustness` rest on (`robustness.DETAIL_SCHEMA`); None where there are none."""
    from backtest.evaluation.robustness import DETAIL_SCHEMA
    from backtest.lake.files import read_parquet

    path = root.robustness_checks(run_id)
    if not path.is_file() or not _rests_on_candidates(root, run_id, "robustness"):
        return None
    return read_parquet(path, DETAIL_SCHEMA)


def run_promotion(root: DataRoot, run_id: str) -> PromotionResults | None:
    """What the promotion said of a run's candidates; None where it was not asked, or of other candidates."""
    from backtest.evaluation.promotion import GATE_SCHEMA, PROMOTION_SCHEMA
    from backtest.evaluation.walk_forward import FOLD_SCHEMA
    from backtest.lake.files import read_json, read_parquet
    from backtest.reports.html.results import PromotionResults

    promotions, gates = (root.promotions(run_id, name) for name in PROMOTION_FILES)
    folds, walked = (root.walk_forward(run_id, name) for name in WALK_FORWARD_FILES)
    files = (promotions, gates, folds, walked)
    if not all(path.is_file() for path in files) or not _rests_on_candidates(root, run_id, "promotion"):
        return None
    return PromotionResults(
        promotions=read_parquet(promotions, PROMOTION_SCHEMA),
        gates=read_parquet(gates, GATE_SCHEMA),
        folds=read_parquet(folds, FOLD_SCHEMA),
        overfitting=read_json(walked)["overfitting"],
    )


def _rests_on_candidates(root: DataRoot, run_id: str, stage: str) -> bool:
    """Whether a stage of a run read the candidates that are there now."""
    from backtest.lake.files import has_content, read_json

    manifest = root.run(run_id) / f"{stage}.json"
    if not manifest.is_file():
        return False
    recorded = read_json(manifest).get("input_files", {})
    return all(
        has_content(path, recorded.get(path.relative_to(root.path).as_posix()))
        for path in root.reports("phase2", run_id).glob("*/candidates.parquet")
    )


def spec_hash_of(root: DataRoot, run_id: str) -> str | None:
    """The ontology hash in the run's manifest; None where there is no manifest."""
    from backtest.lake.files import read_json

    path = root.run_manifest(run_id)
    return read_json(path).get("ontology_spec_hash") if path.is_file() else None
