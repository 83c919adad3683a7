"""The page, the figure and the shipped figures of a calibration say the same."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from backtest.errors import DataError
from backtest.evaluation import measured
from backtest.evaluation.calibration import PROCEDURES, Found, WorldFigures
from backtest.evaluation.calibration_limits import limits
from backtest.evaluation.error_rates import summary
from backtest.evaluation.measured import MeasuredErrorRates, measured_error_rates
from backtest.reports.calibration_figure import calibration_figure
from backtest.reports.calibration_page import as_published, calibration_page, limits_of
from backtest.reports.html.pages.calibration import calibration_report_page


def world(kind: str, bps: float, number: int) -> WorldFigures:
    hits = 1 if bps or number == 0 else 0
    found = Found(hits, 0, 3 * hits, bool(bps), bool(bps), hits, bps * hits, 1.2 * bps * hits, 1.02 * bps * hits, hits)
    return WorldFigures(
        kind=kind,
        bps=bps,
        n_hypotheses=1000,
        n_eligible=800,
        rejected={test: {"5m": [800, 40 + number % 2, 8, 0]} for test in ("cluster", "naive")},
        found=dict.fromkeys(PROCEDURES, found),
        n_relevant=4 if bps else 0,
        squared_errors=(800.0, 800.0 * 4, 800.0),
        planted="EVENT with 5m" if bps else "",
        has_tested_trade=bps > 0,
        n_planted_events=700 if bps else 0,
        tails=(25.0, 0.2, 0.1),
        seconds=2.0,
    )


@pytest.fixture
def published() -> dict[str, object]:
    worlds = [world("null", 0.0, number) for number in range(20)]
    worlds += [world("planted", bps, number) for bps in (5.0, 10.0, 20.0) for number in range(2)]
    worlds += [world("random signs", 0.0, number) for number in range(3)]
    report = summary(worlds)
    return as_published(
        report, limits(report), full_size={"simulated": 26, "copies_of_real_bars": 200},
        real_bars={"symbols": ["BTCUSDT"], "start": "2023-01-01T00:00", "end": "2023-02-01T00:00"},
        command="backtest calibrate", seed=1, measured_on="2024-01-01", commit="abc", ontology_spec_hash="s" * 8,
        code_hash="c" * 8,
    )  # fmt: skip


def test_published_figures_are_json_and_read_back_as_what_they_say(
    published: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("measured")
    monkeypatch.setattr(measured.importlib.resources, "files", lambda _package: folder)
    assert measured_error_rates() is None
    (folder / measured.FILE).write_text(json.dumps(published, allow_nan=False))
    rates = measured_error_rates()
    assert rates is not None
    assert rates.worlds == {"simulated": 26, "copies_of_real_bars": 3}
    assert rates.share_with_any("tree_bh") == pytest.approx((0.05, 0.00126509, 0.24873277))
    assert rates.share_with_any("tree_bh", "shifted days") is None
    assert rates.power("tier_a", 10.0) == pytest.approx((0.75, 0.75, 0.75))
    assert rates.is_of_spec("s" * 8)
    assert not rates.is_of_spec("other")
    (folder / measured.FILE).write_text('{"schema": 1}')
    with pytest.raises(DataError, match=r"damaged \(KeyError\('command'\)\)"):
        measured_error_rates()


def test_the_page_of_a_run_says_whether_the_rates_are_of_its_spec(published: dict[str, object]) -> None:
    names = {field.name for field in fields(MeasuredErrorRates)}
    rates = MeasuredErrorRates(**{name: value for name, value in published.items() if name in names})  # type: ignore[arg-type]
    results = SimpleNamespace(run_id="r", manifest={"ontology_spec_hash": "s" * 8})
    same = calibration_report_page(results, rates)  # type: ignore[arg-type]
    assert "used another spec" not in same
    assert "26 simulated ones and 3 copies of real bars" in same
    assert same.count('<th scope="row">tier A (family-wise)') == 3
    results.manifest = {"ontology_spec_hash": "other"}
    assert "used another spec (other), whose rates were not measured" in calibration_report_page(results, rates)  # type: ignore[arg-type]


def test_what_is_shipped_can_be_read() -> None:
    rates = measured_error_rates()
    if rates is not None:
        assert {field.name for field in fields(MeasuredErrorRates)} >= {"groups", "limits", "ontology_spec_hash"}
        assert rates.share_with_any("significant") is not None


def test_limits_survive_publication(published: dict[str, object]) -> None:
    report = summary([world("null", 0.0, number) for number in range(20)])
    assert [limit.text for limit in limits_of(published)][: len(limits(report))] == [
        limit.text for limit in limits(report)
    ]
    assert any(np.isinf(limit.most) for limit in limits_of(published))


def test_the_page_shows_every_group_and_names_what_is_broken(published: dict[str, object]) -> None:
    page = calibration_page(published)
    for name in published["groups"]:  # type: ignore[attr-defined]
        assert f"### {name}" in page
    assert "limits are kept." in page
    assert "stopped after 3 of 200 copies of real bars" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    bad = [replace(world("null", 0.0, number), rejected={k: {"5m": [800, 90, 9, 0]} for k in ("cluster", "naive")})
           for number in range(20)]  # fmt: skip
    report = summary(bad)
    broken = calibration_page({**published, "groups": report, "limits": as_published(
        report, limits(report), full_size={"simulated": 20, "copies_of_real_bars": 0}, real_bars=None,
        command="", seed=1, measured_on="", commit=None, ontology_spec_hash="",
        code_hash="")["limits"]})  # fmt: skip
    assert "Broken:\n\n- **null: rejected at 5 %: 0.1125 (allowed: 0.03 … 0.075)**" in broken


def test_the_figure_is_well_formed_with_axes_and_a_mark_for_every_share(published: dict[str, object]) -> None:
    root = ET.fromstring(calibration_figure(published))
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for label in (
        "share of worlds with any discovery, %",
        "planted mean return before cost, bps per trade",
        "power, %",
    ):
        assert label in texts
    assert set(PROCEDURES.values()) <= set(texts)
    marks = [node for node in root if node.tag.endswith(("circle", "polygon"))]
    # Two null groups by procedure, five power curves of three points, and the legends.
    assert len(marks) == 2 * len(PROCEDURES) + 5 * 3 + 2 + 5
