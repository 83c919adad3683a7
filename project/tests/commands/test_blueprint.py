"""`backtest blueprint`: what each command prints and ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.lake.files import write_text
from backtest.spec.loader import load_spec
from backtest.strategies.blueprints import Blueprint, to_jsonl
from backtest.strategies.reading import MAX_FILE_BYTES
from tests.strategies.cases import SHIPPED, blueprints_from, passed


@pytest.fixture(scope="module")
def blueprints() -> list[Blueprint]:
    return blueprints_from(
        load_spec(SHIPPED), passed("mean_reversion", "lag1", -1), passed("continuation", "lag1", 1, horizon="15m")
    )


@pytest.fixture
def written(desk, blueprints: list[Blueprint]):
    """A desk with blueprints of the runs first and second; those of the second have another q."""
    write_text(desk.root.blueprints("first"), to_jsonl(blueprints))
    changed = [
        entry.model_copy(
            update={
                "run_id": "second",
                "blueprint_id": entry.blueprint_id.replace("first", "second", 1),
                "q_value": 0.02,
            }
        )
        for entry in blueprints
    ]
    write_text(desk.root.blueprints("second"), to_jsonl(changed))
    return desk


def test_a_sound_run_and_a_sound_file_are_validated_with_0(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert written.run("blueprint", "validate", "first") == 0
    assert written.run("blueprint", "validate", str(written.root.blueprints("first"))) == 0
    shown = capsys.readouterr().out
    assert "2 blueprints of first. No fault." in shown
    assert "first.VOL_SHOCK.mean_reversion.60m.all.POOLED" in shown


def test_faults_end_with_1_and_are_all_told(written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = json.loads(written.root.blueprints("first").read_text().splitlines()[0])
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(line | {"condition": "lead(close, 1) > close"}) + "\n")
    assert written.run("blueprint", "validate", str(path)) == 1
    assert "1 of 1 blueprints" in (told := capsys.readouterr().err)
    assert "condition: " in told
    path.write_text(json.dumps(line | {"version": 99}) + "\n")
    assert written.run("blueprint", "validate", str(path)) == 1
    assert "version '99' is not known; this program reads version 2" in capsys.readouterr().err


def test_what_is_no_file_and_no_run_names_the_runs_there_are(
    written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written.run("blueprint", "validate", "frist") == 1
    assert "Did you mean 'first'?" in capsys.readouterr().err
    assert written.run("blueprint", "validate", str(tmp_path / "no.jsonl")) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err
    assert written.run("blueprint", "validate", "../../etc/passwd") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_huge_file_and_one_of_bytes_are_refused(written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert written.run("blueprint", "validate", str(path)) == 1
    assert "bytes; blueprints of at most" in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe{}")
    assert written.run("blueprint", "validate", str(path)) == 1
    assert "is no UTF-8 text" in capsys.readouterr().err


def test_one_is_shown_by_its_id_in_words_and_as_json(written, capsys: pytest.CaptureFixture[str]) -> None:
    identity = "second.VOL_SHOCK.continuation.15m.all.POOLED"
    assert written.run("blueprint", "show", identity) == 0
    shown = capsys.readouterr().out
    for part in (identity, "at the open 3 bars", "realized_vol_1h_ratio", "q 0.02", "capacity"):
        assert part in shown
    assert written.run("blueprint", "show", identity, "--json") == 0
    assert json.loads(capsys.readouterr().out)["blueprint_id"] == identity
    assert written.run("blueprint", "show", "second.VOL_SHOCK.continuation.15m.al.POOLED") == 1
    assert f"Did you mean '{identity}'?" in capsys.readouterr().err


def test_differences_end_with_1_and_none_with_0(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert written.run("blueprint", "diff", "first", "first") == 0
    assert "No difference in 2 blueprints." in capsys.readouterr().out
    assert written.run("blueprint", "diff", "first", "second") == 1
    assert "q_value: 0.01 → 0.02" in capsys.readouterr().out
    ids = [f"first.VOL_SHOCK.{rest}.all.POOLED" for rest in ("mean_reversion.60m", "continuation.15m")]
    assert written.run("blueprint", "diff", *ids) == 1
    assert "exits.horizon_bars: 12 → 3" in capsys.readouterr().out


def test_the_schema_is_printed(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert written.run("blueprint", "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Blueprint, version 2"
