"""The operator's way from raw data to blueprints, through the real command on a small simulated market."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from backtest.discovery.candidates import CANDIDATE_SCHEMA

from .conftest import SPAN

pytestmark = pytest.mark.slow


def hashes(*folders: Path) -> dict[str, str]:
    """Content of all result files below folders; manifests, logs and locks tell times and are left out."""
    return {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".parquet", ".jsonl") and "stage_records" not in path.parts
    }


def results(root: Path, run_id: str) -> dict[str, str]:
    """Results of one run by content, whatever its name."""
    places = [root / "events" / run_id, root / "lake" / "runs" / run_id]
    places += [root / "reports" / "phase2" / run_id]
    return {name.replace(run_id, "RUN"): digest for name, digest in hashes(*places).items()}


def test_the_artifacts_lie_where_the_runbook_says(simulated) -> None:
    root = simulated.root
    manifest = json.loads((root / "runs" / "first" / "run_manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["failed_stage"] is None
    assert manifest["discovery_start"].startswith("2024-01-01")
    assert manifest["discovery_end"].startswith("2024-09-01")
    for key in (
        "ontology_spec_hash",
        "data_hash",
        "duration_seconds",
        "symbols",
        "parameters",
        "platform",
        "git_commit",
    ):
        assert key in manifest
    for instance in manifest["finished"]:
        assert (root / "runs" / "first" / f"{instance}.json").is_file()
        assert (root / "runs" / "first" / f"{instance}.log").is_file()
    candidates = sorted((root / "reports" / "phase2" / "first").glob("*/candidates.parquet"))
    assert len(candidates) >= 12
    for path in candidates:
        assert dict(pl.read_parquet_schema(path)) == CANDIDATE_SCHEMA
    assert (root / "reports" / "strategy_blueprints" / "first" / "blueprints.jsonl").is_file()
    events = pl.read_parquet(root / "events" / "first" / "events.parquet")
    assert events["event_id"].is_unique().all()
    flags = pl.read_parquet(root / "events" / "first" / "event_flags.parquet")
    assert flags["VOL_SHOCK"].sum() == events.filter(pl.col("event_type") == "VOL_SHOCK").height


SNIPPETS = {
    "Top candidates by after-cost expectancy": """
import pandas as pd, glob
files = glob.glob('data/reports/phase2/<run_id>/*/candidates.parquet')
df = pd.concat([pd.read_parquet(f) for f in files])
print(df[df.gate_phase2_final].sort_values('after_cost_expectancy', ascending=False)[
  ['event_type','horizon','template_verb','state_id','after_cost_expectancy','p_value','n_events']
].head(20).to_string())
""",
    "Strategy blueprints": """
import json
with open('data/reports/strategy_blueprints/<run_id>/blueprints.jsonl') as f:
    for line in f: print(json.loads(line)['event_type'], json.loads(line)['horizon'])
""",
}


@pytest.mark.parametrize("title", SNIPPETS)
def test_the_runbooks_snippets_run_verbatim(simulated, tmp_path: Path, title: str) -> None:
    (tmp_path / "data").symlink_to(simulated.root)
    code = f"import os; os.chdir({str(tmp_path)!r})\n" + SNIPPETS[title].replace("<run_id>", "first")
    done = simulated.python("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert "VOL_SHOCK" in done.stdout


def test_the_planted_edge_is_found_and_becomes_blueprints(simulated) -> None:
    lines = (simulated.root / "reports" / "strategy_blueprints" / "first" / "blueprints.jsonl").read_text().splitlines()
    blueprints = [json.loads(line) for line in lines]
    shocks = [blueprint for blueprint in blueprints if blueprint["event_type"] == "VOL_SHOCK"]
    assert shocks
    assert all(blueprint["direction"] == -1 for blueprint in shocks)
    for blueprint in blueprints:
        assert blueprint["after_cost_expectancy"] > 0
        assert blueprint["entry_lag_bars"] >= 1
        assert set(blueprint["symbols"]) <= {"BTCUSDT", "ETHUSDT"}


def test_pandas_reads_candidates_as_flags_and_numbers(simulated) -> None:
    frame = pd.read_parquet(simulated.root / "reports" / "phase2" / "first" / "VOL_SHOCK" / "candidates.parquet")
    assert frame.gate_phase2_final.dtype == bool
    assert frame.gate_phase2_final.any()
    assert (frame.q_value.dropna() >= frame.p_value[frame.q_value.notna()]).all()


def test_one_worker_and_two_give_the_same_bytes_and_the_cache_gives_them_too(simulated, tmp_path: Path) -> None:
    before = results(simulated.root, "first")
    assert len(before) > 50
    desk = simulated.copy(tmp_path / "data")
    asked = ("discover-edges-from-raw", "--run-id", "first", *SPAN)
    one = desk.command(*asked, "--workers", "1")
    assert one.returncode == 0, one.stderr
    assert results(desk.root, "first") == before
    again = desk.command(*asked, "--workers", "2", BACKTEST_STAGE_CACHE="1")
    assert again.returncode == 0, again.stderr
    manifest = json.loads((desk.root / "runs" / "first" / "run_manifest.json").read_text())
    assert {entry["status"] for entry in manifest["stages"].values()} == {"cached"}
    assert results(desk.root, "first") == before


def test_one_event_can_be_scored_again_through_the_runbooks_script(small, tmp_path: Path) -> None:
    desk = small.copy(tmp_path / "data")
    before = results(desk.root, "first")
    shutil.rmtree(desk.root / "lake" / "runs" / "first" / "scores" / "VOL_SHOCK")
    script = "project/pipelines/research/phase2_candidate_discovery.py"
    done = desk.python(
        script, "--run_id", "first", "--event_type", "VOL_SHOCK", "--symbols", "BTCUSDT,ETHUSDT", "--mode", "research"
    )
    assert done.returncode == 0, done.stderr
    assert results(desk.root, "first") == before
    unknown = desk.python(script, "--run_id", "first", "--event_type", "VOL_SHOK")
    assert unknown.returncode == 2
    assert "Did you mean 'VOL_SHOCK'?" in unknown.stderr
    shutil.rmtree(desk.root / "lake" / "runs" / "first" / "scores" / "VOL_SPIKE")
    manifest = json.loads((desk.root / "runs" / "first" / "run_manifest.json").read_text())
    assert manifest["search_scope"] == "whole"


def test_one_event_without_the_others_scores_is_scored_and_nothing_is_claimed(small, tmp_path: Path) -> None:
    desk = small.copy(tmp_path / "data")
    shutil.rmtree(desk.root / "lake" / "runs" / "first" / "scores" / "VOL_SPIKE")
    folder = desk.root / "reports" / "phase2" / "first"
    before = {path.parent.name: path.read_bytes() for path in folder.glob("*/candidates.parquet")}
    lines = (desk.root / "ledger" / "searches.jsonl").read_text().splitlines()
    script = "project/pipelines/research/phase2_candidate_discovery.py"
    partial = desk.python(script, "--run_id", "first", "--event_type", "VOL_SHOCK")
    assert partial.returncode == 0, partial.stderr
    assert "nothing is controlled over the whole search" in partial.stderr
    manifest = json.loads((desk.root / "runs" / "first" / "run_manifest.json").read_text())
    assert manifest["search_scope"] == "partial"
    assert manifest["event_types_without_scores"] == ["VOL_SPIKE"]
    found = pl.read_parquet(folder / "VOL_SHOCK" / "candidates.parquet")
    assert set(found["search_scope"]) == {"partial"}
    assert found["q_value"].null_count() == found["confirmation_p"].null_count() == len(found)
    assert not found["gate_significant"].any()
    assert not found["gate_phase2_final"].any()
    earlier = pl.read_parquet(io.BytesIO(before["VOL_SHOCK"]))
    assert found["t_stat"].equals(earlier["t_stat"])
    # The skewness that p is freed of is pooled over the events that there are scores of.
    assert (found["p_value"] - earlier["p_value"]).abs().max() < 0.01
    others = {path.parent.name: path.read_bytes() for path in folder.glob("*/candidates.parquet")}
    assert {name for name in before if before[name] != others[name]} == {"VOL_SHOCK"}
    # It is recorded as tried, and the confirmation fold stays closed.
    added = (desk.root / "ledger" / "searches.jsonl").read_text().splitlines()[len(lines) :]
    assert [json.loads(line)["confirmation_start"] for line in added] == ["2024-09-01"]


def test_a_window_the_lake_covers_in_part_runs_on_what_is_there_and_says_so(small, tmp_path: Path) -> None:
    desk = small.copy(tmp_path / "data")
    done = desk.command("discover-edges", "--run-id", "part", "--start", "2023-06-01", "--end", "2024-08-31")
    assert done.returncode == 0, done.stderr
    assert "BTCUSDT: the lake has nothing before 2024-01-01 00:00" in done.stderr
    warnings = json.loads((desk.root / "runs" / "part" / "run_manifest.json").read_text())["warnings"]
    assert any("the lake has nothing before 2024-01-01" in warning for warning in warnings)


def test_a_window_without_any_data_and_an_unknown_symbol_name_the_command_that_gets_it(simulated) -> None:
    for arguments in (("--start", "2019-01-01", "--end", "2019-06-30"), ("--symbols", "SOLUSDT")):
        for command in ("discover-edges", "discover-edges-from-raw"):
            done = simulated.command(command, "--run-id", "nothing", *arguments)
            assert done.returncode == 1
            assert "make run SYMBOLS=" in done.stderr
    shutil.rmtree(simulated.root / "runs" / "nothing")


def test_a_world_without_edges_gives_no_candidate_and_the_nearest_misses(tmp_path: Path, small) -> None:
    spec = Path(shutil.copytree(small.spec_root, tmp_path / "spec"))
    text = (spec / "simulation.yaml").read_text()
    (spec / "simulation.yaml").write_text(text[: text.index("planted_edges:")] + "planted_edges: []\n")
    desk = type(small)(tmp_path / "data", spec)
    span = ("--start", "2024-01-01", "--end", "2024-05-31")
    made = desk.command("run", "--source", "simulated", *span)
    assert made.returncode == 0, made.stderr
    done = desk.command("discover-edges", "--run-id", "null")
    assert done.returncode == 0, done.stderr
    assert "No candidate passed" in done.stdout
    assert "Nearest misses" in done.stdout
    assert (desk.root / "reports" / "strategy_blueprints" / "null" / "blueprints.jsonl").read_bytes() == b""


def test_a_damaged_file_stops_what_needs_it_and_names_stage_and_log(simulated, tmp_path: Path) -> None:
    desk = simulated.copy(tmp_path / "data")
    damaged = next((desk.root / "lake" / "raw" / "simulated" / "perp" / "ETHUSDT" / "ohlcv_5m").rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    done = desk.command("discover-edges-from-raw", "--run-id", "broken")
    assert done.returncode == 1
    manifest = json.loads((desk.root / "runs" / "broken" / "run_manifest.json").read_text())
    assert manifest["status"] == "failed"
    year, month = (folder.name.partition("=")[2] for folder in (damaged.parents[1], damaged.parent))
    quarter = f"{year}Q{(int(month) + 2) // 3}"
    failed = f"clean__perp.ETHUSDT.{quarter}"
    assert manifest["failed_stage"] == failed
    assert "is not a readable Parquet file" in (desk.root / "runs" / "broken" / f"{failed}.log").read_text()
    assert str(desk.root / "runs" / "broken" / f"{failed}.log") in done.stderr
    assert manifest["stages"][f"clean__perp.BTCUSDT.{quarter}"]["status"] == "finished"
    assert "features was not started" in done.stderr


def test_without_a_network_one_clear_line_exit_3_and_nothing_half_written(simulated, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/data"
        desk = type(simulated)(tmp_path / "data")
        done = desk.command(
            "run", "--symbols", "BTCUSDT", "--start", "2023-01-01", "--end", "2023-01-31", BINANCE_ARCHIVE_URL=address
        )
    assert done.returncode == 3
    for part in (address, "make demo", "import-raw", "BINANCE_ARCHIVE_URL"):
        assert part in done.stderr
    assert not list(desk.root.rglob("*.parquet"))
    assert not [path for path in desk.root.rglob("*") if path.name.startswith(".writing")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("discover-edges", "--run-id", "../../etc"), "RUN_ID '../../etc' is not allowed"),
        (("discover-edges", "--run-id", "a\nb"), "is not allowed"),
        (("discover-edges", "--run-id", "x" * 10_000), "is not allowed"),
        (("discover-edges", "--run-id", "$(reboot)"), "is not allowed"),
        (("discover-edges", "--symbols", "btcusdt"), "Did you mean 'BTCUSDT'?"),
        (("discover-edges", "--start", "2024-13-01"), "is not a date; write it as YYYY-MM-DD"),
        (("discover-edges", "--start", "2024-02-01", "--end", "2024-01-01"), "lies after END"),
        (("run",), "START is needed"),
        (("run", "--start", "2999-01-01"), "is outside the years"),
        (("run", "--start", "2024-01-01", "--source", "binnance"), "Did you mean 'binance'?"),
        (("baseline", "--start", "2024-01-01"), "STRATEGIES is needed"),
        (("discover-hybrid-backtest",), "STRATEGIES is needed"),
        (("discover-hybrid-backtest", "--strategies", "vol_shock_mr_v9"), "Did you mean 'vol_shock_mr_v1'?"),
        (("baseline", "--start", "2024-01-01", "--strategies", "vol shock"), "which is no strategy"),
        (("spec", "show", "VOL_SHOK"), "Did you mean 'VOL_SHOCK'?"),
    ],
)
def test_misuse_ends_with_2_and_says_what_is_allowed(simulated, arguments: tuple[str, ...], expected: str) -> None:
    done = simulated.command(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_data_root_is_left_alone(tmp_path: Path, simulated) -> None:
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    desk = type(simulated)(tmp_path)
    for arguments in (
        ("discover-edges",),
        ("clean-all-data",),
        ("run", "--source", "simulated", "--start", "2024-01-01"),
    ):
        done = desk.command(*arguments)
        assert done.returncode == 2
        assert "data root" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_candidates_are_listed_as_table_json_and_csv_and_one_is_explained(simulated) -> None:
    table = simulated.command("candidates", "--run-id", "first", "--event", "VOL_SHOCK", "--passed")
    assert table.returncode == 0, table.stderr
    assert "passed every gate" in table.stdout
    asked = ("candidates", "--run-id", "first", "--passed", "--sort", "q_value", "--limit", "2")
    rows = json.loads(simulated.command(*asked, "--json").stdout)
    csv = pl.read_csv(io.StringIO(simulated.command(*asked, "--csv").stdout))
    assert [row["candidate_id"] for row in rows] == csv["candidate_id"].to_list()
    assert list(CANDIDATE_SCHEMA) == csv.columns == list(rows[0])
    told = simulated.command("explain", rows[0]["candidate_id"], "--run-id", "first")
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    assert "passed every gate" in told.stdout
    assert "placebo times (" in told.stdout
    assert "Gates of the profile promotion" in told.stdout
    assert simulated.command("explain", rows[0]["candidate_id"], "--run_id", "first").stdout == told.stdout
    unknown = simulated.command("explain", rows[0]["candidate_id"], "--run-id", "frist")
    assert unknown.returncode == 1
    assert "Did you mean 'first'?" in unknown.stderr


def test_the_same_search_is_recorded_once_and_another_one_lowers_the_confirmation_level(small, tmp_path: Path) -> None:
    desk = small.copy(tmp_path / "data")
    assert desk.command("discover-edges", "--run-id", "again").returncode == 0
    shorter = desk.command("discover-edges", "--run-id", "shorter", "--end", "2024-08-20")
    assert shorter.returncode == 0, shorter.stderr
    assert "2 different searches have read days of this confirmation fold" in shorter.stderr
    lines = (desk.root / "ledger" / "searches.jsonl").read_text().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == ["first", "shorter"]
    levels = {
        run: set(
            pl.read_parquet(desk.root / "reports" / "phase2" / run / "VOL_SHOCK" / "candidates.parquet")[
                "confirmation_level"
            ]
        )
        for run in ("again", "shorter")
    }
    assert levels == {"again": {0.1}, "shorter": {0.05}}
