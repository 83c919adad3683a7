"""Research platform for event-driven edges on crypto perpetuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from backtest.pipeline.open_run import OpenRun

__all__ = ["open_run"]


def open_run(run_id: str, data_root: str | Path | None = None) -> OpenRun:
    """The events, candidates, trades, equity, features and bars of a run as frames (`pipeline.open_run.OpenRun`).

    >>> import backtest
    >>> run = backtest.open_run("demo")                                              # doctest: +SKIP
    >>> run.candidates.filter(gate_phase2_final=True).to_pandas()                    # doctest: +SKIP
    """
    from backtest.pipeline.open_run import open_run as opened

    return opened(run_id, data_root)
