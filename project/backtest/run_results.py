"""What a run found, printed: tables on stdout, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from backtest.terminal_output import json_rows, print_json, show, width

if TYPE_CHECKING:
    import polars as pl

    from backtest.lake.paths import DataRoot, Market
    from backtest.pipeline.runner import RunReport


def print_run(root: DataRoot, report: RunReport, event_type: str | None = None) -> None:
    """What a run found, as JSON: of each kind of stage that ran its table, the candidates of one event type or of all."""
    import polars as pl

    from backtest.lake.files import read_json, read_parquet
    from backtest.reports.terminal import best_candidates, nearest_misses

    ran = {instance.stage.name for instance in report.instances}
    found: dict[str, Any] = {
        "run_id": report.run_id,
        "status": report.status,
        "warnings": list(report.warnings),
        "manifest": str(report.manifest),
    }
    if "clean" in ran:
        found["quality"] = json_rows(_quality(root, report))
    if "candidates" in ran:
        candidates = candidates_of(root, report)
        if event_type is not None:
            candidates = candidates.filter(pl.col("event_type") == event_type)
        found["n_hypotheses"] = len(candidates)
        found["n_passed"] = int(candidates["gate_phase2_final"].sum())
        found["best_candidates"] = json_rows(best_candidates(candidates, 20))
        found["nearest_misses"] = json_rows(nearest_misses(candidates, 10))
        found["report"] = str(root.report(report.run_id) / "index.html")
    if "robustness" in ran:
        found["robustness"] = json_rows(read_parquet(root.robustness(report.run_id)))
    if "backtest" in ran:
        found["backtest"] = read_json(root.backtest(report.run_id, "summary.json"))
        found["metrics"] = json_rows(read_parquet(root.backtest(report.run_id, "metrics.parquet")))
    if "promotion" in ran:
        found["walk_forward"] = json_rows(read_parquet(root.walk_forward(report.run_id, "folds.parquet")))
        found["promotions"] = json_rows(read_parquet(root.promotions(report.run_id, "promotions.parquet")))
    print_json(found)


def _quality(root: DataRoot, report: RunReport) -> pl.DataFrame:
    """The quality of the bars a run cleaned, a row a month."""
    import polars as pl

    from backtest.lake.cleaned import read_cleaned_quality

    cleaned = dict.fromkeys(
        (cast("Market", instance.summary["market"]), str(instance.summary["symbol"]))
        for instance in report.instances
        if instance.stage.name == "clean"
    )
    return pl.concat([read_cleaned_quality(root, market, symbol) for market, symbol in cleaned])


def print_quality(root: DataRoot, report: RunReport) -> None:
    """The quality of the bars a run cleaned, and where sources of one price disagree."""
    import polars as pl

    from backtest.lake.files import read_parquet
    from backtest.reports.terminal import cross_check_table, quality_table

    if any(instance.stage.name == "clean" for instance in report.instances):
        show(quality_table(_quality(root, report)))
    checks = [
        root.cross_check(instance.partition) for instance in report.instances if instance.stage.name == "cross_check"
    ]
    if checks:
        spans = pl.concat([read_parquet(path) for path in checks])
        if spans.is_empty():
            print("Perpetual, spot, index and mark agree wherever there are both.")
        else:
            show(cross_check_table(spans))


def candidates_of(root: DataRoot, report: RunReport) -> pl.DataFrame:
    """All hypotheses of a run."""
    from backtest.lake.files import read_parquet_files

    return read_parquet_files(sorted(root.reports("phase2", report.run_id).glob("*/candidates.parquet")))


def print_candidates(root: DataRoot, report: RunReport, event_type: str | None = None) -> None:
    """The best candidates and the nearest misses, of one event type or all, and where everything lies."""
    import polars as pl

    from backtest.reports.terminal import best_candidates, candidate_table, nearest_misses

    folder, candidates = root.reports("phase2", report.run_id), candidates_of(root, report)
    if event_type is not None:
        candidates = candidates.filter(pl.col("event_type") == event_type)
    tested, passed = int(candidates["gate_eligible"].sum()), int(candidates["gate_phase2_final"].sum())
    print(f"\n{len(candidates):,} hypotheses, {tested:,} with enough events, {passed:,} passed every gate.")
    if passed:
        title = "Best candidates, one for all states and symbols of an event, trade and horizon"
        show(candidate_table(best_candidates(candidates, 20), title, width()))
    else:
        print("No candidate passed: with these data, costs and error rates there is no edge to report.")
    if passed < 10 and tested:
        show(candidate_table(nearest_misses(candidates, 10), "Nearest misses", width()))
    print("\nWritten to:")
    places = (root.run(report.run_id), root.events(report.run_id), folder, root.blueprints(report.run_id))
    for place in (*places, root.report(report.run_id) / "index.html"):
        print(f"  {place}")


def print_robustness(root: DataRoot, report: RunReport) -> None:
    """The verdicts on the candidates that were looked into."""
    from backtest.lake.files import read_parquet
    from backtest.reports.robustness import verdict_counts, verdict_table

    verdicts = read_parquet(root.robustness(report.run_id))
    print(f"\n{verdict_counts(verdicts)}")
    if len(verdicts):
        show(verdict_table(verdicts))
    print(f"Written to:\n  {root.reports('expectancy', report.run_id)}")


def print_backtest(root: DataRoot, report: RunReport) -> None:
    """The account and each strategy, what was carried, liquidated and skipped, and what must be known to read it."""
    from backtest.lake.files import read_json, read_parquet
    from backtest.reports.backtest import backtest_lines, backtest_table, luck_lines, months_table

    metrics = read_parquet(root.backtest(report.run_id, "metrics.parquet"))
    monthly = read_parquet(root.backtest(report.run_id, "monthly.parquet"))
    summary = read_json(root.backtest(report.run_id, "summary.json"))
    print()
    show(backtest_table(metrics))
    show(months_table(monthly))
    for line in (*luck_lines(metrics), *backtest_lines(summary)):
        print(line)
    print(f"Written to:\n  {root.backtest(report.run_id, 'summary.json').parent}")


def print_walk_forward(root: DataRoot, run_id: str) -> None:
    """The folds of a run's walk-forward and how overfitted its search is."""
    from backtest.lake.files import read_json, read_parquet
    from backtest.reports.promotion import fold_table, overfitting_text

    show(fold_table(read_parquet(root.walk_forward(run_id, "folds.parquet"))))
    print(overfitting_text(read_json(root.walk_forward(run_id, "walk_forward.json"))["overfitting"]))
    print(f"Written to:\n  {root.reports('walk_forward', run_id)}")


def print_promotions(root: DataRoot, run_id: str) -> None:
    """Which candidates of a run are promoted, and the first reason against each of the others."""
    from backtest.lake.files import read_parquet
    from backtest.reports.promotion import promotion_counts, promotion_table

    promotions = read_parquet(root.promotions(run_id, "promotions.parquet"))
    print(f"\n{promotion_counts(promotions)}")
    if len(promotions):
        show(promotion_table(promotions))
    print(f"Written to:\n  {root.reports('promotions', run_id)}")


def say_next(text: str) -> None:
    """What an operator may want to do now."""
    print(f"\nNext: {text}")
