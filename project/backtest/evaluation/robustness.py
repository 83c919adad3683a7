"""Whether what makes a candidate attractive is left when something of it is taken away or changed a little."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.gates import GATES
from backtest.spec.models import POOLED

if TYPE_CHECKING:
    from backtest.discovery.folds import Folds
    from backtest.spec.evaluation import Robustness

Floats = NDArray[np.float64]

CHECKS: Final = (
    "sub_periods",
    "leave_one_symbol_out",
    "leave_one_month_out",
    "entry_delay",
    "horizon_neighbours",
    "parameter_neighbours",
    "costs",
    "bootstrap",
)
ROBUST, FRAGILE, NOT_ASSESSED = "robust", "fragile", "not assessed"

DETAIL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "check": pl.String(),
    "variation": pl.String(),
    "n_events": pl.Int64(),
    "mean": pl.Float64(),
    "value": pl.Float64(),
    "limit": pl.Float64(),
    "passed": pl.Boolean(),
    "note": pl.String(),
}
"""One row a candidate and variation. ``mean`` is the gross mean of the changed trade (fraction), ``value`` what is held
against ``limit``: the share of the candidate's own mean that is kept, and for `sub_periods` the share of spans with a gain,
for `costs` the shrunk mean less the multiple of its cost (fraction), for `bootstrap` the share of draws that earn less than
the trade costs. ``passed`` is null where a variation is shown and not judged, ``note`` says why."""

VERDICT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "candidate_id": pl.String(),
    "event_type": pl.String(),
    "template_verb": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "symbol": pl.String(),
    "direction": pl.Int8(),
    "gate_phase2_final": pl.Boolean(),
    "n_events": pl.Int64(),
    "n_days": pl.Int64(),
    "expectancy": pl.Float64(),
    "posterior_mean": pl.Float64(),
    "cost": pl.Float64(),
    "after_cost_expectancy": pl.Float64(),
    "p_value": pl.Float64(),
    "bootstrap_low": pl.Float64(),
    "bootstrap_high": pl.Float64(),
    **{f"check_{name}": pl.Boolean() for name in CHECKS},
    "verdict": pl.String(),
    "failed_checks": pl.String(),
    "not_judged": pl.String(),
    "reason": pl.String(),
}
"""One row a candidate. A ``check_…`` is null where nothing of it could be judged (named in ``not_judged``). The bootstrap
bounds are those of the 90 % interval of the net raw mean (fraction)."""


@dataclass(frozen=True)
class Assessed:
    """`VERDICT_SCHEMA` and, behind it, `DETAIL_SCHEMA`."""

    verdicts: pl.DataFrame
    details: pl.DataFrame


def questioned(candidates: pl.DataFrame, max_candidates: int) -> pl.DataFrame:
    """The candidates whose robustness is looked at, in the order of their claim to it.

    All that passed every gate; then up to `max_candidates` in all: those the confirmation fold was opened for, then the
    tested ones that failed the fewest gates. Among equals the higher expectancy after cost comes first.
    """
    n_failed = pl.sum_horizontal(~pl.col(gate) for gate in GATES)
    ranked = (
        candidates.filter("gate_eligible")
        .with_columns(n_failed.alias("_failed"))
        .sort(
            "gate_phase2_final", "is_confirmation_candidate", "_failed", "after_cost_expectancy", "candidate_id",
            descending=[True, True, False, True, False], nulls_last=True,
        )
        .drop("_failed")
    )  # fmt: skip
    return ranked.head(max(max_candidates, int(candidates["gate_phase2_final"].sum())))


def assessed(
    candidates: pl.DataFrame,
    scores: pl.DataFrame,
    varied: pl.DataFrame,
    folds: Folds,
    settings: Robustness,
    *,
    rng: np.random.Generator,
) -> Assessed:
    """Every check of every candidate, and the verdict on each.

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, of `questioned`.
    scores : `day_scores.SCORE_SCHEMA` with ``event_type`` and ``symbol``.
    varied : `variations.VARIED_SCHEMA`.
    folds : only days of the discovery fold are read, whatever the scores hold.
    settings : Robustness
    rng : draws the blocks of days.
    """
    days = _own_days(candidates, scores, folds)
    changed = _own_days(candidates, varied, folds, extra=("check", "variation"))
    base = candidates.select("candidate_id").join(
        days.group_by("candidate_id").agg(pl.col("n").sum(), *_ordered_sums("y", "cost", "funding")),
        on="candidate_id", how="left", maintain_order="left",
    ).with_columns((pl.col("y") / pl.col("n")).alias("mean"))  # fmt: skip
    boot = _bootstrap(candidates, days, folds, settings, rng)
    details = pl.concat(
        [
            _sub_periods(days, folds, settings),
            _left_out(days, base, "symbol", "leave_one_symbol_out", settings.leave_one_symbol_out.min_kept),
            _left_out(days, base, "month", "leave_one_month_out", settings.leave_one_month_out.min_kept),
            _changed(changed, base, settings),
            _costs(candidates, base, settings),
            boot.select(list(DETAIL_SCHEMA)),
        ]
    )
    order = pl.DataFrame({"candidate_id": candidates["candidate_id"]}).with_row_index("_row")
    checks = pl.DataFrame({"check": CHECKS}).with_row_index("_check")
    details = (
        details.join(order, on="candidate_id").join(checks, on="check").sort("_row", "_check", maintain_order=True)
    ).select(pl.col(name).cast(kind) for name, kind in DETAIL_SCHEMA.items())
    return Assessed(_verdicts(candidates, base, details, changed, boot, settings), details)


def _own_days(candidates: pl.DataFrame, scores: pl.DataFrame, folds: Folds, extra: Sequence[str] = ()) -> pl.DataFrame:
    """Each candidate's sums a day and symbol in the direction of its trade; a pooled one has the rows of all symbols."""
    key = ["event_type", "policy", "horizon", "state_id"]
    owners = candidates.select("candidate_id", *key, pl.col("symbol").alias("scope"), "direction")
    rows = scores.filter(pl.col("day") < folds.discovery_end_day).join(owners, on=key, how="inner")
    side = pl.col("direction").cast(pl.Float64)
    return rows.filter((pl.col("scope") == POOLED) | (pl.col("scope") == pl.col("symbol"))).select(
        "candidate_id",
        *extra,
        "symbol",
        pl.col("day").cast(pl.Int64),
        pl.from_epoch("day", time_unit="d").dt.strftime("%Y-%m").alias("month"),
        pl.col("n").cast(pl.Int64),
        (pl.col("sum_y") * side).alias("y"),
        pl.col("sum_cost").alias("cost"),
        (pl.col("sum_funding") * side).alias("funding"),
    )


def _ordered_sums(*names: str) -> list[pl.Expr]:
    """Sums whose last bits do not depend on the order of rows."""
    return [pl.col(name).sort().sum() for name in names]


def _sub_periods(days: pl.DataFrame, folds: Folds, settings: Robustness) -> pl.DataFrame:
    """The share of equal spans of the fold, among those with events, in which the trade gained."""
    count, first = settings.sub_periods.spans, folds.first_discovery_day
    length = max(folds.discovery_end_day - first, 1)
    spans = (
        days.with_columns(((pl.col("day") - first) * count // length).clip(0, count - 1).alias("span"))
        .group_by("candidate_id", "span")
        .agg(pl.col("n").sum(), *_ordered_sums("y"))
    )
    shares = spans.group_by("candidate_id").agg(pl.col("n").sum(), (pl.col("y") > 0).mean().alias("value"), pl.len())
    few = pl.col("len") < 2
    return _rows(
        shares.with_columns(
            pl.lit("sub_periods").alias("check"),
            pl.format("{} of {} spans with events", "len", pl.lit(count)).alias("variation"),
            pl.lit(None, dtype=pl.Float64).alias("mean"),
            pl.lit(settings.sub_periods.min_share_positive).alias("limit"),
            pl.when(few).then(pl.lit("events in one span only")).alias("note"),
        ),
        pl.col("value") >= pl.col("limit"),
    )


def _left_out(days: pl.DataFrame, base: pl.DataFrame, part: str, check: str, min_kept: float) -> pl.DataFrame:
    """What is kept without each symbol or month."""
    parts = days.group_by("candidate_id", part).agg(pl.col("n").sum(), *_ordered_sums("y"))
    rows = parts.join(base.select("candidate_id", "mean", n_all="n", y_all="y"), on="candidate_id").sort(
        "candidate_id", part
    )
    left = pl.col("n_all") - pl.col("n")
    mean = (pl.col("y_all") - pl.col("y")) / left
    alone = pl.len().over("candidate_id") == 1
    return _rows(
        rows.with_columns(
            pl.lit(check).alias("check"),
            pl.format("without {}", part).alias("variation"),
            left.alias("n"),
            pl.when(left > 0).then(mean).alias("mean"),
            pl.when(pl.col("mean") > 0, left > 0).then(mean / pl.col("mean")).alias("value"),
            pl.lit(min_kept).alias("limit"),
            pl.when(alone).then(pl.lit(f"one {part} only: nothing is left without it")).alias("note"),
        ),
        pl.col("value") >= pl.col("limit"),
    )


def _changed(changed: pl.DataFrame, base: pl.DataFrame, settings: Robustness) -> pl.DataFrame:
    """What is kept by later entries, other horizons and neighbouring events."""
    judged_delay = settings.entry_delay.judged_at_bars
    judged_label = f"{judged_delay} bar{'s' if judged_delay > 1 else ''} later"
    limits = {
        "entry_delay": settings.entry_delay.min_kept,
        "horizon_neighbours": settings.horizon_neighbours.min_kept,
        "parameter_neighbours": settings.parameter_neighbours.min_kept,
    }
    sums = changed.group_by("candidate_id", "check", "variation").agg(pl.col("n").sum(), *_ordered_sums("y"))
    rows = sums.filter(pl.col("check") != "unchanged").join(base.select("candidate_id", own="mean"), on="candidate_id")
    mean = pl.col("y") / pl.col("n")
    few = pl.col("n") < settings.min_events
    shown = (pl.col("check") == "entry_delay") & (pl.col("variation") != judged_label)
    return _rows(
        rows.with_columns(
            mean.alias("mean"),
            pl.when(pl.col("own") > 0).then(mean / pl.col("own")).alias("value"),
            pl.col("check").replace_strict(limits, return_dtype=pl.Float64).alias("limit"),
            pl.when(shown)
            .then(pl.lit("shown, not judged"))
            .when(few)
            .then(pl.lit(f"fewer than {settings.min_events} events"))
            .alias("note"),
        ).sort("candidate_id", "check", "variation"),
        pl.col("value") >= pl.col("limit"),
    )


def _costs(candidates: pl.DataFrame, base: pl.DataFrame, settings: Robustness) -> pl.DataFrame:
    """The shrunk mean less funding and multiples of what the trade costs besides it."""
    rows = base.join(candidates.select("candidate_id", "posterior_mean", own_cost="cost"), on="candidate_id")
    funding = pl.col("funding") / pl.col("n")
    frames = []
    for multiple in settings.costs.multiples:
        is_judged = multiple == settings.costs.judged_at
        frames.append(
            rows.with_columns(
                pl.lit("costs").alias("check"),
                pl.lit(f"{multiple:g} x costs").alias("variation"),
                (pl.col("posterior_mean") - funding - multiple * (pl.col("own_cost") - funding)).alias("value"),
                pl.lit(0.0).alias("limit"),
                pl.lit(None if is_judged else "shown, not judged", dtype=pl.String).alias("note"),
            )
        )
    return _rows(pl.concat(frames), pl.col("value") > pl.col("limit"))


def _bootstrap(
    candidates: pl.DataFrame, days: pl.DataFrame, folds: Folds, settings: Robustness, rng: np.random.Generator
) -> pl.DataFrame:
    """Share of draws in which the raw mean is at most the cost, with the 90 % interval of the net mean.

    The days of the fold are drawn in blocks with replacement, the same days for every candidate. In a draw without an
    event of a candidate there is no mean; such draws are left out.
    """
    ids = candidates["candidate_id"]
    first, count = folds.first_discovery_day, folds.discovery_end_day - folds.first_discovery_day
    column = {name: index for index, name in enumerate(ids)}
    place = days["candidate_id"].replace_strict(column, return_dtype=pl.Int64).to_numpy()
    at = (days["day"].to_numpy() - first).astype(np.int64), place.astype(np.int64)
    net, n = np.zeros((count, len(ids))), np.zeros((count, len(ids)))
    np.add.at(net, at, (days["y"] - days["cost"] - days["funding"]).to_numpy())
    np.add.at(n, at, days["n"].to_numpy().astype(np.float64))
    weights = day_block_weights(count, settings.bootstrap.block_days, settings.bootstrap.draws, rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (weights @ net) / (weights @ n)
    known = np.isfinite(drawn).sum(axis=0)
    drawn = np.where(np.isfinite(drawn), drawn, np.nan)
    few = known < settings.bootstrap.draws // 2
    share, low, high = np.full((3, len(ids)), np.nan)
    if not few.all():
        kept = drawn[:, ~few]
        share[~few] = np.nansum(kept <= 0.0, axis=0) / known[~few]
        low[~few], high[~few] = np.nanquantile(kept, [0.05, 0.95], axis=0)
    rows = pl.DataFrame({"candidate_id": ids, "n": n.sum(axis=0).astype(np.int64)}).with_columns(
        pl.lit("bootstrap").alias("check"),
        pl.lit(f"blocks of {settings.bootstrap.block_days} days").alias("variation"),
        pl.lit(None, dtype=pl.Float64).alias("mean"),
        pl.Series("value", share),
        pl.lit(settings.bootstrap.max_share_below_cost).alias("limit"),
        pl.when(pl.Series(few)).then(pl.lit("events in too few blocks of days")).alias("note"),
    )
    judged = _rows(rows, pl.col("value") <= pl.col("limit"))
    return judged.with_columns(pl.Series("low", low).fill_nan(None), pl.Series("high", high).fill_nan(None))


def day_block_weights(n_days: int, block_days: int, draws: int, rng: np.random.Generator) -> Floats:
    """(draws, n_days) how often each day occurs in draws of circular blocks of days, as many days as there are.

    References
    ----------
    Politis & Romano (1992), A circular block-resampling procedure for stationary data.
    """
    length = min(block_days, n_days)
    blocks, rest = divmod(n_days, length)
    starts = rng.integers(0, n_days, size=(draws, blocks + (rest > 0)))
    lengths = np.full(starts.shape[1], length)
    if rest:
        lengths[-1] = rest
    # A block adds one from its first day to its last: a running sum of its two ends, wrapped at the end of the fold.
    ends = np.zeros((draws, 2 * n_days + 1))
    rows = np.arange(draws)[:, None]
    np.add.at(ends, (rows, starts), 1.0)
    np.add.at(ends, (rows, starts + lengths[None, :]), -1.0)
    counts = np.cumsum(ends, axis=1)
    return np.asarray(counts[:, :n_days] + counts[:, n_days : 2 * n_days])


def _rows(frame: pl.DataFrame, passed: pl.Expr) -> pl.DataFrame:
    """`DETAIL_SCHEMA`: judged where there is no note; a value that could not be computed is not passed."""
    judged = pl.when(pl.col("note").is_null()).then(passed.fill_null(value=False))
    return frame.with_columns(judged.alias("passed"), pl.col("n").alias("n_events")).select(
        pl.col(name).cast(kind) for name, kind in DETAIL_SCHEMA.items()
    )


def _verdicts(
    candidates: pl.DataFrame,
    base: pl.DataFrame,
    details: pl.DataFrame,
    changed: pl.DataFrame,
    boot: pl.DataFrame,
    settings: Robustness,
) -> pl.DataFrame:
    passed = (
        details.group_by("candidate_id", "check")
        .agg(pl.col("passed").drop_nulls().all().alias("all"), pl.col("passed").is_not_null().any().alias("judged"))
        .with_columns(pl.when("judged").then("all").alias("passed"))
        .pivot("check", index="candidate_id", values="passed")
    )
    absent = [pl.lit(None, dtype=pl.Boolean).alias(name) for name in CHECKS if name not in passed.columns]
    checks = passed.with_columns(absent).select(
        "candidate_id", *(pl.col(name).alias(f"check_{name}") for name in CHECKS)
    )
    repeated = changed.filter(pl.col("check") == "unchanged").select("candidate_id").unique()
    frame = (
        candidates.select(name for name in VERDICT_SCHEMA if name in candidates.columns)
        .join(checks, on="candidate_id", how="left", maintain_order="left")
        .join(boot.select("candidate_id", bootstrap_low="low", bootstrap_high="high"), on="candidate_id", how="left",
              maintain_order="left")
        .join(base.select("candidate_id", n_scored="n"), on="candidate_id", how="left", maintain_order="left")
        .join(repeated.with_columns(pl.lit(True).alias("is_repeated")), on="candidate_id", how="left",
              maintain_order="left")
    )  # fmt: skip
    flags = [f"check_{name}" for name in CHECKS]
    reason = (
        pl.when(pl.col("n_scored").fill_null(0) < settings.min_events)
        .then(pl.lit(f"fewer than {settings.min_events} events in the discovery fold"))
        .when(pl.col("is_repeated").is_null())
        .then(pl.lit("its trade cannot be stated again from its verb, so nothing about it can be changed"))
    )
    failed = pl.all_horizontal(pl.col(flag).fill_null(value=True) for flag in flags).not_()
    verdict = pl.when(reason.is_not_null()).then(pl.lit(NOT_ASSESSED)).when(failed).then(pl.lit(FRAGILE))
    return frame.with_columns(
        verdict.otherwise(pl.lit(ROBUST)).alias("verdict"),
        _named(pl.col(flag).fill_null(value=True).not_() for flag in flags).alias("failed_checks"),
        _named(pl.col(flag).is_null() for flag in flags).alias("not_judged"),
        reason.alias("reason"),
    ).select(pl.col(name).cast(kind) for name, kind in VERDICT_SCHEMA.items())


def _named(conditions: Iterable[pl.Expr]) -> pl.Expr:
    """The checks for which a condition holds, separated by commas."""
    texts = [pl.when(condition).then(pl.lit(name)) for condition, name in zip(conditions, CHECKS, strict=True)]
    return pl.concat_list(texts).list.drop_nulls().list.join(", ")
