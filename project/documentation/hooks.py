"""What MkDocs is told by `mkdocs.yml`: the generated pages, the list of decisions, and formulas as MathML."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parents[1]

FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', flags=re.DOTALL)
LOADED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>""")
DECISION = re.compile(r"# 0*(\d+)\.? (.+)")


def on_config(config: Any) -> Any:
    """Nav entries that end in ``/`` become the pages of that folder."""
    config.nav = [_expanded(entry) for entry in config.nav]
    config.watch += [str(REPOSITORY / "spec"), str(REPOSITORY / "project"), str(REPOSITORY / "CHANGELOG.md")]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add every generated page."""
    from mkdocs.structure.files import File

    for place, write in generated().items():
        files.append(File.generated(config, place, content=write()))
    from notebooks import PLOTLY
    from plotly.offline import get_plotlyjs

    files.append(File.generated(config, PLOTLY, content=get_plotlyjs()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """On the site a link to a notebook leads to its page."""
    return re.sub(r"\((notebooks/\w+)\.ipynb\)", r"(\1.md)", markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """TeX to MathML, which browsers draw themselves: no script, no font, no network."""

    def formula(found: re.Match[str]) -> str:
        text = unescape(found[2]).strip()
        return _mathml(text[2:-2], is_block=found[1] == "div", place=page.file.src_uri)

    return FORMULA.sub(formula, html)


def on_post_build(config: Any, **_: Any) -> None:
    """Fail where a page would load anything from elsewhere: the site is read without a network."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        for found in LOADED.finditer(path.read_text(encoding="utf-8")):
            if found[0].startswith("<link") and 'rel="stylesheet"' not in found[0]:
                continue
            raise SystemExit(f"{path}: {found[0]} is loaded from elsewhere")


def generated() -> dict[str, Callable[[], str]]:
    """Generated pages by their place under docs/, the reference in the order of its navigation."""
    # MkDocs takes what a hook's module adds to the path away again once it is loaded.
    if str(FOLDER) not in sys.path:
        sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
    from notebooks import notebook_files, page
    from reference import pages

    return {
        **pages(),
        **{
            f"notebooks/{path.stem}.md": partial(page, path.read_text(encoding="utf-8"), path.name)
            for path in notebook_files()
        },
        "decisions/index.md": decisions_page,
        "changelog.md": lambda: (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"),
    }


def decisions_page() -> str:
    """Each decision with its number."""
    rows = [f"| {number} | [{title}]({path.name}) |" for path, number, title in decisions()]
    lead = "What would surprise a newcomer, why it is so, and what was rejected. The latest come last."
    return "\n".join(["# Decisions", "", lead, "", "| | |", "|--:|---|", *rows, ""])


def decisions() -> Iterator[tuple[Path, int, str]]:
    """File, number and title of every decision; SystemExit where a first line says neither."""
    for path in sorted((REPOSITORY / "docs" / "decisions").glob("[0-9]*.md")):
        matched = DECISION.fullmatch(path.read_text(encoding="utf-8").splitlines()[0])
        if matched is None:
            raise SystemExit(f"{path}: the first line is not '# NUMBER. Title'")
        yield path, int(matched[1]), matched[2]


def _expanded(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, value),) = entry.items()
    if value == "reference/":
        return {title: [place for place in generated() if place.startswith(value)]}
    if value == "decisions/":
        return {title: ["decisions/index.md", *(f"decisions/{path.name}" for path, _, _ in decisions())]}
    return {title: [_expanded(one) for one in value]} if isinstance(value, list) else entry


def _mathml(tex: str, *, is_block: bool, place: str) -> str:
    from latex2mathml.converter import convert

    try:
        return convert(tex, display="block" if is_block else "inline")
    except Exception as fault:  # noqa: BLE001 - whatever it is, the page's author must see which formula
        raise SystemExit(f"docs/{place}: the formula {tex!r} cannot be read: {fault!r}") from None
