"""The audits on a small lake: where cuts lie, the commands' answers, and a broken definition found through them."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from backtest.cli import build
from backtest.lake.paths import DataRoot
from backtest.pipeline import audits
from backtest.pipeline.audits import AHEAD_BARS, Cut, audit_cut, audit_look_ahead, chosen_cuts, occurrences
from backtest.pipeline.frames import BAR
from backtest.pipeline.runs import FROM_RAW, Request, execute
from backtest.pipeline.simulation import simulate_into_lake
from backtest.spec.loader import load_spec

SPEC_ROOT = Path(__file__).resolve().parents[3] / "spec"
SPEC = load_spec(SPEC_ROOT)
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
DAYS = 60
SYMBOLS = ("BTCUSDT", "ETHUSDT")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A simulated lake with features of two symbols over 60 days."""
    root = DataRoot(tmp_path_factory.mktemp("audits") / "data")
    root.create()
    simulate_into_lake(root, SPEC, SYMBOLS, START, DAYS)
    request = Request(root, SPEC_ROOT, "made", SYMBOLS)
    execute(request, FROM_RAW[: FROM_RAW.index("features") + 1], now=START, command="test").raise_for_failure()
    return root


def events_of(root: DataRoot) -> dict[str, dict[str, list[dt.datetime]]]:
    return {symbol: occurrences(root, SPEC_ROOT, symbol, None) for symbol in SYMBOLS}


def test_half_of_the_cuts_lie_one_bar_behind_an_event_of_each_type_in_turn(root: DataRoot) -> None:
    events = events_of(root)
    cuts = chosen_cuts(root, SPEC, SYMBOLS, events, 20, 0)
    assert [cut.event_type is None for cut in cuts] == [True] * 10 + [False] * 10
    for cut in cuts[10:]:
        assert cut.event_type is not None
        assert cut.at - BAR in events[cut.symbol][cut.event_type]
    assert len({cut.event_type for cut in cuts[10:]}) == 10
    assert {cut.symbol for cut in cuts} == set(SYMBOLS)
    end = START + dt.timedelta(days=DAYS)
    assert all(START < cut.at < end for cut in cuts)


def test_a_seed_decides_where_the_cuts_lie(root: DataRoot) -> None:
    events = events_of(root)
    first, again, other = (chosen_cuts(root, SPEC, SYMBOLS, events, 8, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_lake_has_no_look_ahead_and_every_definition_is_on_the_list(root: DataRoot) -> None:
    report = audit_look_ahead(root, SPEC_ROOT, n_cuts=4, workers=2)
    found = {check.definition: check for check in report.checks}
    assert report.mismatches == 0
    assert len(report.cuts) == 4
    wanted = {f"feature {name}" for name in SPEC.features} | {f"event {name}" for name in SPEC.events}
    wanted |= {f"state {name}" for name in SPEC.states} | {"cleaning perp", "cleaning spot", "cross-section"}
    assert wanted <= set(found)
    assert all(found[f"event {name}"].checked > 10_000 for name in SPEC.events)


def test_the_audit_finds_a_definition_that_looks_ahead(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtest.audit import definitions

    state_id = next(iter(SPEC.states["carry_state"].values))
    monkeypatch.setattr(
        definitions,
        "evaluate_states",
        lambda frame, _states: frame.select("timestamp", pl.col("close").lt(pl.col("close").shift(-3)).alias(state_id)),
    )
    at = START + dt.timedelta(days=50)
    checks = {check.definition: check for check in audit_cut(root, SPEC_ROOT, Cut("BTCUSDT", at))}
    broken = checks.pop("state carry_state")
    assert broken.mismatches == 3
    assert broken.first is not None
    assert (broken.first.timestamp, broken.first.cut) == (at - 3 * BAR, at)
    assert all(check.mismatches == 0 for check in checks.values())


def test_the_audit_finds_cleaning_that_looks_ahead(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    import backtest.cleaning.perpetual as perpetual

    honest = perpetual.join_funding
    monkeypatch.setattr(
        perpetual,
        "join_funding",
        lambda bars, stamps: honest(bars, stamps).with_columns(
            pl.col("close").fill_null(strategy="backward").shift(-1)
        ),
    )
    checks = audit_cut(root, SPEC_ROOT, Cut("ETHUSDT", START + dt.timedelta(days=40)))
    broken = [check for check in checks if check.mismatches]
    assert [check.definition for check in broken] == ["cleaning perp"]


def test_what_lies_two_days_behind_the_cut_is_read_and_no_more(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[dt.datetime, dt.datetime]] = []
    honest = audits.perpetual_bars

    def watched(*arguments: object) -> pl.DataFrame:
        read.append(arguments[-2:])  # type: ignore[arg-type]
        return honest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(audits, "perpetual_bars", watched)
    at = START + dt.timedelta(days=50)
    audit_cut(root, SPEC_ROOT, Cut("BTCUSDT", at), "VOL_SHOCK")
    reach = SPEC.feature_lookback_bars + SPEC.event_lookback_bars
    assert [(start <= at - reach * BAR, end) for start, end in read] == [(True, at + AHEAD_BARS * BAR)]


def test_the_commands_answer_with_tables_json_and_exit_codes(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(root.path))
    run = CliRunner().invoke
    app = build()
    table = run(app, ["audit", "lookahead", "--event", "VOL_SHOCK", "--cuts", "4", "--workers", "1"])
    assert table.exit_code == 0
    assert "event VOL_SHOCK" in table.stdout
    assert "before 4 cuts (2 of them one bar behind an event): no mismatch." in table.stdout
    answer = json.loads(run(app, ["audit", "lookahead", "--event", "VOL_SHOCK", "--cuts", "2", "--json"]).stdout)
    assert answer["mismatches"] == 0
    assert answer["cuts"][1]["event_type"] == "VOL_SHOCK"
    warm = run(app, ["features", "warmup", "--symbols", "BTCUSDT", "--json"])
    assert warm.exit_code == 0
    rows = {row["feature"]: row for row in json.loads(warm.stdout)["features"]}
    assert set(rows) == set(SPEC.features)
    assert rows["realized_vol_1h"]["lookback_bars"] == 12
    assert rows["realized_vol_1h"]["checked"] > 1000
    shown = run(app, ["features", "warmup"])
    assert f"0 of {len(SPEC.features)} features change by more than rounding" in shown.stdout


def test_mismatches_end_the_command_with_1(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtest.audit.look_ahead import Check, Offence

    offence = Offence("BTCUSDT", "feature bad", START, START + BAR, 1.5, None)
    report = audits.LookAheadReport((Cut("BTCUSDT", START + BAR),), (Check("feature bad", 7, 2, offence),))
    monkeypatch.setattr(audits, "audit_look_ahead", lambda *_, **__: report)
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(root.path))
    shown = CliRunner().invoke(build(), ["audit", "lookahead"])
    assert shown.exit_code == 1
    assert "BTCUSDT 2024-03-01 00:00 feature bad: 1.5 with the future, None when it is cut off" in shown.stdout
    assert "2 MISMATCHES" in shown.stdout


def test_an_empty_lake_and_an_unknown_event_are_told(tmp_path: Path, root: DataRoot) -> None:
    from backtest.errors import DataError, SpecError

    empty = DataRoot(tmp_path / "data")
    empty.create()
    with pytest.raises(DataError, match="there are no cleaned bars of BTCUSDT"):
        audit_look_ahead(empty, SPEC_ROOT)
    with pytest.raises(SpecError, match="Did you mean"):
        audit_look_ahead(root, SPEC_ROOT, event_type="VOL_SHOK")
    shutil.copytree(root.lake / "cleaned", empty.lake / "cleaned")
    with pytest.raises(DataError, match="there are no features of BTCUSDT"):
        audit_look_ahead(empty, SPEC_ROOT, ["BTCUSDT"], workers=1)
