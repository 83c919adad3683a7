"""`backtest calibrate`: error rates and power of the whole search on worlds whose truth is known."""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backtest.command_options import End, Start, Symbols, Workers, parsed_symbols, parsed_window, spec_root
from backtest.errors import MisuseError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from backtest.evaluation.calibration import WorldFigures
    from backtest.pipeline.calibration import Progress, World
    from backtest.pipeline.real_bars import RealSpan

SECONDS_BETWEEN_LINES: Final = 15.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    quick: Annotated[
        bool, typer.Option("--quick", envvar="BACKTEST_QUICK", help="26 worlds instead of 480: minutes, not an hour.")
    ] = False,
    real: Annotated[
        bool,
        typer.Option(
            "--real",
            envvar="BACKTEST_REAL",
            help="Also copies of the data root's cleaned bars: with random signs, and with their events moved.",
        ),
    ] = False,
    copies: Annotated[int, typer.Option("--copies", min=2, help="How many copies of each of these two kinds.")] = 100,
    worlds: Annotated[
        str | None,
        typer.Option(
            "--worlds", envvar="BACKTEST_WORLDS", help="Only these kinds, comma-separated, such as null,planted."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other worlds for another seed.")] = 1,
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON instead of tables.")] = False,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="Write docs/calibration.md, its figure, and the figures that runs' reports quote."
        ),
    ] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="Search nothing: report on the worlds that earlier calls have done.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Run the search on worlds with and without planted edges and compare with the truth.

    Figures of each world are kept in the data root, so that the same command goes on where it was interrupted. SYMBOLS, START
    and END choose the bars that --real makes copies of. Ends with 1 where an error rate is beyond its limit.

    Example: backtest calibrate --quick
    """
    import json

    from backtest.evaluation.calibration_limits import limits
    from backtest.evaluation.error_rates import summary
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.calibration import (
        full_worlds,
        mixed,
        of_kinds,
        quick_worlds,
        real_worlds,
        search_code_hash,
        store_of,
    )
    from backtest.pipeline.real_bars import real_span
    from backtest.reports.calibration import calibration_text, limit_text
    from backtest.reports.calibration_page import as_published
    from backtest.spec.loader import load_spec

    root, spec = DataRoot.from_environment(), load_spec(spec_root())
    span = real_span(root, parsed_symbols(symbols), *parsed_window(start, end)) if real else None
    root.create()
    chosen = quick_worlds() if quick else full_worlds()
    chosen = mixed([chosen, real_worlds(copies)]) if real else chosen
    if worlds:
        chosen = of_kinds(chosen, [kind.strip() for kind in worlds.split(",")])
    code = search_code_hash()
    found = _searched(chosen, seed, span, store_of(root, code, spec.ontology_hash, seed, span), workers, stored=stored)
    report = summary(found)
    held = limits(report)
    published = as_published(
        report,
        held,
        command=_command(),
        seed=seed,
        measured_on=dt.datetime.now(dt.UTC).date().isoformat(),
        commit=_commit(),
        ontology_spec_hash=spec.ontology_hash,
        code_hash=code,
        real_bars=None
        if span is None
        else {"symbols": list(span.symbols), "start": span.start.isoformat(), "end": span.end.isoformat()},
    )
    if publish:
        _publish(published)
    print(json.dumps(published, indent=2) if as_json else calibration_text(report, held))
    broken = [limit_text(limit) for limit in held if not limit.is_kept]
    if broken:
        raise RunError(f"{len(broken)} of {len(held)} limits broken: {'; '.join(broken)}")


def _searched(
    chosen: Sequence[World], seed: int, span: RealSpan | None, store: Any, workers: int | None, *, stored: bool
) -> list[WorldFigures]:
    from backtest.pipeline.calibration import calibrate as search_worlds
    from backtest.pipeline.calibration import with_figures
    from backtest.pipeline.executors import SCHEDULER_VARIABLE, available_cores, executor_factory_for

    if stored:
        chosen = with_figures(chosen, store)
        if not chosen:
            raise RunError("no world of this code, spec, seed and data is done yet. Leave out --stored.")
    pool = executor_factory_for(os.environ.get(SCHEDULER_VARIABLE))(workers or available_cores())
    try:
        found = search_worlds(
            chosen, spec_root(), seed=seed, workers=pool, progress=_Told(), now=time.monotonic, span=span, store=store
        )
    except BaseException:
        pool.kill()
        raise
    pool.shutdown()
    return found


class _Told:
    """Tells how far the worlds are, not more often than every few seconds."""

    def __init__(self) -> None:
        self.last = -SECONDS_BETWEEN_LINES

    def __call__(self, progress: Progress) -> None:
        if progress.seconds - self.last < SECONDS_BETWEEN_LINES and progress.done < progress.total:
            return
        self.last = progress.seconds
        text = f"{progress.done} of {progress.total} worlds"
        if progress.stored:
            text += f" ({progress.stored} were done before)"
        if progress.seconds_left is not None:
            text += f", {progress.worlds_per_second:.2f} a second, {progress.seconds_left / 60:.0f} min left"
        print(text, file=sys.stderr)


def _command() -> str:
    """The command as it was given."""
    return " ".join(["backtest", *sys.argv[1:]])


def _commit() -> str | None:
    from backtest.pipeline.provenance import code_revision

    revision = code_revision()
    return None if revision.commit is None else revision.commit + (" (with changes)" if revision.is_dirty else "")


def _publish(published: dict[str, Any]) -> None:
    """Write the page, its figure and the shipped figures into the checkout this program runs from."""
    from backtest import repository_hygiene
    from backtest.lake.files import write_json, write_text
    from backtest.reports.calibration_figure import calibration_figure
    from backtest.reports.calibration_page import FIGURE, PAGE, SHIPPED, calibration_page

    checkout: Path = repository_hygiene.checkout()
    if not (checkout / PAGE).parent.is_dir():
        raise MisuseError(f"--publish writes into a checkout of the program, and {checkout} has no docs folder.")
    write_text(checkout / PAGE, calibration_page(published))
    write_text(checkout / FIGURE, calibration_figure(published))
    write_json(checkout / SHIPPED, published)
    for path in (PAGE, FIGURE, SHIPPED):
        print(f"wrote {checkout / path}", file=sys.stderr)
