"""Notebooks of the documentation: run them on a data root, and make pages of them.

Usage: make demo && .venv/bin/python project/documentation/notebooks.py data/demo

writes what the cells put out into the notebooks themselves. The site shows what is stored; a test runs every cell.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS: Final = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
PLOTLY: Final = "javascripts/plotly.min.js"
FIGURE: Final = "application/vnd.plotly.v1+json"
SECONDS_A_CELL: Final = 60


def notebook_files() -> list[Path]:
    """Every notebook of the documentation."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def executed(text: str, data_root: Path) -> NotebookNode:
    """The notebook `text` with what its cells put out on this data root; the first error of a cell is raised."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(text, as_version=4)
    client = NotebookClient(notebook, kernel_name="python3", timeout=SECONDS_A_CELL, record_timing=False)
    with patch.dict(os.environ, BACKTEST_DATA_ROOT=str(data_root.resolve())):
        client.execute()
    # What differs from machine to machine is not kept.
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        cell.metadata.clear()
    return notebook


def page(text: str, name: str) -> str:
    """The notebook `text` as Markdown with HTML: cells, and below each what it put out. `name` is that of its file."""
    cells = json.loads(text)["cells"]
    lines = [line for number, cell in enumerate(cells) for line in _cell(cell, number)]
    if any(FIGURE in output.get("data", {}) for cell in cells for output in cell.get("outputs", [])):
        lines.insert(0, f'<script src="../{PLOTLY}"></script>\n')
    return "\n".join([*lines, f"[The notebook itself]({name}), to be opened with Jupyter or an editor.", ""])


def _cell(cell: dict[str, Any], number: int) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield f"{source}\n"
        return
    yield f"```python\n{source}\n```\n"
    for place, output in enumerate(cell["outputs"]):
        yield '<div class="cell-output">'
        yield from _output(output, f"figure-{number}-{place}")
        yield "</div>\n"


def _output(output: dict[str, Any], identifier: str) -> Iterable[str]:
    from html import escape

    if output["output_type"] == "stream":
        return [f"<pre>{escape(''.join(output['text']))}</pre>"]
    data = output["data"]
    if FIGURE in data:
        figure = json.dumps({"data": data[FIGURE]["data"], "layout": data[FIGURE]["layout"]}).replace("<", "\\u003c")
        drawn = f'Plotly.newPlot("{identifier}", {{...{figure}, config: {{responsive: true, displaylogo: false}}}})'
        return [f'<div id="{identifier}"></div><script>{drawn}</script>']
    if "text/html" in data:
        # Markdown ends a block of HTML at an empty line.
        return [line for line in "".join(data["text/html"]).splitlines() if line.strip()]
    return [f"<pre>{escape(''.join(data['text/plain']))}</pre>"]


def main() -> int:
    """Run every notebook on a data root and keep what it puts out."""
    import nbformat

    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    for path in notebook_files():
        path.write_text(
            nbformat.writes(executed(path.read_text(encoding="utf-8"), Path(sys.argv[1]))) + "\n", encoding="utf-8"
        )
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
