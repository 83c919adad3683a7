"""Draws the candidates of a run as the terminal shows them, as an SVG for the README.

Usage: python docs/images/draw_demo.py DATA_ROOT RUN_ID PICTURE.svg
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import polars as pl
from rich.console import Console

from backtest.lake.paths import DataRoot
from backtest.reports.terminal import best_candidates, candidate_table, nearest_misses

WIDTH = 118


def main(data_root: str, run_id: str, picture: str) -> None:
    """Write the picture of one run's best candidates and nearest misses."""
    folder = DataRoot(Path(data_root)).reports("phase2", run_id)
    candidates = pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("*/candidates.parquet"))])
    passed = int(candidates["gate_phase2_final"].sum())
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print("$ [bold]make demo[/bold]")
    console.print(
        f"{len(candidates):,} hypotheses, {int(candidates['gate_eligible'].sum()):,} with enough events, "
        f"{passed:,} passed every gate.\n"
    )
    console.print(candidate_table(best_candidates(candidates, 8), "Best candidates", WIDTH))
    console.print(candidate_table(nearest_misses(candidates, 4), "Nearest misses", WIDTH))
    drawn = console.export_svg(title="backtest")
    # Rich names a font on the network; the picture is to load nothing.
    Path(picture).write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
