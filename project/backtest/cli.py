"""The `backtest` command: finds the sub-commands under ``commands/`` and reports faults by their text and exit code."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import TYPE_CHECKING

from backtest import commands
from backtest.errors import BacktestError

if TYPE_CHECKING:
    import typer


def build() -> typer.Typer:
    """The command with every sub-command found; a module of ``commands`` adds its own in ``register(app)``."""
    import typer  # here, since each worker process imports this module as the one it was started from

    app = typer.Typer(
        name="backtest",
        help="Which event-driven edges are real after costs, and which are noise.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in sorted(pkgutil.iter_modules(commands.__path__), key=lambda found: found.name):
        importlib.import_module(f"{commands.__name__}.{module.name}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a BacktestError ends it with its text on stderr and its exit code.

    Flags may be spelled with hyphens or, as in the runbook, with underscores: ``--run-id`` and ``--run_id``.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        build()(args=[_hyphenated(argument) for argument in given], prog_name="backtest")
    except BacktestError as fault:
        print(f"error: {fault}", file=sys.stderr)
        raise SystemExit(fault.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def door(command: str, arguments: list[str] | None = None) -> None:
    """Run one sub-command as a script."""
    main([command, *(sys.argv[1:] if arguments is None else arguments)])


def _hyphenated(argument: str) -> str:
    """``--run_id=a_b`` as ``--run-id=a_b``; anything that is not a flag as it is."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value


if __name__ == "__main__":
    main()
