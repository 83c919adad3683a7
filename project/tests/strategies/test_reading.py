"""Blueprints that somebody else wrote: each fault has its line and sentence, and nothing that explodes is read."""

from __future__ import annotations

import json
import time

import pytest

from backtest.errors import DataError
from backtest.outside_bytes import nesting_depth
from backtest.spec.compiled import Spec
from backtest.strategies.blueprints import Blueprint, to_jsonl
from backtest.strategies.compiled import compile_rule
from backtest.strategies.reading import MAX_LINE_CHARACTERS, parse_blueprints


def edited(blueprint: Blueprint, **changes: object) -> str:
    return json.dumps(json.loads(to_jsonl([blueprint])) | changes) + "\n"


def fault_of(text: str) -> str:
    with pytest.raises(DataError) as fault:
        parse_blueprints(text, "a file")
    return str(fault.value)


def test_an_empty_file_has_no_blueprint_and_no_fault() -> None:
    assert parse_blueprints("", "a file") == parse_blueprints("\n \n", "a file") == []


def test_the_faults_of_all_lines_come_in_one_error(blueprint: Blueprint) -> None:
    text = fault_of(
        to_jsonl([blueprint])
        + edited(blueprint, version=7)
        + "{not json}\n"
        + edited(blueprint, colour=1, cooldown_bars=-1)
    )
    assert "4 faults in a file" in text
    assert "line 2: version '7' is not known; this program reads version 2." in text
    assert "line 3: is no JSON" in text
    assert "line 4: colour: is no field of a blueprint." in text
    assert "line 4: cooldown_bars: found '-1'" in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[]", "is a JSON list; a blueprint is an object"),
        ("{}", "version 'None' is not known"),
        ('{"version": true}', "version 'True' is not known"),
        ('{"version": 2, "version": 2}', "names 'version' twice"),
        ('{"version": NaN}', "holds NaN"),
        ("[" * 100_000, "is nested 100,000 deep; at most 20 is read"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "is nested 50,000 deep"),
        ("1" * 10_000, "line 1: "),
        ('"' + "x" * MAX_LINE_CHARACTERS + '"', "characters; at most"),
    ],
)
def test_bombs_and_nonsense_are_refused_in_no_time(line: str, expected: str) -> None:
    started = time.perf_counter()
    assert expected in fault_of(line)
    assert time.perf_counter() - started < 5.0


def test_brackets_inside_texts_do_not_count_as_nesting() -> None:
    assert nesting_depth('{"a": "[[[[\\"[[", "b": [1]}') == 2


def test_one_id_twice_is_refused(blueprint: Blueprint) -> None:
    assert "is there already" in fault_of(to_jsonl([blueprint, blueprint]))


def test_a_condition_that_cannot_be_evaluated_bar_by_bar_is_refused_at_its_place(
    blueprint: Blueprint, spec: Spec
) -> None:
    for condition, expected in (
        ("lead(close, 1) > close", "lead"),
        ("close > lag(close, -1)", "-1"),
        ("realized_vol_24h_rank_30 <= 0.33", "Did you mean 'realized_vol_24h_rank_30d'?"),
    ):
        (changed,) = parse_blueprints(edited(blueprint, condition=condition), "a file")
        with pytest.raises(DataError) as fault:
            compile_rule("it", changed, spec)
        text = str(fault.value)
        assert "it cannot be traded bar by bar as it was tested" in text
        assert "condition: " in text
        assert expected in text
        assert "^" in text


def test_a_condition_must_be_a_condition(blueprint: Blueprint, spec: Spec) -> None:
    (changed,) = parse_blueprints(edited(blueprint, condition="close - 1"), "a file")
    with pytest.raises(DataError, match="condition: is a number; a boolean is needed here"):
        compile_rule("it", changed, spec)


def test_a_feature_that_means_something_else_than_when_it_was_tested_is_refused(
    blueprint: Blueprint, spec: Spec
) -> None:
    definitions = dict(blueprint.definitions) | {"realized_vol_1h": "rolling_std(log_return, 24)"}
    (changed,) = parse_blueprints(edited(blueprint, definitions=definitions), "a file")
    with pytest.raises(DataError) as fault:
        compile_rule("it", changed, spec)
    assert "realized_vol_1h was 'rolling_std(log_return, 24)' when it was tested; the spec says" in str(fault.value)
