"""Which verdicts differ between two runs, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from backtest.monitoring.run_changes import VERDICT_COLUMNS, RunFacts, causes, change_counts, verdict_changes

FACTS = RunFacts(
    run_id="a",
    files={"lake/raw/x/1.parquet": "r1", "lake/cleaned/x/1.parquet": "c1", "lake/runs/a/scores.parquet": "s1"},
    modules={"clean__x": {"backtest.cleaning": "k1"}, "candidates": {"backtest.discovery": "d1"}},
    spec={"clean__x": "", "candidates": "g1"},
    ontology_hash="o1",
    parameters={"start": "2024-01-01", "symbols": ["BTCUSDT"]},
    libraries={"polars": "2.1"},
    commit="c" * 40,
)


def _candidates(**verdicts: str) -> pl.DataFrame:
    rows = [
        {
            "candidate_id": name,
            "n_events": 50,
            "expectancy": float("nan"),
            "p_value": 0.5,
            "gate_eligible": verdict != "not eligible",
            "gate_phase2_final": verdict == "passed",
            "fail_reasons": "" if verdict == "passed" else "significant",
        }
        for name, verdict in verdicts.items()
    ]
    return pl.DataFrame(rows, schema=VERDICT_COLUMNS)


def test_every_hypothesis_with_another_verdict_is_told_and_no_other() -> None:
    first = {"a": "passed", "b": "failed", "c": "not eligible", "d": "failed", "gone": "failed", "e": "passed"}
    second = {"a": "passed", "b": "passed", "c": "failed", "d": "failed", "new": "passed", "e": "failed"}
    changes = verdict_changes(_candidates(**first), _candidates(**second))
    expected = {
        name: (first.get(name, "absent"), second.get(name, "absent"))
        for name in {*first, *second}
        if first.get(name) != second.get(name)
    }
    found = {row["candidate_id"]: (row["verdict_first"], row["verdict_second"]) for row in changes.to_dicts()}
    assert found == expected
    assert changes["candidate_id"].to_list() == ["b", "e", "new", "c", "gone"]
    assert changes["expectancy_first"].null_count() == len(changes)
    assert sum(count for _, _, count in change_counts(changes)) == len(expected)


def test_equal_runs_differ_in_nothing() -> None:
    assert causes(FACTS, replace(FACTS, run_id="b")) == []
    same = _candidates(a="passed", b="failed")
    assert verdict_changes(same, same).is_empty()


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"files": {**FACTS.files, "lake/raw/x/1.parquet": "r2"}}, "data", "lake/raw/x/1.parquet has other content"),
        ({"files": {**FACTS.files, "lake/raw/x/2.parquet": "r2"}}, "data", "lake/raw/x/2.parquet was read by one"),
        ({"spec": {"clean__x": "", "candidates": "g2"}}, "spec", "what candidates uses of it"),
        ({"ontology_hash": "o2"}, "spec", "ontology hash o1 → o2"),
        ({"modules": {**FACTS.modules, "candidates": {"backtest.discovery": "d2"}}}, "code", "backtest.discovery"),
        ({"parameters": {**FACTS.parameters, "start": "2023-01-01"}}, "parameters", "start '2024-01-01' → '2023"),
        ({"libraries": {"polars": "2.2"}}, "libraries", "polars '2.1' → '2.2'"),
    ],
)
def test_the_one_thing_that_differs_is_the_one_cause(change: dict[str, Any], kind: str, told: str) -> None:
    (cause,) = causes(FACTS, replace(FACTS, run_id="b", **change))
    assert cause.kind == kind
    assert cause.details[0].startswith(told)


def test_what_follows_from_another_cause_is_no_cause_of_its_own() -> None:
    files = {**FACTS.files, "lake/cleaned/x/1.parquet": "c2", "lake/runs/a/scores.parquet": "s2"}
    assert causes(FACTS, replace(FACTS, files=files)) == []  # raw data are the same
    wider = replace(FACTS, files={**FACTS.files, "lake/raw/x/2.parquet": "r"}, parameters={"start": "2020-01-01"})
    assert [cause.kind for cause in causes(FACTS, wider)] == ["parameters"]


def test_hashes_of_two_kinds_tell_nothing_about_the_content() -> None:
    files = {**FACTS.files, "lake/raw/x/1.parquet": "xxh3:r1"}
    (cause,) = causes(FACTS, replace(FACTS, files=files))
    assert cause.details[0].startswith("lake/raw/x/1.parquet may have other content: different versions")


def test_a_run_without_raw_data_is_compared_in_what_both_have_read() -> None:
    from_cleaned = {"lake/cleaned/x/1.parquet": "c2"}
    (cause,) = causes(FACTS, replace(FACTS, files=from_cleaned))
    assert cause.details == ("lake/cleaned/x/1.parquet has other content",)
