"""The report of a run and the list over all runs, from what lies in the data root to pages there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.lake.files import write_json
from backtest.lake.paths import DataRoot
from backtest.lake.report_folder import write_report
from backtest.pipeline.manifests import earlier_record

if TYPE_CHECKING:
    from backtest.reports.html.results import RunResults

SUMMARY_FIELDS: Final = (
    "run_id",
    "made",
    "window",
    "symbols",
    "n_hypotheses",
    "n_passed",
    "verdict",
    "facts",
    "passed",
)


@dataclass(frozen=True)
class Report:
    """What was written: the page to open, every file, and what the run lacks in words."""

    index: Path
    files: tuple[Path, ...]
    summary: dict[str, Any]
    size_bytes: int


def make_report(root: DataRoot, spec_root: Path, run_id: str) -> Report:
    """Write a run's pages and the list over all runs.

    Raises what `report_inputs.gathered` raises, and DataError where the disk refuses.
    """
    from backtest.pipeline.report_inputs import gathered

    return write_pages(root, gathered(root, spec_root, run_id))


def write_pages(root: DataRoot, results: RunResults) -> Report:
    """Write the pages of what was gathered, and the list over all runs anew."""
    from backtest.reports.html.site import list_files, report_files, run_summary

    folder = root.report(results.run_id)
    files = write_report(folder, report_files(results))
    summary = run_summary(results)
    write_json(root.report_summary(results.run_id), summary)
    for place, text in list_files(_summaries(root)):
        _write_if_changed(root.report_list() / place, text)
    size = sum(path.stat().st_size for path in files)
    return Report(folder / "index.html", tuple(files), summary, size)


def _summaries(root: DataRoot) -> list[dict[str, Any]]:
    """The summaries of all runs whose pages are there; a damaged one is left out until its report is made again."""
    found = []
    for path in sorted((root.path / "runs").glob("*/report_summary.json")):
        record = earlier_record(path)
        is_sound = record is not None and all(field in record for field in SUMMARY_FIELDS)
        if record is not None and is_sound and (root.report_list() / path.parent.name / "index.html").is_file():
            found.append({**record, "run_id": path.parent.name})
    return found


def _write_if_changed(path: Path, text: str) -> None:
    from backtest.lake.files import write_text

    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    write_text(path, text)
