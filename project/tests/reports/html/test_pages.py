"""What the pages say, from made-up candidates: funnel, verdict, table, rule, and texts that are no markup."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.evaluation.robustness import VERDICT_SCHEMA
from backtest.reports.html import formats
from backtest.reports.html.colours import event_classes
from backtest.reports.html.pages.backtest import backtest_page
from backtest.reports.html.pages.candidate import candidate_page
from backtest.reports.html.pages.columns import ALPHABET, packed
from backtest.reports.html.pages.funnel import funnel
from backtest.reports.html.pages.overview import overview, run_funnel
from backtest.reports.html.pages.promotion import promotion_page
from backtest.reports.html.pages.rule import rule_in_words
from backtest.reports.html.pages.selection import MOST_MISSES, MOST_PASSED, file_name, with_pages
from backtest.reports.html.pages.table import table_data
from backtest.reports.html.pages.trades import trade_data
from backtest.reports.html.pages.verdict import of_candidates
from backtest.reports.html.results import BacktestResults, RunResults
from backtest.reports.html.scripts import as_script
from backtest.reports.html.svg import Scale, date_ticks, element, path_of, round_step
from backtest.reports.html.terms import TERMS, explanations, term
from backtest.spec.compiled import Spec
from backtest.spec.loader import load_spec

Made = Callable[..., pl.DataFrame]
HOSTILE = "</script><script>alert(1)</script>\"'&<b>"


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec(Path(__file__).resolve().parents[4] / "spec")


def test_attributes_and_texts_are_escaped_and_markup_is_not_escaped_twice() -> None:
    inner = element("text", HOSTILE)
    made = element("g", inner, data_tip=HOSTILE, class_="a", stroke_width=1)
    assert "<script" not in made
    assert made.startswith('<g data-tip="&lt;/script&gt;')
    assert 'class="a" stroke-width="1"' in made
    assert inner in made


def test_a_path_lifts_the_pen_at_nan() -> None:
    assert path_of([(0, 0), (1.25, 2), (float("nan"), 1), (3, 4), (5, -0.01)]) == "M0 0L1.2 2M3 4L5 0"


@pytest.mark.parametrize(
    ("rough", "step"), [(0.7, 1), (1.3, 2), (3, 5), (6, 10), (0.012, 0.02), (0, 1), (float("inf"), 1)]
)
def test_ticks_are_one_two_or_five(rough: float, step: float) -> None:
    assert round_step(rough) == pytest.approx(step)
    assert Scale(-9.7, 20.1, 0, 100).ticks() == [-5, 0, 5, 10, 15, 20] or len(Scale(-9.7, 20.1, 0, 100).ticks()) <= 7


def test_date_ticks_are_first_days_of_months_or_years() -> None:
    assert [text for _, text in date_ticks(dt.date(2023, 11, 5), dt.date(2024, 3, 2))] == ["Dec", "2024", "Feb", "Mar"]
    assert [text for _, text in date_ticks(dt.date(2019, 5, 1), dt.date(2024, 5, 1))] == [
        "2020",
        "2021",
        "2022",
        "2023",
        "2024",
    ]


def test_numbers_have_a_real_minus_and_no_sign_on_zero() -> None:
    assert formats.bps(-0.00123) == "\N{MINUS SIGN}12.3"
    assert formats.bps(-0.000001) == "0.0"
    assert formats.bps(0.00123, plus=True) == "+12.3"
    assert formats.bps(None) == formats.bps(float("nan")) == formats.NOTHING
    assert formats.small(2.2e-10) == "2.2e\N{MINUS SIGN}10"
    assert formats.usd(543_210) == "540,000"
    assert formats.count(-914.2) == "\N{MINUS SIGN}914"
    assert formats.days(dt.date(2024, 1, 1), dt.date(2025, 1, 1)) == "2024-01-01 to 2024-12-31"
    assert formats.coverage(99_999, 100_000) == "99.99\N{THIN SPACE}%", "a gap is never rounded away"
    assert formats.coverage(100_000, 100_000) == "100.00\N{THIN SPACE}%"
    assert [formats.probability(value) for value in (0.0, 1e-4, 0.5, 0.9999, 1.0)] == [
        "0.00",
        "< 0.01",
        "0.50",
        "> 0.99",
        "1.00",
    ]
    assert formats.correlation_error(400) == "±0.10"


def test_the_funnel_counts_each_loss_once_and_names_its_reason(made: Made, spec: Spec) -> None:
    rows = made(
        {},
        {"failed": ["eligible"], "n_events": 10},
        {"failed": ["eligible"], "n_days": 10},
        {"failed": ["eligible"], "n_events": 11},
        {"failed": ["economic", "significant"], "after_cost_expectancy": -1e-4},
        {"failed": ["significant"]},
        {"failed": ["confirmed", "stability"], "confirmation_expectancy": -1e-4},
        {"failed": ["stability"]},
    )
    steps = funnel(rows, spec.gates.profiles["discovery"])
    assert [step.left for step in steps] == [8, 5, 4, 3, 2, 1]
    assert [step.lost for step in steps] == [0, 3, 1, 1, 1, 1]
    assert steps[1].reasons.startswith("fewer than 50 trades (67")
    assert steps[2].reasons == "shrunk mean below cost"
    assert steps[4].reasons == "the other sign on the untouched days"
    later = funnel(
        rows,
        spec.gates.profiles["discovery"],
        [("Robust", "stability", {rows["candidate_id"][0]: "fails when shifted"})],
    )
    assert (later[-1].left, later[-1].reasons) == (0, "fails when shifted")
    assert {step.term for step in steps} <= TERMS.keys()


def test_the_funnel_ends_with_robust_and_promoted_or_says_that_they_were_not_judged(made_results: Any) -> None:
    results = made_results(n_hypotheses=60, n_passed=4, days=60, events_a_day=0.5)
    steps = run_funnel(results)
    assert [(step.name, step.left) for step in steps[-3:]] == [
        ("Stable: passed every gate", 4), ("Robust", 2), ("Promoted", 2)
    ]  # fmt: skip
    assert steps[-2].reasons == "fragile: sub periods"
    lost = dataclasses.replace(
        results,
        promotion=dataclasses.replace(
            results.promotion,
            promotions=results.promotion.promotions.with_columns(
                is_promoted=pl.lit(value=False), failed_gates=pl.lit("walk_forward_net, cusum")
            ),
        ),
    )
    assert (run_funnel(lost)[-1].left, run_funnel(lost)[-1].reasons) == (0, "walk forward net")
    page = overview(dataclasses.replace(results, robustness=None, promotion=None), {})
    assert "Not judged in this run." in page
    assert "backtest promote --run-id made_up" in page
    assert run_funnel(dataclasses.replace(results, robustness=None))[-1].name == "Stable: passed every gate"


def test_the_promotion_page_has_each_gate_with_its_reason_and_what_came_of_the_training_windows(
    made_results: Any,
) -> None:
    results = made_results(n_hypotheses=60, n_passed=4, days=60, events_a_day=0.5)
    page = promotion_page(results, set(), {})
    assert "2 of 4 candidates that passed every gate of the discovery are promoted." in page
    assert page.count('data-tip="failed: passed with a margin of 0.1"') == 2
    assert page.count('data-tip="not asked: ') == 4
    assert "3.2 … 18.8" in page, "11 bps with a standard error of 4"
    assert "too few to choose among" in page
    bare = promotion_page(dataclasses.replace(results, promotion=None), set(), {})
    assert "No candidate of this run has been held to the promotion." in bare
    row = results.candidates.filter("gate_phase2_final").row(0, named=True)
    own = candidate_page(results, row, {})
    assert ">deflated sharpe</th>" in own
    assert "variation 2 (worst of 3)" in own


def test_the_verdict_says_what_passed_or_that_nothing_did(made: Made) -> None:
    found = of_candidates(made({}, {"symbol": "BTCUSDT"}, {"failed": ["confirmed"]}))
    assert found.startswith("2 hypotheses of 3 passed every gate: 1 trade on 1 event type")
    assert "+" not in found
    assert "10.0 bps per trade after cost (90 % interval 5.0 … 15.0 bps)" in found
    nothing = of_candidates(made({"failed": ["confirmed"]}))
    assert nothing.startswith("No edge found: of 1 hypothesis, 1 had enough events, and none passed every gate.")
    assert nothing.endswith("it failed at confirmed.")
    assert of_candidates(made({"failed": ["eligible"]})).endswith("none passed every gate.")


def test_pages_are_made_for_what_passed_and_the_nearest_misses_best_first(made: Made) -> None:
    states = [f"state_{number}" for number in range(80)]
    rows = made(
        *({"state_id": state, "p_value": 1e-3} for state in states),
        {"event_type": "OTHER", "p_value": 0.5},
        *({"state_id": state, "failed": ["confirmed"], "horizon": "5m"} for state in states),
        {"failed": ["eligible"], "horizon": "15m"},
    )
    chosen = with_pages(rows)
    assert len(chosen) == MOST_PASSED + MOST_MISSES
    assert set(chosen["event_type"][:2]) == {"OTHER", "VOL_SHOCK"}
    assert chosen["gate_eligible"].all()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", HOSTILE, "", "x" * 400, "..", "a b", "é"])
def test_a_file_name_is_plain_and_tells_names_apart(name: str) -> None:
    made = file_name(name)
    assert made.replace("-", "").replace("_", "").isalnum()
    assert made.isascii()
    assert len(made) < 100
    assert made != file_name(name + "!")


def test_plain_names_are_their_own_file_names() -> None:
    assert file_name("VOL_SHOCK.mean_reversion.60m.all.POOLED") == "VOL_SHOCK.mean_reversion.60m.all.POOLED"


def test_the_table_holds_every_figure_that_the_page_shows(made: Made) -> None:
    rows = made({}, {"failed": ["confirmed"], "symbol": "BTCUSDT", "q_value": None, "direction": 1})
    data = table_data(rows, {rows["candidate_id"][0]})
    columns = {name: unpacked(column, 2) for name, column in data["columns"].items()}
    assert set(data["texts"]) <= columns.keys()
    assert columns["symbol"] == ["POOLED", "BTCUSDT"]
    assert columns["posterior_mean"] == [18.0, 18.0]
    assert columns["q_value"] == [0.001, None]
    every = (1 << len(data["gates"])) - 1
    assert [bits & every == every for bits in columns["gates"]] == [True, False]
    assert [bool(bits & 1 << len(data["gates"]) + 3) for bits in columns["gates"]] == [False, True]
    assert data["pages"] == {"0": rows["candidate_id"][0]}
    assert columns["placebo_p"] == [None, None]
    compared = pl.DataFrame({"candidate_id": rows["candidate_id"][1:], "placebo_mean": [3e-4], "placebo_p": [0.0123]})
    columns = table_data(rows, set(), compared)["columns"]
    assert unpacked(columns["placebo_mean"], 2) == [None, 3.0]
    assert unpacked(columns["placebo_p"], 2) == [None, 0.012]


@pytest.mark.parametrize("n_distinct", [1, 2, 90, 91, 8100, 8101])
def test_columns_are_read_back_as_they_were(n_distinct: int) -> None:
    values = [*range(n_distinct - 1), None, *reversed(range(n_distinct - 1))]
    column = packed(pl.Series(values, dtype=pl.Int64))
    assert unpacked(column, len(values)) == values
    assert len(column["s"]) == len(values) * (1 if n_distinct <= 90 else 2 if n_distinct <= 8100 else 3)
    assert not set(column["s"]) & set('<>&"\\')


def unpacked(column: dict[str, Any], n: int) -> list[Any]:
    """The slow way back."""
    digits = len(column["s"]) // n
    parts = [column["s"][row * digits : (row + 1) * digits] for row in range(n)]
    return [
        column["v"][sum(ALPHABET.index(digit) * 90**place for place, digit in enumerate(reversed(part)))]
        for part in parts
    ]


def test_a_data_script_cannot_be_ended_by_its_data() -> None:
    script = as_script("candidates", {"text": HOSTILE, "line": "\u2028"})
    assert not set("<>&\u2028") & set(script)
    value = script.removeprefix('(window.BACKTEST=window.BACKTEST||{})["candidates"]=').rstrip().removesuffix(";")
    assert json.loads(value) == {"text": HOSTILE, "line": "\u2028"}


def test_the_rule_in_words_says_side_entry_state_and_exit(made: Made, spec: Spec) -> None:
    row = made({"state_id": "vol_regime_high", "symbol": "BTCUSDT"}).row(0, named=True)
    text = rule_in_words(row, spec)
    assert text.startswith("VOL_SHOCK on BTCUSDT (volatility of the last hour crosses above")
    assert "while the market is in state vol regime high: trade against the event's direction, at the next open" in text
    assert text.endswith("leave after 60 min.")


@pytest.mark.parametrize(
    ("verdict", "failed", "reason", "shown"),
    [
        ("robust", "", None, "robust"),
        ("fragile", "sub_periods, costs", None, "fragile: sub_periods, costs"),
        ("not assessed", "", "fewer than 50 events", "not assessed: fewer than 50 events"),
    ],
)
def test_a_candidates_page_has_its_verdict_and_why(
    made_results: Callable[..., RunResults], verdict: str, failed: str, reason: str | None, shown: str
) -> None:
    results = made_results(n_hypotheses=40, n_passed=1, days=60, events_a_day=0.5)
    row = results.candidates.sort("gate_phase2_final").row(-1, named=True)
    bare = dataclasses.replace(results, robustness=None, robustness_checks=None)
    assert "has not been made" in candidate_page(bare, row, {row["event_type"]: "event-0"})
    columns = {"candidate_id": row["candidate_id"], "verdict": verdict, "failed_checks": failed, "reason": reason}
    verdicts = pl.DataFrame([columns], schema={name: VERDICT_SCHEMA[name] for name in columns})
    page = candidate_page(dataclasses.replace(results, robustness=verdicts), row, {row["event_type"]: "event-0"})
    assert f">{shown}<" in page
    assert "has not been made" not in page


def test_the_backtest_page_tells_what_was_earned_in_which_span(made_results: Callable[..., RunResults]) -> None:
    results = made_results(n_hypotheses=40, n_passed=1, days=60, events_a_day=0.5)
    assert "No strategy has been backtested" in backtest_page(dataclasses.replace(results, backtest=None))
    figures = dict.fromkeys(
        ("n_days", "max_drawdown_days", "n_ambiguous", "annual_return", "sharpe_standard_error", "turnover_per_year",
         "mean_exposure", "expectancy", "expectancy_low", "expectancy_high", "net_usd"), 1.0
    )  # fmt: skip
    row = {"scope": "portfolio", "name": "", "bound": "worst", "n_trades": 7, "max_drawdown": -0.25, "hit_rate": 0.5,
           "sharpe_ratio": 1.5, **figures}  # fmt: skip
    metrics = pl.DataFrame(
        [{**row, "span": "whole", "total_return": 0.21}, {**row, "span": "after", "total_return": -0.1}]
    )
    stamps = pl.datetime_range(
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 3, tzinfo=dt.UTC), "12h", eager=True
    )
    equity = pl.DataFrame({"timestamp": stamps}).with_columns(
        equity=pl.lit(1000.0), equity_best=pl.lit(1000.0), drawdown=pl.lit(0.0), gross_exposure=pl.lit(0.0),
        net_exposure=pl.lit(0.0),
    )  # fmt: skip
    nothing = pl.DataFrame(schema={"scope": pl.String, "strategy": pl.String, "net_usd": pl.Float64})
    found = BacktestResults(
        metrics=metrics, equity=equity, strategy_returns=nothing, costs=nothing, correlation=nothing,
        monthly=pl.DataFrame({"month": ["2024-01", "2024-02"], "return": [0.1, 0.1]}),
        capacity=pl.DataFrame(schema={"starting_equity_usd": pl.Float64}), trades=pl.DataFrame(),
        summary={"strategies": [{}], "warnings": [HOSTILE], "n_trades": 7},
    )  # fmt: skip
    page = backtest_page(dataclasses.replace(results, backtest=found))
    assert "7 trades of 1 strategy: 21.0" in page
    assert "Out of sample: \N{MINUS SIGN}10.0" in page
    assert re.search(r"<b>21\.0\s*%</b>", page), "the months compound: 1.1 x 1.1"
    assert "<script>alert" not in page


def test_trades_are_told_in_bps_of_their_size_and_minutes_since_the_first(made_results: Any) -> None:
    trades = made_results(n_hypotheses=40, n_passed=1, days=60, events_a_day=0.5).backtest.trades.head(2)
    entered = [dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 9, tzinfo=dt.UTC)]
    known = {"gross": [20.0, -3.0], "fees": [1.0, 2.0], "net": [18.0, -6.0], "side": [1, -1], "leg": [0, 1]}
    found = trade_data(
        trades.with_columns(
            pl.Series("entry_time", entered),
            pl.Series("strategy", ["made_up.VOL_SHOCK.fade", "by_hand"]),
            *(pl.Series(*one) for one in known.items()),
        ),
        "made_up",
    )
    assert found["start"] == entered[1].timestamp()
    columns = {name: unpacked(column, 2) for name, column in found["columns"].items()}
    assert columns["entry"] == [0, 60]
    assert columns["side"] == [9, 1], "ten is added to the side of a second leg"
    assert columns["gross"] == [-3.0, 20.0], "bps of 10,000 USD"
    assert columns["net_usd"] == [-6.0, 18.0]
    assert columns["strategy"] == ["by_hand", "VOL_SHOCK.fade"], "the run's own blueprints without its name"


def test_every_barrier_of_a_policy_is_told_from_the_trades_side(made: Made, spec: Spec) -> None:
    from backtest.discovery.hypotheses import event_trials

    trial = next(
        one for one in event_trials(spec, "VOL_SHOCK") if one.policy.lower_barrier_atr and one.horizon == "60m"
    )
    row = made({"policy": trial.policy.policy_id, "direction": -1}).row(0, named=True)
    favour = f"{trial.policy.lower_barrier_atr:g} average true ranges in its favour"
    assert favour in rule_in_words(row, spec)


def test_an_events_colour_depends_on_the_spec_alone() -> None:
    families = {"A": "X", "B": "X", "C": "Y"}
    assert event_classes(families) == event_classes(dict(reversed(families.items())))
    assert (
        event_classes(families)["A"].split()[0]
        == event_classes(families)["B"].split()[0]
        != event_classes(families)["C"].split()[0]
    )


def test_a_term_explains_itself_and_an_unknown_one_is_a_fault() -> None:
    assert term("q_value", "q") == '<button type="button" class="term" data-term="q_value">q</button>'
    assert explanations()["q_value"].startswith("The share of false discoveries")
    with pytest.raises(KeyError):
        term("no_such_term")


def test_a_backtest_without_a_single_trade_has_a_page(made_results: Any) -> None:
    trades = made_results(n_hypotheses=40, n_passed=1, days=60, events_a_day=0.5).backtest.trades.clear()
    found = trade_data(trades, "made_up")
    assert (found["n"], found["all"], found["start"]) == (0, 0, None)
