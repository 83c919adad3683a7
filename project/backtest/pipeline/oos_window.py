"""Whether an evaluation window is free of a run's search, and how often anything in the data root has opened it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.errors import DataError, MisuseError
from backtest.lake.ledger import openings
from backtest.lake.paths import DataRoot, checked_symbol
from backtest.pipeline.history import manifest_of

if TYPE_CHECKING:
    from backtest.monitoring.oos_window import WindowVerdict


def examine_window(root: DataRoot, spec_root: Path, run_id: str, start: dt.datetime, end: dt.datetime) -> WindowVerdict:
    """The verdict on [start, end) for the symbols of a run.

    Raises
    ------
    MisuseError, RunError
        No data root, no such run.
    DataError
        A manifest, spec or ledger from which it cannot be told.
    """
    from backtest.monitoring.oos_window import Openings, judged_window, searched_window
    from backtest.spec.loader import load_spec

    manifest = manifest_of(root, run_id)
    searched = searched_window(manifest, run_id)
    try:
        symbols = [checked_symbol(symbol) for symbol in manifest["symbols"]]
    except (KeyError, TypeError, MisuseError) as fault:
        raise DataError(
            f"the manifest of run {run_id} does not say which symbols were searched ({fault!r:.100})"
        ) from None
    before = openings(root, symbols, start.date(), end.date())
    share_left = load_spec(spec_root).gates.share_of_level(before.as_confirmation + 1)
    return judged_window(start, end, searched, Openings(before.as_confirmation, before.by_searches, share_left))
