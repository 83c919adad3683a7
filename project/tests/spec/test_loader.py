"""Reading the spec: all faults of all files in one error, and what follows from definitions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backtest.errors import SpecError
from backtest.spec import loader, reader
from backtest.spec.loader import changed_since_read, handed_over, load_spec, reading_once, take_over

SHIPPED = Path(__file__).resolve().parents[3] / "spec"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped spec that a test may damage."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "spec"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def fault_of(folder: Path) -> str:
    with pytest.raises(SpecError) as fault:
        load_spec(folder)
    return str(fault.value)


def test_the_shipped_spec_has_no_fault_and_the_breadth_it_needs() -> None:
    spec = load_spec(SHIPPED)
    assert len(spec.features) >= 25
    assert len(spec.events) >= 12
    assert len({event.model.family for event in spec.events.values()}) >= 6
    assert len(spec.templates) >= 4
    assert {"vol_regime", "carry_state", "session"} <= spec.states.keys()
    assert "VOL_SHOCK" in spec.events


def test_features_come_after_the_features_they_are_made_of() -> None:
    seen: set[str] = set()
    spec = load_spec(SHIPPED)
    for name, feature in spec.features.items():
        assert feature.expression.inputs & spec.features.keys() <= seen
        seen.add(name)


def test_look_back_adds_up_over_features_of_features(folder: Path) -> None:
    spec = load_spec(folder)
    # log_return looks back one bar, its standard deviation over 12 bars 11 more, the median before it 288.
    assert spec.features["realized_vol_1h"].total_lookback_bars == 12
    assert spec.features["realized_vol_1h_ratio"].total_lookback_bars == 12 + 288


def test_files_that_change_are_read_again_but_not_within_a_run(folder: Path) -> None:
    before = load_spec(folder)
    with reading_once(folder):
        held = load_spec(folder)
        assert not changed_since_read(folder)
        edit(folder / "events" / "VOL_SHOCK.yaml", "cooldown_bars: 12", "cooldown_bars: 13")
        assert load_spec(folder) is held is before
        assert changed_since_read(folder)
    after = load_spec(folder)
    assert after.events["VOL_SHOCK"].model.cooldown_bars == 13
    assert after.part_hash("events") != before.part_hash("events")
    assert after.part_hash("costs") == before.part_hash("costs")
    assert not changed_since_read(folder)


def test_what_one_process_read_another_unpacks_while_the_files_are_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading_once(folder):
        assert handed_over(folder) is None
        read = load_spec(folder)
        handed = handed_over(folder)
    assert handed is not None
    assert handed_over(folder) is None
    # Another process: it holds nothing, and has no way to read the files.
    loader._load.cache_clear()
    take_over(folder, handed)
    with monkeypatch.context() as patched:
        patched.delattr(reader, "SpecReader")
        unpacked = load_spec(folder)
    assert unpacked is not read
    assert unpacked == read
    assert unpacked.part_hash("events", "features") == read.part_hash("events", "features")
    edit(folder / "events" / "VOL_SHOCK.yaml", "cooldown_bars: 12", "cooldown_bars: 13")
    assert load_spec(folder).events["VOL_SHOCK"].model.cooldown_bars == 13


def test_faults_of_all_files_come_in_one_error(folder: Path) -> None:
    edit(folder / "features" / "log_return.yaml", "log(close", "log(closs")
    edit(folder / "events" / "VOL_SHOCK.yaml", "cooldown_bars: 12", "cooldown_bars: -1")
    edit(folder / "states" / "session.yaml", "name: session", "name: sessions")
    text = fault_of(folder)
    assert "states/session.yaml: name is 'sessions'; it must equal the file's name, 'session'" in text
    assert "events/VOL_SHOCK.yaml: cooldown_bars: found '-1'" in text
    edit(folder / "events" / "VOL_SHOCK.yaml", "cooldown_bars: -1", "cooldown_bars: 1")
    edit(folder / "states" / "session.yaml", "name: sessions", "name: session")
    text = fault_of(folder)
    assert "features/log_return.yaml: expression:" in text
    assert "Did you mean 'close'?" in text


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            "events/VOL_SHOCK.yaml",
            "[5m, 15m, 60m, 4h]",
            "[5m, 7m]",
            "horizons.1: found '7m'; a horizon is a multiple of 5",
        ),
        ("events/VOL_SHOCK.yaml", "mean_reversion,", "mean_reversal,", "Did you mean 'mean_reversion'?"),
        ("events/VOL_SHOCK.yaml", "family:", "famly:", "famly: is no field that is known here"),
        ("events/VOL_SHOCK.yaml", "when: ", "when: 1 + ", "VOL_SHOCK.yaml: when:"),
        ("events/VOL_SHOCK.yaml", "direction: sign(return_1h)", "direction: return_1h > 0", "is a boolean; a number"),
        ("features/log_return.yaml", "lag(close, 1)", "lag(close, -1)", "features/log_return.yaml: expression:"),
        ("states/session.yaml", "values:", "values: &x", "states/session.yaml"),
        ("templates/continuation.yaml", "side: with", "side: upwards", "side: found 'upwards'"),
        ("costs.yaml", "default: 1.0", "defualt: 1.0", "half_spread_bps needs an entry 'default'"),
        (
            "gates.yaml",
            "overrides: {}",
            "overrides: { VOL_SHOK: { discovery: { min_events: 60 } } }",
            "Did you mean 'VOL_SHOCK'?",
        ),
        (
            "gates.yaml",
            "overrides: {}",
            "overrides: { VOL_SHOCK: { discovery: { min_event: 60 } } }",
            "VOL_SHOCK name 'min_event'",
        ),
        ("simulation.yaml", "event_type: VOL_SHOCK", "event_type: VOL_SHOK", "Did you mean 'VOL_SHOCK'?"),
        (
            "events/VOL_SHOCK.yaml",
            "needs: [ohlcv_5m]",
            "needs: [metrics]",
            "needs is metrics; the data sets its expressions",
        ),
        ("calendars/sessions.yaml", "Asia/Tokyo", "Asia/Tokio", "a time zone has an IANA name, such as Europe/London"),
        (
            "calendars/sessions.yaml",
            'opens: "08:00"',
            'opens: "18:00"',
            "opens at 18:00, not before it closes at 16:30",
        ),
        (
            "calendars/sessions.yaml",
            'opens: "08:00"',
            'opens: "08:00Z"',
            "calendars/sessions.yaml: two of its values do not go together: can't compare offset-naive",
        ),
        (
            "calendars/scheduled_news.yaml",
            "[\n      2020-01-29",
            "[\n      2019-01-29",
            "2019-01-29 lies outside 2020-01-01",
        ),
        ("calendars/fee_change.yaml", "name: fee_change", "name: fees", "it must equal the file's name, 'fee_change'"),
        ("discovery.yaml", "seed: 20240229", "seed: 1\nseed: 2", "found the key 'seed' twice"),
    ],
)
def test_a_fault_names_file_field_finding_and_what_is_allowed(
    folder: Path, file: str, old: str, new: str, expected: str
) -> None:
    edit(folder / file, old, new)
    if file == "states/session.yaml":
        (folder / file).write_text("name: session\nvalues: &x {a: *x}\n", encoding="utf-8")
        expected = "found an alias"
    assert expected in fault_of(folder)


def test_two_verbs_that_would_trade_the_same_series_are_refused(folder: Path) -> None:
    (folder / "templates" / "drift.yaml").write_text(
        "template_verb: drift\nside: with\ndescription: The same as continuation.\n", encoding="utf-8"
    )
    assert "trades the same series as templates/continuation.yaml" in fault_of(folder)


def test_features_defined_by_one_another_are_refused(folder: Path) -> None:
    for name, other in (("first", "second"), ("second", "first")):
        (folder / "features" / f"{name}.yaml").write_text(
            f"name: {name}\nunit: one\nexpression: {other} + 1\ndescription: A circle.\n", encoding="utf-8"
        )
    assert "first, second are defined by one another in a circle" in fault_of(folder)


def test_yaml_that_is_none_is_a_fault_with_its_place(folder: Path) -> None:
    (folder / "features" / "log_return.yaml").write_text("name: [unclosed", encoding="utf-8")
    (folder / "features" / "macd.yaml").write_bytes(b"\xff\xfe\x00")
    text = fault_of(folder)
    assert "features/log_return.yaml: is not readable YAML" in text
    assert "features/macd.yaml: is not readable YAML" in text


def test_files_in_places_that_are_not_read_are_a_fault(folder: Path) -> None:
    (folder / "event").mkdir()
    (folder / "event" / "X.yaml").write_text("a: 1\n", encoding="utf-8")
    assert "event/X.yaml: nothing is read from here; files lie in calendars/, features/, states/, events/" in fault_of(
        folder
    )


def test_a_missing_folder_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="BACKTEST_SPEC_ROOT"):
        load_spec(tmp_path / "nowhere")


def test_the_hash_changes_with_meaning_and_not_with_layout(folder: Path) -> None:
    before = load_spec(folder).ontology_hash
    path = folder / "events" / "VOL_SHOCK.yaml"
    path.write_text("# a comment\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_spec(folder).ontology_hash == before
    edit(path, "threshold: 3.0", "threshold: 3.5")
    assert load_spec(folder).ontology_hash != before


def test_overrides_change_one_limit_of_one_event(folder: Path) -> None:
    edit(folder / "gates.yaml", "overrides: {}", "overrides: { VOL_SHOCK: { discovery: { min_events: 80 } } }")
    gates = load_spec(folder).gates
    assert gates.discovery_profile("VOL_SHOCK").min_events == 80
    assert gates.discovery_profile("VOL_SPIKE").min_events == 50
    assert gates.profile("promotion", "VOL_SHOCK") == gates.profiles["promotion"]


def test_no_event_has_levels_of_its_own_in_a_control_over_all_events(folder: Path) -> None:
    edit(folder / "gates.yaml", "overrides: {}", "overrides: { VOL_SHOCK: { promotion: { tree_level: 0.5 } } }")
    assert "VOL_SHOCK name 'tree_level' (a level of the whole search is the same for every event)" in fault_of(folder)


def test_promotion_asks_for_no_less_than_discovery(folder: Path) -> None:
    one, other = (load_spec(folder).gates.profiles[name].model_dump() for name in ("discovery", "promotion"))
    for name, limit in one.items():
        if limit is None:
            assert other[name] is not None
        elif name == "stability":
            assert other[name]["min_same_sign"] / other[name]["spans"] >= limit["min_same_sign"] / limit["spans"]
        else:
            is_ceiling = name.startswith("max_") or name.endswith("_level")
            assert (limit - other[name] if is_ceiling else other[name] - limit) >= 0, name


@pytest.mark.parametrize("budget", [1.0, 1.5, 2.0, 3.0])
def test_all_openings_of_a_window_together_spend_no_more_than_its_budget(folder: Path, budget: float) -> None:
    edit(folder / "gates.yaml", "confirmation_budget: 2.0", f"confirmation_budget: {budget}")
    gates = load_spec(folder).gates
    shares = [gates.share_of_level(opening) for opening in range(1, 2001)]
    assert shares[0] == 1.0
    assert sorted(shares, reverse=True) == shares
    assert budget - 0.002 <= sum(shares) <= budget + 1e-12


def test_a_known_defect_names_a_data_set_a_span_and_a_source(folder: Path) -> None:
    path = folder / "known_defects.yaml"
    edit(path, "dataset: mark_5m", "dataset: mark5m")
    assert (
        "known_defects.yaml: entry 1 names the data set 'mark5m', which no column comes from. Did you mean 'mark_5m'?"
        in (fault_of(folder))
    )
    path.write_text(
        "- {venue: binance, market: perp, dataset: mark_5m, symbols: null, file: a, start: 2023-01-02T00:00:00Z}\n"
    )
    fault = fault_of(folder)
    for field in ("end", "cause", "source"):
        assert f"known_defects.yaml: 0.{field}: is missing" in fault


def test_a_spec_without_known_defects_is_sound_and_another_list_is_another_ontology(folder: Path) -> None:
    before = load_spec(folder)
    (folder / "known_defects.yaml").unlink()
    without = load_spec(folder)
    assert (len(before.known_defects) > 0, without.known_defects) == (True, ())
    assert before.ontology_hash != without.ontology_hash
    assert before.part_hash("known_defects") != without.part_hash("known_defects")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name: " + "[" * 200_000, "is nested deeper than 200"),
        ("name: " + "[" * 10_000 + "]" * 10_000, "is nested deeper than 200"),
        ("".join(f"{' ' * level}a:\n" for level in range(400)), "is nested deeper than 200"),
        ("- " * 100_000 + "a", "is nested deeper than 200"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "found an alias (*a)"),
        ("a: &a\n  <<: *a\n", "found an alias (*a)"),
        ("name: !!int ''", "does not have the form that its tag"),
        ("name: !!bool maybe", "does not have the form that its tag"),
        ("name: !!timestamp never", "does not have the form that its tag"),
        ("name: !!set [a]", "does not have the form that its tag"),
        ("name: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("name: " + "9" * 10_000, "Exceeds the limit"),
        ("name: 2024-99-99", "month must be in 1..12"),
        ("x" * 2_000_000, "at most 1,048,576 are read"),
    ],
)
def test_a_bomb_or_a_wrong_tag_is_a_fault_of_the_file(folder: Path, content: str, reason: str) -> None:
    (folder / "features" / "log_return.yaml").write_text(content, encoding="utf-8")
    text = fault_of(folder)
    assert "features/log_return.yaml: is not readable YAML" in text
    assert reason in text
