"""The kill switch fails closed: no data is never PASS, bad data is HALT, and so is a verdict that cannot be kept."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.lake.months import write_months
from backtest.pipeline import kill_switch as kill_switch_of_pipeline

from .conftest import BAR, Desk
from .test_monitoring import NOON, _door

CALL = ("kill-switch", "--run-id", "r1", "--symbol", "BTCUSDT", "--now", "2025-01-01T12:00:00Z")
FILL_HEADER = "timestamp,symbol,side,price,quantity,expected_price,modelled_slippage_bps"
LIMITS = kill_switch_of_pipeline.Limits(3, 0.15, 2.5, 30.0)
UNTOLD = {"feature_drift", "live_edge"}
SPEC_ROOT = Path(__file__).resolve().parents[3] / "spec"


@pytest.fixture
def live(desk: Desk) -> Desk:
    """Fresh bars with funding, a finished run, and a sound live account: all that can pass passes."""
    desk.write_run("r1")
    _write_bars(desk)
    _write(desk, "equity.csv", "timestamp,equity_usd\n2025-01-01T10:00:00Z,10000\n2025-01-01T11:00:00Z,9900\n")
    _write(desk, "fills.csv", _fills(price=100.05))
    return desk


def _write_bars(desk: Desk, last: dt.datetime = NOON - BAR, rate: float | None = 0.0001, hours: float = 8.0) -> None:
    frame = pl.DataFrame(
        {
            "timestamp": [last - BAR, last],
            "close": [100.0, 100.0],
            "funding_stamp_rate": [rate, None],
            "funding_interval_hours": [hours, hours],
        },
        schema_overrides={"timestamp": pl.Datetime("ms", "UTC"), "funding_stamp_rate": pl.Float64()},
    )
    write_months(desk.root.cleaned_bars("perp", "BTCUSDT"), frame)


def _write(desk: Desk, name: str, text: str) -> Path:
    path = desk.root.live("r1") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _fills(price: float = 100.05, n: int = 10, quantity: float = 1.0) -> str:
    rows = [f"2025-01-01T{hour:02d}:00:00Z,BTCUSDT,buy,{price},{quantity},100,5" for hour in range(n)]
    return "\n".join([FILL_HEADER, *rows]) + "\n"


def _checks(desk: Desk, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and checks by name, which are the same on stdout and in the status file."""
    capsys.readouterr()
    code = desk.run(*CALL, *options, "--json")
    told = json.loads(capsys.readouterr().out)
    assert json.loads(desk.root.kill_switch_status("r1").read_text()) == told
    assert (told["run_id"], told["symbol"], told["exit_code"]) == ("r1", "BTCUSDT", code)
    assert told["time"] == "2025-01-01T12:00:00+00:00"
    return code, {check["name"]: check for check in told["checks"]}


def test_all_that_can_be_checked_passes_and_what_has_no_data_warns(
    live: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    code, checks = _checks(live, capsys, "--max-position-usd", "5000", "--max-exposure", "1")
    assert code == 1
    assert {name for name, check in checks.items() if check["status"] == "WARN"} == UNTOLD
    assert {name for name, check in checks.items() if check["status"] == "PASS"} == {
        "run", "staleness", "drawdown", "slippage", "position", "exposure", "funding",
    }  # fmt: skip
    assert checks["drawdown"]["value"] == pytest.approx(0.01)
    assert checks["drawdown"]["margin"] == pytest.approx(0.14)
    assert checks["slippage"]["value"] == pytest.approx(1.0)
    assert checks["position"]["value"] == pytest.approx(1000.0)
    assert checks["exposure"]["value"] == pytest.approx(1000 / 9900)
    assert checks["funding"]["value"] == pytest.approx(1.0)


def test_the_runbook_call_is_understood(live: Desk) -> None:
    done = _door(
        "kill_switch",
        "--run_id r1 --symbol BTCUSDT --max_staleness_bars 3 --max_drawdown -0.15 --max_slippage_ratio 2.5 "
        "--now 2025-01-01T12:00:00Z",
        live.root.path,
    )
    assert done.returncode == 1, done.stderr
    assert "WARN: run r1, BTCUSDT" in done.stdout


def test_the_sign_of_the_drawdown_limit_does_not_matter(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    _write(live, "equity.csv", "timestamp,equity_usd\n2025-01-01T10:00:00Z,100\n2025-01-01T11:00:00Z,84\n")
    assert _checks(live, capsys, "--max-drawdown", "-0.15") == _checks(live, capsys, "--max-drawdown", "0.15")
    assert _checks(live, capsys)[1]["drawdown"]["status"] == "HALT"
    assert _checks(live, capsys, "--max-drawdown", "-0.19")[1]["drawdown"]["status"] == "WARN"
    assert _checks(live, capsys, "--max-drawdown", "-0.21")[1]["drawdown"]["status"] == "PASS"


@pytest.mark.parametrize(
    ("name", "text", "check", "status"),
    [
        ("fills.csv", _fills(price=100.2), "slippage", "HALT"),  # 20 bps instead of 5
        ("fills.csv", _fills(price=100.11), "slippage", "WARN"),  # 2.2 of at most 2.5
        ("fills.csv", _fills(n=9), "slippage", "WARN"),  # too few to pass
        ("fills.csv", _fills(n=9, price=101), "slippage", "HALT"),  # too few, and bad
        ("fills.csv", FILL_HEADER + "\n", "slippage", "WARN"),
        ("fills.csv", "", "slippage", "HALT"),
        ("fills.csv", "time,price\n1,2\n", "slippage", "HALT"),
        ("fills.csv", _fills() + "2025-01-01T11:00:00Z,BTC", "slippage", "HALT"),
        ("fills.csv", _fills().replace(",5\n", ",0\n"), "slippage", "HALT"),
        ("equity.csv", "timestamp,equity_usd\n", "drawdown", "WARN"),
        ("equity.csv", "timestamp,equity_usd\n2025-01-01T11:00:00Z,nan\n", "drawdown", "HALT"),
        ("equity.csv", "timestamp,equity_usd\n2025-01-01T13:00:00Z,1\n", "drawdown", "HALT"),
        ("equity.csv", "timestamp,equity_usd\n2024-12-01T00:00:00Z,1\n2024-12-02T00:00:00Z,1\n", "drawdown", "WARN"),
        ("equity.jsonl", '{"timestamp": "2025-01-01T11:00:00Z", "equity_usd": 1}\n', "drawdown", "HALT"),  # two files
    ],
)
def test_bad_values_halt_missing_ones_warn_and_damaged_ones_halt(
    live: Desk, capsys: pytest.CaptureFixture[str], name: str, text: str, check: str, status: str
) -> None:
    _write(live, name, text)
    code, checks = _checks(live, capsys)
    assert checks[check]["status"] == status
    assert code == {"WARN": 1, "HALT": 2}[status]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_every_form_of_a_live_file_gives_the_same_checks(
    live: Desk, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    from_csv = _checks(live, capsys)[1]
    for kind in ("equity", "fills"):
        path = live.root.live("r1") / f"{kind}.csv"
        frame = pl.read_csv(path)
        path.unlink()
        frame.write_parquet(path.with_suffix(".parquet")) if suffix == "parquet" else frame.write_ndjson(
            path.with_suffix(".jsonl")
        )
    other = _checks(live, capsys)[1]
    assert {name: (check["status"], check["value"]) for name, check in other.items()} == {
        name: (check["status"], check["value"]) for name, check in from_csv.items()
    }


def test_no_live_account_is_a_warning_and_never_pass(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for file in live.root.live("r1").iterdir():
        file.unlink()
    code, checks = _checks(live, capsys, "--max-position-usd", "1", "--max-exposure", "1")
    assert code == 1
    for name in ("drawdown", "slippage", "position", "exposure"):
        assert checks[name]["status"] == "WARN"
        assert checks[name]["text"].startswith("no data")


@pytest.mark.parametrize(("behind", "status"), [(0, "PASS"), (2, "PASS"), (3, "WARN"), (4, "HALT")])
def test_stale_bars_warn_at_the_limit_and_halt_beyond_it(
    live: Desk, capsys: pytest.CaptureFixture[str], behind: int, status: str
) -> None:
    _write_bars(live, NOON - BAR - behind * BAR)
    assert _checks(live, capsys)[1]["staleness"]["status"] == status


@pytest.mark.parametrize(
    ("rate", "hours", "status"),
    [(0.0001, 8.0, "PASS"), (-0.0025, 8.0, "WARN"), (-0.0031, 8.0, "HALT"), (0.0016, 4.0, "HALT"), (None, 8.0, "WARN")],
)
def test_extreme_funding_of_either_sign_is_scaled_to_eight_hours(
    live: Desk, capsys: pytest.CaptureFixture[str], rate: float | None, hours: float, status: str
) -> None:
    _write_bars(live, rate=rate, hours=hours)
    assert _checks(live, capsys)[1]["funding"]["status"] == status


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["equity.csv", "fills.parquet", "fills.jsonl", "equity.parquet"]),
    content=st.binary(max_size=300)
    | st.text(alphabet='{}[]":,.0123456789eE-timesaquy_d\n', max_size=200).map(str.encode),
    is_cut=st.booleans(),
)
def test_no_bytes_in_a_live_file_let_its_check_pass_or_crash_the_switch(
    live: Desk, name: str, content: bytes, is_cut: bool
) -> None:
    folder = live.root.live("r1")
    for file in folder.iterdir():
        file.unlink()
    sound = {"equity.csv": b"timestamp,equity_usd\n"}.get(name, b"PAR1" if name.endswith("parquet") else b"")
    (folder / name).write_bytes(sound + content + (b"PAR1" if is_cut else b""))
    report = kill_switch_of_pipeline.examine(live.root, SPEC_ROOT, "r1", "BTCUSDT", LIMITS, NOON)
    checks = {check.name: check for check in report.checks}
    check = checks["drawdown" if name.startswith("equity") else "slippage"]
    assert check.status in ("WARN", "HALT")
    assert "the check failed" not in check.text


def test_a_position_beyond_its_limit_halts(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    _, checks = _checks(live, capsys, "--max-position-usd", "900", "--max-exposure", "0.12")
    assert (checks["position"]["status"], checks["exposure"]["status"]) == ("HALT", "WARN")


def test_no_bars_damaged_bars_and_bars_of_the_future_halt(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    _write_bars(live, NOON + BAR)
    assert _checks(live, capsys)[1]["staleness"]["status"] == "HALT"
    (file,) = live.root.cleaned_bars("perp", "BTCUSDT").rglob("*.parquet")
    file.write_bytes(b"no parquet")
    code, checks = _checks(live, capsys)
    assert (code, checks["staleness"]["status"], checks["funding"]["status"]) == (2, "HALT", "HALT")
    file.unlink()
    assert _checks(live, capsys)[1]["staleness"]["status"] == "HALT"


@pytest.mark.parametrize(
    "changes", [{"status": "running"}, {"status": "failed"}, {"symbols": ["ETHUSDT"]}, {"symbols": 7}, {"run_id": "r2"}]
)
def test_a_run_that_cannot_be_traded_halts(
    live: Desk, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    live.write_run("r1", **changes)
    code, checks = _checks(live, capsys)
    assert (code, checks["run"]["status"]) == (2, "HALT")


def test_an_unreadable_manifest_halts_and_is_kept(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    live.root.run_manifest("r1").write_text("{")
    assert _checks(live, capsys)[0] == 2


def test_an_unknown_run_halts_and_leaves_nothing_behind(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert live.run("kill-switch", "--run-id", "r9", "--symbol", "BTCUSDT") == 2
    assert "there is no run r9" in capsys.readouterr().err
    assert not live.root.run("r9").exists()


def test_no_data_root_halts(
    live: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "nowhere"))
    assert live.run(*CALL) == 2
    assert "is not a data root" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_status_that_cannot_be_written_halts(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    live.root.kill_switch_status("r1").mkdir()
    (live.root.kill_switch_status("r1") / "x").touch()
    assert live.run(*CALL, "--json") == 2
    told = capsys.readouterr()
    assert "cannot write" in told.err
    assert "does not hold any more" in told.err
    assert json.loads(told.out)["status"] == "HALT"


def test_a_fault_of_the_program_itself_halts(
    live: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(kill_switch_of_pipeline, "examine_and_write", fail)
    assert live.run(*CALL) == 2
    assert "HALT: the kill switch itself failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--max-drawdown", "0"), ("--max-drawdown", "-1.5"), ("--max-drawdown", "nan"), ("--max-slippage-ratio", "-1"),
        ("--max-slippage-ratio", "inf"), ("--max-position-usd", "0"), ("--max-staleness-bars", "-1"),
        ("--symbol", "btc"), ("--run-id", "../r1"), ("--now", "noon"), ("--max-drawdown", "much"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_halts(live: Desk, wrong: tuple[str, str]) -> None:
    assert live.run(*CALL, *wrong) == 2
    assert not live.root.kill_switch_status("r1").exists()


def test_a_kill_switch_that_cannot_be_started_ends_with_2(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = Path(__file__).resolve().parents[2] / "scripts" / "kill_switch.py"
    (tmp_path / "backtest").mkdir()
    (tmp_path / "backtest" / "__init__.py").write_text("raise ImportError('broken')")
    done = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "HALT" in done.stderr


BLUEPRINT = {
    "blueprint_id": "r1.b", "symbols": ["BTCUSDT"], "posterior_low": 0.001, "expectancy_standard_error": 0.0002,
    "n_events": 400, "trigger": "crosses_above(realized_vol_1h, 0.01)",
}  # fmt: skip


def _write_blueprints(desk: Desk, *blueprints: Any) -> None:
    path = desk.root.blueprints("r1")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(blueprint) + "\n" for blueprint in blueprints))


def _round_trips(n_days: int, gross_return: float, blueprint: str = "r1.b") -> str:
    rows = [FILL_HEADER + ",blueprint_id"]
    for day in range(n_days):
        stamp = NOON - dt.timedelta(days=n_days - day + 1)
        for hour, side, price in ((0, "buy", 100.0), (1, "sell", 100.0 * (1 + gross_return))):
            time = (stamp + dt.timedelta(hours=hour)).isoformat()
            rows.append(f"{time},BTCUSDT,{side},{price},1,{price},5,{blueprint}")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("n_days", "gross_return", "status"), [(60, 0.002, "PASS"), (3, 0.002, "WARN"), (60, -0.004, "HALT")]
)
def test_live_trades_are_held_to_their_blueprint(
    live: Desk, capsys: pytest.CaptureFixture[str], n_days: int, gross_return: float, status: str
) -> None:
    _write_blueprints(live, BLUEPRINT)
    _write(live, "fills.csv", _round_trips(n_days, gross_return))
    check = _checks(live, capsys)[1]["live_edge"]
    assert check["status"] == status
    assert "r1.b" in check["text"]


def test_fills_of_an_unknown_blueprint_and_damaged_blueprints_halt(
    live: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_blueprints(live, BLUEPRINT)
    _write(live, "fills.csv", _round_trips(5, 0.0, blueprint="other"))
    assert _checks(live, capsys)[1]["live_edge"]["status"] == "HALT"
    for damaged in ({"symbols": ["BTCUSDT"]}, [1], {**BLUEPRINT, "posterior_low": "much"}):
        _write_blueprints(live, damaged)
        assert _checks(live, capsys)[1]["live_edge"]["status"] == "HALT"


def test_without_a_live_account_and_a_backtest_the_drawdown_is_unknown_and_both_are_named(
    live: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    (live.root.live("r1") / "equity.csv").unlink()
    check = _checks(live, capsys)[1]["drawdown"]
    assert check["status"] == "WARN"
    assert "equity.(csv|parquet|jsonl) with timestamp, equity_usd, and no backtest of the run" in check["text"]


@pytest.mark.parametrize(("lowest", "status"), [(95.0, "PASS"), (87.5, "WARN"), (80.0, "HALT")])
def test_without_a_live_account_the_drawdown_is_that_of_the_backtest_and_said_so(
    live: Desk, capsys: pytest.CaptureFixture[str], lowest: float, status: str
) -> None:
    (live.root.live("r1") / "equity.csv").unlink()
    path = live.root.backtest_equity("r1")
    path.parent.mkdir(parents=True)
    stamps = [NOON - 300 * BAR, NOON - 200 * BAR, NOON - 100 * BAR]
    pl.DataFrame({"timestamp": stamps, "equity_usd": [100.0, lowest, 101.0]}).cast(
        {"timestamp": pl.Datetime("ms", "UTC")}
    ).write_parquet(path)
    check = _checks(live, capsys)[1]["drawdown"]
    assert check["status"] == status
    assert "there is no live account" in check["text"]
    assert check["value"] == pytest.approx(1 - lowest / 100)
    _write(live, "equity.csv", "timestamp,equity_usd\n2025-01-01T10:00:00Z,100\n2025-01-01T11:00:00Z,99\n")
    assert "no live account" not in _checks(live, capsys)[1]["drawdown"]["text"]


def test_a_damaged_backtest_equity_halts(live: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (live.root.live("r1") / "equity.csv").unlink()
    path = live.root.backtest_equity("r1")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    assert _checks(live, capsys)[1]["drawdown"]["status"] == "HALT"
    pl.DataFrame({"time": [1]}).write_parquet(path)
    assert "has no timestamp and equity_usd" in _checks(live, capsys)[1]["drawdown"]["text"]
