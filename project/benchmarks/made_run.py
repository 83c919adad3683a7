"""A made-up run with everything that a report shows, in memory: for the benchmark and the browser tests of the report."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from backtest.pipeline.candidate_studies import SymbolBars
    from backtest.reports.html.results import RunResults
    from backtest.spec.compiled import Spec

SPEC_ROOT = Path(__file__).resolve().parents[2] / "spec"
START = dt.date(2023, 1, 1)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
BARS_A_DAY = 288


def made_results(
    *,
    n_hypotheses: int = 400,
    n_passed: int = 4,
    days: int = 120,
    events_a_day: float = 1.5,
    n_trades: int = 120,
    run_id: str = "made_up",
    hostile: str = "",
) -> RunResults:
    """Results of a run that never was.

    Parameters
    ----------
    hostile : text that is put wherever text of a run can end up on a page: names, reasons, warnings, data.
    """
    from backtest.discovery.folds import Folds
    from backtest.pipeline.candidate_studies import studies_of
    from backtest.reports.html.pages.selection import with_pages
    from backtest.reports.html.results import Missing, MonitorStatus, RunResults
    from backtest.spec.loader import load_spec
    from backtest.spec.texts import definition_text

    spec = load_spec(SPEC_ROOT)
    rng = np.random.default_rng(11)
    cut = START + dt.timedelta(days=int(days * 0.7))
    folds = Folds(START, cut, cut + dt.timedelta(days=1), START + dt.timedelta(days=days))
    symbols = {symbol: _bars(symbol, folds, days, spec, rng) for symbol in SYMBOLS}
    events = _events(symbols, spec, days, events_a_day, rng)
    candidates = _candidates(spec, n_hypotheses, n_passed, rng)
    studies = studies_of(symbols, spec, with_pages(candidates), events, folds)
    if hostile:
        candidates, events, studies = _with_hostile(candidates, events, studies, hostile)
    robustness = _robustness(candidates, hostile)
    return RunResults(
        run_id=run_id,
        manifest={
            "symbols": [*SYMBOLS, *([hostile] if hostile else [])],
            "started_at": "2025-01-01T00:00:00.000Z",
            "ontology_spec_hash": spec.ontology_hash,
            "git_commit": "0123456789abcdef",
            "command": f"backtest discover-edges {hostile}".strip(),
            "parameters": {},
        },
        spec=spec,
        spec_is_unchanged=True,
        folds=folds,
        search={
            "hypotheses_ever_tested_on_this_window": n_hypotheses,
            "searches_on_this_window": 1,
            "confirmation_openings": 1,
        },
        candidates=candidates,
        event_quality=_event_quality(spec, events, days),
        events=events,
        studies=studies,
        studies_missing=None,
        blueprints={name: {"blueprint_id": name, "note": hostile} for name in list(studies)[:n_passed]},
        definitions={
            **{name: definition_text(SPEC_ROOT, "events", name) for name in spec.events},
            **{name: definition_text(SPEC_ROOT, "templates", name) for name in spec.templates},
            **{name: definition_text(SPEC_ROOT, "states", name) for name in spec.states},
        },
        data=_data(days, hostile, rng),
        monitors=[
            MonitorStatus(
                "Kill switch, BTCUSDT",
                "WARN",
                "2025-01-01T00:05:00+00:00",
                [("staleness", "WARN", hostile or "old")],
                "…",
            ),
            Missing("No drift has been measured on this run.", "backtest monitor-feature-drift"),
        ],
        calibration=Missing("Nothing has been calibrated here.", "make calibrate QUICK=1"),
        robustness=robustness[0],
        robustness_checks=robustness[1],
        promotion=_promotion(candidates, hostile),
        placebo=_placebo(candidates, rng),
        backtest=_backtest(days, n_trades, hostile, rng),
        warnings=[hostile or "one event type is unavailable"],
        stages=[("candidates", "finished", 4.5)],
    )


def _bars(symbol: str, folds: Any, days: int, spec: Spec, rng: np.random.Generator) -> SymbolBars:
    """A random walk with one gap."""
    from backtest.discovery.forward_returns import Bars
    from backtest.discovery.scoring import SymbolMarket, _fold_of, _mean_bar_return
    from backtest.discovery.second_legs import spot_leg
    from backtest.pipeline.candidate_studies import SymbolBars

    n = days * BARS_A_DAY
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n)))
    opens = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opens, close) * (1 + 3e-4), np.minimum(opens, close) * (1 - 3e-4)
    tradable = np.ones(n, dtype=bool)
    tradable[1000:1012] = False
    for prices in (opens, high, low, close):
        prices[~tradable] = np.nan
    first = int(np.datetime64(START, "D").astype(np.int64))
    day = first + np.arange(n) // BARS_A_DAY
    fold = _fold_of(day, folds)
    stamps = pl.datetime_range(
        dt.datetime.combine(START, dt.time(), dt.UTC),
        dt.datetime.combine(START, dt.time(), dt.UTC) + dt.timedelta(minutes=5 * (n - 1)),
        "5m",
        time_unit="ms",
        eager=True,
    ).alias("timestamp")
    states = {name: rng.random(n) < 0.4 for state in spec.states.values() for name in state.values}
    volatility, turnover = np.full(n, 1e-3), np.full(n, 2e6)
    bars = Bars(opens, high, low, close, tradable, np.where(np.arange(n) % 96 == 0, 1e-4, 0.0))
    basis = 1 + 5e-4 * np.sin(np.arange(n) / 50)
    spot = pl.DataFrame({"spot_open": opens * basis, "spot_close": close * basis}).with_columns(
        pl.selectors.all().fill_nan(None), pl.lit(100.0).alias("spot_volume")
    )
    market = SymbolMarket(
        symbol=symbol,
        timestamp=stamps,
        day=day,
        fold=fold,
        mean_bar_return=_mean_bar_return(opens, fold),
        bars=bars,
        volatility=volatility,
        average_true_range=np.full(n, 0.2),
        event_move=np.full(n, 0.5),
        fallback_direction=np.ones(n),
        turnover_usd=turnover,
        spot_gap=basis - 1,
        filters={verb: (holds, ~holds) for verb in spec.filters for holds in [rng.random(n) < 0.5]},
        second_legs={
            "spot": spot_leg(symbol, bars, volatility, spot, turnover, lambda prices: _mean_bar_return(prices, fold))
        },
        states=states,
        tainted_before=np.zeros(n + 1, dtype=np.int64),
    )
    return SymbolBars(market, {"open": opens, "high": high, "low": low, "close": close})


def _events(symbols: Any, spec: Spec, days: int, a_day: float, rng: np.random.Generator) -> pl.DataFrame:
    frames = []
    for symbol, one in symbols.items():
        for name in list(spec.events)[: len(spec.events) - 1]:
            at = np.sort(rng.choice(days * BARS_A_DAY - 600, int(days * a_day), replace=False)) + 60
            frames.append(
                pl.DataFrame(
                    {
                        "timestamp": one.market.timestamp.gather(at),
                        "direction": rng.choice([-1, 1], len(at)).astype(np.int8),
                    }
                ).with_columns(
                    pl.lit(name).alias("event_type"),
                    pl.lit(symbol).alias("symbol"),
                    pl.lit(value=False).alias("tainted"),
                    *(
                        pl.Series(state, rng.choice(list(model.model.values), len(at)))
                        for state, model in spec.states.items()
                    ),
                )
            )
    return pl.concat(frames)


def _candidates(spec: Spec, n: int, n_passed: int, rng: np.random.Generator) -> pl.DataFrame:
    from backtest.discovery.candidates import CANDIDATE_SCHEMA
    from backtest.discovery.gates import GATES
    from backtest.discovery.hypotheses import register

    hypotheses = register(spec, dict.fromkeys(spec.events, SYMBOLS))
    hypotheses = (
        pl.concat([hypotheses] * -(-n // len(hypotheses)))[:n]
        if n > len(hypotheses)
        else hypotheses.gather_every(max(len(hypotheses) // n, 1))[:n]
    )
    hypotheses = hypotheses.with_columns(
        pl.coalesce("with_verb", "against_verb").alias("template_verb"),
        pl.when(pl.col("with_verb").is_not_null()).then("against_verb").alias("mirror_verb"),
        pl.when(pl.col("with_verb").is_not_null()).then(1).otherwise(-1).alias("direction"),
    )
    size = len(hypotheses)
    rank = np.arange(size)
    # Those that pass are spread over the register, so that their trades are not all the same.
    passed = np.isin(rank, np.linspace(0, size - 1, n_passed).astype(int)) if n_passed else np.zeros(size, dtype=bool)
    eligible = passed | (rng.random(size) < 0.6)
    mean = np.where(passed, 20e-4, rng.normal(0, 4e-4, size))
    p = np.where(passed, 1e-6, rng.random(size))
    figures: dict[str, Any] = {name: rng.random(size) for name, dtype in CANDIDATE_SCHEMA.items() if dtype.is_float()}
    figures |= {name: rng.integers(60, 400, size) for name, dtype in CANDIDATE_SCHEMA.items() if dtype == pl.Int64()}
    figures |= {
        "expectancy": mean * 1.1,
        "posterior_mean": mean,
        "posterior_low": mean - 5e-4,
        "posterior_high": mean + 5e-4,
    }
    figures |= {
        "expectancy_standard_error": np.full(size, 3e-4),
        "cost": np.full(size, 8e-4),
        "after_cost_expectancy": mean - 8e-4,
    }
    figures |= {
        "break_even_cost": mean,
        "p_value": np.where(eligible, p, np.nan),
        "q_value": np.where(eligible, p, np.nan),
    }
    figures |= {
        "confirmation_expectancy": np.where(p < 0.2, mean * 0.8, np.nan),
        "capacity_usd": rng.random(size) * 1e6,
    }
    figures |= {"cluster_days": np.where(rank % 7 == 0, 5, 1)}
    figures |= {"spans_same_sign": np.full(size, 3), "confirmation_openings": np.ones(size, dtype=np.int64)}
    figures |= {gate: passed | (rng.random(size) < 0.3) for gate in GATES} | {"gate_eligible": eligible}
    figures |= {
        "gate_confirmed": passed,
        "gate_tree_bh": passed,
        "gate_tier_a": passed,
        "is_confirmation_candidate": p < 0.2,
    }
    figures |= {"gate_phase2_final": passed}
    frame = hypotheses.with_columns(
        *(pl.Series(name, values) for name, values in figures.items()),
        pl.lit("2023+").alias("signs_by_year"),
        pl.lit("BTCUSDT+ ETHUSDT-").alias("signs_by_symbol"),
        pl.Series("fail_reasons", np.where(passed, "", np.where(eligible, "confirmed", "insufficient_data"))),
        pl.concat_str("event_type", "template_verb", "horizon", "state_id", "symbol", "policy", separator=".").alias(
            "candidate_id"
        ),
    ).with_columns(pl.format("{}.{}", pl.col("candidate_id"), pl.int_range(pl.len())).alias("candidate_id"))
    # Columns that the made-up run has nothing for are unknown, as in a run where they could not be computed.
    frame = frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in CANDIDATE_SCHEMA.items() if name not in frame.columns
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in CANDIDATE_SCHEMA.items()).with_columns(
        pl.col(pl.Float64).fill_nan(None)
    )


def _robustness(candidates: pl.DataFrame, hostile: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every second of those that passed is robust; the first check of the others failed."""
    from backtest.evaluation.robustness import CHECKS, DETAIL_SCHEMA, VERDICT_SCHEMA

    passed = candidates.filter("gate_phase2_final").with_row_index("_row")
    is_robust = pl.col("_row") % 2 == 0
    verdicts = passed.with_columns(
        pl.when(is_robust).then(pl.lit("robust")).otherwise(pl.lit("fragile")).alias("verdict"),
        pl.when(is_robust).then(pl.lit("")).otherwise(pl.lit(hostile or CHECKS[0])).alias("failed_checks"),
        pl.lit("").alias("not_judged"),
        pl.lit("").alias("reason"),
        pl.lit(5e-4).alias("bootstrap_low"),
        pl.lit(15e-4).alias("bootstrap_high"),
        *(pl.lit(value=True).alias(f"check_{name}") for name in CHECKS),
    )
    details = [
        {
            "candidate_id": name,
            "check": check,
            "variation": hostile or f"variation {number}",
            "n_events": 120,
            "mean": 1e-3,
            "value": 0.8 - 0.1 * number,
            "limit": 0.3,
            "passed": True,
            "note": None,
        }
        for name in passed["candidate_id"]
        for check in CHECKS
        for number in range(3)
    ]
    return verdicts.select(pl.col(name).cast(kind) for name, kind in VERDICT_SCHEMA.items()), pl.DataFrame(
        details, schema=DETAIL_SCHEMA
    )


def _promotion(candidates: pl.DataFrame, hostile: str) -> Any:
    from backtest.evaluation.promotion import GATE_SCHEMA, PROMOTION_SCHEMA
    from backtest.evaluation.walk_forward import FOLD_SCHEMA
    from backtest.reports.html.results import PromotionResults

    passed = candidates.filter("gate_phase2_final").with_row_index("_row")
    is_promoted = pl.col("_row") % 2 == 0
    names = ("eligible", "deflated_sharpe", "robustness", "walk_forward_net", "backtest")
    promotions = passed.with_columns(
        pl.lit(12e-4).alias("test_net"),
        is_promoted.alias("is_promoted"),
        pl.when(is_promoted).then(pl.lit("")).otherwise(pl.lit("deflated_sharpe")).alias("failed_gates"),
        pl.when(is_promoted).then(pl.lit("")).otherwise(pl.lit(hostile or "missed by 0.2")).alias("reason"),
    )
    gates = [
        {
            "candidate_id": name,
            "gate": gate,
            "passed": None if gate == "backtest" else promoted or gate != "deflated_sharpe",
            "value": 0.1,
            "limit": 0.0,
            "reason": hostile or f"{gate} of the promotion profile passed with a margin of 0.1",
        }
        for name, promoted in promotions.select("candidate_id", "is_promoted").iter_rows()
        for gate in names
    ]
    days = {"train_start": START, "train_end": START, "test_start": START, "test_end": START}
    counts = {"fold": 1, "n_tested": 900, "n_found": 4, "n_book": 2, "n_trades": 150, "n_days": 30}
    folds = pl.DataFrame(
        [{**days, **counts, "expected_net": 14e-4, "net": 11e-4, "net_standard_error": 4e-4}], schema=FOLD_SCHEMA
    )
    overfitting = {"probability": 0.1, "n_trials": 900, "n_halvings": 924}
    return PromotionResults(
        promotions.select(pl.col(name).cast(kind) for name, kind in PROMOTION_SCHEMA.items()),
        pl.DataFrame(gates, schema=GATE_SCHEMA),
        folds,
        {"search": overfitting, "passed": {**overfitting, "probability": None}},
    )


def _placebo(candidates: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    from backtest.discovery.placebo import PLACEBO_SCHEMA

    passed = candidates.filter("is_confirmation_candidate")
    size = len(passed)
    return passed.with_columns(
        pl.lit(900).alias("placebo_n_events"),
        pl.Series("placebo_mean", rng.normal(0, 1e-4, size)),
        pl.lit(-3e-4).alias("placebo_low"),
        pl.lit(3e-4).alias("placebo_high"),
        pl.lit(15e-4).alias("placebo_difference"),
        pl.lit(3e-4).alias("placebo_difference_standard_error"),
        pl.Series("placebo_p", rng.random(size)),
    ).select(pl.col(name).cast(kind) for name, kind in PLACEBO_SCHEMA.items())


def _backtest(days: int, n_trades: int, hostile: str, rng: np.random.Generator) -> Any:
    from backtest.reports.html.results import BacktestResults

    names = [hostile or "first_v1", "second_v1"]
    dates = [START + dt.timedelta(days=index) for index in range(days)]
    begin = dt.datetime.combine(START, dt.time(), dt.UTC)
    stamps = [begin + dt.timedelta(days=index) for index in range(days)]
    numbers = (
        *("n_days", "n_trades", "total_return", "sharpe_ratio", "sharpe_standard_error", "max_drawdown", "hit_rate"),
        *("max_drawdown_days", "mean_exposure", "turnover_per_year", "expectancy", "expectancy_low", "expectancy_high"),
        *("net_usd", "n_ambiguous"),
    )
    metrics = [
        {"scope": scope, "name": name, "span": span, "bound": bound, **{one: 0.4 + rng.random() for one in numbers}}
        for scope, name in (("portfolio", ""), *(("strategy", name) for name in names))
        for span in ("whole", "in_sample", "confirmation")
        for bound in ("worst", "best")
    ]
    parts = ("fees", "spread", "impact", "funding", "liquidation_fee")
    costs = {f"{name}_bps": 2.0 for name in parts} | {"gross_bps": 20.0, "net_bps": 10.0}
    entry = np.sort(rng.integers(0, days * BARS_A_DAY, n_trades))
    trades = pl.DataFrame(
        {
            "event_id": [f"{number}" for number in range(n_trades)],
            "leg": rng.integers(0, 2, n_trades),
            "strategy": rng.choice(names, n_trades),
            "instrument": rng.choice(list(SYMBOLS), n_trades),
            "side": rng.choice([-1, 1], n_trades),
            "entry_time": [begin + dt.timedelta(minutes=5 * int(bar)) for bar in entry],
            "reason": rng.choice([hostile or "horizon", "stop"], n_trades),
            "notional": np.full(n_trades, 10_000.0),
            **{name: np.full(n_trades, 2.0) for name in ("fees", "slippage", "funding")},
            "gross": rng.normal(10, 40, n_trades),
            "mfe": rng.random(n_trades) * 1e-2,
            "mae": rng.random(n_trades) * 1e-2,
            "bars_held": rng.integers(1, 48, n_trades),
            "span": rng.choice(["in_sample", "confirmation"], n_trades),
        }
    ).with_columns((pl.col("gross") - 6.0).alias("net"))
    equity = 1e5 * np.cumprod(1 + rng.normal(1e-3, 1e-2, days))
    return BacktestResults(
        metrics=pl.DataFrame(metrics),
        equity=pl.DataFrame(
            {
                "timestamp": stamps,
                "equity": equity,
                "equity_best": equity * 1.01,
                "drawdown": equity / np.maximum.accumulate(equity) - 1,
                "gross_exposure": equity * 0.4,
                "net_exposure": equity * 0.1,
            }
        ),
        strategy_returns=pl.DataFrame(
            {
                "day": dates * 2,
                "strategy": [names[0]] * days + [names[1]] * days,
                "net_usd": rng.normal(5, 50, 2 * days),
            }
        ),
        monthly=pl.DataFrame({"month": ["2023-01", "2023-02"], "return": [0.02, -0.01]}),
        costs=pl.DataFrame([{"scope": "portfolio", "name": "", **costs}]),
        capacity=pl.DataFrame(
            [
                {"starting_equity_usd": 1e5, "total_return": 0.1, "sharpe_ratio": 1.0, "net_bps": 9.0}
                | {"notional_over_equity": 4.0, "n_trades": n_trades}
            ]
        ),
        correlation=pl.DataFrame({"first": [names[0]], "second": [names[1]], "correlation": [0.3], "n_days": [days]}),
        trades=trades,
        summary={
            "strategies": names,
            "warnings": [hostile or "IN-SAMPLE"],
            "n_trades": n_trades,
            "folds": {
                "confirmation_start": str(START + dt.timedelta(days=int(days * 0.7))),
                "confirmation_end": str(START + dt.timedelta(days=days - 5)),
            },
            "skipped": [{"stage": "account", "reason": hostile or "cap", "n": 3}],
            "n_parity": 2,
            "n_parity_equal": 2,
        },
    )


def _event_quality(spec: Spec, events: pl.DataFrame, days: int) -> pl.DataFrame:
    counts = dict(events.group_by("event_type").len().iter_rows())
    n_bars = days * BARS_A_DAY * len(SYMBOLS)
    return pl.DataFrame(
        [
            {
                "event_type": name,
                "symbols": ",".join(SYMBOLS),
                "needs": "",
                "n_bars": n_bars,
                "n_events": counts.get(name, 0),
                "n_joinable": counts.get(name, 0),
                "n_joined": counts.get(name, 0),
                "n_clustered": 0,
                "per_10000_bars": counts.get(name, 0) * 1e4 / n_bars,
                "join_rate": 1.0,
                "clustered_share": 0.01,
                "verdict": "tested" if counts.get(name, 0) else "no occurrence",
                "is_tested": bool(counts.get(name, 0)),
            }
            for name in sorted({*spec.events, *counts})
        ]
    )


def _data(days: int, hostile: str, rng: np.random.Generator) -> Any:
    from backtest.reports.html.results import DataQuality

    dates = [START + dt.timedelta(days=index) for index in range(days)]
    sound = np.where(rng.random(days) < 0.95, BARS_A_DAY, rng.integers(0, BARS_A_DAY, days))
    coverage = [
        pl.DataFrame({"symbol": [symbol] * days, "day": dates, "bars": sound, "sound_bars": sound})
        for symbol in SYMBOLS
    ]
    month = {"expected_bars": 8928, "bars": 8920, "gap_bars": 8, "longest_gap_bars": 8, "duplicates": 0, "off_grid": 0}
    month |= {"inconsistent": 0, "out_of_range": 0, "zero_volume": 3}
    months = pl.DataFrame([{"symbol": symbol, "market": "perp", "month": "2023-01", **month} for symbol in SYMBOLS])
    checks = pl.DataFrame(
        {
            "symbol": ["BTCUSDT"],
            "measure": [hostile or "spot"],
            "start": [dt.datetime(2023, 1, 5, tzinfo=dt.UTC)],
            "end": [dt.datetime(2023, 1, 5, 1, tzinfo=dt.UTC)],
            "bars": [12],
            "largest_bps": [220.0],
            "bound": ["100 bps"],
        }
    )
    return DataQuality(months, checks, pl.concat(coverage), [hostile or "a known defect"])


def _with_hostile(candidates: pl.DataFrame, events: pl.DataFrame, studies: Any, hostile: str) -> Any:
    """The first event and every reason renamed to the hostile text, ids along with them."""
    first = candidates.filter("gate_phase2_final")["event_type"][0]
    renamed = candidates.with_columns(
        pl.col("event_type").replace(first, hostile),
        pl.col("candidate_id").str.replace(first, hostile, literal=True),
        pl.lit(hostile).alias("signs_by_year"),
        pl.when(pl.col("fail_reasons") != "").then(pl.lit(hostile)).otherwise(pl.lit("")).alias("fail_reasons"),
    )
    ids = dict(zip(candidates["candidate_id"], renamed["candidate_id"], strict=True))
    return (
        renamed,
        events.with_columns(pl.col("event_type").replace(first, hostile)),
        {ids[one]: study for one, study in studies.items()},
    )
