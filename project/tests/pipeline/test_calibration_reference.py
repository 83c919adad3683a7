"""Blueprints name the published calibration of their spec, or say why there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from backtest.evaluation import measured
from backtest.pipeline import calibration
from backtest.pipeline.stages.blueprints import PAGE, calibration_reference
from backtest.strategies.blueprints import CalibrationReference

REPOSITORY = Path(__file__).resolve().parents[3]


def published() -> measured.MeasuredErrorRates:
    rates = measured.measured_error_rates()
    assert rates is not None
    return rates


def test_a_blueprint_of_the_calibrated_spec_names_it_with_its_error_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = published()
    monkeypatch.setattr(calibration, "search_code_hash", lambda: rates.code_hash)
    reference, note = calibration_reference(rates.ontology_spec_hash)
    assert reference is not None
    assert note == ""
    assert (reference.measured_on, reference.commit, reference.code_hash) == (
        rates.measured_on,
        rates.commit,
        rates.code_hash,
    )
    assert reference.null_worlds_with_any_passed == rates.share_with_any("final")
    assert reference.n_broken_limits == len(rates.broken_limits)
    assert CalibrationReference.model_validate_json(reference.model_dump_json()) == reference
    page = (REPOSITORY / PAGE).read_text(encoding="utf-8")
    assert reference.measured_on in page
    assert reference.code_hash in page


def test_other_code_of_the_search_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "search_code_hash", lambda: "another")
    reference, note = calibration_reference(published().ontology_spec_hash)
    assert reference is not None
    assert note == "the code of the search has changed since (another)"


def test_without_a_calibration_of_the_spec_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, note = calibration_reference("another")
    assert reference is None
    assert "is of another spec" in note
    assert "make calibrate" in note
    unmeasured = dataclasses.replace(published(), groups={})
    monkeypatch.setattr(measured, "measured_error_rates", lambda: unmeasured)
    assert calibration_reference("another") == (None, "no calibration is published with this version")
