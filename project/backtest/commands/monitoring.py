"""`backtest` commands that watch data and positions; their options stand, their checks come with live monitoring."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, NoReturn

import typer

from backtest.errors import NotAvailableError

RunId = Annotated[str, typer.Option(envvar="BACKTEST_RUN_ID", help="The run's RUN_ID.")]
Symbol = Annotated[str, typer.Option(help="One symbol, for example BTCUSDT.")]
MaxStalenessBars = Annotated[int, typer.Option(min=0, help="Bars the newest one may lie back.")]
Day = Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="A day (UTC).")]


def register(app: typer.Typer) -> None:
    """Add the monitoring commands to `app`."""
    app.command("monitor-data-freshness")(monitor_data_freshness)
    app.command("monitor-feature-drift")(monitor_feature_drift)
    app.command("kill-switch")(kill_switch)
    app.command("validate-oos-window")(validate_oos_window)


def monitor_data_freshness(
    symbols: Annotated[
        str | None, typer.Option(envvar="BACKTEST_SYMBOLS", help="Symbols, separated by commas.")
    ] = None,
    timeframe: Annotated[str, typer.Option(help="Length of a bar.")] = "5m",
    max_staleness_bars: MaxStalenessBars = 3,
) -> None:
    """Is the newest bar of each symbol recent enough? Not available yet: says so and ends with exit code 2.

    Example: backtest monitor-data-freshness --symbols BTCUSDT,ETHUSDT --timeframe 5m --max-staleness-bars 3
    """
    _not_available(
        f"the data freshness check ({symbols or 'all symbols'}, {timeframe}, at most {max_staleness_bars} bars)",
        "compare the newest timestamp of the files under lake/cleaned with the time in UTC yourself",
    )


def monitor_feature_drift(
    run_id: RunId,
    symbol: Symbol,
    reference_window_days: Annotated[int, typer.Option(min=1, help="Days compared with.")] = 30,
    live_window_days: Annotated[int, typer.Option(min=1, help="Days compared, the newest.")] = 7,
) -> None:
    """Have the features drifted (population stability index)? Not available yet: says so, exit code 2.

    Example: backtest monitor-feature-drift --run-id run_20250228 --symbol BTCUSDT --reference-window-days 30
    """
    _not_available(
        f"the feature drift check (run {run_id}, {symbol}, {live_window_days} against {reference_window_days} days)",
        "compare the distributions of the files under lake/features yourself",
    )


def kill_switch(
    run_id: RunId,
    symbol: Symbol,
    max_staleness_bars: MaxStalenessBars = 3,
    max_drawdown: Annotated[float, typer.Option(min=-1.0, max=0.0, help="Lowest return allowed, a fraction.")] = -0.15,
    max_slippage_ratio: Annotated[
        float, typer.Option(min=0.0, help="Most slippage allowed, as a multiple of that assumed.")
    ] = 2.5,
) -> None:
    """May trading go on? Not available yet: says so, writes nothing, exit code 2, which callers read as HALT.

    Example: backtest kill-switch --run-id run_20250228 --symbol BTCUSDT --max-drawdown -0.15
    """
    _not_available(
        f"the kill switch (run {run_id}, {symbol}, at most {max_staleness_bars} stale bars, "
        f"drawdown {max_drawdown}, slippage ratio {max_slippage_ratio})",
        "do not trade unattended; its exit code 2 means HALT",
    )


def validate_oos_window(run_id: RunId, eval_start: Day, eval_end: Day) -> None:
    """Is a window free of the days used for discovery? Not available yet: says so, exit code 2.

    Example: backtest validate-oos-window --run-id run_20250228 --eval-start 2025-01-01 --eval-end 2025-07-01
    """
    _not_available(
        f"the out-of-sample check (run {run_id}, {eval_start:%Y-%m-%d} to {eval_end:%Y-%m-%d})",
        f"compare the window with discovery_start and discovery_end in runs/{run_id}/run_manifest.json yourself",
    )


def _not_available(what: str, instead: str) -> NoReturn:
    raise NotAvailableError(f"{what} is not available yet (it comes with live monitoring); until then {instead}.")
