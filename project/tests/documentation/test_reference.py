"""The reference has everything there is: whatever the program declares is on a page, with a sentence."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
DOCUMENTATION = REPOSITORY / "project" / "documentation"
SCHEMAS = {
    "lake.schemas.RAW_SCHEMAS": "lake/raw/<venue>/<market>/<SYMBOL>/{}/year=<YYYY>/month=<MM>/…parquet",
    "cleaning.quality.QUALITY_SCHEMA": "lake/raw/<venue>/quality.parquet",
    "cleaning.cross_check.CROSS_CHECK_SCHEMA": "lake/cleaned/perp/<SYMBOL>/cross_check.parquet",
    "features.cross_section.MARKET_SCHEMA": "lake/features/perp/_market/5m/features_v1/year=<YYYY>/month=<MM>/…parquet",
    "events.detect.EVENT_SCHEMA": "events/<run_id>/events.parquet",
    "events.quality.SYMBOL_QUALITY_SCHEMA": "lake/runs/<run_id>/events/<SYMBOL>.quality.parquet",
    "discovery.hypotheses.REGISTER_SCHEMA": "lake/runs/<run_id>/register.parquet",
    "discovery.day_scores.SCORE_SCHEMA": "lake/runs/<run_id>/walk_forward/scores/<EVENT>/<SYMBOL>.parquet",
    "discovery.day_scores.SERIES_SCHEMA": "lake/runs/<run_id>/scores/<EVENT>/<SYMBOL>.series.parquet",
    "discovery.candidates.CANDIDATE_SCHEMA": "reports/phase2/<run_id>/<EVENT>/candidates.parquet",
    "discovery.placebo.PLACEBO_SCHEMA": "reports/phase2/<run_id>/placebo.parquet",
    "evaluation.expectancy.EXPECTANCY_SCHEMA": "reports/expectancy/<run_id>/expectancy.parquet",
    "evaluation.robustness.VERDICT_SCHEMA": "reports/expectancy/<run_id>/robustness.parquet",
    "evaluation.robustness.DETAIL_SCHEMA": "reports/expectancy/<run_id>/robustness_checks.parquet",
    "evaluation.variations.VARIED_SCHEMA": "lake/runs/<run_id>/variations/<SYMBOL>.parquet",
    "evaluation.walk_forward.BAR_RETURN_SCHEMA": "lake/runs/<run_id>/walk_forward/<SYMBOL>.bar_returns.parquet",
    "evaluation.drift_free.DRIFT_FREE_SCHEMA": "lake/runs/<run_id>/walk_forward/scores/<EVENT>/<SYMBOL>.parquet",
    "evaluation.walk_forward.TEST_SCHEMA": "lake/runs/<run_id>/walk_forward/folds/<fold>.parquet",
    "evaluation.walk_forward.FOLD_SCHEMA": "reports/walk_forward/<run_id>/folds.parquet",
    "evaluation.walk_forward.RESULT_SCHEMA": "reports/walk_forward/<run_id>/finds.parquet",
    "evaluation.promotion.PROMOTION_SCHEMA": "reports/promotions/<run_id>/promotions.parquet",
    "evaluation.promotion.GATE_SCHEMA": "reports/promotions/<run_id>/gates.parquet",
    "evaluation.backtest_metrics.METRIC_SCHEMA": "reports/backtest/<run_id>/metrics.parquet",
    "strategies.signals.SIGNAL_SCHEMA": "lake/runs/<run_id>/signals/<SYMBOL>.signals.parquet",
    "strategies.signals.MARKET_SCHEMA": "lake/runs/<run_id>/signals/<SYMBOL>.bars.parquet",
    "strategies.parity.TESTED_SCHEMA": "lake/runs/<run_id>/signals/<SYMBOL>.tested.parquet",
    "strategies.parity.CERTIFICATE_SCHEMA": "reports/backtest/<run_id>/parity.parquet",
}
"""Where each declared schema is written."""
NOT_WRITTEN = {"discovery.event_study.TRADE_SCHEMA"}


@pytest.fixture(autouse=True)
def documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that write the pages, as MkDocs finds them."""
    monkeypatch.syspath_prepend(DOCUMENTATION)


def test_every_declared_schema_is_known_here() -> None:
    declared = set()
    for path in sorted((REPOSITORY / "project" / "backtest").rglob("*.py")):
        module = path.relative_to(REPOSITORY / "project" / "backtest").with_suffix("").as_posix().replace("/", ".")
        for name in re.findall(
            r"^([A-Z_]*SCHEMAS?)\b.*pl\.DataType", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        ):
            declared.add(f"{module}.{name}")
    assert declared == set(SCHEMAS) | NOT_WRITTEN


def test_every_column_of_every_declared_schema_has_a_sentence() -> None:
    columns, reference = importlib.import_module("columns"), importlib.import_module("reference")
    texts = {table.place: table.columns for table in columns.tables(reference.loaded())}
    missing = []
    for schema, place in SCHEMAS.items():
        module, _, name = schema.rpartition(".")
        declared = getattr(importlib.import_module(f"backtest.{module}"), name)
        parts = declared.items() if name == "RAW_SCHEMAS" else [("", declared)]
        for part, own in parts:
            missing += [f"{schema} {part}: {column}" for column in own if not texts[place.format(part)].get(column)]
    assert missing == []


def test_every_definition_command_and_function_is_on_its_page() -> None:
    reference, commands = importlib.import_module("reference"), importlib.import_module("commands_page")
    spec = reference.loaded()
    pages = {place: write() for place, write in reference.pages().items()}
    for page, names in {
        "events": spec.events,
        "features": spec.features,
        "states": spec.states,
        "templates": [*spec.templates, *spec.filters],
        "strategies": spec.strategies,
    }.items():
        headings = set(re.findall(r"^#+ (\w+)$", pages[f"reference/{page}.md"], flags=re.MULTILINE))
        assert set(names) <= headings
    for path, command in commands.every_command():
        assert f"## {' '.join(path)}\n" in pages["reference/commands.md"]
        assert " ".join(path) in commands.example(command), f"{' '.join(path)} has no example in its help"
    from backtest.expressions.registry import FUNCTIONS

    for name in (*(one.signature for one in FUNCTIONS.values()), *spec.columns):
        assert any(f"`{name}`" in page for page in pages.values()), name


def test_a_missing_sentence_and_an_unknown_table_are_told(tmp_path: Path) -> None:
    import polars as pl

    columns, reference = importlib.import_module("columns"), importlib.import_module("reference")
    for place in ("events/mine/events.parquet", "events/mine/others.parquet"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"event_id": ["a"], "mood": ["glad"]}).write_parquet(tmp_path / place)
    assert columns.undescribed(reference.loaded(), tmp_path) == [
        "events/<run_id>/events.parquet: mood",
        "events/mine/others.parquet is no table of the reference",
    ]


def test_a_formula_becomes_mathml_and_a_broken_one_names_its_page() -> None:
    hooks = importlib.import_module("hooks")
    page = type("Page", (), {"file": type("File", (), {"src_uri": "concepts.md"})})
    shown = hooks.on_page_content('a <span class="arithmatex">\\(x_1 &lt; 2\\)</span> b', page)
    assert shown.startswith("a <math")
    assert "&lt;" in shown or "&#x0003C;" in shown
    with pytest.raises(SystemExit, match=r"docs/concepts\.md: the formula .*left"):
        hooks.on_page_content('<div class="arithmatex">\\[\\left( x\\]</div>', page)
