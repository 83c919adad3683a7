"""From a command's options to a run: what was asked, checked, and carried out."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

from backtest.command_options import FetchOptions, RunOptions, parsed_symbols, parsed_window, spec_root
from backtest.errors import MisuseError, did_you_mean

if TYPE_CHECKING:
    from backtest.pipeline.runner import RunReport
    from backtest.pipeline.runs import Request

CACHE_VARIABLE: Final = "BACKTEST_STAGE_CACHE"
SOURCES: Final = ("binance", "simulated")
OPERATOR_VARIABLES: Final = (
    *("RUN_ID", "SYMBOLS", "START", "END", "STRATEGIES", "SOURCE", "VENUE", "DATASETS", "ALLOW_MISSING"),
)


def requested(options: RunOptions, *, strategies: str | None = None) -> Request:
    """The request that options stand for; MisuseError, before anything runs, where one of them is not sound."""
    from backtest.lake.paths import DataRoot, checked_run_id
    from backtest.pipeline.runs import Request

    first, last = parsed_window(options.start, options.end)
    parameters: dict[str, str | bool | None] = (
        _source(options) if isinstance(options, FetchOptions) else {"venue": options.venue}
    )
    if strategies is not None:
        parameters["strategies"] = strategies
    return Request(
        root=DataRoot.from_environment(),
        spec_root=spec_root(),
        run_id=checked_run_id(options.run_id) if options.run_id is not None else None,
        symbols=parsed_symbols(options.symbols),
        start=first,
        end=last,
        workers=options.workers,
        cache=cache_asked(),
        parameters=parameters,
    )


def executed(request: Request, stages: tuple[str, ...]) -> RunReport:
    """The finished run; RunError where a stage failed."""
    from backtest.pipeline.runs import execute

    report = execute(request, stages, now=dt.datetime.now(dt.UTC), command=_again())
    report.raise_for_failure()
    return report


def cache_asked() -> bool:
    """Whether unchanged stages are to be skipped; MisuseError where the variable says neither."""
    text = os.environ.get(CACHE_VARIABLE, "")
    if text not in ("", "0", "1"):
        raise MisuseError(f"{CACHE_VARIABLE} is {text[:40]!r}; it is 1 (skip unchanged stages) or 0.")
    return text == "1"


def _source(options: FetchOptions) -> dict[str, str | bool | None]:
    source, datasets = options.source, options.datasets
    if source not in SOURCES:
        raise MisuseError(
            f"SOURCE {source[:40]!r} is not known.{did_you_mean(source, SOURCES)} There are: {', '.join(SOURCES)}."
        )
    if datasets and source == "binance":
        from backtest.pipeline.ingestion import chosen_series, parsed_datasets

        chosen_series([], parsed_datasets(datasets))
    return {
        "source": source,
        "venue": options.venue or source,
        "datasets": datasets or None,
        "allow_missing": options.allow_missing,
    }


def _again() -> str:
    """The command as it was called, for the hint on how to continue after a failure."""
    if "MAKELEVEL" in os.environ:
        given = ((name, os.environ.get(f"BACKTEST_{name}")) for name in OPERATOR_VARIABLES)
        return shlex.join(["make", *sys.argv[1:2], *(f"{name}={value}" for name, value in given if value)])
    is_door = sys.argv[0].endswith(".py") and not sys.argv[0].endswith("cli.py")
    return shlex.join([*(["python", sys.argv[0]] if is_door else ["backtest"]), *sys.argv[1:]])
