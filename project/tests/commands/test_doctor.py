"""Each thing the doctor looks for is found, with its severity and its remedy; a sound data root has no finding."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.lake.files import TEMPORARY_PREFIX, blake2b_hash, content_hash, this_host, write_json, write_parquet
from backtest.lake.ledger import record_evaluation
from backtest.pipeline import health
from backtest.pipeline.lock import LOCK_FILE

from .conftest import Desk
from .test_monitoring import BAR, NOON

DEAD_PID = 2**22 + 1  # above the highest pid of Linux


@pytest.fixture
def sound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A data root without a finding, in an environment that counts as sound."""
    monkeypatch.setattr(health, "_environment", lambda: iter(()))
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 40}))
    monkeypatch.delenv("BACKTEST_SPEC_ROOT", raising=False)
    desk.write_bars("BTCUSDT", NOON - BAR)
    _write_quality(desk, gap_bars=0)
    desk.write_run("r1")
    return desk


def _write_quality(desk: Desk, gap_bars: int) -> None:
    row = {"month": ["2025-01"], "bars": [1000 - gap_bars], "gap_bars": [gap_bars], "longest_gap_bars": [gap_bars]}
    write_parquet(desk.root.cleaned_quality("perp", "BTCUSDT", "2024Q1"), pl.DataFrame(row))


def _findings(desk: Desk, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = desk.run("doctor", "--json", *options)
    return code, json.loads(capsys.readouterr().out)


def _worst(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["severity"] != "note"]


def test_a_sound_data_root_ends_with_0_and_every_note_has_a_remedy(
    sound: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = _findings(sound, capsys, "--deep")
    assert (code, _worst(findings)) == (0, [])
    assert all(finding["remedy"] for finding in findings)


def test_a_missing_data_root_is_an_error(
    sound: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "nowhere"))
    code, findings = _findings(sound, capsys)
    assert (code, [finding["area"] for finding in _worst(findings)]) == (1, ["data root"])


@pytest.mark.parametrize(("free", "severity"), [(1 << 29, "error"), (2 << 30, "warning")])
def test_little_space_is_told(
    sound: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: int, severity: str
) -> None:
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    code, findings = _findings(sound, capsys)
    assert (code, _worst(findings)[0]["severity"]) == (1, severity)


def test_half_written_files_and_crashed_runs_are_told(sound: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    half = sound.root.lake / f"{TEMPORARY_PREFIX}{this_host()}-{DEAD_PID}-part.parquet"
    half.write_bytes(b"half")
    (sound.root.lake / f"{TEMPORARY_PREFIX}{this_host()}-{os.getpid()}-part.parquet").write_bytes(b"being written")
    sound.write_run("r2", status="running")
    (sound.root.run("r1") / LOCK_FILE).write_text('{"pid": 1}')
    code, findings = _findings(sound, capsys)
    texts = [finding["text"] for finding in _worst(findings)]
    assert code == 1
    assert any(text.startswith("1 half-written") and str(half) in text for text in texts)
    assert any("run r2 says running, but no process holds it" in text for text in texts)
    assert any("1 lock(s) left by processes" in finding["text"] for finding in findings)
    assert half.exists()


@pytest.mark.parametrize("content_hash", [content_hash, blake2b_hash], ids=["this version", "an earlier one"])
def test_a_changed_and_a_lost_output_are_found_by_their_hash(
    sound: Desk, capsys: pytest.CaptureFixture[str], content_hash: Callable[[Path], str]
) -> None:
    shared = sound.root.lake / "cleaned" / "perp" / "BTCUSDT" / "quality" / "2024Q1.parquet"
    own = sound.root.candidates("r1", "VOL_SHOCK")
    write_json(own, {})
    outputs = {name.relative_to(sound.root.path).as_posix(): content_hash(name) for name in (shared, own)}
    write_json(sound.root.stage_records() / "clean__x.json", {"status": "finished", "outputs": outputs})
    write_json(sound.root.run("r1") / "candidates.json", {"status": "cached", "outputs": outputs, "run_id": "r1"})
    assert _findings(sound, capsys, "--deep")[0] == 0
    _write_quality(sound, gap_bars=1)
    own.unlink()
    assert _findings(sound, capsys)[0] == 0
    code, findings = _findings(sound, capsys, "--deep")
    texts = [finding["text"] for finding in _worst(findings)]
    assert code == 1
    assert len(texts) == 2
    assert "2024Q1.parquet has other content than recorded" in texts[0]
    assert "candidates.parquet is gone" in texts[1]


def test_an_output_whose_name_no_file_can_have_is_a_finding(sound: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {"runs/" + "9" * 5_000: "ab"}
    write_json(sound.root.run("r1") / "candidates.json", {"status": "cached", "outputs": outputs, "run_id": "r1"})
    code, findings = _findings(sound, capsys, "--deep")
    assert code == 1
    assert "cannot be read: File name too long" in _worst(findings)[0]["text"]


@pytest.mark.parametrize("changed", [{5: 0xFF, 6: 0xFF, 7: 0xFF, 8: 0xFF}, {40: 0x04}])
def test_a_damaged_raw_file_is_found_by_reading_it(
    sound: Desk, capsys: pytest.CaptureFixture[str], changed: dict[int, int]
) -> None:
    path = sound.root.raw("binance", "perp", "BTCUSDT", "ohlcv_5m") / "year=2024" / "month=01" / "monthly.parquet"
    write_parquet(path, pl.DataFrame({"close": [1.0] * 100}))
    assert _findings(sound, capsys, "--deep")[0] == 0
    content = bytearray(path.read_bytes())
    for place, bits in changed.items():
        content[place] ^= bits
    path.write_bytes(bytes(content))
    code, findings = _findings(sound, capsys, "--deep")
    assert code == 1
    assert ["month=01/monthly.parquet is damaged" in finding["text"] for finding in _worst(findings)] == [True]


@pytest.mark.parametrize(("gap_bars", "code"), [(0, 0), (10, 0), (11, 1)])
def test_many_gaps_are_a_warning_and_few_a_note(
    sound: Desk, capsys: pytest.CaptureFixture[str], gap_bars: int, code: int
) -> None:
    _write_quality(sound, gap_bars)
    found, findings = _findings(sound, capsys)
    assert found == code
    assert any("are gaps" in finding["text"] for finding in findings) == (gap_bars > 0)


def test_missing_data_sets_and_broken_quality_are_told(sound: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    _, findings = _findings(sound, capsys)
    (missing,) = (finding["text"] for finding in findings if "are not tested" in finding["text"])
    for dataset in ("funding", "metrics", "spot"):
        assert dataset in missing
    assert "ohlcv" not in missing
    sound.root.cleaned_quality("perp", "BTCUSDT", "2024Q1").write_bytes(b"no parquet")
    code, findings = _findings(sound, capsys)
    assert code == 1
    assert "not a readable Parquet file" in _worst(findings)[0]["text"]


def test_a_faulty_spec_is_an_error(
    sound: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKTEST_SPEC_ROOT", str(tmp_path / "no spec"))
    code, findings = _findings(sound, capsys)
    assert code == 1
    assert _worst(findings)[0]["area"] == "spec"


def test_text_for_people_says_how_to_mend_each_finding(sound: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sound.write_run("r2", status="running")
    capsys.readouterr()
    assert sound.run("doctor") == 1
    shown = capsys.readouterr().out
    assert "warning: runs: run r2 says running" in shown
    assert "mend: backtest runs show r2" in shown
    assert "0 error(s), 1 warning(s)" in shown


def test_a_changed_search_ledger_is_an_error(sound: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    day = dt.date(2024, 1, 1)
    made_at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    known = {"run_id": "r", "made_at": made_at, "symbols": ["BTCUSDT"], "start": day, "data_hash": "d"}
    record_evaluation(sound.root, end=dt.date(2024, 2, 1), subject="s", **known)
    assert _findings(sound, capsys)[0] == 0
    path = sound.root.ledger_searches
    path.write_text(path.read_text().replace("2024-02-01", "2024-01-02"))
    code, findings = _findings(sound, capsys)
    assert code == 1
    assert [finding["area"] for finding in _worst(findings)] == ["search ledger"]
    assert "does not add up" in _worst(findings)[0]["text"]
