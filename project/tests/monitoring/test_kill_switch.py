"""Limits, and the verdict over all checks."""

from __future__ import annotations

import itertools

import pytest

from backtest.monitoring.kill_switch import EXIT_CODES, Check, against_limit, verdict


@pytest.mark.parametrize(
    ("value", "status"),
    [(0.0, "PASS"), (7.99, "PASS"), (8.0, "WARN"), (10.0, "WARN"), (10.01, "HALT"), (-5.0, "PASS"),
     (float("nan"), "HALT"), (float("inf"), "HALT")],
)  # fmt: skip
def test_a_value_warns_from_80_percent_of_its_limit_and_halts_beyond_it(value: float, status: str) -> None:
    check = against_limit("x", value, 10.0, "bps", data="d")
    assert check.status == status
    if check.margin is not None:
        assert check.margin == 10.0 - value


def test_nothing_bad_passes_a_limit_of_zero_and_anything_bad_halts() -> None:
    assert against_limit("x", 0.0, 0.0, "bars", data="d").status == "PASS"
    assert against_limit("x", 1.0, 0.0, "bars", data="d").status == "HALT"


def test_the_verdict_is_the_gravest_check_and_no_check_at_all_halts() -> None:
    for statuses in itertools.product(EXIT_CODES, repeat=3):
        checks = [Check("x", status, "") for status in statuses]
        assert EXIT_CODES[verdict(checks)] == max(EXIT_CODES[status] for status in statuses)
    assert verdict([]) == "HALT"


def test_values_are_told_in_four_digits_and_whole_numbers_in_full() -> None:
    told = [against_limit("x", value, 3.0, "bars", data="d").text for value in (183694.0, 0.016945638, 12345.6)]
    assert told == ["183,694 of at most 3 bars", "0.01695 of at most 3 bars", "12,346 of at most 3 bars"]
