"""Options that several sub-commands share, and what their texts mean."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_type_hints

import typer

from backtest.errors import MisuseError

SPEC_VARIABLE: Final = "BACKTEST_SPEC_ROOT"

RunId = Annotated[
    str | None,
    typer.Option("--run-id", envvar="BACKTEST_RUN_ID", help="Name of the run; made from the time if left out."),
]
RequiredRunId = Annotated[str, typer.Option("--run-id", envvar="BACKTEST_RUN_ID", help="Name of the run.")]
Symbols = Annotated[
    str | None,
    typer.Option("--symbols", envvar="BACKTEST_SYMBOLS", help="Comma-separated, such as BTCUSDT,ETHUSDT."),
]
Start = Annotated[str | None, typer.Option("--start", envvar="BACKTEST_START", help="First day, YYYY-MM-DD (UTC).")]
End = Annotated[str | None, typer.Option("--end", envvar="BACKTEST_END", help="Last day, YYYY-MM-DD (UTC), inclusive.")]
Venue = Annotated[
    str | None,
    typer.Option(
        "--venue", envvar="BACKTEST_VENUE", help="Whose raw bars to read, where the lake has those of several."
    ),
]
Strategies = Annotated[
    str | None,
    typer.Option(
        "--strategies",
        envvar="BACKTEST_STRATEGIES",
        help="Comma-separated names of strategies (spec/strategies); blueprints for all that the run finds.",
    ),
]
Source = Annotated[
    str, typer.Option("--source", envvar="BACKTEST_SOURCE", help="Where raw data comes from: binance or simulated.")
]
Datasets = Annotated[
    str | None,
    typer.Option(
        "--datasets",
        envvar="BACKTEST_DATASETS",
        help="Comma-separated data sets that must be had besides bars and funding: mark_5m, index_5m, premium_5m, metrics "
        "(these four are fetched anyway, as far as there are any), liquidations, book_ticker, book_depth, ohlcv_1m.",
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option("--allow-missing", envvar="BACKTEST_ALLOW_MISSING", help="Go on without files that could not be had."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", envvar="BACKTEST_WORKERS", min=1, max=256, help="Worker processes; one a core if left out."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]


@dataclass(frozen=True)
class RunOptions:
    """Options of every command that runs stages."""

    run_id: RunId = None
    symbols: Symbols = None
    start: Start = None
    end: End = None
    venue: Venue = None
    workers: Workers = None
    as_json: AsJson = False


@dataclass(frozen=True)
class FetchOptions(RunOptions):
    """Options of commands that begin with fetching raw data."""

    source: Source = "binance"
    datasets: Datasets = None
    allow_missing: AllowMissing = False


T = TypeVar("T")


def with_options(options: type[T]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first parameter is `options`, a dataclass: each field becomes an option.

    Its other parameters are options as they stand, before the fields.
    """
    hints = get_type_hints(options, include_extras=True)
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(options)}  # type: ignore[arg-type]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        def called(**given: Any) -> None:
            command(options(**{name: given.pop(name) for name in fields}), **given)

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
            for name, default in fields.items()
        ]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return decorate


def parsed_symbols(text: str | None) -> tuple[str, ...]:
    """The distinct symbols of a comma-separated text, in its order; empty where there is none. MisuseError if not sound."""
    from backtest.lake.paths import checked_symbol

    names = [name.strip() for name in (text or "").split(",")]
    return tuple(dict.fromkeys(checked_symbol(name) for name in names if name))


def parsed_window(start: str | None, end: str | None) -> tuple[dt.datetime | None, dt.datetime | None]:
    """START and END as the half-open span [start, end) of UTC instants; the END day is included."""
    first, last = _day("START", start), _day("END", end)
    if first is not None and last is not None and first > last:
        raise MisuseError(f"START {first} lies after END {last}; START is the first day, END the last one.")
    return (
        dt.datetime.combine(first, dt.time(), dt.UTC) if first is not None else None,
        dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), dt.UTC) if last is not None else None,
    )


def _day(name: str, text: str | None) -> dt.date | None:
    if not text:
        return None
    try:
        day = dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).date()
    except ValueError:
        raise MisuseError(f"{name} {text[:40]!r} is not a date; write it as YYYY-MM-DD, such as 2023-01-31.") from None
    if not 2009 <= day.year <= 2100:
        raise MisuseError(f"{name} {day} is outside the years 2009 to 2100.")
    return day


def spec_root() -> Path:
    """``$BACKTEST_SPEC_ROOT``, or the spec folder of the checkout this package lies in."""
    asked = os.environ.get(SPEC_VARIABLE)
    if asked:
        return Path(asked).absolute()
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "spec"
    return checkout if checkout.is_dir() else package / "spec_files"
