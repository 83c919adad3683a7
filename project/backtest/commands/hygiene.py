"""`backtest check-hygiene`: what may not be in the repository."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("check-hygiene")(check_hygiene)


def check_hygiene() -> None:
    """Look for tracked run artifacts, Zone.Identifier files, tracked files over 5 MB; exit code 1 where any is found.

    Example: backtest check-hygiene
    """
    from backtest import repository_hygiene

    checkout = repository_hygiene.checkout()
    found = repository_hygiene.offences(checkout)
    if not found:
        typer.echo(
            f"clean: {checkout} holds no tracked run artifact, no Zone.Identifier file, no tracked file over 5 MB"
        )
        return
    for offence in found:
        typer.echo(f"{repository_hygiene.shell_word(offence.path)}: {offence.rule}\n    mended by: {offence.mend}")
    typer.echo(f"{len(found)} found", err=True)
    raise typer.Exit(1)
