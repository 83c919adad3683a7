"""`backtest calibrate` prints tables or JSON and ends with 1 where a limit is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.evaluation.calibration import PROCEDURES, Found, WorldFigures
from backtest.pipeline import calibration


def figures(rejected: int) -> WorldFigures:
    return WorldFigures(
        kind="null",
        bps=0.0,
        n_hypotheses=2000,
        n_eligible=1000,
        rejected={kind: {"5m": [1000, rejected, 9, 1]} for kind in ("cluster", "naive")},
        found=dict.fromkeys(PROCEDURES, Found()),
    )


@pytest.mark.parametrize(("rejected", "is_kept"), [(50, True), (90, False)])
def test_the_exit_code_tells_whether_the_limits_are_kept(
    rejected: int, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [figures(rejected + extra) for extra in (-4, 3, 0, 1) * 5]
    monkeypatch.setattr(calibration, "calibrate", lambda *_given, **_named: found)
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "data"))

    def printed(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", "--quick", *arguments])
        assert ended.value.code == (0 if is_kept else 1)
        shown = capsys.readouterr()
        assert is_kept or "limits broken: null: rejected at 5 %" in shown.err
        return shown.out

    report = json.loads(printed("--json"))
    assert {limit["text"]: limit["is_kept"] for limit in report["limits"]}["null: rejected at 5 %"] is is_kept
    tables = printed()
    assert "null: 20 worlds, 1,000 eligible hypotheses each" in tables
    assert ("BROKEN" not in tables) is is_kept
