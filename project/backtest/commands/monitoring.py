"""`backtest` commands that watch data and positions, and guard the windows that evaluations use."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.command_options import Symbols, parsed_symbols, parsed_window, spec_root
from backtest.errors import BacktestError, MisuseError
from backtest.terminal_output import print_json, show

if TYPE_CHECKING:
    from backtest.monitoring.freshness import Freshness
    from backtest.pipeline.feature_drift import Usage
    from backtest.pipeline.kill_switch import Limits

RunId = Annotated[str, typer.Option(envvar="BACKTEST_RUN_ID", help="The run's RUN_ID.")]
Symbol = Annotated[str, typer.Option(help="One symbol, for example BTCUSDT.")]
MaxStalenessBars = Annotated[int, typer.Option(min=0, help="Bars the newest one may lie back.")]
Now = Annotated[
    str | None, typer.Option("--now", help="Time to judge by, such as 2025-02-28T12:00:00Z; the clock if left out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
TIMEFRAME = "5m"
CANNOT_TELL = 2
HALT = 2
LISTED_FEATURES = 20


def register(app: typer.Typer) -> None:
    """Add the monitoring commands to `app`."""
    app.command("monitor-data-freshness")(monitor_data_freshness)
    app.command("monitor-feature-drift")(monitor_feature_drift)
    app.command("kill-switch")(kill_switch)
    app.command("validate-oos-window")(validate_oos_window)


def monitor_data_freshness(
    symbols: Symbols = None,
    timeframe: Annotated[str, typer.Option(help="Length of a bar; the lake's bars are 5m.")] = TIMEFRAME,
    max_staleness_bars: MaxStalenessBars = 3,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """Is the newest complete bar of each symbol recent enough? Exit code 0 fresh, 1 stale, missing or unreadable.

    The cleaned perpetual bars decide; every other data set is shown. Without symbols, all of the lake.

    Example: backtest monitor-data-freshness --symbols BTCUSDT,ETHUSDT --timeframe 5m --max-staleness-bars 3
    """
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.freshness import lake_freshness
    from backtest.reports.operations import freshness_table

    if timeframe != TIMEFRAME:
        raise MisuseError(f"timeframe {timeframe[:40]!r} is not one of the lake's; its bars are {TIMEFRAME}.")
    moment = _moment(now)
    report = lake_freshness(DataRoot.from_environment(), parsed_symbols(symbols), moment, max_staleness_bars)
    if as_json:
        print_json(report.as_json())
    elif report.rows:
        show(freshness_table(report.rows))
        print(
            f"{'fresh' if report.is_fresh else 'NOT fresh'} at {moment:%Y-%m-%d %H:%M} UTC "
            f"(at most {max_staleness_bars} bars behind; the cleaned perpetual bars decide)"
        )
    for finding in report.findings:
        print(f"finding: {finding}", file=sys.stderr)
    checks = [
        (f"{row.newest.symbol} {row.newest.layer} {row.newest.dataset}", row.status, _behind(row))
        for row in report.rows
    ]
    findings = [("finding", "STALE", finding) for finding in report.findings]
    _leave(None, "data_freshness", "OK" if report.is_fresh else "STALE", moment, [*findings, *checks])
    raise typer.Exit(0 if report.is_fresh else 1)


def _behind(row: Freshness) -> str:
    newest = "nothing there" if row.newest.stamp is None else f"last complete {row.newest.stamp:%Y-%m-%d %H:%M} UTC"
    return newest if row.staleness_bars is None else f"{newest}, {row.staleness_bars:,} bars behind"


def _leave(
    run_id: str | None,
    monitor: str,
    status: str,
    moment: dt.datetime,
    checks: Sequence[tuple[str, str, str]],
    symbol: str | None = None,
) -> None:
    """Keep the monitor's word for the report; where that fails it is said, and changes nothing else."""
    from backtest.lake.monitors import leave_word
    from backtest.lake.paths import DataRoot

    unkept = leave_word(DataRoot.from_environment(), run_id, monitor, status, moment, checks, symbol=symbol)
    if unkept is not None:
        print(f"warning: {unkept}", file=sys.stderr)


def monitor_feature_drift(
    run_id: RunId,
    symbol: Symbol,
    reference_window_days: Annotated[int, typer.Option(min=1, max=3650, help="Days compared with.")] = 30,
    live_window_days: Annotated[int, typer.Option(min=1, max=3650, help="Days compared, the newest.")] = 7,
    history_days: Annotated[
        int,
        typer.Option(min=1, max=3650, help="Most days before the live ones that show how much a feature moves."),
    ] = 365,
    as_json: AsJson = False,
) -> None:
    """Have a symbol's features drifted (population stability index)? 0 no, 1 significant and large drift, 2 unknown.

    Example: backtest monitor-feature-drift --run-id run_20250228 --symbol BTCUSDT --reference-window-days 30
    """
    from backtest.lake.paths import DataRoot
    from backtest.monitoring.feature_drift import LARGE_PSI, DriftWindows
    from backtest.pipeline.feature_drift import examine_drift
    from backtest.reports.operations import drift_table

    windows = DriftWindows(reference_window_days, live_window_days, max(history_days, reference_window_days))
    try:
        report = examine_drift(DataRoot.from_environment(), spec_root(), run_id, symbol, windows)
    except (BacktestError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        with contextlib.suppress(MisuseError):
            _leave(run_id, "feature_drift", "UNKNOWN", _moment(None), [("drift", "UNKNOWN", str(fault))], symbol)
        raise typer.Exit(CANNOT_TELL) from None
    found = [
        (one.feature, "DRIFT", "significant and large" if one.psi is None else f"index {one.psi:.2f}")
        for one in report.drifted
    ]
    told = found or [("features", "OK", f"none of {len(report.features)} has drifted")]
    _leave(run_id, "feature_drift", "DRIFT" if found else "OK", _moment(None), told, symbol)
    if as_json:
        print_json(report.as_json())
        raise typer.Exit(1 if report.drifted else 0)
    shown = report.features[: max(len(report.drifted), LISTED_FEATURES)]
    show(drift_table(shown, [_used_by(report.usage[drift.feature]) for drift in shown]))
    if len(shown) < len(report.features):
        print(f"… and {len(report.features) - len(shown)} more without drift; all of them: --json")
    n_slow = sum(one.is_slow for one in report.features)
    print(
        f"{n_slow} of {len(report.features)} features move too slowly (95 % below is above {LARGE_PSI}) for {live_window_days} "
        "days to show surely that one of them alone has shifted by a standard deviation"
    )
    live, reference = report.live, report.reference
    print(
        f"{len(report.drifted) or 'no'} feature(s) of {symbol} with significant and large drift: {live[0]:%Y-%m-%d %H:%M} to "
        f"{live[1]:%Y-%m-%d %H:%M} UTC against {reference[0]:%Y-%m-%d %H:%M} to {reference[1]:%Y-%m-%d %H:%M} UTC, judged by "
        f"{report.history_days} days of history"
    )
    print(f"Next: may trading go on: backtest kill-switch --run-id {run_id} --symbol {symbol}")
    raise typer.Exit(1 if report.drifted else 0)


def _used_by(usage: Usage) -> str:
    """Counts, and the names where there are few."""
    told = [
        f"{len(names)} {kind if len(names) == 1 else kind + 's'}"
        + (f" ({', '.join(names)})" if len(names) <= 2 else "")
        for kind, names in (("event", usage.events), ("candidate", usage.candidates), ("blueprint", usage.blueprints))
        if names
    ]
    return ", ".join(told) or "nothing"


def kill_switch(
    run_id: RunId,
    symbol: Symbol,
    max_staleness_bars: MaxStalenessBars = 3,
    max_drawdown: Annotated[
        float, typer.Option(help="Deepest fall of the equity allowed, a fraction; -0.15 and 0.15 mean the same.")
    ] = -0.15,
    max_slippage_ratio: Annotated[
        float, typer.Option(help="Most realised slippage allowed, as a multiple of the modelled one.")
    ] = 2.5,
    max_funding_bps: Annotated[
        float, typer.Option(help="Largest funding rate allowed, either sign, in bps per 8 hours.")
    ] = 30.0,
    max_position_usd: Annotated[
        float | None, typer.Option(help="Largest position in the symbol, USD; not checked where left out.")
    ] = None,
    max_exposure: Annotated[
        float | None, typer.Option(help="Largest sum of positions over equity; not checked where left out.")
    ] = None,
    now: Now = None,
    as_json: AsJson = False,
) -> None:
    """May trading go on? Exit code 0 PASS, 1 WARN, anything else HALT. Writes kill_switch_status.json into the run.

    A check without its data is WARN, one whose data are unreadable or contradict themselves is HALT.

    Example: backtest kill-switch --run-id run_20250228 --symbol BTCUSDT --max-drawdown -0.15
    """
    try:
        limits = (max_staleness_bars, max_drawdown, max_slippage_ratio, max_funding_bps, max_position_usd, max_exposure)
        code = _kill_switch(run_id, symbol, limits, now, as_json=as_json)
    except BacktestError as fault:
        print(f"HALT: {fault}", file=sys.stderr)
        code = HALT
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # noqa: BLE001 - a fault of the program itself must stop trading too, not end with 1 (WARN)
        import traceback

        traceback.print_exc(file=sys.stderr)
        print(f"HALT: the kill switch itself failed: {fault!r}", file=sys.stderr)
        code = HALT
    raise typer.Exit(code)


def _kill_switch(
    run_id: str,
    symbol: str,
    given: tuple[int, float, float, float, float | None, float | None],
    now: str | None,
    *,
    as_json: bool,
) -> int:
    from backtest.lake.paths import DataRoot, checked_run_id, checked_symbol
    from backtest.monitoring.kill_switch import EXIT_CODES
    from backtest.pipeline.kill_switch import examine_and_write
    from backtest.reports.operations import check_table

    limits = checked_limits(*given)
    root, moment = DataRoot.from_environment(), _moment(now)
    report, unwritten = examine_and_write(
        root, spec_root(), checked_run_id(run_id), checked_symbol(symbol), limits, moment
    )
    if as_json:
        print_json(report.as_json())
    else:
        show(check_table(report.checks))
        print(f"{report.status}: run {run_id}, {symbol}, {moment:%Y-%m-%d %H:%M:%S} UTC")
    for check in report.checks:
        if check.status == "HALT":
            print(f"HALT: {check.name}: {check.text}", file=sys.stderr)
    if unwritten is None:
        print(f"written: {root.kill_switch_status(run_id)}", file=sys.stderr)
        if report.status != "PASS":
            print(
                f"Next: what is old, and how to mend it: backtest monitor-data-freshness --symbols {symbol}",
                file=sys.stderr,
            )
        return EXIT_CODES[report.status]
    print(f"HALT: {unwritten}", file=sys.stderr)
    return HALT


def checked_limits(
    bars: int, drawdown: float, slippage: float, funding: float, position: float | None, exposure: float | None
) -> Limits:
    """The limits of the kill switch's options; the drawdown of either sign. MisuseError where one cannot be meant."""
    from backtest.pipeline.kill_switch import Limits

    return Limits(
        max_staleness_bars=bars,
        max_drawdown=_limit("--max-drawdown", abs(drawdown), at_most=1.0),
        max_slippage_ratio=_limit("--max-slippage-ratio", slippage),
        max_funding_bps=_limit("--max-funding-bps", funding),
        max_position_usd=None if position is None else _limit("--max-position-usd", position),
        max_exposure=None if exposure is None else _limit("--max-exposure", exposure),
    )


def _limit(name: str, value: float, at_most: float = math.inf) -> float:
    if not (0 < value <= at_most and math.isfinite(value)):
        allowed = "a positive number" if at_most == math.inf else f"a number between 0 and {at_most:g}, of either sign"
        raise MisuseError(f"{name} {value:g} is not allowed: it is {allowed}.")
    return value


def validate_oos_window(
    run_id: RunId,
    eval_start: Annotated[str, typer.Option(help="First day of the evaluation, YYYY-MM-DD (UTC).")],
    eval_end: Annotated[str, typer.Option(help="Last day of the evaluation, YYYY-MM-DD (UTC), inclusive.")],
    as_json: AsJson = False,
) -> None:
    """Is a window free of the days a run was searched in? 0 free, 1 overlap, embargo or used up, 2 it cannot be told.

    How often it was opened before is counted in the search ledger.

    Example: backtest validate-oos-window --run-id run_20250228 --eval-start 2025-01-01 --eval-end 2025-07-01
    """
    from backtest.lake.paths import DataRoot
    from backtest.monitoring.oos_window import DAY, first_free_day
    from backtest.pipeline.display import counted
    from backtest.pipeline.oos_window import examine_window

    start, end = parsed_window(eval_start, eval_end)
    if start is None or end is None:
        raise MisuseError("--eval-start and --eval-end are needed, as YYYY-MM-DD.")
    try:
        verdict = examine_window(DataRoot.from_environment(), spec_root(), run_id, start, end)
    except (BacktestError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        raise typer.Exit(CANNOT_TELL) from None
    searched, openings = verdict.searched, verdict.openings
    asked = f"{eval_start} … {eval_end}"
    told = [(asked, "OVERLAP", obstacle) for obstacle in verdict.obstacles] or [
        (asked, "FREE", "free of the run's search")
    ]
    _leave(run_id, "oos_window", "FREE" if verdict.is_free else "OVERLAP", _moment(None), told)
    if as_json:
        print_json(verdict.as_json())
    elif verdict.is_free:
        side = "before" if verdict.is_before else "after"
        print(
            f"free: {eval_start} … {eval_end} lies {verdict.distance / DAY:g} days {side} the days of run {run_id} "
            f"({searched.start:%Y-%m-%d} … {searched.end - DAY:%Y-%m-%d}; embargo {searched.embargo / DAY:g} days)"
        )
    if openings is not None and not as_json:
        print(
            f"by the search ledger, opened before: {counted(openings.earlier, 'time')} as a confirmation fold or evaluation; "
            f"the next opening is held to {openings.share_left:.3g} of a level; searched before: "
            f"{counted(openings.searches, 'time')}"
        )
    for obstacle in verdict.obstacles:
        print(f"NOT out of sample: {eval_start} … {eval_end}: {obstacle}", file=sys.stderr)
    if not verdict.is_free:
        free = first_free_day(searched)
        print(
            f"The first day free of the run's search is {free}.\n"
            f"Next: backtest validate-oos-window --run-id {run_id} --eval-start {free} --eval-end YYYY-MM-DD",
            file=sys.stderr,
        )
    raise typer.Exit(0 if verdict.is_free else 1)


def _moment(text: str | None) -> dt.datetime:
    """The time a check judges by: UTC where it names no zone; MisuseError where it is no time."""
    if text is None:
        return dt.datetime.now(dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise MisuseError(f"--now {text[:40]!r} is not a time; write it as 2025-02-28T12:00:00Z.") from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
