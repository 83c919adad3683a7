"""The report of a run with 20,000 hypotheses of which 50 passed: limits are 10 MB, 5 seconds to make, 1 second to open."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

NAME = "report: 20,000 hypotheses, 50 candidates"
OPENED = ("index.html", "candidates.html", "candidates/*.html", "backtest.html", "events.html", "data.html")
SORT = """() => {
    const begun = performance.now();
    document.querySelector("th[data-key='p_value'] button, th button").click();
    document.body.offsetHeight;
    return performance.now() - begun;
}"""


def run() -> dict[str, float]:
    """Seconds to read the run's trades and to write its pages, and megabytes (10⁶ bytes) of all files.

    Where there is a Chromium, milliseconds from opening a page to its first paint and its load event, of the slowest of its
    pages, and from a click to the sorted table of all hypotheses.
    """
    from made_run import made_results

    from backtest.lake.paths import DataRoot
    from backtest.pipeline.reporting import write_pages

    begun = time.perf_counter()
    results = made_results(n_hypotheses=20_000, n_passed=50, days=365, events_a_day=3.0)
    gathered, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        root = DataRoot(Path(folder) / "data")
        root.create()
        report = write_pages(root, results)
        figures = {
            "make up and study s": gathered - begun,
            "pages s": time.perf_counter() - gathered,
            "pages CPU s": time.process_time() - used,
            "size MB": report.size_bytes / 1e6,
            "files": float(len(report.files)),
        }
        browser = os.environ.get("BACKTEST_TEST_BROWSER") or shutil.which("chromium")
        return figures | (_opened(root.report_list() / "made_up", browser) if browser else {})


def _opened(folder: Path, browser_path: str) -> dict[str, float]:
    from playwright.sync_api import sync_playwright

    paints, loads = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for pattern in OPENED:
            page = browser.new_page()
            page.goto(next(iter(sorted(folder.glob(pattern)))).as_uri())
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            loads.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            page.close()
        page = browser.new_page()
        page.goto((folder / "candidates.html").as_uri())
        page.wait_for_selector("tbody tr")
        sort = page.evaluate(SORT)
        browser.close()
    return {"first paint, slowest ms": max(paints), "load event, slowest ms": max(loads), "sort 20,000 rows ms": sort}
