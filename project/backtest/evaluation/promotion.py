"""Which candidates are promoted: each gate with its verdict, its figure and a sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from backtest.discovery.gates import GATES, REPORT_GATES, held_to, margin_of
from backtest.evaluation.robustness import ROBUST

if TYPE_CHECKING:
    from backtest.monitoring.oos_window import WindowVerdict
    from backtest.spec.evaluation import Promotion
    from backtest.spec.models import GateProfile

GATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "gate": pl.String(),
    "passed": pl.Boolean(),
    "value": pl.Float64(),
    "limit": pl.Float64(),
    "reason": pl.String(),
}
"""One row a candidate and gate, in the order in which they are asked; ``passed`` is null where there was nothing to ask.
``value`` is held against ``limit``; of a gate of the profile it is the margin, held against 0."""

PROMOTION_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "event_type": pl.String(),
    "template_verb": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "symbol": pl.String(),
    "direction": pl.Int8(),
    "after_cost_expectancy": pl.Float64(),
    "test_net": pl.Float64(),
    "is_promoted": pl.Boolean(),
    "failed_gates": pl.String(),
    "reason": pl.String(),
}
"""One row a candidate that passed every gate of the discovery. ``test_net`` is its net mean in the test windows of the
walk-forward (fraction per trade), ``reason`` why it was not promoted: the first failed gate's."""

NOT_COMPUTED: Final = "its figure was not computed"


@dataclass(frozen=True)
class Promoted:
    """`PROMOTION_SCHEMA` and, behind it, `GATE_SCHEMA`."""

    promotions: pl.DataFrame
    gates: pl.DataFrame


def promoted(
    candidates: pl.DataFrame,
    profiles: Mapping[str, GateProfile],
    placebo: pl.DataFrame | None,
    verdicts: pl.DataFrame,
    walked: pl.DataFrame,
    n_folds: int,
    overfitting: float | None,
    windows: Sequence[WindowVerdict],
    traded: pl.DataFrame | None,
    traded_window: WindowVerdict | None,
    settings: Promotion,
) -> Promoted:
    """Hold every candidate of a discovery to the promotion.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, all of a search; those that passed every gate of it are asked.
    profiles : the promotion profile of each event type.
    placebo : the same trades at placebo times (``candidate_id``, ``placebo_p``); without it that gate is not passed.
    verdicts : `robustness.VERDICT_SCHEMA`.
    walked : `walk_forward.RESULT_SCHEMA`.
    n_folds : training windows of the walk-forward.
    overfitting : probability that the search is overfitted; None where it could not be computed, which no candidate passes.
    windows : what the out-of-sample guard says of each test window with regard to the training window before it.
    traded : ``candidate_id``, ``net_usd``, ``n_trades`` and ``after_net_usd`` (null without trades after the search) of the
        candidates in the run's backtest; None where there is none.
    traded_window : what the guard says of the part of the backtest that lies after the search; None without such a part.
    settings : Promotion

    Returns
    -------
    Promoted
        A candidate is promoted where no gate failed that had something to ask.
    """
    asked = candidates.filter("gate_phase2_final").sort(
        "after_cost_expectancy", "candidate_id", descending=[True, False]
    )
    robust = {row["candidate_id"]: row for row in verdicts.iter_rows(named=True)}
    found = {row["candidate_id"]: row for row in walked.iter_rows(named=True)}
    money = {} if traded is None else {row["candidate_id"]: row for row in traded.iter_rows(named=True)}
    window = _windows(windows)
    rows: list[dict[str, Any]] = []
    for row in held_to(asked, profiles, placebo).iter_rows(named=True):
        name = row["candidate_id"]
        gates = [
            *_profile(row),
            _robustness(robust.get(name)),
            *_walk_forward(found.get(name), n_folds, settings),
            window,
            _overfitting(overfitting, settings),
            _backtest(money.get(name), traded is not None, traded_window),
        ]
        rows += [{"candidate_id": name, **gate} for gate in gates]
    gates_frame = pl.DataFrame(rows, schema=GATE_SCHEMA)
    failed = gates_frame.filter(~pl.col("passed")).group_by("candidate_id", maintain_order=True)
    summary = failed.agg(pl.col("gate").str.join(", ").alias("failed_gates"), pl.col("reason").first())
    net = walked.select("candidate_id", test_net="net")
    promotions = (
        asked.join(summary, on="candidate_id", how="left", maintain_order="left")
        .join(net, on="candidate_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("failed_gates").is_null().alias("is_promoted"), pl.col("failed_gates", "reason").fill_null("")
        )
        .select(pl.col(name).cast(kind) for name, kind in PROMOTION_SCHEMA.items())
    )
    return Promoted(promotions, gates_frame)


def _gate(gate: str, passed: bool | None, value: float | None, limit: float | None, reason: str) -> dict[str, Any]:
    return {"gate": gate, "passed": passed, "value": value, "limit": limit, "reason": reason}


def _profile(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The gates of the promotion profile; those that it does not ask for have no margin and are passed."""
    made = []
    for gate in (*GATES, *REPORT_GATES):
        margin, passed, name = row[margin_of(gate)], bool(row[gate]), gate.removeprefix("gate_")
        if margin is None:
            reason = f"{name}: not asked for by the profile" if passed else f"{name}: {NOT_COMPUTED}"
            made.append(_gate(name, None if passed else False, None, None, reason))
        else:
            said = "passed with a margin of" if passed else "missed by"
            made.append(_gate(name, passed, margin, 0.0, f"{name} of the promotion profile {said} {abs(margin):.3g}"))
    return made


def _robustness(row: Mapping[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return _gate("robustness", False, None, None, "its robustness was not looked at")
    passed = row["verdict"] == ROBUST
    why = row["reason"] or row["failed_checks"].replace("_", " ")
    return _gate("robustness", passed, None, None, f"it is {row['verdict']}" + (f": {why}" if why else ""))


def _walk_forward(row: Mapping[str, Any] | None, n_folds: int, settings: Promotion) -> list[dict[str, Any]]:
    n_found = row["n_found"] if row is not None else 0
    if n_folds == 0:
        reason = "the run's days are too few for a training window and the days after it"
        limit = settings.min_share_of_folds
        return [_gate(name, False, None, limit, reason) for name in ("walk_forward_found", "walk_forward_net")]
    share = n_found / n_folds
    found = _gate(
        "walk_forward_found",
        share >= settings.min_share_of_folds,
        share,
        settings.min_share_of_folds,
        f"found in {n_found} of {n_folds} training windows",
    )
    if row is None or row["n_trades"] < settings.min_test_trades:
        n = row["n_trades"] if row is not None else 0
        reason = f"{n} trades in the test windows after those; {settings.min_test_trades} are needed"
        return [found, _gate("walk_forward_net", False, float(n), float(settings.min_test_trades), reason)]
    p, net = row["net_p"], row["net"]
    passed = p is not None and net > 0.0 and p <= settings.max_test_p
    told = f"p {p:.3g}" if p is not None else "p not computed"
    reason = f"earned {net * 1e4:.1f} bps net a trade in {row['n_trades']:,} trades of the test windows ({told})"
    return [found, _gate("walk_forward_net", passed, p, settings.max_test_p, reason)]


def _windows(windows: Sequence[WindowVerdict]) -> dict[str, Any]:
    obstacles = [obstacle for verdict in windows for obstacle in verdict.obstacles]
    if not windows:
        return _gate("out_of_sample_windows", False, None, None, "there is no test window")
    reason = (
        "; ".join(obstacles) if obstacles else f"all {len(windows)} test windows are free of their training windows"
    )
    return _gate("out_of_sample_windows", not obstacles, None, None, reason)


def _overfitting(probability: float | None, settings: Promotion) -> dict[str, Any]:
    limit = settings.max_search_overfitting
    if probability is None:
        return _gate(
            "search_overfitting", False, None, limit, "the probability of overfitting of the search was not computed"
        )
    reason = f"the search is overfitted with probability {probability:.2f}"
    return _gate("search_overfitting", probability <= limit, probability, limit, reason)


def _backtest(row: Mapping[str, Any] | None, has_backtest: bool, window: WindowVerdict | None) -> dict[str, Any]:
    """A loss in the backtest fails; a gain on the days of the search is no evidence, so it only is no obstacle."""
    if row is None:
        reason = "it was not among the strategies of the backtest" if has_backtest else "the run has no backtest"
        return _gate("backtest", None, None, None, reason)
    net, after = row["net_usd"], row["after_net_usd"]
    told = f"{net:+,.0f} USD net in {row['n_trades']:,} trades of the backtest"
    if after is None or window is None:
        return _gate("backtest", net > 0.0, net, 0.0, f"{told}, all on days of the search")
    if not window.is_free:
        reason = f"{told}, {after:+,.0f} USD of it after the search, which is no evidence: {window.obstacles[0]}"
        return _gate("backtest", net > 0.0 and after > 0.0, net, 0.0, reason)
    return _gate("backtest", net > 0.0 and after > 0.0, after, 0.0, f"{told}, {after:+,.0f} USD of it after the search")
