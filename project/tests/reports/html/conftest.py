"""A made-up run's pages on disk, and a real browser."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[4]
HOSTILE = '</script><script>window.hostile=1</script><img src=x onerror="window.hostile=1">"\'&{{5.44*5.44}}'
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def made_results() -> Any:
    """`made_results` of the benchmark's made-up run."""
    described = importlib.util.spec_from_file_location(
        "made_run", REPOSITORY / "project" / "benchmarks" / "made_run.py"
    )
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module.made_results


@pytest.fixture(scope="session")
def reports(made_results: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of reports of a data root with two runs: ``plain`` and one whose every text is hostile."""
    from backtest.lake.paths import DataRoot
    from backtest.pipeline.reporting import write_pages

    root = DataRoot(tmp_path_factory.mktemp("reports") / "data")
    root.create()
    for run_id, hostile in (("plain", ""), ("hostile", HOSTILE)):
        results = made_results(n_hypotheses=260, n_passed=3, days=60, events_a_day=1.0, run_id=run_id, hostile=hostile)
        write_pages(root, results)
    return root.report_list()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or another of the system; skipped where there is none.

    It ends with the module: as long as it lives its event loop runs in this process, where no other test could start one.
    """
    from playwright.sync_api import sync_playwright

    asked = os.environ.get("BACKTEST_TEST_BROWSER")
    path = asked or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(
            "no Chromium on this machine; install it (apt-get install chromium) or set BACKTEST_TEST_BROWSER to one"
        )
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        )
        yield made
        made.close()
