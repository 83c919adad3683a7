"""The pages in a real browser, opened from disk: no errors, tables that work, dark, phone, keyboard, and nothing but text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
Open = Callable[..., "Page"]
HOSTILE = "</script><script>window.hostile=1</script>"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def opened(browser: Browser, reports: Path) -> Iterator[Open]:
    """Open a page below the folder of reports; the test fails where the page's console had an error or it asked the network."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(place: str, *, size: dict[str, int] = DESKTOP, scheme: str = "light") -> Page:
        context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda fault: complaints.append(str(fault)))
        page.on(
            "request", lambda request: complaints.append(request.url) if not request.url.startswith("file://") else None
        )
        path, _, fragment = place.partition("#")
        page.goto((reports / path).as_uri() + (f"#{fragment}" if fragment else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def kinds_of_pages(reports: Path, run_id: str) -> list[str]:
    """One page of each kind."""
    folder = reports / run_id
    kinds = [path.name for path in sorted(folder.glob("*.html"))]
    kinds += [
        next(iter(sorted((folder / kind).glob("*.html")))).relative_to(folder).as_posix()
        for kind in ("candidates", "events")
    ]
    return [
        *(f"{run_id}/{kind}" for kind in kinds if kind != "hypothesis.html"),
        f"{run_id}/hypothesis.html#3",
        "index.html",
    ]


def first_candidate(reports: Path) -> str:
    """A candidate whose trades are drawn."""
    pages = sorted((reports / "plain" / "candidates").glob("*.html"))
    drawn = next(path for path in pages if 'class="hover"' in path.read_text(encoding="utf-8"))
    return drawn.relative_to(reports).as_posix()


@pytest.mark.parametrize("run_id", ["plain", "hostile"])
def test_every_page_opens_without_a_complaint_and_fits_a_phone(opened: Open, reports: Path, run_id: str) -> None:
    page = opened("index.html", size=PHONE)
    for place in kinds_of_pages(reports, run_id):
        path, _, fragment = place.partition("#")
        page.goto((reports / path).as_uri() + (f"#{fragment}" if fragment else ""))
        wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= room, f"{place} is {wide} pixels wide on a screen of {room}"
        assert page.locator("h1:visible, h2:visible").count()
        assert page.evaluate("window.hostile") is None, place


def test_hostile_texts_are_shown_as_text(opened: Open) -> None:
    page = opened("hostile/index.html")
    assert HOSTILE in page.locator("main").inner_text()
    assert "29.5936" not in page.locator(".facts").inner_text()
    page = opened("hostile/candidates.html")
    assert page.locator("#all-candidates tbody a").filter(has_text="<script>").first.is_visible()
    page.locator("#all-candidates tbody a").filter(has_text="<script>").first.click()
    page.wait_for_load_state()
    assert "<script>" in page.locator("h1").inner_text()
    assert page.evaluate("window.hostile") is None


def test_the_table_sorts_filters_searches_and_leads_to_pages(opened: Open) -> None:
    page = opened("plain/candidates.html")
    rows, status = page.locator("#all-candidates tbody tr"), page.locator("#table-status")
    assert rows.count() == 50
    assert status.inner_text() == "1 to 50 of 260 chosen, of 260 hypotheses"
    assert rows.nth(0).locator("td").last.inner_text() == "passed all"

    def column(number: int) -> list[float]:
        texts = rows.locator(f"td:nth-child({number})").all_inner_texts()
        return [float(text.replace("\N{MINUS SIGN}", "-").replace(",", "")) for text in texts if text != "\N{EN DASH}"]

    page.get_by_role("button", name="Net", exact=True).click()
    assert column(10) == sorted(column(10), reverse=True)
    page.get_by_role("button", name="Net", exact=True).click()
    assert column(10) == sorted(column(10))
    assert page.locator("th[aria-sort=ascending]").inner_text() == "Net"
    page.locator("#page-after").click()
    assert status.inner_text().startswith("51 to 100 of 260")
    page.get_by_label("Verdict").select_option("passed")
    assert status.inner_text() == "1 to 3 of 3 chosen, of 260 hypotheses"
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Symbol").select_option("BTCUSDT")
    assert set(rows.locator("td:nth-child(5)").all_inner_texts()) == {"BTCUSDT"}
    page.get_by_label("Symbol").select_option("")
    page.get_by_label("Search").fill("vol_shock")
    page.wait_for_timeout(500)
    texts = [text.lower() for text in rows.all_inner_texts()]
    assert texts
    assert all("vol" in text and "shock" in text for text in texts)
    rows.nth(0).locator("a").click()
    page.wait_for_load_state()
    assert "SHOCK" in page.locator("h1:visible, h2:visible").first.inner_text()


def test_the_trades_of_a_backtest_are_paged_sorted_and_chosen(opened: Open) -> None:
    page = opened("plain/backtest.html")
    rows, status = page.locator("#all-trades tbody tr"), page.locator("#table-status")
    assert status.inner_text() == "1 to 50 of 120 chosen, of 120 trades"
    times = rows.locator("th").all_inner_texts()
    assert times == sorted(times, reverse=True), "the latest first"
    page.get_by_role("button", name="Net (USD)").click()
    net = [float(text.replace("\N{MINUS SIGN}", "-")) for text in rows.locator("td:nth-child(12)").all_inner_texts()]
    assert net == sorted(net, reverse=True)
    page.locator("[data-filter=side]").select_option("short")
    assert all(text.startswith("short") for text in rows.locator("td:nth-child(4)").all_inner_texts())
    page.locator("[data-filter=strategy]").select_option("second_v1")
    assert set(rows.locator("td:nth-child(2)").all_inner_texts()) == {"second_v1"}
    page.locator("[data-filter=outcome]").select_option("lost")
    assert not rows.locator("td.pass").count()


def test_every_link_of_every_kind_of_page_leads_to_a_file_that_is_there(reports: Path) -> None:
    for path in reports.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src)="([^"#]+)', text):
            assert (path.parent / link).resolve().is_file(), f"{path.relative_to(reports)} leads to {link}"
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert " style=" not in text
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in text


def test_a_hypothesis_without_a_page_is_shown_with_its_gates(opened: Open) -> None:
    page = opened("plain/hypothesis.html#7")
    assert page.locator("#hypothesis-gates tr").count() == 7
    assert page.locator("[data-figure=posterior_mean]").inner_text() != ""
    assert page.locator("#hypothesis-command").inner_text().endswith("--run-id plain")


def test_what_rounds_to_zero_has_no_sign(opened: Open) -> None:
    page = opened("plain/hypothesis.html#7")
    told = page.evaluate(
        """async () => {
            const told = [];
            for (let row = 0; row < 260; row += 1) {
                window.location.hash = `#${row}`;
                window.dispatchEvent(new HashChangeEvent("hashchange"));
                told.push(...[...document.querySelectorAll("#hypothesis td.num")].map((cell) => cell.textContent));
            }
            return told;
        }"""
    )
    zeros = [text for text in told if re.fullmatch(r"[-\u2212]?0\.0+", text)]
    assert len(zeros) > 10
    assert not [text for text in zeros if not text.startswith("0")]
    assert any(text.startswith("\u2212") for text in told)


def test_dark_follows_the_system_and_the_button_and_is_kept(opened: Open) -> None:
    def paper(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = opened("plain/index.html")
    assert paper(light) == "rgb(255, 255, 255)"
    light.get_by_role("button", name="Switch to dark colours").click()
    dark = paper(light)
    assert dark != "rgb(255, 255, 255)"
    light.goto(light.url.replace("index.html", "data.html"))
    assert paper(light) == dark
    assert paper(opened("plain/index.html", scheme="dark")) == dark


def test_terms_and_figures_explain_themselves_to_pointer_finger_and_keyboard(opened: Open, reports: Path) -> None:
    page = opened(first_candidate(reports))
    tip = page.locator("#tip")
    assert not tip.is_visible()
    term = page.locator("button.term").filter(has_text="Shrunk mean").first
    term.hover()
    assert "after shrinkage" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    term.focus()
    assert tip.is_visible()
    assert term.get_attribute("aria-describedby") == "tip"
    column = page.locator("svg .hover rect").nth(10)
    column.scroll_into_view_if_needed()
    column.hover(force=True)
    assert "bps" in tip.inner_text()


def test_all_of_a_page_can_be_reached_by_keyboard(opened: Open) -> None:
    page = opened("plain/candidates.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.dataset.filter || document.activeElement.className"
            )
        )
    assert {"search", "verdict", "event_type", "page-after", "sort", "theme", "scroll"} <= reached
    page.locator("th button").filter(has_text="Raw").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=descending]").inner_text() == "Raw"


def test_two_runs_are_compared(opened: Open) -> None:
    page = opened("index.html")
    page.locator("#run-a").select_option(label="plain")
    page.locator("#run-b").select_option(label="plain")
    assert set(page.locator("#compared tbody td:last-child").all_inner_texts()) == {"same"}
    assert page.locator("#compared-summary").inner_text().startswith("3 passed in both, 0 only in the first")
    page.locator("#run-b").select_option(label="hostile")
    assert "differs" in page.locator("#compared tbody td:last-child").all_inner_texts()
    page.get_by_role("link", name="plain").click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() == "What this run found"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_finding(opened: Open, reports: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened("index.html", scheme=scheme)
    found = []
    # Dark differs from light in colours alone.
    rules = {"preload": False} | ({"runOnly": ["color-contrast"]} if scheme == "dark" else {})
    for place in (*kinds_of_pages(reports, "plain"),):
        path, _, fragment = place.partition("#")
        page.goto((reports / path).as_uri() + (f"#{fragment}" if fragment else ""))
        # The invisible columns over a plot that carry its texts are many, and nothing that axe could judge.
        run = Axe().run(page, context={"exclude": [[".hover"]]}, options=rules)
        for violation in run.response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [(node["html"][:160], node.get("failureSummary", "")[:160]) for node in violation["nodes"][:2]]
                found.append((place, violation["id"], len(violation["nodes"]), nodes))
    assert found == []


def test_a_table_of_twenty_thousand_opens_and_sorts_at_once(opened: Open, made_results: Any, reports: Path) -> None:
    from backtest.reports.html.pages.others import table_page
    from backtest.reports.html.pages.table import table_data
    from backtest.reports.html.scripts import as_script

    results = made_results(n_hypotheses=20_000, n_passed=3, days=60, events_a_day=0.5)
    folder = reports / "large"
    (folder / "data").mkdir(parents=True)
    (folder / "assets").symlink_to(reports / "plain" / "assets")
    (folder / "data" / "candidates.js").write_text(as_script("candidates", table_data(results.candidates, set())))
    (folder / "candidates.html").write_text(table_page(results))
    page = opened("large/candidates.html")
    assert page.locator("#table-status").inner_text().endswith("of 20,000 hypotheses")
    took = page.evaluate(
        "(() => { const begun = performance.now(); document.querySelector('[data-key=t_stat] button').click(); return "
        "performance.now() - begun; })()"
    )
    assert took < 2000, "two seconds even on a busy machine; a still one takes a twentieth"
