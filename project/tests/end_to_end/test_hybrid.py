"""discover-hybrid on a small simulated market: planted edges are robust, what failed for its costs is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from backtest.evaluation.expectancy import COLUMN_TEXTS, EXPECTANCY_SCHEMA
from backtest.evaluation.robustness import DETAIL_SCHEMA, VERDICT_SCHEMA

REPOSITORY = Path(__file__).resolve().parents[3]
EVALUATION_PARTS = ("expectancy", "variations__BTCUSDT", "variations__ETHUSDT", "robustness")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec_root(few_events: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A spec that looks at near misses too, however many of the planted edges' hypotheses pass."""
    root = Path(shutil.copytree(few_events, tmp_path_factory.mktemp("hybrid_spec") / "spec"))
    settings = (root / "evaluation.yaml").read_text(encoding="utf-8")
    assert "max_candidates: 50 " in settings
    (root / "evaluation.yaml").write_text(
        settings.replace("max_candidates: 50 ", "max_candidates: 260 "), encoding="utf-8"
    )
    return str(root)


@pytest.fixture(scope="module")
def hybrid(market, spec_root: str, tmp_path_factory: pytest.TempPathFactory):
    """A desk on which discover-hybrid has run, and what it printed."""
    desk = market.copy(tmp_path_factory.mktemp("hybrid") / "data")
    done = desk.command("discover-hybrid", "--run-id", "hybrid", BACKTEST_SPEC_ROOT=spec_root)
    assert done.returncode == 0, done.stderr
    return desk, done.stdout


def test_hybrid_ends_with_verdicts_and_says_where_they_are(hybrid) -> None:
    desk, told = hybrid
    assert "Robustness: of " in told
    assert str(desk.root / "reports" / "expectancy" / "hybrid") in told
    folder = desk.root / "reports" / "expectancy" / "hybrid"
    assert dict(pl.read_parquet_schema(folder / "robustness.parquet")) == VERDICT_SCHEMA
    assert dict(pl.read_parquet_schema(folder / "robustness_checks.parquet")) == DETAIL_SCHEMA
    manifest = json.loads((desk.root / "runs" / "hybrid" / "run_manifest.json").read_text())
    assert set(EVALUATION_PARTS) <= set(manifest["finished"])


def test_the_planted_edge_is_robust_and_what_lies_below_its_cost_is_fragile(hybrid) -> None:
    verdicts = pl.read_parquet(hybrid[0].root / "reports" / "expectancy" / "hybrid" / "robustness.parquet")
    planted = verdicts.filter(
        (pl.col("event_type") == "VOL_SHOCK")
        & (pl.col("template_verb") == "mean_reversion")
        & (pl.col("state_id") == "all")
        & (pl.col("symbol") == "POOLED")
        & pl.col("gate_phase2_final")
    )
    assert set(planted["verdict"]) == {"robust"}
    below = verdicts.filter(pl.col("posterior_mean") < 1.5 * pl.col("cost"))
    assert len(below) > 3
    assert set(below["verdict"]) == {"fragile"}
    assert below["failed_checks"].str.contains("costs").all()


def test_the_table_of_expectancy_has_every_hypothesis_with_its_intervals(hybrid) -> None:
    root = hybrid[0].root
    table = pl.read_parquet(root / "reports" / "expectancy" / "hybrid" / "expectancy.parquet")
    assert dict(table.schema) == EXPECTANCY_SCHEMA
    candidates = pl.concat([pl.read_parquet(path) for path in (root / "reports/phase2/hybrid").glob("*/*.parquet")])
    assert sorted(table["candidate_id"]) == sorted(candidates["candidate_id"])
    known = table.drop_nulls(["raw_low", "shrunk_low"])
    assert len(known) > 1000
    assert known["raw_mean"].is_between(known["raw_low"], known["raw_high"]).all()
    # A posterior that is almost sure of "no effect" has an interval of zero and a mean beside it.
    assert (known["shrunk_low"] <= known["shrunk_high"]).all()
    assert (known["raw_net"] - (known["raw_mean"] - known["cost"])).abs().max() < 1e-15  # type: ignore[operator]
    unconditional = known.filter(pl.col("state_id") == "all")
    assert unconditional["raw_less_all_states"].abs().max() < 1e-15  # type: ignore[operator]
    written = json.loads((root / "reports" / "expectancy" / "hybrid" / "expectancy.json").read_text())
    assert written["columns"] == COLUMN_TEXTS
    assert list(COLUMN_TEXTS) == list(EXPECTANCY_SCHEMA) == list(written["rows"][0])
    assert len(written["rows"]) == len(table)
    assert written["untested_events"]


def test_a_second_time_everything_comes_from_the_cache(hybrid, spec_root: str) -> None:
    desk = hybrid[0]
    folder = desk.root / "reports" / "expectancy" / "hybrid"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = desk.command(
        "discover-hybrid", "--run-id", "hybrid", BACKTEST_STAGE_CACHE="1", BACKTEST_SPEC_ROOT=spec_root
    )
    assert again.returncode == 0, again.stderr
    records = [json.loads((desk.root / "runs" / "hybrid" / f"{name}.json").read_text()) for name in EVALUATION_PARTS]
    assert {record["status"] for record in records} == {"cached"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_finished_run_is_walked_forward_and_its_planted_edge_earns_in_windows_it_was_not_found_in(
    hybrid, spec_root: str
) -> None:
    desk = hybrid[0]
    facts = json.loads((desk.root / "runs" / "hybrid" / "run_manifest.json").read_text())
    done = desk.command("promote", "--run-id", "hybrid", BACKTEST_SPEC_ROOT=spec_root)
    assert done.returncode == 0, done.stderr
    assert "Walk-forward: found in each training window" in done.stdout
    assert "Probability of overfitting over" in done.stdout
    assert "Promotion: " in done.stdout
    reports = desk.root / "reports"
    folds = pl.read_parquet(reports / "walk_forward" / "hybrid" / "folds.parquet")
    assert (folds["train_end"] < folds["test_start"]).all()
    finds = pl.read_parquet(reports / "walk_forward" / "hybrid" / "finds.parquet")
    planted = finds.filter(pl.col("candidate_id") == "VOL_SHOCK.mean_reversion.60m.all.POOLED").row(0, named=True)
    assert planted["n_found"] >= 2
    # 40 bps were planted, and a round trip costs about eleven.
    assert 10e-4 < planted["net"] < 60e-4
    gates = pl.read_parquet(reports / "promotions" / "hybrid" / "gates.parquet")
    assert gates.filter(pl.col("gate") == "out_of_sample_windows")["passed"].all()
    assert gates["reason"].null_count() == 0
    written = json.loads((reports / "promotions" / "hybrid" / "promotions.json").read_text())
    promotions = pl.read_parquet(reports / "promotions" / "hybrid" / "promotions.parquet")
    assert [row["candidate_id"] for row in written["candidates"]] == promotions["candidate_id"].to_list()
    after = json.loads((desk.root / "runs" / "hybrid" / "run_manifest.json").read_text())
    assert {name: after[name] for name in ("folds", "n_hypotheses", "register_hash")} == {
        name: facts[name] for name in ("folds", "n_hypotheses", "register_hash")
    }
    assert desk.command("validate-oos-window", "--run-id", "hybrid", "--eval-start", "2025-01-01", "--eval-end",
                        "2025-02-01").returncode == 0  # fmt: skip


def test_an_unknown_run_is_told_with_the_nearest_one(hybrid) -> None:
    done = hybrid[0].command("walk-forward", "--run-id", "hybird")
    assert done.returncode == 1
    assert "Did you mean 'hybrid'?" in done.stderr
