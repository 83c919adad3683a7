"""`discover-hybrid-backtest`, `baseline` and `simulate` on a small simulated market, by the runbook's lines."""

from __future__ import annotations

import html
import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest

from backtest.evaluation.backtest_metrics import METRIC_SCHEMA
from backtest.strategies.parity import CERTIFICATE_SCHEMA

pytestmark = pytest.mark.slow
NAMES = "vol_shock_mean_reversion_v1,liquidity_dislocation_mr_v1"
TABLES = ("trades", "trades_best", "equity", "strategy_returns", "skipped")
SMALL_TABLES = ("metrics", "monthly", "costs", "capacity", "correlation", "parity")
REPOSITORY = Path(__file__).resolve().parents[3]
DOC = REPOSITORY / "docs" / "backtest.md"


def table(desk: Any, run_id: str, name: str) -> pl.DataFrame:
    return pl.read_parquet(desk.root / "reports" / "backtest" / run_id / f"{name}.parquet")


@pytest.fixture(scope="module")
def traded(market, few_events: Path, tmp_path_factory: pytest.TempPathFactory):
    """A desk on which the runbook's backtest has run, and what it printed."""
    desk = replace(market.copy(tmp_path_factory.mktemp("traded") / "data"), spec_root=few_events)
    done = desk.command("discover-hybrid-backtest", "--run-id", "run_20250228", "--strategies", NAMES)
    assert done.returncode == 0, done.stderr
    return desk, done.stdout


def test_the_runbooks_backtest_ends_with_0_and_a_summary(traded) -> None:
    desk, told = traded
    for part in (
        "Backtest on one account",
        "account",
        *NAMES.split(","),
        "Returns by month",
        "Parity",
        "Robustness: of ",
        "Walk-forward: found in each training window",
        "Promotion: ",
    ):
        assert part in told
    assert "WARNING: strategies written by hand have no search behind them" in told
    folder = desk.root / "reports" / "backtest" / "run_20250228"
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}.parquet" for name in (*TABLES, *SMALL_TABLES)),
        *(f"{name}.json" for name in ("trades", "equity", *SMALL_TABLES)),
        "summary.json",
    }
    trades, equity = (json.loads((folder / f"{name}.json").read_text()) for name in ("trades", "equity"))
    assert [row["net"] for row in trades] == table(desk, "run_20250228", "trades")["net"].to_list()
    assert equity[-1]["equity"] == table(desk, "run_20250228", "equity")["equity"][-1]
    days = table(desk, "run_20250228", "equity")["timestamp"].dt.date().unique()
    assert [row["timestamp"][:10] for row in equity] == [str(day) for day in sorted(days)]
    promotions = desk.root / "reports" / "promotions" / "run_20250228"
    assert {path.name for path in promotions.iterdir()} == {"gates.parquet", "promotions.parquet", "promotions.json"}
    # The blueprints were not among the strategies traded, so nothing was asked of a backtest of theirs.
    asked = pl.read_parquet(promotions / "gates.parquet").filter(pl.col("gate") == "backtest")
    assert set(asked["reason"]) == {"it was not among the strategies of the backtest"}


def test_every_column_is_described(traded) -> None:
    text = DOC.read_text(encoding="utf-8")
    for name in (*TABLES, *SMALL_TABLES):
        for column in table(traded[0], "run_20250228", name).columns:
            assert f"`{column}`" in text, f"{name}.{column} is not in docs/backtest.md"
    assert table(traded[0], "run_20250228", "metrics").schema == pl.Schema(METRIC_SCHEMA)
    assert table(traded[0], "run_20250228", "parity").schema == pl.Schema(CERTIFICATE_SCHEMA)


def test_money_adds_up_over_the_tables(traded) -> None:
    desk, _ = traded
    trades, equity, costs, monthly = (
        table(desk, "run_20250228", name) for name in ("trades", "equity", "costs", "monthly")
    )
    start = json.loads((desk.root / "reports" / "backtest" / "run_20250228" / "summary.json").read_text())["account"]
    profit = equity["equity"][-1] - start["starting_equity_usd"]
    assert len(trades) > 100
    assert trades["net"].sum() == pytest.approx(profit, abs=1e-4)
    assert monthly["net_usd"].sum() == pytest.approx(profit, abs=1e-4)
    for scope in ("portfolio", "strategy", "symbol"):
        assert costs.filter(pl.col("scope") == scope)["net"].sum() == pytest.approx(profit, abs=1e-4)
    paid = trades["fees"] + trades["spread"] + trades["impact"] + trades["funding"] + trades["liquidation_fee"]
    assert (trades["gross"] - paid - trades["net"]).abs().max() < 1e-6
    assert (trades["entry_time"] > trades["decision_time"]).all()


def test_spans_part_the_trades_and_the_planted_edge_earns(traded) -> None:
    metrics = table(traded[0], "run_20250228", "metrics")
    shock = metrics.filter((pl.col("name") == NAMES.split(",")[0]) & (pl.col("scope") == "strategy"))
    counts = dict(shock.select("span", "n_trades").iter_rows())
    assert counts["whole"] >= counts["in_sample"] + counts["confirmation"]
    assert min(counts["in_sample"], counts["confirmation"]) > 20
    assert shock.filter(pl.col("span") == "whole")["expectancy_low"].item() > 0


def test_the_kill_switch_takes_the_drawdown_of_the_accounts_equity(traded) -> None:
    desk, _ = traded
    peak, deepest = 0.0, 0.0
    for equity in table(desk, "run_20250228", "equity")["equity"]:
        peak = max(peak, equity)
        deepest = max(deepest, 1 - equity / peak)
    assert deepest > 0
    for limit, status in (
        (deepest / 2, "HALT"),
        (-deepest / 2, "HALT"),
        (deepest * 1.1, "WARN"),
        (deepest * 2, "PASS"),
    ):
        told = desk.command(
            *("kill-switch", "--run-id", "run_20250228", "--symbol", "BTCUSDT", "--now", "2024-09-01T00:00:00Z"),
            *("--max-drawdown", repr(limit), "--json"),
        )
        check = next(one for one in json.loads(told.stdout)["checks"] if one["name"] == "drawdown")
        assert check["status"] == status
        assert check["value"] == pytest.approx(deepest)
        assert "there is no live account" in check["text"]


@pytest.fixture(scope="module")
def own(traded):
    """The desk after the run's own blueprints were traded in the place of the strategies, and what that printed."""
    desk, _ = traded
    done = desk.command("simulate", "--run-id", "run_20250228", "--strategies", "blueprints")
    assert done.returncode == 0, done.stderr
    return desk, done.stdout


def test_blueprints_of_the_run_are_traded_as_tested_and_called_in_sample(own) -> None:
    desk, told = own
    assert "WARNING: IN-SAMPLE: " in told
    assert "Deflated Sharpe ratio of the account: above the best of " in told
    parity = table(desk, "run_20250228", "parity")
    assert len(parity) > 10
    assert set(parity["verdict"]) == {"equal"}
    assert parity["n_equal"].sum() > 500
    assert table(desk, "run_20250228", "trades").filter(pl.col("span") == "after").is_empty()
    lines = (
        (desk.root / "reports" / "strategy_blueprints" / "run_20250228" / "blueprints.jsonl").read_text().splitlines()
    )
    assert {json.loads(line)["robustness"] for line in lines} <= {"robust", "fragile", "mixed", "not judged"}
    name, symbol, n = parity.select("strategy", "symbol", "n_equal").row(0)
    shown = desk.command("blueprint", "show", name)
    assert f"{symbol} equal, {n:,} of {n:,} trades" in shown.stdout
    wrong = desk.command("simulate", "--run-id", "run_20250228", "--strategies", f"{name}x")
    assert (wrong.returncode, "Did you mean" in wrong.stderr) == (1, True)
    manifest = json.loads((desk.root / "runs" / "run_20250228" / "run_manifest.json").read_text())
    assert manifest["status"] == "finished"
    valid = desk.command("blueprint", "validate", "run_20250228")
    assert valid.returncode == 0, valid.stderr


def test_a_portfolio_beside_strategies_written_by_hand_and_its_page(traded, tmp_path: Path) -> None:
    desk = traded[0].copy(tmp_path / "data")
    done = desk.command("simulate", "--run-id", "run_20250228", "--strategies", f"{NAMES},portfolio")
    assert done.returncode == 0, done.stderr
    returns, correlation = (table(desk, "run_20250228", name) for name in ("strategy_returns", "correlation"))
    names = set(returns["strategy"])
    own = {name for name in names if name.startswith("run_20250228.")}
    assert names - own == set(NAMES.split(","))
    assert len({name.split(".")[1] for name in own}) == len(own) > 1, "one blueprint an event"
    assert len(correlation) == len(names) * (len(names) - 1) // 2
    days = returns.group_by("day").agg(pl.col("strategy").n_unique())
    assert correlation["n_days"].max() <= len(days)
    page = (desk.root / "reports" / "run_20250228" / "backtest.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for name in names:
        shown = name.removeprefix("run_20250228.")
        assert len(re.findall(re.escape(shown), text)) >= 3, f"{shown}: its row, its curve, its correlations"
    for one, other, value in correlation.select("first", "second", "correlation").iter_rows():
        told = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
        assert told in text, f"the correlation of {one} and {other}"
    assert "Result of each strategy" in text
    assert re.search(r"Over \d+ days: one near zero is known to ±0\.\d\d", text)
    net = table(desk, "run_20250228", "metrics").filter(
        (pl.col("scope") == "strategy") & (pl.col("span") == "whole") & (pl.col("bound") == "worst")
    )
    for name, usd in net.select("name", "net_usd").iter_rows():
        assert f"{usd:,.0f}".replace("-", "−") in text, f"what {name} contributed"
    for told in ("cautious fills", "hopeful fills", "confirmation", "IN-SAMPLE", "written by hand"):
        assert told in text


def test_the_promotion_holds_blueprints_to_what_they_earned_in_the_backtest(own) -> None:
    desk, _ = own
    done = desk.command("promote", "--run-id", "run_20250228")
    assert done.returncode == 0, done.stderr
    folder = desk.root / "reports" / "promotions" / "run_20250228"
    gates = pl.read_parquet(folder / "gates.parquet")
    asked = gates.filter(pl.col("gate") == "backtest")
    metrics = table(desk, "run_20250228", "metrics").filter(
        (pl.col("scope") == "strategy") & (pl.col("span") == "whole") & (pl.col("bound") == "worst")
    )
    earned = {name.removeprefix("run_20250228."): net for name, net in metrics.select("name", "net_usd").iter_rows()}
    assert len(asked) > 5
    assert dict(asked.select("candidate_id", "value").iter_rows()) == pytest.approx(earned)
    assert all(row["passed"] == (row["value"] > 0) for row in asked.iter_rows(named=True))
    # The run's data end with its search: no day of the backtest lies after it.
    assert asked["reason"].str.ends_with("all on days of the search").all()
    # The guard was asked about each test window; with all of them free nobody fails by it.
    assert gates.filter(pl.col("gate") == "out_of_sample_windows")["passed"].all()


def test_every_cell_of_the_notebooks_runs_and_what_is_stored_of_them_is_what_they_put_out(
    own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "project" / "documentation")
    notebooks = importlib.import_module("notebooks")
    files = notebooks.notebook_files()
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.count('open_run(\\"demo\\")') == 1, f"{path} does not open the run of the demo"
        done = notebooks.executed(text.replace('open_run(\\"demo\\")', 'open_run(\\"run_20250228\\")'), own[0].root)
        stored = nbformat.reads(text, as_version=4)
        kinds = [
            [
                [(output.output_type, *sorted(output.get("data", {}))) for output in cell.get("outputs", [])]
                for cell in notebook.cells
            ]
            for notebook in (stored, done)
        ]
        assert kinds[0] == kinds[1], (
            f"make demo && python project/documentation/notebooks.py data/demo keeps {path} current"
        )
        assert str(Path.home()) not in text
        assert str(REPOSITORY) not in text


def test_baseline_goes_from_fetching_to_the_promotion(traded, tmp_path: Path) -> None:
    desk = replace(traded[0], root=tmp_path / "data")
    span = ("--start", "2024-01-01", "--end", "2024-03-31", "--symbols", "BTCUSDT")
    asked = ("--run-id", "base", "--strategies", "vol_shock_mr_v1", "--source", "simulated")
    done = desk.command("baseline", *asked, *span)
    assert done.returncode == 0, done.stderr
    assert "Quality of the cleaned bars" in done.stdout
    assert "vol_shock_mean_reversion_v1" in done.stdout
    assert len(table(desk, "base", "trades")) > 10
    assert "Robustness: " in done.stdout
    walked = json.loads((desk.root / "reports" / "walk_forward" / "base" / "walk_forward.json").read_text())
    assert len(walked["folds"]) == 5
    assert "Promotion: no candidate passed every gate of the discovery, so there is none to promote." in done.stdout
    # Nothing passes on three months; a backtest of nothing is a result too.
    assert (desk.root / "reports" / "strategy_blueprints" / "base" / "blueprints.jsonl").read_bytes() == b""
    none = desk.command("simulate", "--run-id", "base", "--strategies", "blueprints")
    assert none.returncode == 0, none.stderr
    assert "0 trades" in none.stdout
    assert "STRATEGIES names blueprints, and no candidate of the run passed every gate" in none.stdout
    assert len(table(desk, "base", "trades")) == 0
    unknown = desk.command("simulate", "--run-id", "bass", "--strategies", "vol_shock_mr_v1")
    assert unknown.returncode == 1
    assert "Did you mean 'base'?" in unknown.stderr


def test_every_file_and_column_that_was_written_is_in_the_reference(own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "project" / "documentation")
    columns, reference = (importlib.import_module(name) for name in ("columns", "reference"))
    root = own[0].root
    kinds = {path.relative_to(root).parts[:2] for path in root.rglob("*.parquet")}
    assert {("reports", "promotions"), ("reports", "backtest"), ("lake", "features"), ("lake", "raw")} <= kinds
    assert columns.undescribed(reference.loaded(), root) == []
