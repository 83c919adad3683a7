"""The register: what is tested, once each."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from backtest.discovery.hypotheses import (
    KEY,
    event_trials,
    hypothesis_digests,
    longest_window_bars,
    register,
    register_hash,
    trials,
)
from backtest.spec.loader import load_spec
from backtest.spec.models import Entry, Exit, Template

REPOSITORY = Path(__file__).resolve().parents[3]
SPEC = load_spec(REPOSITORY / "spec")


def template(verb: str, side: str, entry: Entry | None = None, exit_: Exit | None = None) -> Template:
    return Template(
        template_verb=verb,
        side=side,
        description=verb,
        entry=entry or Entry(),
        exit=exit_ or Exit(),  # type: ignore[arg-type]
    )


def test_mirror_verbs_are_one_two_sided_trial() -> None:
    found = trials([template("fade", "against"), template("follow", "with")], ["15m"])
    assert [(trial.with_verb, trial.against_verb) for trial in found] == [("follow", "fade")]


def test_a_target_against_the_event_mirrors_a_stop_with_it() -> None:
    found = trials(
        [template("repair", "against", exit_=Exit(target_atr=2)), template("trail", "with", exit_=Exit(stop_atr=2))],
        ["60m"],
    )
    assert len(found) == 1


def test_barriers_cannot_bind_at_one_bar_so_the_verb_is_not_tested_twice() -> None:
    found = trials([template("follow", "with"), template("trail", "with", exit_=Exit(stop_atr=2))], ["5m", "15m"])
    assert [(trial.horizon, trial.with_verb) for trial in found] == [
        ("5m", "follow"),
        ("15m", "follow"),
        ("15m", "trail"),
    ]


def test_no_two_hypotheses_of_the_shipped_spec_have_the_same_key() -> None:
    hypotheses = register(SPEC, {name: ["BTCUSDT", "ETHUSDT"] for name in SPEC.events})
    assert hypotheses.select(KEY).is_unique().all()
    for event_type in SPEC.events:
        verbs = [(t.horizon, v) for t in event_trials(SPEC, event_type) for v in {t.with_verb, t.against_verb} if v]
        assert len(set(verbs)) == len(verbs)


def test_one_symbol_has_no_pooled_scope() -> None:
    assert register(SPEC, {"VOL_SHOCK": ["BTCUSDT"]})["symbol"].unique().to_list() == ["BTCUSDT"]


def test_the_hash_does_not_depend_on_the_order_and_does_on_the_content() -> None:
    hypotheses = register(SPEC, {"VOL_SHOCK": ["BTCUSDT", "ETHUSDT"]})
    assert register_hash(hypotheses) == register_hash(hypotheses.reverse())
    assert register_hash(hypotheses) != register_hash(hypotheses.head(-1))


def test_the_longest_window_covers_waiting_lag_and_horizon() -> None:
    # pullback_entry waits up to 6 bars, enters one later and holds 48.
    assert longest_window_bars(SPEC) == 55
    assert isinstance(register(SPEC, {}), pl.DataFrame)


def test_a_hypothesis_with_another_definition_is_another_one_under_the_same_name(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "spec", tmp_path / "spec")
    spec = load_spec(tmp_path / "spec")
    hypotheses = register(spec, {"VOL_SHOCK": ["BTCUSDT"], "FUNDING_FLIP": ["BTCUSDT"]})
    before = hypothesis_digests(hypotheses, spec)
    assert len(set(before.tolist())) == len(hypotheses)
    feature = tmp_path / "spec" / "features" / "realized_vol_1h.yaml"
    feature.write_text(feature.read_text().replace("12)", "13)"))
    after = hypothesis_digests(hypotheses, load_spec(tmp_path / "spec"))
    changed = set(hypotheses.filter(pl.Series(before != after))["event_type"])
    same = set(hypotheses.filter(pl.Series(before == after))["event_type"])
    assert (changed, same) == ({"VOL_SHOCK"}, {"FUNDING_FLIP"})
