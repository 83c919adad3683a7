"""Every fault an operator can meet, with the exit code it ends a command with.

BacktestError
├── SpecError            a YAML file under spec/ is wrong              exit 2   fix the YAML
├── DataError            the lake or a file lacks or breaks something  exit 1   fix the data
│   ├── NetworkError     a venue's host could not be reached           exit 3   see the alternatives it names
│   └── TooLittleDataError  sound, but not enough to judge by          exit 1   wait, or get more
├── RunError             a run failed, is locked or is unknown         exit 1   fix the run
│   └── AccountingError  a backtest's money does not add up            exit 1   report it: a fault of the engine
└── MisuseError          the command was called wrongly                exit 2   fix the command
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MAX_LISTED_FAULTS = 10


class BacktestError(Exception):
    """Root of all faults that are reported by their text alone, without a traceback."""

    exit_code = 1


class SpecError(BacktestError):
    """A file under ``spec/`` does not say what it may say."""

    exit_code = 2


class DataError(BacktestError):
    """Data in the lake or in a given file is missing, damaged or contradictory."""


class NetworkError(DataError):
    """A venue's host could not be reached."""

    exit_code = 3


class TooLittleDataError(DataError):
    """Data are sound but absent or too few for what is asked of them."""


class RunError(BacktestError):
    """A run failed, is held by another process, or does not exist."""


class AccountingError(RunError):
    """The change of a backtest's equity is not the sum of its trades' profits: a fault of the engine, not of the run."""


class MisuseError(BacktestError):
    """A command was given something it does not take."""

    exit_code = 2


def listed(faults: Sequence[str]) -> str:
    """One line a fault, at most ten, then how many more there are."""
    lines = [f"  - {fault}" for fault in faults[:MAX_LISTED_FAULTS]]
    if len(faults) > MAX_LISTED_FAULTS:
        lines.append(f"  … and {len(faults) - MAX_LISTED_FAULTS} more")
    return "\n".join(lines)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest allowed name, else an empty string."""
    folded = {candidate.casefold(): candidate for candidate in allowed}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""
