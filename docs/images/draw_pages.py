"""Pictures of a report's pages for README and docs, drawn by Chromium from the demonstration's report.

    make demo && .venv/bin/python docs/images/draw_pages.py data/demo/reports/demo

Needs a Chromium (apt-get install chromium), or BACKTEST_TEST_BROWSER naming one.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST_BYTES = 150_000
DESKTOP, PHONE = (1180, 820), (390, 800)
PICTURES = (
    ("report.png", "index.html", DESKTOP, "light", 560),
    ("report-candidate-dark.png", "candidates/*.html", DESKTOP, "dark", 360),
    ("report-backtest.png", "backtest.html", DESKTOP, "light", 0),
    ("report-phone.png", "candidates/*.html", PHONE, "light", 0),
)
"""(file, page: the first whose trades passed every gate where it is a pattern, size, colours, scrolled down by)."""


def main() -> int:
    """Draw every picture; 1 where one is too large for the repository."""
    from playwright.sync_api import sync_playwright

    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    report = Path(sys.argv[1]).resolve()
    browser_path = os.environ.get("BACKTEST_TEST_BROWSER") or shutil.which("chromium")
    too_large = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for name, pattern, (width, height), scheme, top in PICTURES:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(first_page(report, pattern).as_uri())
            page.evaluate(f"window.scrollTo(0, {top})")
            page.wait_for_timeout(300)
            page.screenshot(path=HERE / name)
            size = (HERE / name).stat().st_size
            too_large |= size > MOST_BYTES
            print(f"{name}: {size / 1e3:.0f} kB")
            page.close()
        browser.close()
    return int(too_large)


def first_page(report: Path, pattern: str) -> Path:
    """The page, or the first candidate's of the pattern that passed every gate."""
    pages = sorted(report.glob(pattern))
    passed = [page for page in pages if "Passed every gate" in page.read_text(encoding="utf-8")]
    return (passed or pages)[0]


if __name__ == "__main__":
    sys.exit(main())
