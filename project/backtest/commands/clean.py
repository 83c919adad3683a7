"""`backtest clean-…`: removing what runs, tools and Windows leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from backtest.lake.cleanup import Removal

MAX_LISTED_PATHS = 20


def register(app: typer.Typer) -> None:
    """Add the clean-up commands to `app`."""
    app.command("clean-runtime")(clean_runtime)
    app.command("clean-all-data")(clean_all_data)
    app.command("clean-repo")(clean_repo)
    app.command("clean-hygiene")(clean_hygiene)


def clean_runtime() -> None:
    """Remove runs/, reports/, events/ and lake/runs/ of the data root; raw, cleaned and features stay.

    Example: BACKTEST_DATA_ROOT=data/demo backtest clean-runtime
    """
    from backtest.lake.cleanup import clean_runtime as clean
    from backtest.lake.paths import DataRoot

    root = DataRoot.from_environment()
    _tell(clean(root), root.path)


def clean_all_data() -> None:
    """Remove runs/, reports/, events/ and the whole lake/ of the data root, raw data included.

    Example: BACKTEST_DATA_ROOT=data/demo backtest clean-all-data
    """
    from backtest.lake.cleanup import clean_all_data as clean
    from backtest.lake.paths import DataRoot

    root = DataRoot.from_environment()
    _tell(clean(root), root.path)


def clean_repo() -> None:
    """Remove byte code, tool caches and Zone.Identifier files of the checkout; never anything in a data root.

    Example: backtest clean-repo
    """
    from backtest import repository_hygiene

    checkout = repository_hygiene.checkout()
    _tell(repository_hygiene.remove(repository_hygiene.clutter(checkout)), checkout)


def clean_hygiene() -> None:
    """Remove the Zone.Identifier files of the checkout; never anything in a data root.

    Example: backtest clean-hygiene
    """
    from backtest import repository_hygiene

    checkout = repository_hygiene.checkout()
    _tell(repository_hygiene.remove(repository_hygiene.sidecars(checkout)), checkout)


def _tell(removals: list[Removal], base: Path) -> None:
    """Print what was removed: each path relative to `base`, at most twenty, then the sum."""
    from backtest.repository_hygiene import shell_word

    if not removals:
        typer.echo(f"nothing to remove in {base}")
        return
    for removal in removals[:MAX_LISTED_PATHS]:
        path = shell_word(str(removal.path.relative_to(base)))
        typer.echo(f"removed {path}: {_amount(removal.folders, removal.files, removal.size_bytes)}")
    if len(removals) > MAX_LISTED_PATHS:
        typer.echo(f"… and {len(removals) - MAX_LISTED_PATHS} more")
    folders, files, size_bytes = (
        sum(counts) for counts in zip(*((r.folders, r.files, r.size_bytes) for r in removals), strict=True)
    )
    typer.echo(f"removed in all: {_amount(folders, files, size_bytes)}")


def _amount(folders: int, files: int, size_bytes: int) -> str:
    """``2 folders, 1 file, 1,024 bytes``."""
    counts = ((folders, "folder"), (files, "file"), (size_bytes, "byte"))
    return ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
